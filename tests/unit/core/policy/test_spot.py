"""Interfaces of nodes as host endpoints know them."""

import pytest

from korat.core.net.address import Addr
from korat.core.policy.cluster import Cluster
from korat.core.policy.spot import Spot, spots
from policy_world import NODE, host

ONE, TWO, THREE = "10.0.0.1", "10.0.0.2", "fd00::3"
SPOTS = {
    "nobody": ([], {}),
    "by name, with what it expects": ([host("eth0", ONE, name="a")], {"eth0": {ONE}}),
    "two of one name": (
        [host("eth0", ONE, name="a"), host("eth0", TWO, name="b")],
        {"eth0": {ONE, TWO}},
    ),
    "by addresses, named by the first": (
        [host("", TWO, THREE, ONE, name="a")],
        {ONE: {ONE, TWO, THREE}},
    ),
    "an address of a named one is there": (
        [host("", ONE, name="a"), host("eth0", ONE, name="b")],
        {"eth0": {ONE}},
    ),
    "what is left of its addresses is elsewhere": (
        [host("", ONE, TWO, name="a"), host("eth0", ONE, name="b")],
        {"eth0": {ONE}, TWO: {TWO}},
    ),
    "addresses in common are of one interface": (
        [host("", ONE, name="a"), host("", THREE, name="b"), host("", ONE, TWO, THREE, name="c")],
        {ONE: {ONE, TWO, THREE}},
    ),
    "nothing in common": (
        [host("", ONE, name="a"), host("", TWO, name="b")],
        {ONE: {ONE}, TWO: {TWO}},
    ),
    "the star is for workloads' interfaces too": (
        [host("*", ONE, name="a"), host("eth0", name="b")],
        {"eth0": set(), "*": set(), "cali*": set()},
    ),
    "a workload's is none of a host's": ([host("cali1", ONE, name="a")], {}),
    "and knows no address": (
        [host("cali1", ONE, name="a"), host("", ONE, name="b")],
        {ONE: {ONE}},
    ),
}


@pytest.mark.parametrize(("hosts", "expected"), SPOTS.values(), ids=SPOTS)
def test_spots(hosts, expected):
    found = spots(Cluster.build(hosts).hosts, lambda _: ("cali",))
    assert [spot.node for spot in found] == [NODE] * len(expected)
    interfaces = {spot.interface.name: set(map(str, spot.interface.addresses)) for spot in found}
    assert interfaces == expected
    assert list(interfaces) == list(expected)


def test_each_node_has_its_own():
    hosts = [host("*", name="a", node="vm2"), host("eth0", ONE, name="b", node="vm1")]
    found = spots(Cluster.build(hosts).hosts, lambda node: (f"{node}-",))
    assert list(map(str, found)) == ["eth0 of vm1", "* of vm2", "vm2-* of vm2"]


@pytest.mark.parametrize(("name", "loopback"), [("lo", True), ("*", True), ("eth0", False)])
def test_where_a_node_talks_to_itself(name, loopback):
    (spot, *_) = spots(Cluster.build([host(name, ONE)]).hosts, lambda _: ("cali",))
    assert isinstance(spot, Spot)
    assert spot.is_loopback is loopback
    assert all(isinstance(addr, Addr) for addr in spot.interface.addresses)
