"""Host endpoints with real packets: where each set of policies is asked, and where it is not."""

import pytest

from host_wire import FAR, HOST, HOST_FAR, PEER, POD, hosts
from host_world import host_input
from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr
from korat.core.policy.cluster import Cluster
from korat.core.policy.host import HostInterface
from korat.core.render.nft.node import NodeInput, render
from korat.core.table.compile import compile_node
from policy_world import NODE, allow, deny, host, open_namespace, pod, policy, who

pytestmark = pytest.mark.netns

INTERFACES = (
    HostInterface("eth0", frozenset({Addr.parse(HOST)})),
    HostInterface("eth1", frozenset({Addr.parse(HOST_FAR)})),
    HostInterface("lo", frozenset({Addr.parse("127.0.0.1")})),
)
WORKLOAD = (open_namespace("red"), pod("1", f"{POD}/32", app="pod", interface="cali1"))
OPEN = FelixSettings(default_endpoint_to_host_action="Accept")
FAILSAFE_IN, FAILSAFE_OUT, OTHER = 68, 67, 7000
DNAT = f"""
add table ip kt-dnat
add chain ip kt-dnat pre {{ type nat hook prerouting priority -100; }}
add chain ip kt-dnat out {{ type nat hook output priority -100; }}
add rule ip kt-dnat pre udp dport 9000 dnat to {FAR}:9001
add rule ip kt-dnat out ip daddr {PEER} udp dport 9000 dnat to {FAR}:9001
"""
UNTRACKED = """
add table inet kt-seen
add chain inet kt-seen in { type filter hook input priority 300; }
add rule inet kt-seen in ct state untracked counter
"""


@pytest.fixture(scope="module")
def wire():
    with hosts("hep") as made:
        yield made


def load(wire, *resources, felix=OPEN, more=()):
    cluster = Cluster.build([*WORKLOAD, *resources])
    assert cluster.problems == ()
    own = host_input(cluster, NODE, INTERFACES, felix)
    wire.load(*more, render(NodeInput(compile_node(cluster, NODE), felix, own=own)).text)


def on_host(name="p", **fields):
    """A global policy for hosts alone."""
    return policy(name, namespace="", selector="role == 'host'", **fields)


def udp(port):
    return allow(protocol="UDP", destination=who(ports=[port]))


ETH0 = host("eth0", role="host")
EVERY = host("*", role="host")


def test_without_a_host_endpoint_nothing_is_policed(wire):
    load(wire, on_host(ingress=[deny()], egress=[deny()]))
    assert wire.arrives(PEER, HOST, OTHER)
    assert wire.arrives(HOST, PEER, OTHER)
    assert wire.arrives(PEER, FAR, OTHER)


def test_a_host_endpoint_without_profile_and_policy_drops_all_but_failsafes(wire):
    load(wire, ETH0)
    assert not wire.arrives(PEER, HOST, OTHER)
    assert wire.arrives(PEER, HOST, FAILSAFE_IN)
    assert not wire.arrives(HOST, PEER, OTHER)
    assert wire.arrives(HOST, PEER, FAILSAFE_OUT)
    assert wire.connects(PEER, HOST, 22)


def test_normal_policy_is_for_the_node_itself_and_not_for_what_is_forwarded(wire):
    load(wire, ETH0, on_host(ingress=[udp(OTHER)], egress=[udp(OTHER + 1)]))
    assert wire.arrives(PEER, HOST, OTHER)
    assert not wire.arrives(PEER, HOST, OTHER + 1)
    assert not wire.arrives(HOST, PEER, OTHER)
    assert wire.arrives(HOST, PEER, OTHER + 1)
    assert wire.arrives(PEER, FAR, OTHER + 1)
    assert wire.arrives(FAR, PEER, OTHER)
    assert wire.arrives(FAR, HOST_FAR, OTHER + 1), "eth1 has no host endpoint"


