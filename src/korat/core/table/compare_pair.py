"""Changes of a verdict between pairs of classes, for traffic of which neither end is a constant.

Each end's addresses are put into classes by what the policies of both sides of the change ask about
them there; of each pair of classes the tables before and after are laid over each other. Pairs with
the same change are put together as boxes: all of some peers with all of some ends.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from korat.core.net.interval import IntervalSet
from korat.core.policy.outcome import Action, Direction, Outcome, RuleRef
from korat.core.table.atom import union
from korat.core.table.compare import Turn, Turns
from korat.core.table.line import Line
from korat.core.table.paint import first_decided, paint
from korat.core.table.plan import Plan
from korat.core.table.value import VerdictTable

#: How many pairs of classes are looked at, which takes some ten seconds. Policies of hosts mostly
#: ask about one end only, so a large cluster has some hundred pairs; hundreds of selectors for each
#: of the ends would reach it.
PAIRS_MAX = 250_000

Plans = tuple[Plan, ...]


class CrowdedError(ValueError):
    """The policies tell too many pairs of ends apart."""


@dataclass(slots=True)
class Ground:
    """The addresses of one family and what is true of them before and after.

    The truths of the side after are ``shift`` bits higher. ``domain`` are the addresses that are
    compared, ``left`` is how many pairs may still be looked at.
    """

    line: Line
    shift: int
    domain: IntervalSet
    left: int = PAIRS_MAX
    turns: Turns = field(default_factory=Turns)

    def classes(self, mask: int, domain: IntervalSet) -> Mapping[int, IntervalSet]:
        """Some addresses by what is true of them."""
        found: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for span in domain.spans:
            for first, last, truth in self.line.across(*span):
                found[truth & mask].append((first, last))
        return {truth: IntervalSet.of(spans) for truth, spans in found.items()}

    def both(self, before: Iterable[int], after: Iterable[int]) -> int:
        """One mask of those of the two sides."""
        return union(before) | union(after) << self.shift

    def spend(self, pairs: int) -> None:
        """Take pairs from what is left.

        Raises:
            CrowdedError: there are not so many left.
        """
        self.left -= pairs
        if self.left < 0:
            raise CrowdedError(f"more than {PAIRS_MAX} pairs of senders and receivers")


class Region(NamedTuple):
    """Peers and ends between all of whom the same traffic turned; ``ends`` None are all asked."""

    turn: Turn
    peers: IntervalSet
    ends: IntervalSet | None


#: A region whose ends are classes.
_Classed = tuple[Turn, IntervalSet, frozenset[int]]


class Pairs:
    """All pairs of classes where these policies are asked before, and those after.

    The plans of each side are of sets of policies that are asked in turn; nobody is asked where
    there is none. Peers are senders in ingress and receivers in egress; ends are opposite.
    """

    def __init__(self, direction: Direction, before: Plans, after: Plans, ground: Ground) -> None:
        self._direction = direction
        self._sides = before, after
        self._ground = ground
        peer_mask = ground.both((p.peer_mask for p in before), (p.peer_mask for p in after))
        self._end_mask = ground.both((p.own_mask for p in before), (p.own_mask for p in after))
        self._peers = ground.classes(peer_mask, ground.domain)
        self._everybody = ground.classes(self._end_mask, ground.domain)
        self._tables: dict[tuple[int, int, int], VerdictTable] = {}
        self._classed: dict[frozenset[int], tuple[_Classed, ...]] = {}
        self._regions: dict[IntervalSet | None, tuple[Region, ...]] = {}

    def regions(self, own: IntervalSet | None) -> tuple[Region, ...]:
        """What turned between all peers and these ends, None being all; nothing is told twice.

        Raises:
            IntricateError: a table would have too many pieces.
            CrowdedError: there are too many pairs.
        """
        found = self._regions.get(own)
        if found is None:
            found = self._regions[own] = tuple(self._between(own))
        return found

    def _between(self, own: IntervalSet | None) -> Iterator[Region]:
        ends = self._everybody if own is None else self._ground.classes(self._end_mask, own)
        classes = frozenset(ends)
        if classes not in self._classed:
            self._classed[classes] = tuple(self._found(classes))
        for turn, peers, among in self._classed[classes]:
            part = IntervalSet.of(span for end in among for span in ends[end].spans)
            yield Region(turn, peers, None if among == classes else part)

    def _found(self, ends: frozenset[int]) -> Iterator[_Classed]:
        if not any(self._sides):
            return
        self._ground.spend(len(self._peers) * len(ends))
        turned: defaultdict[Turn, defaultdict[int, list[int]]]
        turned = defaultdict(lambda: defaultdict(list))
        for peer in self._peers:
            for end in ends:
                for turn in self._ground.turns.between(*self._both(peer, end)):
                    turned[turn][peer].append(end)
        for turn, by_peer in turned.items():
            alike: defaultdict[frozenset[int], list[tuple[int, int]]] = defaultdict(list)
            for peer, own in by_peer.items():
                alike[frozenset(own)] += self._peers[peer].spans
            for among, spans in alike.items():
                yield turn, IntervalSet.of(spans), among

    def _both(self, peer: int, end: int) -> tuple[VerdictTable, VerdictTable]:
        """The tables before and after."""
        shift = self._ground.shift
        low = (1 << shift) - 1
        return self._table(0, peer & low, end & low), self._table(1, peer >> shift, end >> shift)

    def _table(self, side: int, peer: int, end: int) -> VerdictTable:
        key = side, peer, end
        found = self._tables.get(key)
        if found is None:
            found = self._tables[key] = self._painted(self._sides[side], peer, end)
        return found

    def _painted(self, plans: Plans, peer: int, end: int) -> VerdictTable:
        if not plans:
            return VerdictTable((), Outcome(Action.ALLOW, RuleRef.unasked(self._direction)))
        ingress = self._direction is Direction.INGRESS
        source, destination = (peer, end) if ingress else (end, peer)
        return first_decided([paint(plan, source, destination) for plan in plans])
