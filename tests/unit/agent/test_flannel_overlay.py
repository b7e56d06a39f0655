"""What a node's rules must know of flannel's tunnels, and when it is something else."""

import json

from korat.agent.flannel_overlay import FlannelState, FlannelTunnels, OthersTunnel
from korat.agent.intent import NodeState
from korat.agent.overlay import NOTHING
from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr, Family, Prefix
from korat.core.render.nft.node import Pool
from korat.core.route.flannel.lease import Holder, TunnelEnd
from korat.core.route.flannel.network import read_network
from korat.core.route.flannel.plan import device_mac
from korat.core.route.vxlan import Link

FELIX = FelixSettings()
NETWORK = {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "Port": 8500, "VNI": 3}}
ETH0 = Link("eth0", 1500, frozenset({Addr.parse("10.10.0.4")}))
POD = Link("cali1", 1350, frozenset())


def lease(number):
    node = Addr.parse(f"10.10.0.{number}")
    holder = Holder(node, "vxlan", (TunnelEnd(node, 3, device_mac(node)),))
    return holder.lease(Prefix.parse(f"10.5.{number}.0/24"), None)


def state(*numbers, network=NETWORK):
    own = lease(4)
    return FlannelState(read_network(json.dumps(network)), own, (own, *map(lease, numbers)))


def test_nothing_is_known_before_it_is_told():
    tunnels = FlannelTunnels(masquerade=True)
    assert tunnels.plans(FELIX, (ETH0,), ()) is NOTHING
    assert tunnels.surroundings(FELIX).filter is None
    assert tunnels.version == 0


def test_only_the_others_leaseholders_may_send_to_the_port():
    tunnels = FlannelTunnels(masquerade=False)
    assert tunnels.tell(state(5, 6))
    around = tunnels.surroundings(FELIX)
    assert around.filter.port == 8500
    assert around.filter.nodes == {Addr.parse("10.10.0.5"), Addr.parse("10.10.0.6")}
    assert around.sources == (("flannel.3", Addr.parse("10.10.0.4")),)
    assert around.pools == (Pool(Prefix.parse("10.5.0.0/16"), False, encapsulated=True),)


def test_with_alloc_there_is_a_network_but_no_tunnel():
    tunnels = FlannelTunnels(masquerade=True)
    tunnels.tell(state(5, network={"Network": "10.5.0.0/16", "Backend": {"Type": "alloc"}}))
    around = tunnels.surroundings(FELIX)
    assert (around.filter, around.sources) == (None, ())
    assert around.pools == (Pool(Prefix.parse("10.5.0.0/16"), True, encapsulated=False),)
    assert tunnels.plans(FELIX, (ETH0,), ())[Family.V4].state.device is None


def test_a_plan_is_made_anew_only_where_something_is_different():
    tunnels = FlannelTunnels(masquerade=True)
    tunnels.tell(state(5))
    first = tunnels.plans(FELIX, (ETH0,), ())
    assert not tunnels.tell(state(5))
    assert tunnels.plans(FELIX, (ETH0, POD), ()) is first, "workloads' links come and go"
    assert tunnels.tell(state(5, 6))
    second = tunnels.plans(FELIX, (ETH0, POD), ())
    assert len(second[Family.V4].state.routes) == len(first[Family.V4].state.routes) + 1


def dropped_port(node_state):
    """The port that no workload may send to."""
    chain = node_state.intent().ruleset.chains["from-workload"]
    rules = [str(rule) for rule in chain.rules if "VXLAN" in str(rule)]
    assert len(rules) == 1
    return next(port for port in ("4789", "8472", "8500") if port in rules[0])


def test_workloads_may_send_nothing_to_the_tunnels_port_whoever_has_the_tunnel():
    assert dropped_port(NodeState("vm1", {})) == "4789"
    assert dropped_port(NodeState("vm1", {}, OthersTunnel())) == "8472"
    tunnels = FlannelTunnels(masquerade=True)
    node = NodeState("vm1", {}, tunnels)
    assert dropped_port(node) == "4789"
    tunnels.tell(state(5))
    assert dropped_port(node) == "8500"
