"""What differs between two clusters in what host endpoints' policies say of a packet.

Compared is what users mean by a verdict, not each of the four sets of policies by itself: of a
packet to the node, from it, or forwarded in or out by an interface, the sets that are asked there
are put together in the order in which they are asked. A rule that an earlier set makes idle is no
change, and the one who decides is named. What is forwarded is judged apart where it comes in and
where it goes out, as workloads' two ends are, for two host endpoints are asked.

The places are interfaces, not host endpoints: one that gets its first host endpoint is closed by
that, which is what somebody asks such a comparison for. Nobody sees the nodes, so interfaces are
what host endpoints say of them (``core/policy/spot.py``).

Neither end of a packet is a constant, so pairs of classes are compared (``compare_pair``). Of what
a node itself sends and takes its own end is one of its own addresses, where any are known. It is
exact, but for this: destinations are taken as they are, translated by nobody; and what is said is
said of packets that begin a connection, or of every packet where policy does not track them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from korat.core.model.key import Key
from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.interval import IntervalSet
from korat.core.policy.between import Surroundings
from korat.core.policy.outcome import Direction
from korat.core.policy.spot import Spot, spots
from korat.core.table.compare import Ruling, strangers
from korat.core.table.compare_pair import Ground, Pairs, Plans
from korat.core.table.compare_traffic import Traffic
from korat.core.table.host_plan import HostPlans, HostPolicy, Way
from korat.core.table.line import Line

_LOOPBACK = {Family.V4: Prefix.parse("127.0.0.0/8"), Family.V6: Prefix.parse("::1/128")}


@dataclass(frozen=True, slots=True)
class HostChange:
    """Traffic of one family at an interface whose verdict changed.

    ``peers`` are at the other end of what the node sends or takes; of what it forwards, the senders
    where it comes in, the receivers where it goes out. ``ends`` are the addresses opposite, or None
    where all of them are meant: the node's own, or anybody's.
    """

    way: Way
    spot: Spot
    family: Family
    peers: IntervalSet
    ends: IntervalSet | None
    traffic: Traffic
    before: Ruling
    after: Ruling


def compared_spots(before: Surroundings, after: Surroundings) -> list[Spot]:
    """The interfaces of nodes that any host endpoint of either side speaks of."""
    hosts = (*before.cluster.hosts, *after.cluster.hosts)
    return spots(hosts, lambda node: after.felix(node).interface_prefix)


def governing(side: Surroundings, where: Iterable[Spot]) -> Mapping[Spot, Key | None]:
    """The host endpoint of each interface on one side of a change."""
    policy = HostPolicy(side)
    found = ((spot, policy.governors(spot).at(spot.interface.name)) for spot in where)
    return {spot: host.key if host is not None else None for spot, host in found}


def compare_hosts(before: Surroundings, after: Surroundings) -> Iterator[HostChange]:
    """Every change of a verdict at the interfaces of nodes.

    Raises:
        IntricateError: a table of one of the clusters would have too many pieces.
        CrowdedError: there are too many pairs of classes.
    """
    where = compared_spots(before, after)
    policies = HostPolicy(before), HostPolicy(after)
    known = _addresses(before, after)
    for family in Family:
        comparison = _Comparison(policies, family, where)
        for spot in where:
            own = _own(known[spot.node], spot, family)
            for way in Way:
                yield from comparison.changes(spot, way, own if way.is_own else None)


def _addresses(*sides: Surroundings) -> Mapping[str, set[Addr]]:
    """The addresses of nodes, as Nodes and host endpoints of either side say them."""
    found: defaultdict[str, set[Addr]] = defaultdict(set)
    for side in sides:
        for node, addresses in side.nodes.items():
            found[node].update(addresses)
        for host in side.cluster.hosts:
            found[host.node].update(host.addresses)
    return found


def _own(known: Iterable[Addr], spot: Spot, family: Family) -> IntervalSet | None:
    """Those of a node's addresses that an interface has to do with; None if none is known."""
    spans = [(addr.value, addr.value) for addr in known if addr.family is family]
    if not spans:
        return None
    loopback = [(_LOOPBACK[family].first, _LOOPBACK[family].last)] if spot.is_loopback else []
    return IntervalSet.of([*spans, *loopback])


class _Comparison:
    """Both clusters, one family."""

    def __init__(
        self, policies: tuple[HostPolicy, HostPolicy], family: Family, where: Iterable[Spot]
    ) -> None:
        before, after = (HostPlans(policy, family) for policy in policies)
        # Every plan is made before any address is looked at, for they say what is asked.
        self._asked = {
            (spot, way): (before.plans(spot, way), after.plans(spot, way))
            for spot in where
            for way in Way
        }
        shift = len(before.atoms.born)
        items = [*before.items(), *((first, last, t << shift) for first, last, t in after.items())]
        gone = strangers(policies[0].cluster, policies[1].cluster, family)
        everybody = IntervalSet(((0, (1 << family.bits) - 1),))
        self._family = family
        self._ground = Ground(Line(items), shift, everybody - gone)
        self._pairs: dict[tuple[Direction, Plans, Plans], Pairs] = {}

    def changes(self, spot: Spot, way: Way, own: IntervalSet | None) -> Iterator[HostChange]:
        """The changes at one interface; ``own`` are the node's ends, None are all."""
        asked = way.direction, *self._asked[spot, way]
        pairs = self._pairs.get(asked)
        if pairs is None:
            pairs = self._pairs[asked] = Pairs(*asked, self._ground)
        for turn, peers, ends in pairs.regions(own):
            yield HostChange(way, spot, self._family, peers, ends, *turn)
