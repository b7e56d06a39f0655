"""A node's intent: what of the store's objects reaches its kernel."""

import re

import pytest
from msgspec.structs import replace

from korat.agent.flannel_overlay import FlannelTunnels
from korat.agent.intent import NodeState, intent
from korat.core.model.config import (
    ClusterInformation,
    FelixConfiguration,
    IPPool,
    IPPoolSpec,
)
from korat.core.model.endpoint import Node, NodeBgp, NodeSpec
from korat.core.model.label import AZURE_VNET
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr
from korat.core.render.nft.check import check
from korat.core.render.nft.diff import stages
from korat.core.render.nft.ruleset import Hook
from korat.core.render.nft.simulate import Fate, Packet, Simulator
from policy_world import NODE, address_set, allow, deny, host, pod, policy, profile, tier, who


def made(*resources, **environ):
    return intent({resource.key: resource for resource in resources}, "vm1", environ)


def felix(**spec):
    return FelixConfiguration(metadata=Metadata(name="default"), spec=spec)


def cluster(prefixes):
    annotations = {AZURE_VNET: prefixes} if prefixes else {}
    return ClusterInformation(metadata=Metadata(name="default", annotations=annotations))


def test_a_setting_that_changes_changes_the_ruleset():
    before, after = made(felix()), made(felix(interfacePrefix="azv"))
    assert '"azv*"' not in before.ruleset.text
    assert '"azv*"' in after.ruleset.text
    assert '"cali*"' in after.ruleset.text, "korat's own interfaces stay guarded"
    assert made(felix()).ruleset == before.ruleset


def test_the_environment_wins_over_the_store():
    assert '"azv*"' in made(felix(), FELIX_INTERFACEPREFIX="azv").ruleset.text


def test_what_stays_in_the_vnet_keeps_its_address():
    pool = IPPool(
        metadata=Metadata(name="pods"), spec=IPPoolSpec(cidr="10.10.128.0/17", nat_outgoing=True)
    )
    assert "10.10.0.0/16" in made(pool, cluster("10.10.0.0/16")).ruleset.text
    assert "10.10.0.0/16" not in made(pool, cluster("")).ruleset.text


def fifty(first):
    """Ports without neighbours, as many as one rule may name."""
    return list(range(first, first + 100, 2))


def test_policy_too_intricate_for_tables_is_enforced_rule_by_rule():
    """Sources crossed with destinations: without a bound, 20 kB of policy took 1.6 GB."""
    crossed = [
        allow(who(ports=fifty(first)), who(ports=fifty(first)), protocol="TCP")
        for first in range(1, 3000, 100)
    ]
    plain = [allow(None, who(ports=fifty(n)), protocol="TCP") for n in range(1, 3000, 100)]
    found = intent_of(pod("1", "10.0.0.1/32"), policy("p", ingress=[*crossed, *plain]))
    check(found.ruleset)
    (problem,) = found.problems
    assert "rule by rule" in problem.rule
    fates = [fate(found.ruleset, port) for port in (1, 2, 2999, 3001)]
    assert fates == [Fate.ACCEPT, Fate.DROP, Fate.ACCEPT, Fate.DROP]
    assert found.routes == {Addr.parse("10.0.0.1"): "cali-1"}


def intent_of(*resources):
    return intent({resource.key: resource for resource in resources}, NODE, {})


def fate(ruleset, port):
    far, own = Addr.parse("203.0.113.9"), Addr.parse("10.0.0.1")
    packet = Packet("eth0", "cali-1", far, own, protocol=6, a=2, b=port)
    return Simulator(ruleset).run(packet, Hook.FORWARD).fate


def encapsulated(mode="Always"):
    spec = IPPoolSpec(cidr="192.168.0.0/16", nat_outgoing=True, vxlan_mode=mode)
    return IPPool(metadata=Metadata(name="pods"), spec=spec)


def test_a_pool_that_wants_vxlan_on_a_node_without_it_is_named():
    found = made(encapsulated())
    (problem,) = found.problems
    assert (problem.where, problem.field) == ("IPPool pods", "spec.vxlanMode")
    assert "set CALICO_NETWORKING_BACKEND to vxlan" in problem.rule
    assert found.tunnels is None
    assert made(encapsulated("Never")).problems == ()


def test_routes_by_workloads_are_not_carried_out_with_tunnels():
    """Without tunnels they are what there is anyway."""
    by_workloads = {"FELIX_ROUTESOURCE": "WorkloadIPs"}
    assert made(**by_workloads).problems == ()
    found = made(CALICO_NETWORKING_BACKEND="vxlan", **by_workloads)
    assert [(p.field, p.value) for p in found.problems] == [("routeSource", "WorkloadIPs")]
    told = made(CALICO_NETWORKING_BACKEND="vxlan", FELIX_ROUTESOURCE="CalicoIPAM")
    assert told.problems == ()
    # flannel's tunnels follow its leases, whatever is set.
    flannel = NodeState("vm1", by_workloads, FlannelTunnels(masquerade=True))
    assert flannel.intent().problems == ()


def test_the_option_vxlan_has_tunnels_and_guards_them():
    far = Node(
        metadata=Metadata(name="vm2"), spec=NodeSpec(bgp=NodeBgp(ipv4_address="10.10.0.5/24"))
    )
    own = Node(
        metadata=Metadata(name="vm1"),
        spec=NodeSpec(
            bgp=NodeBgp(ipv4_address="10.10.0.4/24"), ipv4_vxlan_tunnel_addr="192.168.0.1"
        ),
    )
    found = made(encapsulated(), far, own, CALICO_NETWORKING_BACKEND="vxlan")
    assert found.problems == ()
    assert "vxlan-nodes-4 { 10.10.0.5 }" in found.ruleset.text
    assert 'oifname "vxlan.calico" ip saddr 10.10.0.4 masquerade' in found.ruleset.text
    assert found.tunnels is not None
    without = made(encapsulated("Never"), far, own, CALICO_NETWORKING_BACKEND="vxlan")
    assert "vxlan-in" not in without.ruleset.chains


