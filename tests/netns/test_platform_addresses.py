"""Azure's own addresses as the kernel treats them: real sockets, the real loop, and its settings.

The namespace ``out`` stands for the platform (see ``live_world``): it has both addresses, and takes
any port of them.
"""

import contextlib
import socket
from contextlib import ExitStack

import pytest
from pyroute2 import IPRoute

from korat.core.model.config import IPPool, IPPoolSpec
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr
from korat.core.policy.outcome import RuleRef
from korat.core.render.nft.outcome import counter_name
from korat.drivers.kernel import namespace
from live_world import HERE, KINDS, ONE, WAIT_S, World, settings
from policy_world import allow, policy

pytestmark = pytest.mark.netns

WIRESERVER, METADATA = "168.63.129.16", "169.254.169.254"
SHUT = settings(koratPodsToInstanceMetadata="Refused")
OPEN = settings(koratPodsToWireserver="Allowed")
BY_WIRESERVER, BY_METADATA = RuleRef.wireserver(), RuleRef.instance_metadata()
POOL = IPPool(
    metadata=Metadata(name="pods"), spec=IPPoolSpec(cidr="10.0.0.0/24", nat_outgoing=True)
)
EVERYTHING = policy("all", selector="all()", types=("Egress",), egress=[allow()])


@pytest.fixture(scope="module")
def built():
    with ExitStack() as stack:
        made = World(stack)

        def answer():
            with IPRoute() as ip:
                index = ip.link_lookup(ifname="lo")[0]
                for address in (WIRESERVER, METADATA):
                    ip.addr("add", index=index, address=address, prefixlen=32)

        namespace.run_in(made.name("out"), answer)
        yield made


@pytest.fixture
def world(built):
    built.enforce()
    built.tracked.forget([Addr.parse(ONE[4])])
    built.nft.apply("flush set inet korat cut-4\n")
    return built


def listener(world, kind, address, port):
    sock = namespace.socket_in(world.name("out"), socket.AF_INET, KINDS[kind])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.settimeout(WAIT_S)
    sock.bind((address, port))
    if kind == "tcp":
        sock.listen()
    return sock


def counted(world, ref):
    """How many packets the setting has refused."""
    name = counter_name(ref)
    found = (each.get("counter", {}) for each in world.nft.list_json())
    return sum(each["packets"] for each in found if each.get("name") == name)


def seen(world, place, kind, address, port):
    """By which address the platform knows the sender; empty when it hears nothing.

    The kernel works a packet off before the call that sends it returns.
    """
    client = world.socket(place, kind, 4)
    with listener(world, kind, address, port) as server, client:
        client.setblocking(False)
        server.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect((address, port))
        if kind == "udp":
            client.send(b"who am I")
        try:
            if kind == "tcp":
                taken, (source, _) = server.accept()
                taken.close()
            else:
                _, (source, _) = server.recvfrom(16)
        except BlockingIOError:
            return ""
        return source


@pytest.mark.parametrize("port", [80, 32526])
def test_a_pod_does_not_reach_the_wireserver_and_the_node_does(world, port):
    world.enforce(EVERYTHING)
    before = counted(world, BY_WIRESERVER)
    assert seen(world, "one", "tcp", WIRESERVER, port) == ""
    assert counted(world, BY_WIRESERVER) == before + 1
    assert seen(world, "node", "tcp", WIRESERVER, port) == HERE[4]


@pytest.mark.parametrize(
    ("kind", "address", "port"),
    [
        ("udp", WIRESERVER, 53),
        ("tcp", WIRESERVER, 53),
        ("udp", WIRESERVER, 80),
        ("tcp", METADATA, 80),
    ],
)
def test_a_pod_reaches_all_else_of_the_platform(world, kind, address, port):
    assert seen(world, "one", kind, address, port) == ONE[4]


def test_a_setting_opens_and_shuts_at_once(world):
    world.enforce(OPEN)
    assert seen(world, "one", "tcp", WIRESERVER, 80) == ONE[4]
    world.enforce(SHUT)
    for address, ref in ((WIRESERVER, BY_WIRESERVER), (METADATA, BY_METADATA)):
        before = counted(world, ref)
        assert seen(world, "one", "tcp", address, 80) == ""
        assert counted(world, ref) == before + 1
        assert seen(world, "node", "tcp", address, 80) == HERE[4]
    world.enforce()
    assert seen(world, "one", "tcp", METADATA, 80) == ONE[4]


def test_a_policy_refuses_what_a_setting_allows(world):
    world.enforce(OPEN, policy("none", selector="app == 'x'", types=("Egress",)))
    assert seen(world, "one", "tcp", WIRESERVER, 80) == ""
    assert seen(world, "two", "tcp", WIRESERVER, 80) == "10.0.0.2"


def test_a_connection_is_cut_when_the_setting_comes_to_refuse_it(world):
    with listener(world, "tcp", METADATA, 80) as server:
        client = world.socket("one", "tcp", 4)
        client.connect((METADATA, 80))
        taken, _ = server.accept()
        with client, taken:
            client.send(b"works")
            assert taken.recv(16) == b"works"
            assert world.enforce(SHUT).cut == 1
            for sender, receiver in ((client, taken), (taken, client)):
                sender.send(b"lost")
                receiver.setblocking(False)
                with pytest.raises(BlockingIOError):
                    receiver.recv(16)
            assert world.entries(ONE[4]) == []


def test_reject_says_so(world):
    world.enforce(settings(nftablesFilterDenyAction="Reject"))
    with world.socket("one", "tcp", 4) as client, pytest.raises(ConnectionRefusedError):
        client.connect((WIRESERVER, 80))


@pytest.mark.parametrize(
    ("kind", "address", "port"), [("tcp", METADATA, 80), ("udp", WIRESERVER, 53)]
)
def test_the_platform_sees_the_nodes_own_address_for_pods_of_a_pool_with_nat(
    world, kind, address, port
):
    """It answers the primary address of a machine's interface alone."""
    world.enforce(POOL)
    assert seen(world, "one", kind, address, port) == HERE[4]
