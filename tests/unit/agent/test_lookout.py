"""When a lookout looks: rung, now and then, and again while it is not done."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from structlog.testing import capture_logs

from korat.agent.lookout import Lookout

NEVER_S, WAIT_S = 3600.0, 10.0


@contextlib.contextmanager
def looking(look: Callable[[], bool], period_s: float = NEVER_S) -> Iterator[Lookout]:
    lookout = Lookout("test", look, period_s, 0.01)
    lookout.start()
    try:
        yield lookout
    finally:
        lookout.close()


class Looks:
    """Counts them; each answers with the next of these, and True from then on."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers, self.count = list(answers), 0
        self.done = threading.Condition()

    def __call__(self) -> bool:
        with self.done:
            self.count += 1
            self.done.notify_all()
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    def reach(self, count: int, seconds: float = WAIT_S) -> bool:
        with self.done:
            return self.done.wait_for(lambda: self.count >= count, seconds)


def test_it_looks_when_it_is_rung_and_not_before():
    looks = Looks()
    with looking(looks) as lookout:
        assert not looks.reach(1, 0.1)
        lookout.ring()
        assert looks.reach(1)
        assert not looks.reach(2, 0.1)


def test_it_looks_now_and_then():
    looks = Looks()
    with looking(looks, period_s=0.01):
        assert looks.reach(3)


def test_it_looks_again_until_it_is_done():
    looks = Looks(False, False)
    with looking(looks) as lookout:
        lookout.ring()
        assert looks.reach(3)
        assert not looks.reach(4, 0.1)


def test_a_defect_does_not_end_it():
    looks = Looks(RuntimeError("broken"))
    with capture_logs() as told, looking(looks) as lookout:
        lookout.ring()
        assert looks.reach(1)
        lookout.ring()
        assert looks.reach(2)
    assert told[0]["error"] == "broken"


def test_who_is_ended_looks_no_more():
    looks = Looks()
    with looking(looks) as lookout:
        lookout.close()
        lookout.ring()
        assert not looks.reach(1, 0.1)