def test_stored_values_that_cannot_be_read_are_left_out_and_named():
    node = Node(
        metadata=Metadata(name="vm2"), spec=NodeSpec(bgp=NodeBgp(ipv4_address="10.10.0.400/24"))
    )
    pool = IPPool(metadata=Metadata(name="pods"), spec=IPPoolSpec(cidr="everything"))
    found = made(node, pool, cluster("10.10.0.0/16, nonsense"))
    assert {problem.where for problem in found.problems} == {
        "Node vm2",
        "IPPool pods",
        "ClusterInformation default",
    }
    assert "iifname" in found.ruleset.text


def test_an_endpoint_on_an_interface_that_is_not_policed_is_told():
    found = intent_of(pod("1", "10.0.0.1/32"))
    assert found.problems == ()
    stray = pod("1", "10.0.0.1/32")
    stray = replace(stray, spec=replace(stray.spec, interface_name="eth7"))
    (problem,) = intent_of(stray).problems
    assert (problem.field, problem.value) == ("spec.interfaceName", "eth7")
    assert "begins with none of cali" in problem.rule


ASKING = policy(
    "asking",
    namespace="",
    selector="role == 'node'",
    ingress=[
        allow(who(selector="app == 'x'")),
        allow(who(not_selector="app == 'x'"), protocol="UDP"),
        allow(protocol="TCP", destination=who(ports=["web"])),
    ],
)
AWAY = pod("1", "10.0.0.1", "fd00::1", node="there", app="x", ports=[("web", "TCP", 80)])


def host_world(*resources):
    """A node that ``*`` governs by a policy that asks who has an address, and its state."""
    state = NodeState(NODE, {})
    for each in (host("*", role="node"), ASKING, *resources):
        state.set(each.key, each)
    return state, state.intent()


def test_a_pod_elsewhere_is_an_element_of_each_set_that_host_policy_asks_for_it():
    state, before = host_world()
    state.set(AWAY.key, AWAY)
    after = state.intent()
    (transaction,) = stages(before.ruleset, after.ruleset)
    texts = [re.sub("-[0-9a-f]{32}", "-HASH", line) for line in transaction.splitlines()]
    start = "add element inet korat"
    assert sorted(texts) == [
        f"{start} hosts-HASH {{ 10.0.0.1 }}",
        f"{start} hosts-HASH {{ fd00::1 }}",
        f"{start} ports-HASH {{ 10.0.0.1 . 6 . 80 }}",
        f"{start} ports-HASH {{ fd00::1 . 6 . 80 }}",
    ]
    assert after.own.rules is before.own.rules


def test_what_host_policy_does_not_ask_for_is_no_work_of_it():
    state, before = host_world(AWAY)
    for each in (
        pod("2", "10.0.0.2", node="there", app="y"),
        policy("w", selector="app == 'x'"),
        policy("g", namespace="", selector="role == 'other'", ingress=[allow()]),
        host("*", name="h2", node="there", role="other"),
    ):
        state.set(each.key, each)
    after = state.intent()
    assert after.own == before.own
    assert after.own.sequences is before.own.sequences
    assert after.own.members is before.own.members


def test_a_set_of_networks_is_beside_the_single_addresses_and_only_where_there_are_any():
    state, before = host_world(AWAY)
    nets = address_set("nets", "192.0.2.0/24", "192.0.2.7/32", app="x")
    state.set(nets.key, nets)
    after = state.intent()
    text = after.ruleset.text
    assert "{ 192.0.2.0/24 }" in text
    assert "{ 10.0.0.1, 192.0.2.7 }" in text
    assert after.own.rules != before.own.rules
    state.set(nets.key, None)
    assert state.intent().ruleset.text == before.ruleset.text


LENT = profile("lent", ingress=[allow(who(selector="app == 'y'"))], role="node")
PASSING = policy("passing", namespace="", tier="first", ingress=[allow(protocol="TCP")])


@pytest.mark.parametrize(
    "changed",
    [
        tier("first", default="Pass"),
        tier("second", order=1.0),
        profile("lent", ingress=[deny()], role="node"),
        profile("lent", ingress=[allow(who(selector="app == 'y'"))], role="other"),
        policy("passing", namespace="", tier="first", selector="role == 'other'"),
        policy("second", namespace="", tier="second", egress=[deny()]),
        host("*", profiles=["lent"], node="there"),
        host("eth0", profiles=["lent"]),
        felix(failsafeInboundHostPorts=[]),
        felix(interfacePrefix="azv"),
    ],
    ids=lambda each: str(each.key),
)
def test_what_governs_the_node_is_worked_out_again_when_it_changes(changed):
    second = policy("second", namespace="", tier="second", egress=[allow()])
    every = {e.key: e for e in (host("*", profiles=["lent"]), LENT, PASSING, second, ASKING)}
    every |= {each.key: each for each in (tier("first"), tier("second"))}
    state = NodeState(NODE, {})
    for key, each in every.items():
        state.set(key, each)
    before = state.intent().ruleset.text
    state.set(changed.key, changed)
    after = state.intent().ruleset.text
    assert after == intent(every | {changed.key: changed}, NODE, {}).ruleset.text
    assert after != before
    state.set(changed.key, every.get(changed.key))
    assert state.intent().ruleset.text == before
