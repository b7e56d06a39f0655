"""What calico/node's environment means to an agent, and what a node does before it starts."""

import pytest

from korat.agent.settings import node_settings
from korat.agent.startup import announce, node_address
from korat.core.errors import Invalid, NotFound, Unsupported
from korat.core.model.key import Key
from korat.core.net.address import Addr, Family
from korat.drivers.kernel.address import InterfaceAddress
from korat.drivers.store.client import Client
from korat.drivers.store.memory import MemoryStore

POOL = {"CALICO_IPV4POOL_CIDR": "10.10.128.0/17"}
POOL6 = {"CALICO_IPV6POOL_CIDR": "fd00:10::/48"}
VXLAN = {"CALICO_NETWORKING_BACKEND": "vxlan"}


def problems(environ):
    with pytest.raises(Invalid) as caught:
        node_settings({"NODENAME": "vm1", **environ})
    return caught.value.problems


@pytest.mark.parametrize(
    ("environ", "field", "rule"),
    [
        ({"CALICO_NETWORKING_BACKEND": "bird"}, "CALICO_NETWORKING_BACKEND", "ignores routes"),
        ({"CALICO_NETWORKING_BACKEND": "x"}, "CALICO_NETWORKING_BACKEND", "must be none"),
        ({"CALICO_IPV4POOL_IPIP": "Always"}, "CALICO_IPV4POOL_IPIP", "protocol 4"),
        ({**POOL, "CALICO_IPV4POOL_BLOCK_SIZE": "8"}, "CALICO_IPV4POOL_BLOCK_SIZE", "20 to 32"),
        ({"CALICO_IPV4POOL_CIDR": "pods"}, "CALICO_IPV4POOL_CIDR", "must be a CIDR"),
        ({**POOL, "CALICO_IPV4POOL_VXLAN": "CrossSubnet"}, "CALICO_IPV4POOL_VXLAN", "Always"),
        ({**POOL, "CALICO_IPV4POOL_VXLAN": "on"}, "CALICO_IPV4POOL_VXLAN", "Never or Always"),
        ({"CALICO_IPV6POOL_CIDR": "10.0.0.0/8"}, "CALICO_IPV6POOL_CIDR", "CIDR of IPv6"),
        ({**POOL6, "CALICO_IPV6POOL_BLOCK_SIZE": "26"}, "CALICO_IPV6POOL_BLOCK_SIZE", "116 to 128"),
        ({"IP": "10.10.0.400"}, "IP", "an address or a CIDR"),
        ({"IP6": "me"}, "IP6", "none, autodetect"),
        ({"AUTODETECT_POLL_INTERVAL": "0s"}, "AUTODETECT_POLL_INTERVAL", "a duration such as"),
    ],
)
def test_what_azure_or_this_version_cannot_do_is_refused(environ, field, rule):
    (problem,) = problems(environ)
    assert problem.field == field
    assert rule in problem.rule


def test_every_wrong_variable_is_named():
    wrong = {"CALICO_NETWORKING_BACKEND": "bird", "CALICO_IPV4POOL_IPIP": "Always", "IP": "me"}
    assert {problem.field for problem in problems(wrong)} == set(wrong)


def test_with_a_name_alone():
    settings = node_settings({"NODENAME": "vm1"})
    assert (settings.node_name, settings.ip) == ("vm1", "autodetect")
    assert (settings.backend, settings.ip6, settings.pools) == ("none", "none", ())
    assert settings.poll_s == 60
    assert node_settings({"AUTODETECT_POLL_INTERVAL": "1.5m"}).poll_s == 90
    assert str(settings.socket_path) == "/run/korat/agent.sock"


def test_no_default_pools():
    assert node_settings({**POOL, "NO_DEFAULT_POOLS": "true"}).pools == ()


