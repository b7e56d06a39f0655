"""The tunnel's own packets in the rules: whose are taken, none of them tracked, who is exempt."""

import pytest

from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr, Prefix
from korat.core.render.nft.check import check
from korat.core.render.nft.diff import stages
from korat.core.render.nft.node import NodeInput, Pool, render
from korat.core.render.nft.ruleset import Hook
from korat.core.render.nft.simulate import Fate, Packet, Simulator
from korat.core.render.nft.statement import Nat
from korat.core.render.nft.tunnel import TunnelFilter
from korat.core.table.value import NodePolicy

OWN, NODE, STRANGER, EXTERNAL = (
    Addr.parse(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.9", "172.16.0.7")
)
SIX, SIX_NODE = Addr.parse("fd80::1"), Addr.parse("fd80::2")
POD, OTHER_POD = Addr.parse("192.168.1.4"), Addr.parse("192.168.2.4")
FILTER = TunnelFilter(4789, frozenset({NODE, SIX_NODE}), (Prefix.parse("172.16.0.0/24"),))
POOLS = (
    Pool(Prefix.parse("192.168.0.0/16"), nat_outgoing=True, encapsulated=True),
    Pool(Prefix.parse("10.99.0.0/16"), nat_outgoing=True),
)
VNET = (Prefix.parse("10.0.0.0/8"),)


def made(felix=None, **fields):
    ruleset = render(NodeInput(NodePolicy((), {}), felix or FelixSettings(), **fields))
    check(ruleset)
    return ruleset


def passed(ruleset, hook, src, dst, port=4789, *, iif="eth0", oif=""):
    ends = ("", oif) if hook in (Hook.OUTPUT, Hook.POSTROUTING) else (iif, oif)
    return Simulator(ruleset).run(Packet(*ends, src, dst, 17, 50000, port), hook)


@pytest.mark.parametrize(
    ("src", "dst", "port", "fate"),
    [
        (NODE, OWN, 4789, Fate.ACCEPT),
        (SIX_NODE, SIX, 4789, Fate.ACCEPT),
        (EXTERNAL, OWN, 4789, Fate.ACCEPT),
        (STRANGER, OWN, 4789, Fate.DROP),
        (Addr.parse("fd80::9"), SIX, 4789, Fate.DROP),
        (STRANGER, OWN, 4790, Fate.ACCEPT),
    ],
)
def test_who_may_send_into_the_tunnel(src, dst, port, fate):
    assert passed(made(filter=FILTER), Hook.INPUT, src, dst, port).fate is fate


def test_without_a_tunnel_others_may_use_the_port():
    assert passed(made(), Hook.INPUT, STRANGER, OWN).fate is Fate.ACCEPT
    assert not any(name.startswith("vxlan") for name in made().chains)


def test_none_of_the_nodes_packets_is_tracked():
    rules = made(filter=FILTER)
    assert passed(rules, Hook.PREROUTING, NODE, OWN).untracked
    assert passed(rules, Hook.OUTPUT, OWN, NODE).untracked
    assert not passed(rules, Hook.PREROUTING, STRANGER, OWN).untracked
    assert not passed(rules, Hook.PREROUTING, NODE, OWN, 53).untracked
    assert not passed(rules, Hook.PREROUTING, NODE, OWN, iif="cali1").untracked


def test_the_port_is_a_setting():
    rules = made(filter=TunnelFilter(8472, frozenset({NODE})))
    assert passed(rules, Hook.INPUT, STRANGER, OWN, 8472).fate is Fate.DROP
    assert passed(rules, Hook.INPUT, STRANGER, OWN, 4789).fate is Fate.ACCEPT


@pytest.mark.parametrize(
    ("felix", "fate"),
    [
        (FelixSettings(), Fate.DROP),
        (FelixSettings(vxlan_port=8472), Fate.ACCEPT),
        (FelixSettings(allow_vxlan_packets_from_workloads=True), Fate.ACCEPT),
    ],
)
def test_workloads_send_none(felix, fate):
    text = made(felix).text
    dropped = 'comment "VXLAN from a workload"' in text and "th dport 4789" in text
    assert dropped is (fate is Fate.DROP)


def test_a_node_that_comes_is_elements_only():
    before = made(filter=FILTER)
    after = made(filter=TunnelFilter(4789, FILTER.nodes | {STRANGER}, FILTER.external))
    assert list(stages(before, after)) == ["add element inet korat vxlan-nodes-4 { 10.0.0.9 }\n"]


# Translation.


@pytest.mark.parametrize(
    ("src", "dst", "translated"),
    [
        (POD, "8.8.8.8", True),
        (POD, "10.0.0.2", True),
        (POD, "192.168.2.4", False),
        (POD, "10.99.0.4", False),
        (Addr.parse("10.99.0.1"), "10.0.0.2", False),
        (Addr.parse("10.99.0.1"), "192.168.2.4", False),
        (Addr.parse("10.99.0.1"), "8.8.8.8", True),
    ],
)
def test_only_pools_know_encapsulated_pods(src, dst, translated):
    """The virtual network knows pods of user-defined routes, never those in a tunnel."""
    rules = made(pools=POOLS, untouched=VNET)
    nat = passed(rules, Hook.POSTROUTING, src, Addr.parse(dst), 80, oif="eth0").nat
    assert nat == (Nat(fully_random=True) if translated else None)


def test_what_the_node_sends_into_the_tunnel_comes_from_the_tunnel():
    rules = made(tunnels=(("vxlan.calico", OWN),))
    into = passed(rules, Hook.POSTROUTING, OWN, OTHER_POD, 80, oif="vxlan.calico")
    beside = passed(rules, Hook.POSTROUTING, OWN, OTHER_POD, 80, oif="eth0")
    pods = passed(rules, Hook.POSTROUTING, POD, OTHER_POD, 80, oif="vxlan.calico")
    assert into.nat == Nat(fully_random=True)
    assert (beside.nat, pods.nat) == (None, None)
