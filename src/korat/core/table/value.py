"""Verdict tables and peer classes: policy as flat lookups, ready to be rendered.

These are values only: ``compile`` makes them, renderers, ``explain`` and ``diff`` read them.

A packet to (ingress) or from (egress) a local endpoint is judged in three lookups: the peer's
address gives its class, class and interface give a table, protocol and two small numbers (ports,
or ICMP type and code) give the outcome.

A table is canonical: two tables that judge alike are equal, whatever policies they came from.
For one protocol the plane of the two numbers is cut along the first (``a``) into slabs, as few as
possible, and each slab along the second (``b``) into cells, as few as possible: a unique form.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import NamedTuple

from typing_extensions import override

from korat.core.model.key import Key
from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.port import ICMP_PROTOCOLS, PORT_LAST, PORT_PROTOCOLS
from korat.core.pmap import PMap
from korat.core.policy.outcome import Direction, Outcome

ICMP_LAST = 255
#: The class of addresses of which nothing is true.
NOBODY = 0

#: An address as the kernel's maps have it: its number alone in a tuple; the family is known.
Place = tuple[int]
#: Addresses from the first number to the last one, and their class.
Net = tuple[int, int, int]


def number_last(protocol: int) -> int:
    """The greatest number on both axes of a protocol's plane; 0 where it has neither."""
    if protocol in PORT_PROTOCOLS:
        return PORT_LAST
    return ICMP_LAST if protocol in ICMP_PROTOCOLS else 0


class Cell(NamedTuple):
    """A box of one protocol's plane, both ends inclusive, and its outcome.

    ``a`` is the source port or ICMP type, ``b`` the destination port or ICMP code. A protocol that
    has neither has the one cell (0, 0, 0, 0).
    """

    a_first: int
    a_last: int
    b_first: int
    b_last: int
    outcome: Outcome


Cells = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class VerdictTable:
    """An outcome for every (protocol, a, b).

    Invariant: canonical (see the module); ``protocols`` is sorted and holds no protocol whose one
    cell is ``other``.
    """

    protocols: tuple[tuple[int, Cells], ...]
    other: Outcome
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        numbers = [protocol for protocol, _ in self.protocols]
        if any(a >= b for a, b in pairwise(numbers)):
            raise ValueError(f"protocols are not sorted: {numbers}")
        for protocol, cells in self.protocols:
            if not _canonical(cells, number_last(protocol)):
                raise ValueError(f"cells of protocol {protocol} are not canonical: {cells}")
            if len(cells) == 1 and cells[0].outcome == self.other:
                raise ValueError(f"protocol {protocol} is no different from the others")
        # Tables are keys of many maps; a hash that walks all cells every time would show.
        object.__setattr__(self, "_hash", hash((self.protocols, self.other)))

    @override
    def __hash__(self) -> int:
        return self._hash

    def cells(self, protocol: int) -> Cells:
        """The cells of one protocol, also when it is one of the others."""
        for number, cells in self.protocols:
            if number == protocol:
                return cells
        last = number_last(protocol)
        return (Cell(0, last, 0, last, self.other),)

    def lookup(self, protocol: int, a: int = 0, b: int = 0) -> Outcome:
        """The outcome of one packet; ``a`` and ``b`` do not matter where the protocol has none."""
        if not number_last(protocol):
            a = b = 0
        for cell in self.cells(protocol):
            if cell.a_first <= a <= cell.a_last and cell.b_first <= b <= cell.b_last:
                return cell.outcome
        raise ValueError(f"protocol {protocol} has no numbers {a}, {b}")

    def outcomes(self) -> frozenset[Outcome]:
        """Every outcome that the table can give."""
        return frozenset({self.other, *(c.outcome for _, cells in self.protocols for c in cells)})


def _canonical(cells: Cells, last: int) -> bool:
    """Whether the cells cover the plane exactly once, in order, in as few pieces as possible."""
    slabs = [((first, end), tuple(slab)) for (first, end), slab in groupby(cells, lambda c: c[:2])]
    columns = [[(c.b_first, c.b_last, c.outcome) for c in slab] for _, slab in slabs]
    return (
        _tiles((span for span, _ in slabs), last)
        and all(left != right for left, right in pairwise(columns))
        and all(_tiles(((first, end) for first, end, _ in column), last) for column in columns)
        and all(left[2] != right[2] for column in columns for left, right in pairwise(column))
    )


def _tiles(spans: Iterable[tuple[int, int]], last: int) -> bool:
    """Whether the spans follow each other from 0 to ``last`` without a gap."""
    start = 0
    for first, end in spans:
        if first != start or end < first:
            return False
        start = end + 1
    return start == last + 1


@dataclass(frozen=True, slots=True)
class PeerClasses:
    """Which class an address belongs to, for one family and direction.

    Two addresses are in one class when every peer predicate of the node's policies says the same
    of both. ``hosts`` is asked first (a hash map in the kernel), then ``nets`` (an interval map),
    then ``default``. A class's number is a name: it says nothing but which class, and stays the
    same as long as the same predicates hold for its addresses. ``numbers`` has those of all classes
    but the default one.

    Invariant: ``nets`` is sorted, disjoint, and holds no interval of the default class.
    """

    hosts: Mapping[Place, int]
    nets: tuple[Net, ...]
    default: int
    numbers: Mapping[int, object] = field(default_factory=dict, compare=False)

    def class_of(self, addr: Addr) -> int:
        """The class of an address of this family."""
        exact = self.hosts.get((addr.value,))
        if exact is not None:
            return exact
        at = bisect_right(self.nets, addr.value, key=lambda net: net[0]) - 1
        if at >= 0 and addr.value <= self.nets[at][1]:
            return self.nets[at][2]
        return self.default

    def has(self, number: int) -> bool:
        """Whether there is a class of this number."""
        return number == self.default or number in self.numbers


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
    """A workload of this node, as far as the node's kernel must know it."""

    key: Key
    interface: str
    addresses: tuple[Addr, ...]
    spoof_allowed: tuple[Prefix, ...] = ()


@dataclass(frozen=True, slots=True)
class DirectionPolicy:
    """The lookups of one family and direction.

    ``tables`` has an entry for the default class and every interface whose endpoint has an address
    of the family; an interface that is not there has no policy and everything is dropped. Another
    class has an entry only where its table is not the default class's, for most classes mean
    something to few interfaces.
    """

    classes: PeerClasses
    tables: PMap[tuple[int, str], VerdictTable]

    def table(self, number: int, interface: str) -> VerdictTable | None:
        """The table of a class at an interface; None where everything is dropped."""
        special = self.tables.get((number, interface))
        return special or self.tables.get((self.classes.default, interface))


@dataclass(frozen=True, slots=True)
class NodePolicy:
    """All that one node enforces for its workloads.

    ``endpoints`` is sorted by interface; ``directions`` has every family and direction.
    """

    endpoints: tuple[LocalEndpoint, ...]
    directions: Mapping[tuple[Family, Direction], DirectionPolicy]
