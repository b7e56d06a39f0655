"""From a cluster to what one node enforces: peer classes and verdict tables.

For a local endpoint its own end of each rule is a constant, and for a peer class the other end is
too; what remains of all its policy is a function of protocol and ports, painted once. Only
predicates of policies that select local endpoints split classes. Tables are made per (sequence,
what is true of the own end, what is true of the peer), both restricted to what the sequence asks,
so their number follows the policies, not endpoints times classes.

An endpoint with several addresses of one family has one table per class for all of them. Where
policy tells its addresses apart, the table allows only what it would for every one of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from korat.core.net.address import Family
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint
from korat.core.policy.outcome import Direction
from korat.core.table.classes import NOBODY, Classes, Truths, classes
from korat.core.table.lower import Lowering, Plan, union
from korat.core.table.paint import paint, strictest
from korat.core.table.sequence import Sequence, Sequences
from korat.core.table.value import DirectionPolicy, LocalEndpoint, NodePolicy, VerdictTable


def compile_node(cluster: Cluster, node: str) -> NodePolicy:
    """All that a node enforces for its workloads.

    Raises:
        IntricateError: a table would have too many pieces.
    """
    local = local_endpoints(cluster, node)
    sequences = Sequences(cluster)
    return NodePolicy(
        workloads_of(local),
        {
            (family, direction): policy
            for family in Family
            for direction, policy in _family(cluster, family, local, sequences)
        },
    )


def workloads_of(local: Iterable[Endpoint]) -> tuple[LocalEndpoint, ...]:
    """What of the node's endpoints is needed beside policy."""
    return tuple(LocalEndpoint(e.key, e.interface, e.addresses, e.spoof_allowed) for e in local)


def local_endpoints(cluster: Cluster, node: str) -> list[Endpoint]:
    """A node's endpoints by interface; when two claim one interface, the first by key has it."""
    by_interface: dict[str, Endpoint] = {}
    for endpoint in cluster.endpoints:
        if endpoint.node == node and endpoint.interface:
            by_interface.setdefault(endpoint.interface, endpoint)
    return [by_interface[name] for name in sorted(by_interface)]


def _family(
    cluster: Cluster, family: Family, local: Iterable[Endpoint], sequences: Sequences
) -> Iterator[tuple[Direction, DirectionPolicy]]:
    lowering = Lowering(cluster, family)
    present = [endpoint for endpoint in local if endpoint.addresses_of(family)]
    # Both directions are lowered before any truth is found, so that the atoms are complete.
    subjects = {
        direction: [
            _Subjects(direction, lowering.plan(sequence), endpoints)
            for sequence, endpoints in _by_sequence(present, direction, family, sequences)
        ]
        for direction in Direction
    }
    truths = Truths.of(cluster, family, lowering.atoms)
    for direction, groups in subjects.items():
        peers = classes(truths, union(group.peer_mask for group in groups), lowering.atoms)
        # Equal tables become one object: whoever comes first lends it to the others.
        shared: dict[VerdictTable, VerdictTable] = {}
        tables = {
            place: shared.setdefault(table, table)
            for group in groups
            for place, table in group.tables(truths, peers)
        }
        yield direction, DirectionPolicy(peers.value, tables)


def _by_sequence(
    endpoints: Iterable[Endpoint], direction: Direction, family: Family, sequences: Sequences
) -> Iterable[tuple[Sequence, list[Endpoint]]]:
    groups: dict[Sequence, list[Endpoint]] = {}
    for endpoint in endpoints:
        groups.setdefault(sequences.of(endpoint, direction, family), []).append(endpoint)
    return groups.items()


@dataclass(frozen=True, slots=True)
class _Subjects:
    """The endpoints that one plan governs."""

    direction: Direction
    plan: Plan
    endpoints: list[Endpoint]

    @property
    def peer_mask(self) -> int:
        ingress = self.direction is Direction.INGRESS
        return self.plan.source_mask if ingress else self.plan.destination_mask

    @property
    def own_mask(self) -> int:
        ingress = self.direction is Direction.INGRESS
        return self.plan.destination_mask if ingress else self.plan.source_mask

    def tables(
        self, truths: Truths, peers: Classes
    ) -> Iterator[tuple[tuple[int, str], VerdictTable]]:
        """The tables of these endpoints, by class and interface, where they are not the default."""
        mask = self.peer_mask
        alike: defaultdict[int, list[int]] = defaultdict(list)
        for number in peers.touching(mask):
            alike[peers.truths[number] & mask].append(number)
        for own, interfaces in self._by_own_truth(truths):
            default = self._table(own, 0)
            yield from (((NOBODY, interface), default) for interface in interfaces)
            for peer, numbers in alike.items():
                table = self._table(own, peer)
                if table != default:
                    yield from ((place, table) for place in product(numbers, interfaces))

    def _by_own_truth(self, truths: Truths) -> Iterable[tuple[tuple[int, ...], list[str]]]:
        """Interfaces by what is true of each of their own addresses, as far as the plan asks."""
        groups: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
        for endpoint in self.endpoints:
            addrs = endpoint.addresses_of(truths.family)
            own = sorted({truths.at(addr) & self.own_mask for addr in addrs})
            groups[tuple(own)].append(endpoint.interface)
        return groups.items()

    def _table(self, own: Iterable[int], peer: int) -> VerdictTable:
        return strictest([self._paint(each, peer) for each in own])

    def _paint(self, own: int, peer: int) -> VerdictTable:
        """The table between an own and a peer's address of which this is true."""
        if self.direction is Direction.INGRESS:
            return paint(self.plan, peer, own)
        return paint(self.plan, own, peer)
