"""When a NIC gets more addresses, how many, and who is told that it cannot."""

from dataclasses import replace

import pytest

from korat.core.net.address import Addr, Prefix
from korat.core.route.network import Interface, Network
from korat.core.route.step import AddAddresses
from korat.core.route.supply import SupplyNode, SupplySettings, plan_supply

SUBNET = "/vnet/subnets/nodes"
BASE = Addr.parse("10.10.0.4")
RULES = SupplySettings(batch=16, headroom=8)


def addresses(count, first=BASE):
    return tuple(Addr(first.family, first.value + offset) for offset in range(count))


def nic(count=1, name="n1", **fields):
    """A NIC with so many addresses, the primary one included."""
    return Interface(f"/nics/{name}", name, addresses(count), (SUBNET,), **fields)


def node(held=0, waiting=0, **fields):
    """The node of it, with so many of the NIC's secondary addresses in use."""
    own = {"name": "vm1", "addresses": (BASE,)} | fields
    return SupplyNode(held=frozenset(addresses(held + 1)[1:]), waiting=waiting, **own)


def planned(*nodes, nics=(), settings=RULES):
    network = Network("/vnet", "westeurope", (Prefix.parse("10.10.0.0/16"),), (), tuple(nics))
    return plan_supply(nodes, network, settings)


@pytest.mark.parametrize(
    ("has", "held", "waiting", "total"),
    [
        (1, 0, 0, 17),  # a NIC with nothing yet
        (9, 0, 0, None),  # just the headroom
        (8, 0, 0, 24),
        (17, 8, 0, None),
        (17, 9, 0, 33),
        (17, 0, 9, 33),  # who waits counts as if he had one
        (17, 0, 30, 49),  # two batches
        (17, 0, 100, 113),
        (250, 249, 0, 256),
        (256, 247, 0, None),
    ],
)
def test_batches_ahead_of_need(has, held, waiting, total):
    found = planned(node(held, waiting), nics=[nic(has)])
    wanted = () if total is None else (AddAddresses("/nics/n1", SUBNET, has, total),)
    assert found.steps == wanted


def test_a_step_in_words():
    [step] = planned(node(), nics=[nic(1)]).steps
    assert str(step) == "+ add 16 addresses of subnet nodes to NIC n1 (1 -> 17)"
    assert str(replace(step, total=2)) == "+ add 1 address of subnet nodes to NIC n1 (1 -> 2)"


def test_a_step_is_halved_until_nothing_is_left():
    step, counts = AddAddresses("/nics/n1", SUBNET, 1, 17), []
    while step.count:
        counts.append(step.count)
        step = step.halved
    assert counts == [16, 8, 4, 2, 1]


def test_a_full_nic_is_told_with_what_is_left():
    found = planned(node(250, 1), nics=[nic(256)])
    assert found.empty
    assert str(found) == (
        "addresses of NICs: nothing to change\n! Node vm1: 'NIC n1': gets 256 addresses at most, "
        "which leaves 4 for more pods and not 8: run fewer pods on the node, or add a node"
    )
    nearly = planned(node(239), nics=[nic(241)])
    assert [(step.total, step.count) for step in nearly.steps] == [(256, 15)]
    assert nearly.problems == ()
    assert len(planned(node(249), nics=[nic(250)]).problems) == 1


def test_what_is_not_the_nics_or_the_nodes_own_does_not_count_as_in_use():
    elsewhere = replace(node(), held=frozenset({Addr.parse("192.168.0.9"), BASE}))
    assert planned(elsewhere, nics=[nic(9)]).empty
    second = replace(node(), addresses=addresses(2))
    assert [step.total for step in planned(second, nics=[nic(9)]).steps] == [25]
    by_second = replace(node(), addresses=addresses(2)[1:])
    assert [step.total for step in planned(by_second, nics=[nic(9)]).steps] == [25]
    assert planned(by_second, nics=[nic(10)]).empty


def test_ipv6_counts_for_the_limit_alone():
    six = addresses(3, Addr.parse("fd00::4"))
    dual = replace(nic(9), addresses=(*addresses(9), *six))
    assert planned(node(), nics=[dual]).empty
    full = replace(nic(250), addresses=(*addresses(250), *six))
    assert [step.total for step in planned(node(249), nics=[full]).steps] == [256]


def test_a_node_without_a_nic_or_with_anothers_is_told_and_stops_nobody():
    lost = node(name="vm9", addresses=(Addr.parse("10.10.9.9"),))
    bare = node(name="vm8", addresses=())
    found = planned(lost, bare, node(), nics=[nic()])
    assert len(found.steps) == 1
    said = [str(problem) for problem in found.problems]
    assert [text.partition(":")[0] for text in said] == ["Node vm8", "Node vm9"]
    assert "no NIC in VNet vnet has the node's IPv4 address" in said[1]
    twice = planned(node(), node(name="vm2"), nics=[nic()])
    assert twice.empty
    assert [problem.where for problem in twice.problems] == ["Node vm1", "Node vm2"]
    nowhere = planned(node(), nics=[replace(nic(), subnet_ids=())])
    assert nowhere.empty
    assert "name no subnet" in str(nowhere.problems[0])
