"""Traffic whose verdict differs between two verdict tables, as sets of protocols and numbers."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from korat.core.policy.outcome import Action, RuleRef
from korat.core.table.grid import Box, minus
from korat.core.table.value import Cell, Cells, VerdictTable, number_last

#: Who ruled before and after, each with its verdict.
Rulings = tuple[tuple[Action, RuleRef], tuple[Action, RuleRef]]


@dataclass(frozen=True, slots=True)
class Traffic:
    """A set of packets by protocol and the two numbers of its plane.

    ``planes`` are protocols with disjoint boxes; ``others``, where it is not None, adds every
    protocol but those that it names.

    Invariant: canonical: equal sets between the same tables are equal values.
    """

    planes: tuple[tuple[int, tuple[Box, ...]], ...]
    others: tuple[int, ...] | None

    def holds(self, protocol: int, a: int, b: int) -> bool:
        """Whether a packet is in the set."""
        if self.others is not None and protocol not in self.others:
            return True
        return any(
            box.a_first <= a <= box.a_last and box.b_first <= b <= box.b_last
            for number, boxes in self.planes
            if number == protocol
            for box in boxes
        )

    @property
    def is_all(self) -> bool:
        """Whether every packet is in the set."""
        return self.others == ()

    def rest(self) -> "Traffic":
        """Every packet that is not in the set."""
        left = {protocol: tuple(rest_of(protocol, boxes)) for protocol, boxes in self.planes}
        if self.others is None:
            parts = sorted((protocol, boxes) for protocol, boxes in left.items() if boxes)
            return Traffic(tuple(parts), tuple(sorted(left)))
        whole = {p: (_whole(p),) for p in self.others if p not in left}
        return Traffic(tuple(sorted({**left, **whole}.items())), None)


class _Piece(NamedTuple):
    """A box with its rulings before and after."""

    box: Box
    rulings: Rulings


def differing(before: VerdictTable, after: VerdictTable) -> Mapping[Rulings, Traffic]:
    """The traffic that one table allows and the other denies, by who says so."""
    if before is after:
        return {}
    protocols = sorted({number for table in (before, after) for number, _ in table.protocols})
    planes: defaultdict[Rulings, dict[int, list[Box]]] = defaultdict(dict)
    for protocol in protocols:
        for box, rulings in _differing(before.cells(protocol), after.cells(protocol)):
            planes[rulings].setdefault(protocol, []).append(box)
    rest = (before.other.action, before.other.ref), (after.other.action, after.other.ref)
    turned = {rest} if before.other.action is not after.other.action else set()
    return {
        rulings: _traffic(planes[rulings], protocols if rulings in turned else None)
        for rulings in sorted({*planes, *turned}, key=_order)
    }


def _order(rulings: Rulings) -> tuple[str, str]:
    return rulings[0][1].text, rulings[1][1].text


def _traffic(planes: Mapping[int, list[Box]], others: Iterable[int] | None) -> Traffic:
    """The canonical set; ``others`` are the protocols that are not among the others."""
    boxes = {protocol: tuple(_joined(found)) for protocol, found in planes.items()}
    if others is None:
        return Traffic(tuple(sorted(boxes.items())), None)
    # A protocol of which everything is in the set is one of the others.
    parts = {p: found for p, found in boxes.items() if found != (_whole(p),)}
    out = tuple(p for p in others if p in parts or p not in boxes)
    return Traffic(tuple(sorted(parts.items())), out)


def rest_of(protocol: int, boxes: Iterable[Box]) -> list[Box]:
    """What of a protocol's plane is in none of the boxes."""
    left = [_whole(protocol)]
    for box in boxes:
        left = [piece for each in left for piece in minus(each, box)]
    return list(_joined(sorted(left)))


def _whole(protocol: int) -> Box:
    last = number_last(protocol)
    return Box(0, last, 0, last)


def _differing(before: Cells, after: Cells) -> Iterator[_Piece]:
    """The boxes whose verdict differs, by slabs along the first number."""
    old, new = _slabs(before), _slabs(after)
    for i, j, a_first, a_last in _overlaps([s[0] for s in old], [s[0] for s in new]):
        left, right = old[i][1], new[j][1]
        columns = _overlaps([c[2:4] for c in left], [c[2:4] for c in right])
        for k, m, b_first, b_last in columns:
            one, other = left[k].outcome, right[m].outcome
            if one.action is not other.action:
                rulings = (one.action, one.ref), (other.action, other.ref)
                yield _Piece(Box(a_first, a_last, b_first, b_last), rulings)


def _slabs(cells: Cells) -> list[tuple[tuple[int, int], list[Cell]]]:
    return [((first, last), list(slab)) for (first, last), slab in groupby(cells, lambda c: c[:2])]


def _overlaps(
    left: Sequence[tuple[int, int]], right: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int, int, int]]:
    """Which of two tilings of one line overlap where."""
    i = j = 0
    while i < len(left) and j < len(right):
        last = min(left[i][1], right[j][1])
        yield i, j, max(left[i][0], right[j][0]), last
        i += left[i][1] == last
        j += right[j][1] == last


def _joined(boxes: Iterable[Box]) -> Iterator[Box]:
    """The same boxes with neighbours joined, first along the second number, then the first."""
    slabs: list[tuple[int, int, list[tuple[int, int]]]] = []
    for (a_first, a_last), slab in groupby(boxes, lambda box: box[:2]):
        column: list[tuple[int, int]] = []
        for box in slab:
            if column and column[-1][1] + 1 == box.b_first:
                column[-1] = (column[-1][0], box.b_last)
            else:
                column.append((box.b_first, box.b_last))
        if slabs and slabs[-1][1] + 1 == a_first and slabs[-1][2] == column:
            slabs[-1] = (slabs[-1][0], a_last, column)
        else:
            slabs.append((a_first, a_last, column))
    return (Box(a, b, first, last) for a, b, column in slabs for first, last in column)
