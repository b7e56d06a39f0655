"""Variants driven in turn, and compared within each round.

In each round every variant is driven once, in an order that turns by one place a round, so that
whatever the machine does meanwhile meets all alike. The figure is the median of the rounds' ratios.

By the clock a neighbour who takes a processor away counts; by processor time it does not, but nor
does what the kernel does on nobody's account. On an idle machine the two agree.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from resource import RUSAGE_SELF, getrusage
from typing import TypeVar

from bench.report import Row, Target, measured, unmeasured
from bench.statistic import ratios

Name = TypeVar("Name")
Sample = TypeVar("Sample")


@dataclass(frozen=True, slots=True)
class Spent:
    """What one process needed: seconds by the clock, and its own outside and in the kernel."""

    seconds: float
    user_s: float
    system_s: float


@dataclass(frozen=True, slots=True)
class Slice:
    """One variant driven for a while by a client and a server that take turns."""

    amount: int
    client: Spent
    server: Spent

    @property
    def rate(self) -> float:
        """Amount a second."""
        return self.amount / self.client.seconds

    @property
    def processor_rate(self) -> float:
        """Amount a second of processor time, of both ends together."""
        return self.amount / max(self._user_s + self._system_s, 1e-9)

    @property
    def user_share(self) -> float:
        """The part of both ends' time that was spent outside the kernel."""
        return self._user_s / max(self._user_s + self._system_s, 1e-9)

    @property
    def _user_s(self) -> float:
        return self.client.user_s + self.server.user_s

    @property
    def _system_s(self) -> float:
        return self.client.system_s + self.server.system_s


Slices = Mapping[str, Sequence[Slice]]


def spent(times: int, act: Callable[[], None]) -> Spent:
    """Do something so many times."""
    before, begun = getrusage(RUSAGE_SELF), time.perf_counter()
    for _ in range(times):
        act()
    seconds, after = time.perf_counter() - begun, getrusage(RUSAGE_SELF)
    return Spent(seconds, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime)


def interleaved(
    names: Sequence[Name], rounds: int, drive: Callable[[Name], Sample]
) -> dict[Name, list[Sample]]:
    """Drive every variant once to warm up, then once a round."""
    found: dict[Name, list[Sample]] = {name: [] for name in names}
    for name in names:
        drive(name)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in (*names[shift:], *names[:shift]):
            found[name].append(drive(name))
    return found


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows of one kind from the slices of its variants."""

    row: str
    found: Slices

    def ratio(self, name: str, over: str, under: str, target: Target | None = None) -> Row:
        """The rates of one variant over those of another."""
        return self._ratio(name, (over, under), target, lambda each: each.rate)

    def processor_ratio(self, name: str, over: str, under: str) -> Row:
        """The same, by processor time."""
        words = f"{name}, by processor time"
        return self._ratio(words, (over, under), None, lambda each: each.processor_rate)

    def _ratio(
        self,
        name: str,
        pair: tuple[str, str],
        target: Target | None,
        rate: Callable[[Slice], float],
    ) -> Row:
        if not all(self.found.get(each) for each in pair):
            return unmeasured(self.row, name, "ratio", target)
        over, under = ([rate(each) for each in self.found[of]] for of in pair)
        return measured(self.row, name, "ratio", ratios(over, under), target)