def test_pools_of_both_ip_versions_are_encapsulated_in_the_vxlan_option():
    four, six = node_settings({**VXLAN, **POOL, **POOL6}).pools
    assert (four.vxlan_mode, four.block_size, four.nat_outgoing) == ("Always", 26, True)
    assert (six.vxlan_mode, six.block_size, six.nat_outgoing) == ("Always", 122, False)
    (plain,) = node_settings({**VXLAN, **POOL, "CALICO_IPV4POOL_VXLAN": "Never"}).pools
    assert plain.vxlan_mode == "Never"


FOUND = (
    InterfaceAddress("lo", Addr.parse("127.0.0.1"), 8),
    InterfaceAddress("docker0", Addr.parse("172.17.0.1"), 16),
    InterfaceAddress("cali0123", Addr.parse("169.254.1.1"), 32),
    InterfaceAddress("eth0", Addr.parse("10.10.0.4"), 24),
)


@pytest.mark.parametrize(
    ("wanted", "address"),
    [
        ("autodetect", "10.10.0.4/24"),
        ("10.10.0.4", "10.10.0.4/24"),
        ("10.10.0.9/16", "10.10.0.9/16"),
    ],
)
def test_the_nodes_address(wanted, address):
    assert node_address(wanted, FOUND) == address


@pytest.mark.parametrize(("wanted", "found"), [("10.10.0.5", FOUND), ("autodetect", FOUND[:3])])
def test_an_address_that_is_not_there(wanted, found):
    with pytest.raises(NotFound):
        node_address(wanted, found)


def test_the_nodes_ipv6_address():
    found = (*FOUND, InterfaceAddress("eth0", Addr.parse("fd01::4"), 64))
    assert node_address("autodetect", found, Family.V6) == "fd01::4/64"
    assert node_address("none", found, Family.V6) == ""
    with pytest.raises(NotFound, match="IP6"):
        node_address("autodetect", FOUND, Family.V6)


def test_the_first_node_makes_the_pool_without_encapsulation():
    client = Client(MemoryStore())
    for name, address in (("vm1", "10.10.0.4/24"), ("vm2", "10.10.0.5/24")):
        announce(client, node_settings({"NODENAME": name, **POOL}), address)
    (pool,) = client.read(["IPPool"]).of("IPPool")
    assert (pool.spec.cidr, pool.spec.nat_outgoing) == ("10.10.128.0/17", True)
    assert (pool.spec.ipip_mode, pool.spec.vxlan_mode) == ("Never", "Never")


def test_the_first_node_makes_a_pool_of_each_ip_version():
    client = Client(MemoryStore())
    settings = node_settings({"NODENAME": "vm1", **VXLAN, **POOL, **POOL6})
    announce(client, settings, "10.10.0.4/24", "fd01::4/64")
    pools = {pool.metadata.name: pool.spec for pool in client.read(["IPPool"]).of("IPPool")}
    assert {name: (spec.cidr, spec.vxlan_mode) for name, spec in pools.items()} == {
        "default-ipv4-ippool": ("10.10.128.0/17", "Always"),
        "default-ipv6-ippool": ("fd00:10::/48", "Always"),
    }
    own = client.get(Key("Node", "", "vm1")).spec
    assert own.bgp.ipv6_address == "fd01::4/64"
    assert [address.address for address in own.addresses] == ["10.10.0.4", "fd01::4"]


def test_a_node_that_starts_again_keeps_what_others_wrote():
    client = Client(MemoryStore())
    settings = node_settings({"NODENAME": "vm1"})
    announce(client, settings, "10.10.0.4/24")
    before = client.get(Key("Node", "", "vm1"))
    announce(client, settings, "10.10.0.4/24")
    assert client.get(Key("Node", "", "vm1")) == before


def test_a_node_does_not_take_anothers_address():
    client = Client(MemoryStore())
    announce(client, node_settings({"NODENAME": "vm1"}), "10.10.0.4/24")
    with pytest.raises(Unsupported, match=r"node vm1 has the address 10\.10\.0\.4 too"):
        announce(client, node_settings({"NODENAME": "vm2"}), "10.10.0.4/24")
    assert {node.metadata.name for node in client.read(["Node"]).of("Node")} == {"vm1"}
