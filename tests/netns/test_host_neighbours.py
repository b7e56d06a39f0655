"""IPv6 neighbour discovery and host endpoints: it is policy's matter, as in Felix."""

import socket
import struct
from contextlib import ExitStack

import pytest

from korat.core.model.policy import Icmp
from korat.drivers.kernel import namespace
from live_world import HERE, World
from policy_world import allow, host, policy

pytestmark = pytest.mark.netns

_SOLICITATION, _ADVERTISEMENT = 135, 136
ETH0 = host("eth0", role="host")


@pytest.fixture(scope="module")
def world():
    with ExitStack() as stack:
        yield World(stack)


def found(world):
    """Whether the node answers who asks for its hardware address."""
    target = socket.inet_pton(socket.AF_INET6, HERE[6])
    option = struct.pack("!BB6s", 1, 1, bytes.fromhex("020000000001"))
    asked = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + target + option
    with namespace.socket_in(
        world.name("out"), socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6
    ) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
        sock.setblocking(False)
        sock.sendto(asked, (HERE[6], 0))
        while True:
            try:
                got = sock.recv(128)
            except BlockingIOError:
                return False
            if got[0] == _ADVERTISEMENT and got[8:24] == target:
                return True


def neighbours(*kinds):
    rules = [allow(protocol="ICMPv6", icmp=Icmp(type=kind)) for kind in kinds]
    return policy(
        "neighbours",
        namespace="",
        selector="role == 'host'",
        types=("Ingress", "Egress"),
        ingress=rules,
        egress=rules,
    )


def test_a_closed_host_endpoint_closes_neighbour_discovery_too(world):
    world.enforce()
    assert found(world)
    world.enforce(ETH0)
    assert not found(world)
    world.enforce(ETH0, neighbours(_SOLICITATION))
    assert not found(world), "the answer is a packet of its own, which nothing tracks"
    world.enforce(ETH0, neighbours(_SOLICITATION, _ADVERTISEMENT))
    assert found(world)
