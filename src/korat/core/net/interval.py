"""Sets of integers as intervals, and the cutting of a number line by overlapping items.

For address sets, port sets and peer classes: all of them are unions of few intervals over a huge
range. An interval is a closed pair ``(first, last)``. Families are not known here; a caller keeps
one set per family.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Generic, NamedTuple, TypeVar

from korat.core.net.address import Family, Prefix

V = TypeVar("V")
H = TypeVar("H", bound=Hashable)

_CLOSES, _OPENS = 0, 1


@dataclass(frozen=True, slots=True)
class IntervalSet:
    """A set of integers.

    Invariant: ``spans`` is sorted, disjoint, and no two touch, so equal sets are equal values.
    """

    spans: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        before = None
        for first, last in self.spans:
            if first > last or (before is not None and first <= before + 1):
                raise ValueError(f"not sorted disjoint spans: {first}-{last} after {before}")
            before = last

    @classmethod
    def of(cls, spans: Iterable[tuple[int, int]]) -> "IntervalSet":
        """The union of any closed intervals, in any order."""
        merged: list[tuple[int, int]] = []
        for first, last in sorted(spans):
            if first > last:
                raise ValueError(f"an interval's first {first} is above its last {last}")
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        return cls(tuple(merged))

    @classmethod
    def of_prefixes(cls, prefixes: Iterable[Prefix]) -> "IntervalSet":
        """The addresses of some prefixes, which must be of one family."""
        return cls.of((prefix.first, prefix.last) for prefix in prefixes)

    def __contains__(self, value: int) -> bool:
        at = bisect_right(self.spans, value, key=itemgetter(0)) - 1
        return at >= 0 and value <= self.spans[at][1]

    def __bool__(self) -> bool:
        return bool(self.spans)

    @property
    def size(self) -> int:
        """How many integers are in the set."""
        return sum(last - first + 1 for first, last in self.spans)

    def __or__(self, other: "IntervalSet") -> "IntervalSet":
        return IntervalSet.of((*self.spans, *other.spans))

    def __and__(self, other: "IntervalSet") -> "IntervalSet":
        return IntervalSet(tuple(_common(self.spans, other.spans)))

    def __sub__(self, other: "IntervalSet") -> "IntervalSet":
        if not self.spans:
            return self
        return self & other.complement(self.spans[0][0], self.spans[-1][1])

    def complement(self, first: int, last: int) -> "IntervalSet":
        """What of ``first..last`` is not in this set."""
        gaps = []
        start = first
        for low, high in self.spans:
            if start < low:
                gaps.append((start, min(low - 1, last)))
            start = max(start, high + 1)
            if start > last:
                break
        if start <= last:
            gaps.append((start, last))
        return IntervalSet(tuple(gap for gap in gaps if gap[0] <= gap[1]))

    def prefixes(self, family: Family) -> Iterator[Prefix]:
        """The fewest prefixes with exactly these addresses, in order."""
        for first, last in self.spans:
            yield from _prefixes_of_span(family, first, last)


def _common(
    left: Sequence[tuple[int, int]], right: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    at_left = at_right = 0
    while at_left < len(left) and at_right < len(right):
        first = max(left[at_left][0], right[at_right][0])
        last = min(left[at_left][1], right[at_right][1])
        if first <= last:
            yield first, last
        if left[at_left][1] == last:
            at_left += 1
        else:
            at_right += 1
        # When both end here, the other one yields an empty overlap next turn and moves on.


def _prefixes_of_span(family: Family, first: int, last: int) -> Iterator[Prefix]:
    while first <= last:
        # The block may be as large as the alignment of its base and as the rest of the span allow.
        aligned = (first & -first).bit_length() - 1 if first else family.bits
        fitting = (last - first + 1).bit_length() - 1
        host_bits = min(aligned, fitting)
        yield Prefix(family, first, family.bits - host_bits)
        first += 1 << host_bits


class Piece(NamedTuple, Generic[V]):
    """A stretch of the number line on which one value holds."""

    first: int
    last: int
    value: V


def sweep(items: Iterable[tuple[int, int, H]]) -> list[Piece[frozenset[H]]]:
    """Cut the line by overlapping ``(first, last, value)`` items into pieces of equal value sets.

    Invariant: the result is sorted and disjoint, holds no piece with an empty set, and neighbours
    that touch differ. Equal sets are one object.
    Complexity: O(n log n), plus one set per distinct combination of values: a step from one
    combination to the next by the same value is remembered, so many small items inside the same
    large ones (addresses in a network) cost one step each, however many large ones there are.
    """
    pieces: list[Piece[frozenset[H]]] = []
    depth: Counter[H] = Counter()
    nothing: frozenset[H] = frozenset()
    known = {nothing: nothing}
    steps: dict[tuple[frozenset[H], H], frozenset[H]] = {}
    active, start = nothing, 0
    for position, edges in groupby(_edges(items), key=itemgetter(0)):
        before = active
        for _, kind, value in edges:
            depth[value] += 1 if kind == _OPENS else -1
            if depth[value] == (1 if kind == _OPENS else 0):
                active = _toggled(active, value, steps, known)
        if active is not before:
            if before:
                pieces.append(Piece(start, position - 1, before))
            start = position
    return pieces


def _edges(items: Iterable[tuple[int, int, H]]) -> list[tuple[int, int, H]]:
    """Where items open and close, sorted; at one place closing comes first, as a stack pops."""
    edges: list[tuple[int, int, H]] = []
    for first, last, value in items:
        if first > last:
            raise ValueError(f"an interval's first {first} is above its last {last}")
        edges.append((first, _OPENS, value))
        edges.append((last + 1, _CLOSES, value))
    edges.sort(key=itemgetter(0, 1))
    return edges


def _toggled(
    active: frozenset[H],
    value: H,
    steps: dict[tuple[frozenset[H], H], frozenset[H]],
    known: dict[frozenset[H], frozenset[H]],
) -> frozenset[H]:
    step = steps.get((active, value))
    if step is None:
        fresh = active ^ {value}
        step = known.setdefault(fresh, fresh)
        steps[active, value] = step
        steps[step, value] = active
    return step
