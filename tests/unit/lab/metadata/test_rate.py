"""How often a VM is answered."""

from hypothesis import given
from hypothesis import strategies as st

from korat.lab.metadata.rate import Rate


def test_five_at_once_then_five_a_second_for_each_by_itself():
    rate = Rate(5)
    assert [rate.allows("vm1", 100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert rate.allows("vm2", 100.0)
    assert not rate.allows("vm1", 100.1)
    assert rate.allows("vm1", 100.3)
    assert [rate.allows("vm1", 200.0) for _ in range(6)] == [True] * 5 + [False]


@given(st.lists(st.floats(0, 0.5), max_size=100))
def test_a_second_never_has_more_than_twice_the_rate(steps):
    """A full bucket and what flows in meanwhile: never more, in any window of one second."""
    rate, now, answered = Rate(5), 0.0, []
    for step in steps:
        now += step
        if rate.allows("vm", now):
            answered.append(now)
    assert all(sum(t <= other < t + 1 for other in answered) <= 10 for t in answered)
