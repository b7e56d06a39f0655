"""The address of a node's tunnel: had from a pool, kept, given up, and had anew."""

import pytest
from msgspec.structs import replace

from korat.agent.calico_ipam import addresses_of
from korat.agent.tunnel_address import TunnelAddress
from korat.core.ipam.release import Return, release_ips
from korat.core.model.config import IPPool, IPPoolSpec
from korat.core.model.default import apply as with_defaults
from korat.core.model.endpoint import Node, NodeBgp, NodeSpec
from korat.core.model.key import Key
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr, Prefix
from korat.drivers.store.client import Client
from korat.drivers.store.ipam import now, run
from korat.drivers.store.memory import MemoryStore

NODE = Key("Node", "", "n1")
HANDLE, HANDLE6 = "vxlan-tunnel-addr-n1", "vxlan-v6-tunnel-addr-n1"


@pytest.fixture
def store():
    made = MemoryStore()
    bgp = NodeBgp(ipv4_address="10.80.0.1/24")
    node = Node(metadata=Metadata(name="n1"), spec=NodeSpec(bgp=bgp))
    Client(made).create(node)
    return made


def add_pool(store, name="pods", cidr="10.1.0.0/16", mode="Always", **more):
    spec = IPPoolSpec(cidr=cidr, vxlan_mode=mode, **more)
    Client(store).create(with_defaults(IPPool(metadata=Metadata(name=name), spec=spec)))


def set_mode(store, mode, name="pods"):
    client = Client(store)
    pool = client.get(Key("IPPool", "", name))
    client.update(replace(pool, spec=replace(pool.spec, vxlan_mode=mode)))


def spec(store):
    return Client(store).get(NODE).spec


def ensured(store):
    TunnelAddress(store, "n1").ensure()
    return spec(store).ipv4_vxlan_tunnel_addr


def test_it_comes_from_the_encapsulated_pool(store):
    add_pool(store, "plain", "10.0.0.0/16", "Never")
    add_pool(store)
    text = ensured(store)
    assert Addr.parse(text) in Prefix.parse("10.1.0.0/16")
    assert addresses_of(store, HANDLE) == (Addr.parse(text),)
    assert ensured(store) == text, "and is kept"


def test_without_a_pool_there_is_none_and_why(store):
    add_pool(store, mode="Never")
    (four,) = TunnelAddress(store, "n1").ensure()
    assert "n1" in four
    assert spec(store).ipv4_vxlan_tunnel_addr == ""


@pytest.mark.parametrize(
    "more", [{"node_selector": "zone == 'b'"}, {"allowed_uses": ("Workload",)}]
)
def test_a_pool_that_is_not_for_this(store, more):
    add_pool(store, **more)
    assert ensured(store) == ""


def test_it_is_given_up_with_the_encapsulation_and_had_again(store):
    add_pool(store)
    ensured(store)
    set_mode(store, "Never")
    assert ensured(store) == ""
    assert addresses_of(store, HANDLE) == ()
    set_mode(store, "Always")
    assert ensured(store)


def test_one_that_was_assigned_before_a_crash_is_taken_up(store):
    add_pool(store)
    text = ensured(store)
    client = Client(store)
    node = client.get(NODE)
    client.update(replace(node, spec=replace(node.spec, ipv4_vxlan_tunnel_addr="")))
    assert ensured(store) == text
    assert len(addresses_of(store, HANDLE)) == 1


def test_one_that_the_blocks_do_not_know_is_replaced(store):
    add_pool(store)
    first = ensured(store)
    run(store, release_ips([Return(Addr.parse(first))], now()))
    second = ensured(store)
    assert addresses_of(store, HANDLE) == (Addr.parse(second),)


def test_ipv6_only_where_the_node_has_an_address_of_it(store):
    add_pool(store)
    add_pool(store, "six", "fd00:1::/64")
    ensured(store)
    assert spec(store).ipv6_vxlan_tunnel_addr == ""
    client = Client(store)
    node = client.get(NODE)
    bgp = replace(node.spec.bgp, ipv6_address="fd80::1/64")
    client.update(replace(node, spec=replace(node.spec, bgp=bgp)))
    ensured(store)
    assert Addr.parse(spec(store).ipv6_vxlan_tunnel_addr) in Prefix.parse("fd00:1::/64")
    node = client.get(NODE)
    bgp = replace(node.spec.bgp, ipv6_address="")
    client.update(replace(node, spec=replace(node.spec, bgp=bgp)))
    ensured(store)
    assert spec(store).ipv6_vxlan_tunnel_addr == ""
    assert addresses_of(store, HANDLE6) == ()


def test_a_node_that_was_deleted_gets_none(store):
    add_pool(store)
    Client(store).delete(NODE)
    assert TunnelAddress(store, "n1").ensure() == ()
    assert addresses_of(store, HANDLE) == ()


def test_who_must_be_heard():
    assert TunnelAddress(MemoryStore(), "n1").keys == {
        NODE,
        Key("IPAMHandle", "", HANDLE),
        Key("IPAMHandle", "", HANDLE6),
    }
