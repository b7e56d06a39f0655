"""How much of the deny log is written, and what is said of the rest; packets are in tests/netns."""

from korat.agent.denials import Missed


def test_a_hundred_lines_a_second_and_the_rest_is_said_once():
    missed = Missed()
    assert sum(missed.may_write(100.5) for _ in range(250)) == 100
    assert missed.may_write(101.0)
    assert missed.take(0, 101.0) == {"lost": 0, "suppressed": 150}
    assert missed.take(0, 200.0) == {}


def test_what_the_kernel_lost_is_said_from_time_to_time():
    missed = Missed()
    assert missed.take(7, 50.0) == {"lost": 7, "suppressed": 0}
    assert missed.take(9, 51.0) == {}
    assert missed.take(10, 61.0) == {"lost": 3, "suppressed": 0}
