"""The number line of one family, cut by what lies over it: network sets and the CIDRs of rules."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

from korat.core.net.interval import sweep
from korat.core.table.atom import union


class Stretch(NamedTuple):
    """Addresses ``first`` to ``last``, of which the same is true."""

    first: int
    last: int
    truth: int


class Line:
    """Stretches, sorted and disjoint; where there is none, nothing is true."""

    __slots__ = ("_firsts", "stretches")

    def __init__(self, items: Iterable[tuple[int, int, int]] = ()) -> None:
        """``items`` are (first, last, truth) and may overlap."""
        laid = (item for item in items if item[2])
        self.stretches = tuple(Stretch(p.first, p.last, union(p.value)) for p in sweep(laid))
        self._firsts = list(map(itemgetter(0), self.stretches))

    def beneath(self, value: int) -> int:
        """What is true of an address by where it lies."""
        at = bisect_right(self._firsts, value) - 1
        if at < 0:
            return 0
        stretch = self.stretches[at]
        return stretch.truth if value <= stretch.last else 0

    def across(self, first: int, last: int) -> Iterator[Stretch]:
        """The stretches of these addresses, and of what lies between them, in order."""
        at = max(0, bisect_right(self._firsts, first) - 1)
        while at < len(self.stretches) and self.stretches[at].first <= last:
            stretch = self.stretches[at]
            at += 1
            if stretch.last < first:
                continue
            if first < stretch.first:
                yield Stretch(first, stretch.first - 1, 0)
            end = min(stretch.last, last)
            yield Stretch(max(first, stretch.first), end, stretch.truth)
            first = end + 1
        if first <= last:
            yield Stretch(first, last, 0)

    def masked(self, mask: int) -> list[Stretch]:
        """The stretches by these bits alone: neighbours of like truth joined, untrue ones left."""
        return list(_merged(Stretch(s.first, s.last, s.truth & mask) for s in self.stretches))


def _merged(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    open_: Stretch | None = None
    for stretch in stretches:
        if not stretch.truth:
            continue
        if open_ and open_.truth == stretch.truth and open_.last + 1 == stretch.first:
            open_ = open_._replace(last=stretch.last)
            continue
        if open_:
            yield open_
        open_ = stretch
    if open_:
        yield open_