def test_apply_on_forward_is_asked_on_the_way_in_and_on_the_way_out(wire):
    load(
        wire,
        ETH0,
        on_host(apply_on_forward=True, ingress=[udp(OTHER)], egress=[udp(OTHER + 1)]),
    )
    assert wire.arrives(PEER, FAR, OTHER)
    assert not wire.arrives(PEER, FAR, OTHER + 1)
    assert not wire.arrives(PEER, FAR, FAILSAFE_IN), "failsafes are for the node itself"
    assert wire.arrives(FAR, PEER, OTHER + 1)
    assert not wire.arrives(FAR, PEER, OTHER)


def test_a_forwarded_packet_passes_hosts_and_workloads_policy(wire):
    forward = on_host(apply_on_forward=True, ingress=[udp(OTHER), udp(OTHER + 1)], egress=[allow()])
    workload = policy("w", ingress=[udp(OTHER)], selector="app == 'pod'", types=("Ingress",))
    load(wire, ETH0, forward, workload)
    assert wire.arrives(PEER, POD, OTHER)
    assert not wire.arrives(PEER, POD, OTHER + 1), "the workload denies"
    assert not wire.arrives(PEER, POD, OTHER + 2), "the host denies"
    assert wire.arrives(POD, PEER, OTHER)


def test_pre_dnat_policy_sees_the_destination_that_was_asked_for(wire):
    def closed(port):
        rule = deny(protocol="UDP", destination=who(ports=[port]))
        return on_host(pre_dnat=True, apply_on_forward=True, ingress=[rule], types=("Ingress",))

    load(wire, ETH0, closed(9000), more=[DNAT])
    assert not wire.arrives(PEER, HOST, 9000, lands=(FAR, 9001))
    assert wire.arrives(PEER, FAR, 9001)
    load(wire, ETH0, closed(9001), more=[DNAT])
    assert wire.arrives(PEER, HOST, 9000, lands=(FAR, 9001))
    assert not wire.arrives(PEER, FAR, 9001)


def test_what_pre_dnat_policy_allows_no_other_policy_of_the_way_in_denies(wire):
    load(
        wire,
        ETH0,
        on_host(
            "before", pre_dnat=True, apply_on_forward=True, ingress=[udp(OTHER)], types=("Ingress",)
        ),
        on_host("after", apply_on_forward=True, ingress=[deny()], types=("Ingress",)),
    )
    assert wire.arrives(PEER, HOST, OTHER)
    assert not wire.arrives(PEER, HOST, OTHER + 1)
    assert wire.arrives(PEER, FAR, OTHER)
    assert not wire.arrives(PEER, FAR, OTHER + 1)


def test_untracked_policy_needs_a_rule_for_each_half_of_a_conversation(wire):
    asked = allow(protocol="UDP", destination=who(ports=[OTHER]))
    answer = allow(protocol="UDP", source=who(ports=[OTHER]))
    load(
        wire,
        ETH0,
        on_host(do_not_track=True, apply_on_forward=True, ingress=[asked], types=("Ingress",)),
        more=[UNTRACKED],
    )
    assert wire.arrives(PEER, HOST, OTHER, sport=5000)
    assert untracked(wire) == 1
    assert not wire.arrives(HOST, PEER, 5000, sport=OTHER), "no connection knows the answer"
    load(
        wire,
        ETH0,
        on_host(do_not_track=True, apply_on_forward=True, ingress=[asked], egress=[answer]),
        more=[UNTRACKED],
    )
    assert wire.arrives(PEER, HOST, OTHER, sport=5000)
    assert wire.arrives(HOST, PEER, 5000, sport=OTHER)
    assert not wire.arrives(PEER, HOST, OTHER + 1), "what it leaves open is normal policy's"


def untracked(wire):
    """Packets to the host of which connection tracking knew nothing."""
    return sum(
        statement["counter"]["packets"]
        for each in wire.nft.list_json("inet kt-seen")
        if "rule" in each
        for statement in each["rule"]["expr"]
        if "counter" in statement
    )


