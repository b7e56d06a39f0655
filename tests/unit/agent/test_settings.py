"""What calico/node's environment means to an agent, and what a node does before it starts."""

import pytest

from korat.agent.settings import node_settings
from korat.agent.startup import announce, node_address
from korat.core.errors import Invalid, NotFound, Unsupported
from korat.core.model.key import Key
from korat.core.net.address import Addr
from korat.drivers.kernel.address import InterfaceAddress
from korat.drivers.store.client import Client
from korat.drivers.store.memory import MemoryStore

POOL = {"CALICO_IPV4POOL_CIDR": "10.10.128.0/17"}


def problems(environ):
    with pytest.raises(Invalid) as caught:
        node_settings({"NODENAME": "vm1", **environ})
    return caught.value.problems


@pytest.mark.parametrize(
    ("environ", "field", "rule"),
    [
        ({"CALICO_NETWORKING_BACKEND": "bird"}, "CALICO_NETWORKING_BACKEND", "ignores routes"),
        ({"CALICO_NETWORKING_BACKEND": "vxlan"}, "CALICO_NETWORKING_BACKEND", "no VXLAN"),
        ({"CALICO_NETWORKING_BACKEND": "x"}, "CALICO_NETWORKING_BACKEND", "must be none"),
        ({"CALICO_IPV4POOL_IPIP": "Always"}, "CALICO_IPV4POOL_IPIP", "protocol 4"),
        ({**POOL, "CALICO_IPV4POOL_BLOCK_SIZE": "8"}, "CALICO_IPV4POOL_BLOCK_SIZE", "20 to 32"),
        ({"CALICO_IPV4POOL_CIDR": "pods"}, "CALICO_IPV4POOL_CIDR", "must be a CIDR"),
        ({"IP": "10.10.0.400"}, "IP", "an address or a CIDR"),
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
    assert settings.pool is None
    assert str(settings.socket_path) == "/run/korat/agent.sock"


def test_no_default_pools():
    assert node_settings({**POOL, "NO_DEFAULT_POOLS": "true"}).pool is None


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


def test_the_first_node_makes_the_pool_without_encapsulation():
    client = Client(MemoryStore())
    for name, address in (("vm1", "10.10.0.4/24"), ("vm2", "10.10.0.5/24")):
        announce(client, node_settings({"NODENAME": name, **POOL}), address)
    (pool,) = client.read(["IPPool"]).of("IPPool")
    assert (pool.spec.cidr, pool.spec.nat_outgoing) == ("10.10.128.0/17", True)
    assert (pool.spec.ipip_mode, pool.spec.vxlan_mode) == ("Never", "Never")


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
