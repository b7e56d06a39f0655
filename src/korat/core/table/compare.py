"""What differs between two clusters: packets of workloads that one allows and the other denies.

Both are compiled as if all their workloads were on one node, since the verdict does not depend on
the node; then for every workload that both have, the addresses are cut where either of the two
classifications cuts them, and the two verdict tables of each piece are laid over each other. So the
answer is complete and exact, without trying a single packet.

A workload that only one of them has is not compared, and neither is its address as a peer: who
comes or goes is no change of policy. Changes of the rule that decides, or of what is logged, are
none either as long as the verdict stays. What host endpoints say is ``compare_host``'s.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from korat.core.model.key import Key
from korat.core.net.address import Addr, Family
from korat.core.net.interval import IntervalSet
from korat.core.policy.cluster import Cluster
from korat.core.policy.outcome import Action, Direction, RuleRef
from korat.core.table.compare_traffic import Traffic, differing
from korat.core.table.compile import compile_node
from korat.core.table.value import DirectionPolicy, NodePolicy, PeerClasses, VerdictTable

#: The one node on which everything is compiled, and the one where nothing is.
_HERE, _AWAY = "here", "away"


class Ruling(NamedTuple):
    """A verdict and who gave it."""

    action: Action
    ref: RuleRef


@dataclass(frozen=True, slots=True)
class Change:
    """Traffic between one endpoint and some addresses of one family whose verdict changed."""

    direction: Direction
    endpoint: Key
    family: Family
    peers: IntervalSet
    traffic: Traffic
    before: Ruling
    after: Ruling


def compare(before: Cluster, after: Cluster) -> Iterator[Change]:
    """Every change of a verdict, in the order of directions, endpoints and families.

    Raises:
        IntricateError: a table of one of the clusters would have too many pieces.
    """
    shared = sorted({e.key for e in before.endpoints} & {e.key for e in after.endpoints})
    node_before, node_after = _compiled(before, shared), _compiled(after, shared)
    turns = Turns()
    for direction in Direction:
        places = [
            _Place(node_before, node_after, family, direction, strangers(before, after, family))
            for family in Family
        ]
        for key in shared:
            for place in places:
                yield from place.changes(key, turns)


def _compiled(cluster: Cluster, shared: Iterable[Key]) -> NodePolicy:
    """The policy of all endpoints that are to be compared; their interfaces are their keys."""
    local = frozenset(shared)
    endpoints = tuple(
        replace(e, node=_HERE if e.key in local else _AWAY, interface=str(e.key))
        for e in cluster.endpoints
    )
    return compile_node(replace(cluster, endpoints=endpoints), _HERE)


def strangers(before: Cluster, after: Cluster, family: Family) -> IntervalSet:
    """The addresses of workloads that only one of the clusters has."""
    owned = [
        {addr.value for e in cluster.endpoints for addr in e.addresses_of(family)}
        for cluster in (before, after)
    ]
    return IntervalSet.of((value, value) for value in owned[0] ^ owned[1])


class Turns:
    """What turns between two tables; each pair is laid over each other once."""

    def __init__(self) -> None:
        self._known: dict[tuple[VerdictTable, VerdictTable], Sequence[Turn]] = {}

    def between(self, before: VerdictTable, after: VerdictTable) -> Sequence["Turn"]:
        """The traffic that turns, by who decided before and who decides after."""
        pair = before, after
        found = self._known.get(pair)
        if found is None:
            found = self._known[pair] = tuple(
                Turn(traffic, Ruling(*rulings[0]), Ruling(*rulings[1]))
                for rulings, traffic in differing(before, after).items()
            )
        return found


class Turn(NamedTuple):
    """Traffic with one ruling before and another after."""

    traffic: Traffic
    before: Ruling
    after: Ruling


class _Place:
    """One family and direction of both clusters."""

    def __init__(
        self,
        before: NodePolicy,
        after: NodePolicy,
        family: Family,
        direction: Direction,
        without: IntervalSet,
    ) -> None:
        self._family = family
        self._direction = direction
        self._before: DirectionPolicy = before.directions[family, direction]
        self._after: DirectionPolicy = after.directions[family, direction]
        self._peers = _peers(self._before.classes, self._after.classes, family, without)

    def changes(self, key: Key, turns: Turns) -> Iterator[Change]:
        """The changes of one endpoint."""
        found: defaultdict[Turn, list[tuple[int, int]]] = defaultdict(list)
        interface = str(key)
        for (old, new), peers in self._peers.items():
            before = self._before.table(old, interface)
            after = self._after.table(new, interface)
            if before is None or after is None:
                return  # it has no address of this family in one of the clusters
            for turn in turns.between(before, after):
                found[turn] += peers
        for turn, spans in found.items():
            peers_of_turn = IntervalSet.of(spans)
            yield Change(self._direction, key, self._family, peers_of_turn, *turn)


def _peers(
    before: PeerClasses, after: PeerClasses, family: Family, without: IntervalSet
) -> Mapping[tuple[int, int], Sequence[tuple[int, int]]]:
    """The addresses of every pair of classes that occurs."""
    spans: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    ends = {span[0] for span in without.spans} | {span[1] + 1 for span in without.spans}
    cuts = sorted({0, *_cuts(before), *_cuts(after), *ends} - {1 << family.bits})
    for first, following in pairwise([*cuts, 1 << family.bits]):
        if first not in without:
            addr = Addr(family, first)
            spans[before.class_of(addr), after.class_of(addr)].append((first, following - 1))
    return spans


def _cuts(classes: PeerClasses) -> Iterator[int]:
    """Where an address may be of another class than the one before it."""
    for (value,) in classes.hosts:
        yield from (value, value + 1)
    for first, last, _ in classes.nets:
        yield from (first, last + 1)
