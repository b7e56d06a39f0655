"""Real packets meet in the kernel what the simulator and the evaluator say, in both renderings.

Random clusters and a table of hand-written ones are loaded one after the other into one router
(see ``nft_wire``). Every probe's way out, and the counter of every rule, tier and profile, must be
the ones expected; nothing is waited for. Connection tracking is off here, so every packet is judged
and counted; with it, those of a connection that policy has allowed are not.
"""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rule_world
from korat.core.model.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from korat.core.model.felix import FelixSettings
from korat.core.model.policy import ServiceMatch
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import judge
from korat.core.policy.match import Packet as Flow
from korat.core.policy.outcome import Action, Direction
from korat.core.render.nft.node import NodeInput, render, render_slow
from korat.core.render.nft.outcome import counter_name
from korat.core.render.nft.ruleset import Hook
from korat.core.render.nft.simulate import Fate, Packet, Simulator
from korat.core.render.nft.statement import CtState
from korat.core.table.compile import compile_node
from nft_wire import GHOST, Probe, packed, routers
from policy_world import allow, deny, endpoint_slice, open_namespace, policy, rule, tier, who
from strategies_nft import headers, rulesets
from strategies_policy import NODE, clusters, packets

pytestmark = pytest.mark.netns

FELIX = FelixSettings()
GHOST_ADDR = Addr(GHOST.family, GHOST.base)
STRANGER = Addr.parse("203.0.113.9")
#: So many frames fit into the buffers of the wires.
MOST = 200


@pytest.fixture(scope="module")
def router():
    with routers("diff") as made:
        yield made


def renderings(cluster):
    """The node's table in both ways."""
    node = NodeInput(compile_node(cluster, NODE), FELIX)
    return render(node), render_slow(node, cluster, local(cluster))


def local(cluster):
    return [endpoint for endpoint in cluster.endpoints if endpoint.node == NODE]


def owners(cluster):
    """Which local workload has an address; addresses that several have belong to none here."""
    found = [(addr, endpoint) for endpoint in local(cluster) for addr in endpoint.addresses]
    several = Counter(addr for addr, _ in found)
    return {addr: endpoint for addr, endpoint in found if several[addr] == 1 and plain(endpoint)}


def plain(endpoint):
    """Whether each of its families has one address, so that its tables speak for that alone."""
    return len(endpoint.addresses) == len({addr.family for addr in endpoint.addresses})


def probe(iif, flow):
    a, b = flow.numbers
    return Probe(iif, flow.src, flow.dst, flow.protocol, a, b)


def evaluated(cluster, own, iif, flow):
    """Whether policy lets a packet through, and who counts it, by the evaluator alone."""
    sides = []
    if iif != "eth0":
        sides.append((own[flow.src], Direction.EGRESS))
    if flow.dst in own:
        sides.append((own[flow.dst], Direction.INGRESS))
    counted = []
    for endpoint, direction in sides:
        outcome = judge(cluster, endpoint, direction, flow).outcome
        counted += map(counter_name, outcome.counted)
        if outcome.action is Action.DENY:
            return False, counted
    return True, counted


def simulated(simulator, sent, oif):
    """Whether the packet passes."""
    for hook, out in ((Hook.PREROUTING, ""), (Hook.FORWARD, oif)):
        packet = Packet(
            sent.iif, out, sent.src, sent.dst, sent.protocol, sent.a, sent.b, CtState.UNTRACKED
        )
        if simulator.run(packet, hook).fate is not Fate.ACCEPT:
            return False
    return True


def counters(router):
    """Packets and bytes of each named counter that counted any."""
    return {name: tuple(count) for name, count in router.counters().items() if count.packets}


def compare(router, cluster, flows):
    """Send every flow under both renderings and compare kernel, simulator and evaluator."""
    own = owners(cluster)
    router.route({addr: endpoint.interface for addr, endpoint in own.items()})
    judged = [evaluated(cluster, own, iif, flow) for iif, flow in flows]
    said = [ok for ok, _ in judged]
    sent = [probe(iif, flow) for iif, flow in flows]
    packets, octets = Counter(), Counter()
    for each, (_, counted) in zip(sent, judged, strict=True):
        packets.update(counted)
        octets.update(dict.fromkeys(counted, len(packed(each, 0))))
    for ruleset in renderings(cluster):
        router.nft.apply(ruleset.text)
        simulator = Simulator(ruleset)
        passing = [simulated(simulator, each, router.way(each.dst)) for each in sent]
        ways = [router.way(each.dst) if ok else "" for each, ok in zip(sent, said, strict=True)]
        found = router.send(sent)
        assert passing == said
        assert list(zip(sent, found, strict=True)) == list(zip(sent, ways, strict=True))
        assert counters(router) == {name: (packets[name], octets[name]) for name in packets}
    return said


