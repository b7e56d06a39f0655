"""Law: of Azure's own addresses, evaluator, rendered chains and the judge of connections agree.

Whatever policies there are and whichever settings: a workload is refused what they refuse, by the
setting's name; all else is policy's, and what comes by no workload's interface is nobody's.
"""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr
from korat.core.policy.between import Surroundings
from korat.core.policy.cluster import Cluster
from korat.core.policy.outcome import Action
from korat.core.policy.platform import INSTANCE_METADATA, WIRESERVER, PlatformAccess
from korat.core.render.nft.node import NodeInput, render, render_slow
from korat.core.render.nft.outcome import counter_name
from korat.core.render.nft.ruleset import Hook
from korat.core.render.nft.simulate import Fate, Packet, Simulator
from korat.core.table.compile import compile_node
from korat.core.table.rejudge import Connection, Places, Tuple, refused_now, rejudge
from strategies_policy import NODE, clusters, packets

SERVICES = (WIRESERVER, INSTANCE_METADATA)
#: Their ports, those beside them, and others that mean something there.
PORTS = (53, 79, 80, 81, 443, 32525, 32526, 32527)
NEAR = tuple(map(Addr.parse, ("168.63.129.15", "169.254.169.253", "203.0.113.9")))
felixes = st.builds(
    FelixSettings,
    pods_to_wireserver=st.booleans(),
    pods_to_instance_metadata=st.booleans(),
)


@st.composite
def asked(draw):
    """A packet towards the platform, or close by."""
    packet = draw(packets())
    dst = draw(st.sampled_from((*(s.address for s in SERVICES), *NEAR)))
    return replace(packet, src=Addr.parse("10.0.0.1"), dst=dst, dport=draw(st.sampled_from(PORTS)))


def forbidden(felix, packet):
    """The slow obvious twin: the two settings as a user reads them."""
    if packet.protocol != 6:
        return ""
    to = f"{packet.dst}:{packet.dport}"
    if to in {"168.63.129.16:80", "168.63.129.16:32526"} and not felix.pods_to_wireserver:
        return "koratPodsToWireserver"
    if to == "169.254.169.254:80" and not felix.pods_to_instance_metadata:
        return "koratPodsToInstanceMetadata"
    return ""


def senders(cluster):
    """Local workloads, each with its first IPv4 address, which is its alone."""
    several = Counter(addr for e in cluster.endpoints for addr in e.addresses)
    for endpoint in cluster.endpoints:
        own = [a for a in endpoint.addresses if a.family.value == 4]
        if endpoint.node == NODE and len(own) == 1 and several[own[0]] == 1:
            yield endpoint, own[0]


@given(clusters(), felixes, st.lists(asked(), min_size=3, max_size=6))
def test_all_engines_agree_about_the_platform(resources, felix, flows):
    cluster = Cluster.build(resources)
    cluster = replace(cluster, hosts=())  # their policy has twins of its own
    around = Surroundings(cluster, {}, lambda _node: felix)
    policy = compile_node(cluster, NODE)
    node = NodeInput(policy, felix)
    local = [endpoint for endpoint in cluster.endpoints if endpoint.node == NODE]
    simulators = [Simulator(render(node)), Simulator(render_slow(node, cluster, local))]
    places = Places.of(policy.endpoints, frozenset(), ("cali",))
    for endpoint, own in senders(cluster):
        for flow in flows:
            packet = replace(flow, src=own)
            outcome = around.between(packet).egress.outcome
            by = forbidden(felix, packet)
            assert (outcome.ref.reason.value == by) is bool(by)
            a, b = packet.numbers
            wanted = Fate.DROP if outcome.action is Action.DENY else Fate.ACCEPT
            for simulator in simulators:
                sent = Packet(endpoint.interface, "eth0", own, packet.dst, packet.protocol, a, b)
                passage = simulator.run(sent, Hook.FORWARD)
                assert passage.fate is wanted
                if by:
                    assert passage.counted == passage.told == (counter_name(outcome.ref),)
                assert simulator.run(replace(sent, iif="eth1"), Hook.FORWARD).fate is Fate.ACCEPT
            connection = Connection(
                packet.protocol, Tuple(own, packet.dst, a, b), Tuple(packet.dst, own, b, a)
            )
            access = PlatformAccess.of(felix)
            assert rejudge(policy, places, connection, access).action is outcome.action


@given(felixes, felixes, asked())
def test_whatever_a_setting_comes_to_refuse_is_looked_at(before, now, packet):
    then, after = PlatformAccess.of(before), PlatformAccess.of(now)
    if forbidden(now, packet) and not forbidden(before, packet):
        assert packet.dst in refused_now(then, after)
    assert refused_now(after, after) == frozenset()
