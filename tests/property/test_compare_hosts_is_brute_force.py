"""Law: at nodes a comparison finds exactly the packets whose verdict the evaluator changes.

At every interface that any host endpoint speaks of, to the node, from it and through it, for every
packet drawn; and nothing is told twice.
"""

from dataclasses import dataclass, replace
from itertools import product

from hypothesis import given, settings

from host_world import SAFE
from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr, Family
from korat.core.net.port import ICMP_PROTOCOLS
from korat.core.policy.between import Surroundings
from korat.core.policy.cluster import Cluster
from korat.core.policy.host import Failsafes, Governors, HostNode, governors
from korat.core.policy.match import Packet
from korat.core.policy.outcome import Action, Direction, RuleRef
from korat.core.table.compare_host import compare_hosts, compared_spots
from korat.core.table.host_plan import Way
from strategies_policy import HOST_ADDRESSES, NODE, dealers

#: For laws that the comparison with the evaluator, both ways, mostly implies.
few = settings(max_examples=max(20, settings().max_examples // 4))
#: An address that nobody has and no rule names but by everything.
TOP = {family: (1 << family.bits) - 1 for family in Family}
#: The corners of a box, by its fields.
PAIRS = ((0, 2), (0, 3), (1, 2), (1, 3))
ADDRESSES = tuple(map(Addr.parse, HOST_ADDRESSES.values()))


@dataclass(frozen=True)
class Side:
    """A cluster, the failsafe ports of a node, and what is known of nodes' addresses."""

    cluster: Cluster
    safe: Failsafes
    nodes: dict

    def safe_at(self, node):
        return self.safe if node == NODE else Failsafes(SAFE.outbound, SAFE.inbound)

    def felix(self, node):
        safe = self.safe_at(node)
        return FelixSettings(
            failsafe_inbound_host_ports=safe.inbound, failsafe_outbound_host_ports=safe.outbound
        )

    @property
    def around(self):
        return Surroundings(self.cluster, self.nodes, self.felix)

    def verdict(self, spot, way, packet):
        """What the evaluator says at an interface, and who said it."""
        name = spot.interface.name
        who = governors(self.cluster, spot.node, [spot.interface], ("cali",))
        node = HostNode(self.cluster, who, self.safe_at(spot.node))
        match way:
            case Way.TO_NODE:
                steps = node.into(name, packet).steps
            case Way.FROM_NODE:
                steps = node.out_of(name, packet).steps
            case Way.FORWARDED_IN:
                steps = node.through(name, "elsewhere", packet).steps
            case Way.FORWARDED_OUT:
                alone = Governors({name: host} if (host := who.at(name)) else {}, None)
                steps = replace(node, who=alone).through("elsewhere", name, packet).steps
        outcomes = [step.judgement.outcome for step in steps]
        own = [outcome for outcome in outcomes if outcome.ref.direction is way.direction]
        if not own:
            return Action.ALLOW, RuleRef.unasked(way.direction)
        return own[-1].action, own[-1].ref


def world(dealer):
    """A cluster with host endpoints, whatever else there is."""
    hosts = [dealer.host(i) for i in range(1, 3)]
    return {r.key: r for r in (*hosts, *dealer.world())}


def changed(dealer):
    """Two sides of a change in which objects change, come or go, and failsafe ports may."""
    one, other = world(dealer), world(dealer)
    mixed = dict(one)
    for key in sorted({*one, *other}):
        match dealer.random.randrange(5):
            case 0:
                mixed.pop(key, None)
            case 1 | 2 if key in other:
                mixed[key] = other[key]
            case _:
                pass
    nodes = dealer.one(({}, {NODE: ADDRESSES}))
    safe = dealer.one((SAFE, SAFE, Failsafes(SAFE.outbound, ())))
    return (
        Side(Cluster.build(one.values()), SAFE, nodes),
        Side(Cluster.build(mixed.values()), safe, nodes),
        [dealer.packet() for _ in range(6)],
    )


worlds = dealers.map(changed)


def own_addresses(sides, node, family):
    """The addresses that anybody says a node has."""
    said = {addr for side in sides for addr in side.nodes.get(node, ())}
    expected = {
        addr
        for side in sides
        for host in side.cluster.hosts
        if host.node == node
        for addr in host.addresses
    }
    return sorted(addr for addr in said | expected if addr.family is family)


def sent_at(sides, spot, way, packet):
    """The packet as it may be at an interface: from or to the node itself, if that is known."""
    own = own_addresses(sides, spot.node, packet.family) if way.is_own else []
    end = "dst" if way.direction is Direction.INGRESS else "src"
    return [replace(packet, **{end: addr}) for addr in own] or [packet]


def ends_of(way, packet):
    """The peer and the end opposite."""
    ends = packet.src, packet.dst
    return ends if way.direction is Direction.INGRESS else ends[::-1]


def claims(changes, spot, way, packet):
    """The changes that hold a packet."""
    peer, end = ends_of(way, packet)
    return [
        change
        for change in changes
        if (change.spot, change.way, change.family) == (spot, way, packet.family)
        and peer.value in change.peers
        and (change.ends is None or end.value in change.ends)
        and change.traffic.holds(packet.protocol, *packet.numbers)
    ]


@given(worlds)
def test_every_packet_that_changes_is_told_once_and_no_other(drawn):
    before, after, flow = drawn
    sides = before, after
    changes = list(compare_hosts(before.around, after.around))
    spots = compared_spots(before.around, after.around)
    assert {change.spot for change in changes} <= {*spots}
    owned = [{a for e in side.cluster.endpoints for a in e.addresses} for side in sides]
    gone = owned[0] ^ owned[1]
    for spot in spots:
        for way in Way:
            for packet in (p for each in flow for p in sent_at(sides, spot, way, each)):
                found = claims(changes, spot, way, packet)
                peer, end = ends_of(way, packet)
                if peer in gone:
                    assert not found
                    continue
                own = own_addresses(sides, spot.node, packet.family) if way.is_own else []
                if end in gone and end not in own:
                    continue  # All who are compared are meant by all.
                old, new = (side.verdict(spot, way, packet) for side in sides)
                turned = old[0] is not new[0]
                assert [(c.before, c.after) for c in found] == ([(old, new)] if turned else [])


def corners(change, sides):
    """Packets at the ends of everything that a change says."""
    own = own_addresses(sides, change.spot.node, change.family) if change.way.is_own else []
    peers = [value for span in change.peers.spans for value in span]
    if change.ends is not None:
        ends = [value for span in change.ends.spans for value in span]
    else:
        ends = [addr.value for addr in own] or [TOP[change.family]]
    planes = [
        (p, b[a], b[c]) for p, boxes in change.traffic.planes for b in boxes for a, c in PAIRS
    ]
    if change.traffic.others is not None:
        planes.append((next(p for p in range(254) if p not in change.traffic.others), 0, 0))
    for peer, end, (protocol, a, b) in product(peers, ends, planes):
        addresses = [Addr(change.family, value) for value in (peer, end)]
        src, dst = addresses if change.way.direction is Direction.INGRESS else addresses[::-1]
        ported = Packet(src, dst, protocol, sport=a, dport=b)
        icmp = Packet(src, dst, protocol, icmp_type=a, icmp_code=b)
        yield icmp if protocol in ICMP_PROTOCOLS else ported


@few
@given(worlds)
def test_every_corner_of_what_is_told_changes(drawn):
    sides = drawn[:2]
    for change in compare_hosts(*(side.around for side in sides)):
        for packet in corners(change, sides):
            said = [side.verdict(change.spot, change.way, packet) for side in sides]
            assert said == [change.before, change.after]


@few
@given(worlds)
def test_nothing_changes_between_a_cluster_and_itself(drawn):
    around = drawn[0].around
    assert list(compare_hosts(around, around)) == []


@few
@given(worlds)
def test_the_way_back_is_the_same_way(drawn):
    before, after = (side.around for side in drawn[:2])

    def told(one, other, *, back):
        return {
            (c.way, c.spot, c.family, c.peers, c.ends, c.traffic, *said)
            for c in compare_hosts(one, other)
            for said in [(c.after, c.before) if back else (c.before, c.after)]
        }

    assert told(before, after, back=False) == told(after, before, back=True)