def flows_of(own, drawn):
    """Each drawn packet from and to every local workload, and between any two of them."""
    for flow in drawn:
        mine = {addr: e for addr, e in own.items() if addr.family is flow.family}
        numbers = {"protocol": flow.protocol, "sport": flow.sport, "dport": flow.dport}
        numbers |= {"icmp_type": flow.icmp_type, "icmp_code": flow.icmp_code}
        for addr, endpoint in mine.items():
            yield endpoint.interface, Flow(addr, flow.dst, **numbers)
            yield "eth0", Flow(flow.src, addr, **numbers)
            yield from ((endpoint.interface, Flow(addr, other, **numbers)) for other in mine)


@settings(max_examples=40)  # each is hundreds of packets
@given(resources=clusters(), drawn=st.lists(packets(), min_size=4, max_size=8))
def test_the_kernel_judges_random_clusters_as_the_evaluator(router, resources, drawn):
    cluster = Cluster.build(resources)
    compare(router, cluster, list(flows_of(owners(cluster), drawn)))


@given(ruleset=rulesets(), drawn=st.lists(headers(), min_size=5, max_size=15))
def test_the_simulator_is_the_kernel_for_any_ruleset(router, ruleset, drawn):
    router.route({ONE: "cali1", TWO: "cali2", SIX_ONE: "cali1"})
    router.nft.apply(ruleset.text)
    sent = [Probe(iif, *each) for each in drawn for iif in ("cali1", "cali2", "eth0")]
    simulator = Simulator(ruleset)
    passing = [simulated(simulator, each, router.way(each.dst)) for each in sent]
    ways = [router.way(each.dst) if ok else "" for each, ok in zip(sent, passing, strict=True)]
    assert list(zip(sent, router.send(sent), strict=True)) == list(zip(sent, ways, strict=True))


def workload(number, namespace="red", spoof=(), **labels):
    """The workload behind interface ``cali<number>``, with an address of each family."""
    return WorkloadEndpoint(
        metadata=Metadata(name=f"w{number}", namespace=namespace, labels=labels),
        spec=WorkloadEndpointSpec(
            orchestrator="k8s",
            node=NODE,
            ip_networks=(f"10.0.0.{number}/32", f"fd00::{number}/128"),
            profiles=(f"kns.{namespace}",),
            interface_name=f"cali{number}",
            allow_spoofed_source_prefixes=tuple(spoof),
        ),
    )


ONE, TWO, SIX_ONE, SIX_TWO = map(Addr.parse, ("10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"))
PAIR = (open_namespace("red"), workload(1, app="x"), workload(2, app="y"))
TCP_80, TCP_81, UDP_80 = (6, 40000, 80), (6, 40000, 81), (17, 40000, 80)
SCTP_80, PING, TIMED_OUT, OSPF = (132, 40000, 80), (1, 8, 0), (1, 11, 0), (89, 0, 0)
TRAFFIC = {
    "tcp80": TCP_80,
    "tcp81": TCP_81,
    "udp80": UDP_80,
    "sctp80": SCTP_80,
    "ping": PING,
    "timeout": TIMED_OUT,
    "ospf": OSPF,
    "sport53": (17, 53, 9999),
}
ALL = set(TRAFFIC)
IN = ("Ingress",)
SERVICE = who(services=ServiceMatch(name="svc"))


def to_two(*ingress, **spec):
    return policy("p", ingress=ingress, selector="app == 'y'", types=IN, **spec)