def test_untracked_policy_leaves_failsafe_conversations_tracked(wire):
    closed = deny(protocol="UDP", destination=who(ports=[FAILSAFE_IN, 5001, OTHER]))
    rules = {"ingress": [closed], "egress": [closed]}
    load(wire, ETH0, on_host(do_not_track=True, apply_on_forward=True, **rules), more=[UNTRACKED])
    assert wire.arrives(PEER, HOST, FAILSAFE_IN, sport=5001)
    assert wire.arrives(HOST, PEER, 5001, sport=FAILSAFE_IN)
    assert not wire.arrives(PEER, HOST, OTHER)
    assert untracked(wire) == 0


def test_what_the_node_sends_is_judged_by_its_translated_destination(wire):
    load(wire, EVERY, on_host(ingress=[allow()], egress=[udp(9001)]), more=[DNAT])
    assert wire.arrives(HOST, PEER, 9000, lands=(FAR, 9001))
    load(wire, EVERY, on_host(ingress=[allow()], egress=[udp(9000)]), more=[DNAT])
    assert not wire.arrives(HOST, PEER, 9000, lands=(FAR, 9001))


def test_the_interface_of_what_is_translated_is_the_one_it_leaves_by(wire):
    load(wire, ETH0, more=[DNAT])
    assert wire.arrives(HOST, PEER, 9000, lands=(FAR, 9001)), "it leaves by eth1"
    assert not wire.arrives(HOST, PEER, OTHER)


def test_the_star_governs_every_interface_but_not_the_nodes_way_to_its_workloads(wire):
    load(wire, EVERY)
    assert not wire.arrives(PEER, HOST, OTHER)
    assert not wire.arrives(FAR, HOST_FAR, OTHER)
    assert not wire.arrives(HOST, PEER, OTHER)
    assert wire.arrives(HOST, POD, OTHER)
    assert wire.arrives(POD, HOST, OTHER), "DefaultEndpointToHostAction decides, not the host"
    assert wire.arrives(POD, PEER, OTHER)


def test_the_stars_forward_policy_is_asked_at_workloads_interfaces_too(wire):
    load(wire, EVERY, on_host(apply_on_forward=True, ingress=[udp(OTHER)], egress=[allow()]))
    assert wire.arrives(POD, PEER, OTHER)
    assert not wire.arrives(POD, PEER, OTHER + 1)


def test_default_endpoint_to_host_action_is_not_overruled_by_the_hosts_policy(wire):
    load(wire, EVERY, on_host(ingress=[allow()], egress=[allow()]), felix=FelixSettings())
    assert not wire.arrives(POD, HOST, OTHER)
    load(
        wire,
        EVERY,
        on_host(ingress=[deny()], egress=[allow()]),
        felix=FelixSettings(default_endpoint_to_host_action="Return"),
    )
    assert wire.arrives(POD, HOST, OTHER)


def test_an_automatic_host_endpoint_allows_what_no_policy_denies(wire):
    auto = host("*", profiles=("projectcalico-default-allow",), role="host")
    load(wire, auto)
    assert wire.arrives(PEER, HOST, OTHER)
    assert wire.arrives(HOST, PEER, OTHER)
    load(wire, auto, on_host(ingress=[udp(OTHER)], types=("Ingress",)))
    assert wire.arrives(PEER, HOST, OTHER)
    assert not wire.arrives(PEER, HOST, OTHER + 1)
    assert wire.arrives(HOST, PEER, OTHER + 1)


def test_an_interface_is_found_by_its_address(wire):
    load(wire, host("", HOST_FAR, role="host"))
    assert wire.arrives(PEER, HOST, OTHER)
    assert not wire.arrives(FAR, HOST_FAR, OTHER)


def test_rules_know_hosts_by_their_expected_addresses(wire):
    away = host("eth0", PEER, name="peer", node="there", role="friend")
    friends = allow(who(selector="role == 'friend'"))
    fields = {"selector": "app == 'pod'", "types": ("Ingress",)}
    load(wire, away, policy("w", namespace="", ingress=[friends], **fields))
    assert wire.arrives(PEER, POD, OTHER)
    assert not wire.arrives(FAR, POD, OTHER)
