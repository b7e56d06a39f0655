"""Painting a plane: a disjoint map from boxes of number pairs to values, the first painter winning.

The plane is cut along ``a`` into slabs at the places that any box will need; a slab is a row of
disjoint runs along ``b``. When no box cuts along ``a``, as when no rule asks for source ports,
there is one slab and everything is one-dimensional.

A grid holds what is still unpainted. ``take`` removes a box from it and returns what of it was
still there, with the values it had; ``put`` gives regions back. So a rule that comes later gets
only what earlier ones left, and every region is painted once.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Generic, NamedTuple, TypeVar

from korat.core.policy.outcome import Outcome
from korat.core.table.value import Cell, Cells

V = TypeVar("V", bound=Hashable)


class Box(NamedTuple):
    """A box of the plane, both ends inclusive."""

    a_first: int
    a_last: int
    b_first: int
    b_last: int


class Patch(NamedTuple, Generic[V]):
    """A run along ``b`` in one slab, and its value."""

    slab: int
    first: int
    last: int
    value: V


class _Row(Generic[V]):
    """The runs of one slab, in three lists that stay sorted together."""

    __slots__ = ("firsts", "lasts", "values")

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.lasts: list[int] = []
        self.values: list[V] = []

    def take(self, first: int, last: int) -> list[tuple[int, int, V]]:
        """Remove ``first..last`` and return what was there."""
        low = bisect_left(self.lasts, first)
        high = bisect_right(self.firsts, last, low)
        taken = list(
            zip(self.firsts[low:high], self.lasts[low:high], self.values[low:high], strict=True)
        )
        kept: list[tuple[int, int, V]] = []
        if taken and taken[0][0] < first:
            start, end, value = taken[0]
            kept.append((start, first - 1, value))
            taken[0] = (first, end, value)
        if taken and taken[-1][1] > last:
            start, end, value = taken[-1]
            kept.append((last + 1, end, value))
            taken[-1] = (start, last, value)
        self.firsts[low:high] = [run[0] for run in kept]
        self.lasts[low:high] = [run[1] for run in kept]
        self.values[low:high] = [run[2] for run in kept]
        return taken

    def put(self, first: int, last: int, value: V) -> None:
        """Add a run where there is none."""
        at = bisect_left(self.firsts, first)
        self.firsts.insert(at, first)
        self.lasts.insert(at, last)
        self.values.insert(at, value)


class Grid(Generic[V]):
    """The unpainted part of a plane from 0 to ``last`` both ways, empty at first.

    ``cuts`` are the places along ``a`` where boxes will begin or have just ended.
    """

    def __init__(self, last: int, cuts: Iterable[int] = ()) -> None:
        self._last = last
        self._starts = sorted({0, *(cut for cut in cuts if cut <= last)})
        self._rows: list[_Row[V]] = [_Row() for _ in self._starts]

    def __bool__(self) -> bool:
        return any(row.firsts for row in self._rows)

    @property
    def whole(self) -> Box:
        """The whole plane."""
        return Box(0, self._last, 0, self._last)

    def fill(self, value: V) -> None:
        """Make all of an empty grid unpainted."""
        for row in self._rows:
            row.put(0, self._last, value)

    def slabs(self, box: Box) -> int:
        """How many slabs a box reaches into."""
        starts = self._starts
        return bisect_right(starts, box.a_last) - bisect_left(starts, box.a_first)

    def take(self, box: Box) -> list[Patch[V]]:
        """Remove what is left of a box, whose sides along ``a`` must lie on cuts."""
        low = bisect_left(self._starts, box.a_first)
        high = bisect_right(self._starts, box.a_last)
        return [
            Patch(slab, *run)
            for slab in range(low, high)
            for run in self._rows[slab].take(box.b_first, box.b_last)
        ]

    def put(self, patches: Iterable[Patch[V]]) -> None:
        """Give regions back that are not in the grid now."""
        for slab, first, last, value in patches:
            self._rows[slab].put(first, last, value)

    def cells(self, painted: Iterable[Patch[Outcome]]) -> Cells:
        """The canonical cells of a plane that these patches cover exactly once."""
        rows: list[list[Patch[Outcome]]] = [[] for _ in self._starts]
        for patch in painted:
            rows[patch.slab].append(patch)
        columns = [_joined(row) for row in rows]
        ends = [start - 1 for start in self._starts[1:]] + [self._last]
        # A slab that looks like the one before it belongs to it.
        fresh = [0, *(i + 1 for i, (left, right) in enumerate(pairwise(columns)) if left != right)]
        return tuple(
            Cell(self._starts[slab], ends[after - 1], first, last, outcome)
            for slab, after in pairwise([*fresh, len(columns)])
            for first, last, outcome in columns[slab]
        )


def _joined(row: list[Patch[Outcome]]) -> Sequence[tuple[int, int, Outcome]]:
    """The runs of one slab in order, neighbours of one outcome made one."""
    runs: list[tuple[int, int, Outcome]] = []
    for _, first, last, outcome in sorted(row, key=itemgetter(1)):
        if runs and runs[-1][2] == outcome:
            runs[-1] = (runs[-1][0], last, outcome)
        else:
            runs.append((first, last, outcome))
    return runs


def cuts_of(boxes: Iterable[Box]) -> set[int]:
    """Where a grid must be cut so that it can take these boxes."""
    return {cut for box in boxes for cut in (box.a_first, box.a_last + 1)}


def minus(box: Box, hole: Box) -> Iterator[Box]:
    """What of a box is outside another one, in at most four pieces."""
    a_first, a_last = max(box.a_first, hole.a_first), min(box.a_last, hole.a_last)
    b_first, b_last = max(box.b_first, hole.b_first), min(box.b_last, hole.b_last)
    if a_first > a_last or b_first > b_last:
        yield box
        return
    pieces = (
        box._replace(a_last=a_first - 1),
        box._replace(a_first=a_last + 1),
        Box(a_first, a_last, box.b_first, b_first - 1),
        Box(a_first, a_last, b_last + 1, box.b_last),
    )
    yield from (p for p in pieces if p.a_first <= p.a_last and p.b_first <= p.b_last)