TABLE = {
    "no policy": ([], ALL),
    "deny all": ([to_two()], set()),
    "one port": ([to_two(allow(protocol="TCP", destination=who(ports=[80])))], {"tcp80"}),
    "all but a port": (
        [to_two(deny(protocol="TCP", destination=who(ports=[80])), allow())],
        ALL - {"tcp80"},
    ),
    "a range": (
        [to_two(allow(protocol="TCP", destination=who(ports=["80:90"])))],
        {"tcp80", "tcp81"},
    ),
    "not ports": (
        [to_two(allow(protocol="TCP", destination=who(not_ports=["1:80"])))],
        {"tcp81"},
    ),
    "neither of two ports": (
        [to_two(allow(who(not_ports=[53]), who(not_ports=[80]), protocol="TCP"))],
        {"tcp81"},
    ),
    "source port": ([to_two(allow(source=who(ports=[53]), protocol="UDP"))], {"sport53"}),
    "neither port": (
        [
            to_two(
                allow(who(not_ports=[53]), who(not_ports=[80]), protocol="UDP"),
                allow(who(not_ports=[40000]), who(not_ports=[81]), protocol="TCP"),
            )
        ],
        set(),
    ),
    "both ports": (
        [
            to_two(
                allow(who(ports=["40000:50000"]), who(ports=[80]), protocol="UDP"),
                allow(who(ports=[53]), protocol="UDP"),
            )
        ],
        {"udp80", "sport53"},
    ),
    "a protocol": ([to_two(allow(protocol="SCTP"))], {"sctp80"}),
    "a number": ([to_two(allow(protocol=89))], {"ospf"}),
    "not a protocol": ([to_two(allow(not_protocol="TCP"))], ALL - {"tcp80", "tcp81"}),
    "icmp": ([to_two(allow(protocol="ICMP"))], {"ping", "timeout"}),
    "the sender by label": ([to_two(allow(who(selector="app == 'x'")))], ALL),
    "another sender": ([to_two(allow(who(selector="app == 'z'")))], set()),
    "the sender by net": ([to_two(allow(who(nets=["10.0.0.0/31"])))], ALL),
    "not the sender's net": ([to_two(allow(who(not_nets=["10.0.0.0/31"])))], set()),
    "pass to the profile": ([to_two(rule("Pass"))], ALL),
    "pass to the next tier": (
        [
            tier("first", 1.0),
            tier("second", 2.0),
            policy("a", ingress=[rule("Pass", protocol="TCP"), allow()], tier="first", types=IN),
            policy(
                "b",
                ingress=[allow(protocol="TCP", destination=who(ports=[80]))],
                tier="second",
                types=IN,
            ),
        ],
        ALL - {"tcp81"},
    ),
    "egress alone": (
        [policy("e", egress=[allow(protocol="TCP")], types=("Egress",), selector="app == 'x'")],
        {"tcp80", "tcp81"},
    ),
    "egress and ingress must both allow": (
        [
            policy("e", egress=[allow(protocol="TCP")], types=("Egress",), selector="app == 'x'"),
            to_two(allow(destination=who(ports=[80]), protocol="TCP"), allow(protocol="UDP")),
        ],
        {"tcp80"},
    ),
    "from a service": (
        [to_two(allow(SERVICE)), endpoint_slice("s", "svc", "10.0.0.1", ports=[("TCP", 9)])],
        ALL,
    ),
    "from a service without slices": ([to_two(allow(SERVICE))], set()),
    "from a service of another namespace": (
        [to_two(allow(SERVICE)), endpoint_slice("s", "svc", "10.0.0.1", namespace="blue")],
        set(),
    ),
    "to a service": (
        [
            policy("e", egress=[allow(None, SERVICE)], types=("Egress",), selector="app == 'x'"),
            endpoint_slice("s", "svc", "10.0.0.2", ports=[("TCP", 80), ("UDP", 9999)]),
            endpoint_slice("t", "svc", "10.0.0.3", ports=[("TCP", 81), ("SCTP", 80)]),
        ],
        {"tcp80", "sport53"},
    ),
    "to anything but a service": (
        [
            policy(
                "e",
                egress=[deny(None, SERVICE), allow()],
                types=("Egress",),
                selector="app == 'x'",
            ),
            endpoint_slice("s", "svc", "10.0.0.2", ports=[("SCTP", 80)]),
        ],
        ALL - {"sctp80"},
    ),
    "log and go on": ([to_two(rule("Log"), allow(protocol="UDP"))], {"udp80", "sport53"}),
}


@pytest.mark.parametrize(("policies", "passing"), TABLE.values(), ids=TABLE)
def test_between_two_workloads_of_one_node_both_must_allow(router, policies, passing):
    cluster = Cluster.build([*PAIR, *policies])
    flows = [("cali1", _flow(ONE, TWO, *numbers)) for numbers in TRAFFIC.values()]
    said = compare(router, cluster, flows)
    assert {name for name, ok in zip(TRAFFIC, said, strict=True) if ok} == passing


def _flow(src, dst, protocol, a, b):
    if protocol in (1, 58):
        return Flow(src, dst, protocol, icmp_type=a, icmp_code=b)
    return Flow(src, dst, protocol, sport=a, dport=b)


def load(router, resources=PAIR, felix=FELIX, routed=(ONE, TWO, SIX_ONE, SIX_TWO)):
    """Load the fast rendering, with the workloads' addresses routed to them."""
    cluster = Cluster.build(resources)
    router.route({a: e.interface for e in local(cluster) for a in e.addresses if a in routed})
    router.nft.apply(render(NodeInput(compile_node(cluster, NODE), felix)).text)


