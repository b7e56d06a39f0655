"""Law: of host endpoints a comparison finds exactly the packets whose verdict the evaluator changes.

At every interface that any host endpoint speaks of, to the node, from it and through it, for every
packet drawn; and nothing is told twice.
"""

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from host_world import SAFE
from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr
from korat.core.policy.between import Surroundings
from korat.core.policy.cluster import Cluster
from korat.core.policy.host import Failsafes, Governors, HostNode, governors
from korat.core.policy.outcome import Action, Direction, RuleRef
from korat.core.table.compare_host import compare_hosts, compared_spots
from korat.core.table.host_plan import Way
from strategies_policy import HOST_ADDRESSES, NODE, dealers

#: For laws that the comparison with the evaluator, both ways, mostly implies.
few = settings(max_examples=max(20, settings().max_examples // 4))
ADDRESSES = tuple(map(Addr.parse, HOST_ADDRESSES.values()))


@dataclass(frozen=True)
class Side:
    """A cluster, the failsafe ports of all its nodes, and what is known of their addresses."""

    cluster: Cluster
    safe: Failsafes
    nodes: dict

    @property
    def around(self):
        felix = FelixSettings(
            failsafe_inbound_host_ports=self.safe.inbound,
            failsafe_outbound_host_ports=self.safe.outbound,
        )
        return Surroundings(self.cluster, self.nodes, lambda _: felix)

    def verdict(self, spot, way, packet):
        """What the evaluator says at an interface, and who said it."""
        name = spot.interface.name
        who = governors(self.cluster, spot.node, [spot.interface], ("cali",))
        node = HostNode(self.cluster, who, self.safe)
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
def test_compare_hosts_is_brute_force(drawn):
    check(*drawn)


def check(before, after, flow):
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
