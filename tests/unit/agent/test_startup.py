"""What a node says of itself before it enforces anything."""

import pytest

from korat.agent.settings import node_settings
from korat.agent.startup import announce, node_address
from korat.core.errors import NotFound, Unsupported
from korat.core.model.endpoint import Node, NodeStatus
from korat.core.model.key import Key
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr
from korat.drivers.kernel.address import InterfaceAddress
from korat.drivers.store.client import Client
from korat.drivers.store.memory import MemoryStore


def on(interface: str, address: str, length: int = 24) -> InterfaceAddress:
    return InterfaceAddress(interface, Addr.parse(address), length)


FOUND = (
    on("docker0", "172.17.0.1", 16),
    on("cali12345", "10.10.128.1"),
    on("vxlan.calico", "10.10.128.0", 32),
    on("eth0", "fd00::4", 64),
    on("eth0", "10.10.0.4"),
    on("eth1", "10.20.0.4", 16),
)


@pytest.mark.parametrize(
    ("wanted", "address"),
    [
        ("autodetect", "10.10.0.4/24"),
        ("10.20.0.4", "10.20.0.4/16"),
        ("10.99.0.1/8", "10.99.0.1/8"),
    ],
)
def test_the_address(wanted: str, address: str):
    assert node_address(wanted, FOUND) == address


@pytest.mark.parametrize(("wanted", "found"), [("autodetect", FOUND[:4]), ("10.1.1.1", FOUND)])
def test_no_such_address(wanted: str, found: tuple[InterfaceAddress, ...]):
    with pytest.raises(NotFound, match="IP"):
        node_address(wanted, found)


def started(
    client: Client, name: str = "vm1", address: str = "10.10.0.4/24", **environ: str
) -> None:
    announce(client, node_settings({"NODENAME": name, **environ}), address)


def node(client: Client, name: str = "vm1") -> Node:
    found = client.get(Key("Node", "", name))
    assert isinstance(found, Node)
    return found


def test_a_node_keeps_what_others_wrote_and_changes_nothing_the_second_time():
    client = Client(MemoryStore())
    given = Node(
        metadata=Metadata(name="vm1", labels={"zone": "1"}),
        status=NodeStatus(pod_cidrs=("10.10.128.0/24",)),
    )
    client.create(given)
    started(client)
    after = node(client)
    assert after.spec.bgp is not None
    assert after.spec.bgp.ipv4_address == "10.10.0.4/24"
    assert (after.status.pod_cidrs, after.metadata.labels) == (("10.10.128.0/24",), {"zone": "1"})
    revision = client.read().revision
    started(client)
    assert client.read().revision == revision


def test_two_nodes_with_one_address_are_refused():
    client = Client(MemoryStore())
    started(client, "vm1")
    with pytest.raises(Unsupported, match=r"node vm1 has the address 10\.10\.0\.4 too"):
        started(client, "vm2")


def test_the_first_pool_is_made_once_and_never_with_ipip():
    client = Client(MemoryStore())
    started(client, CALICO_IPV4POOL_CIDR="10.10.128.0/17")
    started(client, "vm2", "10.10.0.5/24", CALICO_IPV4POOL_CIDR="10.11.0.0/16")
    pools = client.read(["IPPool"]).of("IPPool")
    assert [(p.metadata.name, p.spec.cidr) for p in pools] == [
        ("default-ipv4-ippool", "10.10.128.0/17")
    ]
    assert (pools[0].spec.ipip_mode, pools[0].spec.nat_outgoing) == ("Never", True)