UDP_PROBE = (17, 1000, 53)
SPOOFS = {
    "its own": (Probe("cali1", ONE, TWO, *UDP_PROBE), "cali2"),
    "its own, out": (Probe("cali1", ONE, STRANGER, *UDP_PROBE), "eth0"),
    "its own, IPv6": (Probe("cali1", SIX_ONE, SIX_TWO, *UDP_PROBE), "cali2"),
    "its neighbour's": (Probe("cali1", TWO, STRANGER, *UDP_PROBE), ""),
    "nobody's": (Probe("cali1", Addr.parse("10.0.0.99"), TWO, *UDP_PROBE), ""),
    "a stranger's": (Probe("cali1", Addr.parse("8.8.8.8"), TWO, *UDP_PROBE), ""),
    "its neighbour's, IPv6": (Probe("cali1", SIX_TWO, SIX_TWO, *UDP_PROBE), ""),
    "link-local, no discovery": (Probe("cali1", Addr.parse("fe80::1"), SIX_TWO, 58, 128, 0), ""),
    "an unknown interface": (Probe("calighost", ONE, TWO, *UDP_PROBE), ""),
    "an unknown interface, own": (Probe("calighost", GHOST_ADDR, STRANGER, *UDP_PROBE), ""),
    "to an unknown interface": (Probe("eth0", STRANGER, GHOST_ADDR, *UDP_PROBE), ""),
    "a workload to an unknown interface": (Probe("cali1", ONE, GHOST_ADDR, *UDP_PROBE), ""),
    "VXLAN": (Probe("cali1", ONE, TWO, 17, 1000, 4789), ""),
    "IPIP": (Probe("cali1", ONE, TWO, 4, 0, 0), ""),
    "VXLAN to a workload": (Probe("eth0", STRANGER, TWO, 17, 1000, 4789), "cali2"),
    "not ours at all": (Probe("eth0", ONE, STRANGER, *UDP_PROBE), "eth0"),
    "lent, not honoured": (Probe("cali2", Addr.parse("172.16.0.9"), ONE, *UDP_PROBE), ""),
}


@pytest.mark.parametrize(("sent", "way"), SPOOFS.values(), ids=SPOOFS)
def test_a_workload_can_only_be_itself(router, sent, way):
    load(router, (*PAIR[:2], workload(2, spoof=("172.16.0.0/24",), app="y")))
    assert router.send([sent]) == [way]


def test_lent_sources_pass_where_the_setting_honours_them(router):
    lent = ("172.16.0.0/24", "172.16.0.0/16", "fd99::/64")
    load(
        router,
        (*PAIR[:2], workload(2, spoof=lent, app="y")),
        FelixSettings(workload_source_spoofing="Any"),
    )
    sources = [("172.16.0.9", ONE), ("172.16.9.9", ONE), ("fd99::1", SIX_ONE), ("172.17.0.1", ONE)]
    by_two = [Probe("cali2", Addr.parse(src), dst, *UDP_PROBE) for src, dst in sources]
    by_one = [Probe("cali1", Addr.parse("172.16.0.9"), TWO, *UDP_PROBE)]
    assert router.send(by_two + by_one) == ["cali1", "cali1", "cali1", "", ""]


@pytest.mark.parametrize("node", ["vm1", "vm2", "vm3"])
def test_the_example_with_every_field_of_a_rule(router, node):
    """Every pair of its pods, and strangers, by every protocol and both IP versions."""
    whole = rule_world.snapshot().cluster
    own = [endpoint for endpoint in whole.endpoints if endpoint.node == node]
    here = {e.key: replace(e, node=NODE, interface=f"cali{i + 1}") for i, e in enumerate(own)}
    cluster = replace(whole, endpoints=tuple(here.get(e.key, e) for e in whole.endpoints))
    everybody = [a for e in whole.endpoints for a in e.addresses] + [*rule_world.STRANGERS]
    flows = []
    for endpoint in here.values():
        for addr, peer in rule_world.pairs(endpoint.addresses, everybody):
            local_peer = any(peer in other.addresses for other in here.values())
            flows += [(endpoint.interface, flow) for flow in rule_world.packets(addr, peer)]
            if not local_peer:
                flows += [("eth0", flow) for flow in rule_world.packets(peer, addr)]
    said = []
    for at in range(0, len(flows), MOST):
        said += compare(router, cluster, flows[at : at + MOST])
    assert len(said) / 5 < sum(said) < len(said) * 4 / 5
