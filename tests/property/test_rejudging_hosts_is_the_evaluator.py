"""Law: a live connection is denied by host policy when the evaluator denies its first packet now.

The judge runs sequences and looks ends up in sets; here it is compared with the evaluator, which
scans the cluster, each end behind the interface that the kernel names.
"""

from dataclasses import replace

from hypothesis import event, given
from hypothesis import strategies as st

from host_world import INTERFACES, SAFE, membership
from korat.core.model.policy import ServiceMatch
from korat.core.net.port import ICMP_PROTOCOLS
from korat.core.policy.cluster import Cluster
from korat.core.policy.host import HostNode, governors
from korat.core.policy.outcome import Action
from korat.core.table.host import HostSequences
from korat.core.table.rejudge import Connection, Places, Tuple
from korat.core.table.rejudge_host import HostJudge, regrouped
from policy_world import allow, deny, host, policy, who
from strategies_policy import (
    HOST_SWITCHES,
    NODE,
    PORT_NAMES,
    SELECTORS,
    clusters,
    dealers,
    flows,
)

OUT = ("eth0", "eth1")


def tracked(packet, asked):
    """The packet as a connection's first, which was sent to another packet's destination."""
    if packet.protocol in ICMP_PROTOCOLS:
        original = Tuple(packet.src, asked.dst, packet.icmp_type, packet.icmp_code)
        return Connection(packet.protocol, original, Tuple(packet.dst, packet.src))
    original = Tuple(packet.src, asked.dst, packet.sport, asked.dport)
    return Connection(
        packet.protocol, original, Tuple(packet.dst, packet.src, packet.dport, packet.sport)
    )


def expected(node, own, behind, sent, packet):
    """What the evaluator says of the whole way, interface by interface."""
    if packet.src in own and packet.dst in own:
        return node.out_of("lo", sent, packet), node.into("lo", packet)
    if packet.src in own:
        return (node.out_of(behind(packet.dst), sent, packet),)
    if packet.dst in own:
        return (node.into(behind(packet.src), sent, packet),)
    return (node.through(behind(packet.src), behind(packet.dst), sent, packet),)


@given(clusters(), flows(4), flows(4), st.data())
def test_the_judge_is_the_evaluator(resources, sent, asked, data):
    cluster = Cluster.build(resources)
    who = governors(cluster, NODE, INTERFACES, ("cali",))
    node = HostNode(cluster, who, SAFE)
    addresses = sorted({addr for packet in sent for addr in (packet.src, packet.dst)})
    own = frozenset(data.draw(st.lists(st.sampled_from(addresses), max_size=3)))
    interfaces = {
        addr: data.draw(st.sampled_from((*OUT, "cali1"))) for addr in addresses if addr not in own
    }
    pods = {addr: (name,) for addr, name in interfaces.items() if name == "cali1"}
    sequences, places = HostSequences.of(node), Places(pods, (), own)
    members = membership(cluster, sequences)
    judge = HostJudge(sequences, members, places, lambda addr, _own: interfaces[addr])
    for packet, other in zip(sent, asked, strict=True):
        fitting = other if other.family is packet.family else packet
        first = replace(packet, dst=fitting.dst)
        if packet.protocol not in ICMP_PROTOCOLS:
            first = replace(first, dport=fitting.dport)
        verdicts = expected(node, own, interfaces.__getitem__, first, packet)
        denied = any(verdict.action is Action.DENY for verdict in verdicts)
        event("denied" if denied else "allowed")
        assert judge.denies(tracked(packet, fitting)) is denied


#: What has addresses, and says nothing of policy.
OWNERS = ("WorkloadEndpoint", "NetworkSet", "GlobalNetworkSet", "EndpointSlice")
ETH0 = host("eth0", role="host")


def asking(dealer):
    """A policy of eth0 that denies by who has an address, and allows all others."""

    def end():
        return dealer.one(
            (
                who(selector=dealer.one(SELECTORS)),
                who(not_selector=dealer.one(SELECTORS)),
                who(services=ServiceMatch(name="api", namespace="red")),
                who(selector=dealer.one(SELECTORS), ports=[dealer.one(PORT_NAMES)]),
                who(),
            )
        )

    rules = [*(deny(end(), end()) for _ in range(2)), allow()]
    switches = dealer.one(({"apply_on_forward": True}, *HOST_SWITCHES))
    spec = {"selector": "role == 'host'", "ingress": rules, "egress": rules, **switches}
    return policy("asking", namespace="", **spec)


@given(dealers, clusters(), clusters(), flows(20), flows(20))
def test_by_others_in_its_sets_a_policy_says_something_else_of_those_alone(
    dealer, resources, others, sent, asked
):
    """Of two clusters with the same policy a connection is judged alike unless an end is named."""
    ruled = [ETH0, asking(dealer), *(each for each in resources if each.kind == "Profile")]
    before, after = (
        Cluster.build([*ruled, *(each for each in world if each.kind in OWNERS)])
        for world in (resources, [each for each in others if dealer.chance(50)])
    )
    sequences = HostSequences.of(
        HostNode(before, governors(before, NODE, INTERFACES, ("cali",)), SAFE)
    )
    old, new = membership(before, sequences), membership(after, sequences)
    named = regrouped(sequences, old, new)
    own = frozenset({sent[0].dst, sent[1].src})
    one, two = (HostJudge(sequences, m, Places({}, (), own), lambda *_: "eth0") for m in (old, new))
    for packet, other in zip(sent, asked, strict=True):
        connection = tracked(packet, other if other.family is packet.family else packet)
        ends = {connection.original.src, connection.reply.src}
        differs = one.denies(connection) is not two.denies(connection)
        event(f"{'all' if named is None else 'some'} named, {differs=}")
        assert not differs or named is None or ends & named
