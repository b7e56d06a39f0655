"""Azure's rules with real packets, rule by rule (what the random differential cannot name).

vm1 10.10.0.4 ┐
vm2 10.10.0.5 ┼─ fabric ─ internet 203.0.113.10
vm3 10.10.0.6 ┘
"""

import socket
import struct
from contextlib import closing
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from fabric_wire import (
    FENCE,
    UDP,
    answers,
    checksum,
    delivered,
    ipv4,
    lab_name,
    network,
    nic,
    packets,
    user_route,
    wires,
)
from korat.core.net.address import Addr, Prefix
from korat.core.net.port import Protocol
from korat.core.route.effective import NextHop, effective_routes
from korat.drivers.kernel import namespace
from korat.lab.arm.view import NetworkView
from korat.lab.fabric.apply import Fabric
from korat.lab.fabric.model import INTERNET, Packet
from korat.lab.fabric.switch import AH, ESP, GRE, IPIP, SIX_IN_FOUR, Switches

pytestmark = pytest.mark.netns

A = Addr.parse
VM1, VM2, VM3, GATEWAY = A("10.10.0.4"), A("10.10.0.5"), A("10.10.0.6"), A("10.10.0.1")
POD1, POD2, UNUSED = A("10.10.128.7"), A("10.10.129.7"), A("10.10.0.200")
OUTSIDE = A("203.0.113.10")
PODS = (
    user_route("10.10.128.0/24", NextHop.VIRTUAL_APPLIANCE, "10.10.0.4"),
    user_route("10.10.129.0/24", NextHop.VIRTUAL_APPLIANCE, "10.10.0.5"),
)


@pytest.fixture(scope="module")
def fabric():
    with Fabric(lab_name()) as made:
        yield made


def reaches(fabric, view, sender, *sent):
    """Apply the view, send from ``sender`` and tell where each packet came out."""
    fabric.apply(view)
    with wires(fabric, view) as opened:
        return delivered(opened, sender, list(sent))


def guest_socket(fabric, vm, kind, proto=0):
    made = namespace.socket_in(fabric.names.vm(vm), socket.AF_INET, kind, proto)
    made.settimeout(5)
    return made


# --- what every VM can do -----------------------------------------------------------------------


def test_tcp_between_vms(fabric):
    fabric.apply(network(forwarding=False))
    with (
        guest_socket(fabric, "vm2", socket.SOCK_STREAM) as server,
        guest_socket(fabric, "vm1", socket.SOCK_STREAM) as client,
    ):
        server.bind((str(VM2), 0))
        server.listen()
        client.connect(server.getsockname())
        client.sendall(b"hello" * 10_000)
        client.shutdown(socket.SHUT_WR)
        accepted, peer = server.accept()
        with accepted, accepted.makefile("rb") as stream:
            assert stream.read() == b"hello" * 10_000
        assert peer[0] == str(VM1)


def test_udp_between_vms_with_a_datagram_in_fragments(fabric):
    fabric.apply(network(forwarding=False))
    with (
        guest_socket(fabric, "vm2", socket.SOCK_DGRAM) as server,
        guest_socket(fabric, "vm1", socket.SOCK_DGRAM) as client,
    ):
        server.bind((str(VM2), 0))
        client.sendto(b"x" * 4000, server.getsockname())
        assert len(server.recv(9000)) == 4000


def test_ping_between_vms_and_the_fabric_shows_no_hop(fabric):
    fabric.apply(network(forwarding=False))
    with guest_socket(fabric, "vm1", socket.SOCK_RAW, socket.IPPROTO_ICMP) as pinger:
        pinger.sendto(echo_request(), (str(VM2), 0))
        answer, peer = pinger.recvfrom(100)
    assert (peer[0], answer[20], answer[8]) == (str(VM2), 0, 64)  # an echo reply, TTL untouched


@pytest.mark.parametrize(("ttl", "seen"), [(1, 1), (2, 2), (64, 64), (254, 254), (255, 254)])
def test_ttl_survives_the_fabric(fabric, ttl, seen):
    view = network()
    fabric.apply(view)
    with wires(fabric, view) as opened:
        opened["vm1-nic"].send(Packet(VM1, VM2, UDP), ttl=ttl)
        opened["vm1-nic"].fenced()
        assert [packet[8] for packet in packets(opened["vm2-nic"].seen())] == [seen]


def test_a_packet_that_expires_in_the_fabric_is_lost_in_silence(fabric):
    view = network()
    fabric.apply(view)
    with wires(fabric, view) as opened:
        opened["vm1-nic"].send(Packet(VM1, VM2, UDP), ttl=0)
        assert packets(opened["vm1-nic"].fenced()) == []
        assert packets(opened["vm2-nic"].seen()) == []


@pytest.mark.parametrize("silent", [GATEWAY, UNUSED, A("10.10.0.2"), A("10.10.0.255")], ids=str)
def test_addresses_that_never_answer(fabric, silent):
    view = network()
    fabric.apply(view)
    with wires(fabric, view) as opened:
        opened["vm1-nic"].send(Packet(VM1, silent, Protocol.ICMP), payload=echo_request())
        assert packets(opened["vm1-nic"].fenced()) == []


@pytest.mark.parametrize("asked", [GATEWAY, VM2, UNUSED, POD1, OUTSIDE, A("8.8.8.8")], ids=str)
def test_the_fabric_answers_arp_for_any_address(fabric, asked):
    view = network()
    fabric.apply(view)
    with wires(fabric, view) as opened:
        opened["vm1-nic"].ask(asked)
        opened["vm1-nic"].ask(VM1)
        frames = opened["vm1-nic"].fenced()
        assert answers(frames, asked) == ["12:34:56:78:9a:bc"]
        assert answers(frames, VM1) == [], "an answer for its own address breaks the guest"
        assert opened["vm2-nic"].seen() == [], "an ARP question never reaches another VM"


def test_frames_to_another_vms_hardware_address_go_nowhere(fabric):
    view = network()
    fabric.apply(view)
    with wires(fabric, view) as opened:
        opened["vm1-nic"].send(Packet(VM1, VM2, UDP), to="00:0d:3a:00:00:02")
        opened["vm1-nic"].send(Packet(VM1, VM2, UDP), to="ff:ff:ff:ff:ff:ff")
        opened["vm1-nic"].fenced()
        assert opened["vm2-nic"].seen() == []


# --- source and destination check ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("off", "src", "dst", "arrives"),
    [
        ((1, 2), VM1, VM2, True),
        ((1, 2), VM1, POD2, False),
        ((1, 2), POD1, POD2, False),
        ((1, 2), POD1, VM2, False),
        ((1,), VM1, POD2, True),
        ((1,), POD1, POD2, False),
        ((1,), POD1, VM2, False),
        ((2,), VM1, POD2, False),
        ((2,), POD1, POD2, False),
        ((2,), POD1, VM2, True),
        ((), POD1, POD2, True),
        ((), VM1, POD2, True),
        ((), POD1, VM2, True),
    ],
)
def test_ip_forwarding_matrix(fabric, off, src, dst, arrives):
    view = network(table=PODS, off=off)
    where = reaches(fabric, view, "vm1-nic", Packet(src, dst, Protocol.TCP))
    assert where == ["vm2-nic" if arrives else None]


def test_pods_talk_by_tcp_over_user_routes(fabric):
    fabric.apply(network(table=PODS))
    for vm, pod in (("vm1", POD1), ("vm2", POD2)):
        add_address(fabric, vm, pod)
    with (
        guest_socket(fabric, "vm2", socket.SOCK_STREAM) as server,
        guest_socket(fabric, "vm1", socket.SOCK_STREAM) as client,
    ):
        server.bind((str(POD2), 0))
        server.listen()
        client.bind((str(POD1), 0))
        client.connect(server.getsockname())
        accepted, peer = server.accept()
        accepted.close()
        assert peer[0] == str(POD1)


def test_a_second_nic_address_needs_no_forwarding(fabric):
    routes = effective_routes([Prefix.parse("10.10.0.0/16")], None)
    second = A("10.10.0.40")
    nics = (
        nic(1, routes, forwarding=False, addresses=(VM1, second)),
        nic(2, routes, forwarding=False),
    )
    view = NetworkView((), (), nics)
    assert reaches(fabric, view, "vm1-nic", Packet(second, VM2, UDP)) == ["vm2-nic"]
    assert reaches(fabric, view, "vm2-nic", Packet(VM2, second, UDP)) == ["vm1-nic"]


def test_vxlan_passes_without_forwarding(fabric):
    fabric.apply(network(forwarding=False))
    for vm, own, peer, inner in (("vm1", VM1, VM2, POD1), ("vm2", VM2, VM1, POD2)):
        add_vxlan(fabric, vm, own, peer, inner)
    with guest_socket(fabric, "vm1", socket.SOCK_RAW, socket.IPPROTO_ICMP) as pinger:
        pinger.sendto(echo_request(), (str(POD2), 0))
        assert pinger.recvfrom(100)[1][0] == str(POD2)
    fabric.apply(NetworkView((), (), ()))  # the devices would answer for other tests


LARGE = 1400
#: What IP and UDP take of a packet.
HEADERS = 28


@pytest.mark.parametrize(
    ("limit", "size", "whole", "arrives"),
    [
        (LARGE, LARGE, True, True),
        (LARGE, LARGE + 4, True, False),
        (LARGE, LARGE + 4, False, True),
        (0, 1500, True, True),
    ],
    ids=["all of it", "too large and whole", "too large and in fragments", "no limit"],
)
def test_large_packets(limit, size, whole, arrives):
    """One that may not be fragmented is lost without a word; others arrive, in pieces."""
    with Fabric(lab_name(), Switches(largest_packet=limit)) as made:
        made.apply(network(forwarding=False))
        pieces_before = fragments(made)
        with (
            guest_socket(made, "vm1", socket.SOCK_DGRAM) as sender,
            guest_socket(made, "vm2", socket.SOCK_DGRAM) as receiver,
        ):
            receiver.bind((str(VM2), 7000))
            receiver.settimeout(1)
            sender.setsockopt(socket.IPPROTO_IP, 10, 3 if whole else 0)  # IP_PMTUDISC_PROBE, _DONT
            sender.sendto(bytes(size - HEADERS), (str(VM2), 7000))
            try:
                got = len(receiver.recv(2000)) == size - HEADERS
            except TimeoutError:
                got = False
        assert got is arrives
        assert (fragments(made) > pieces_before) is (arrives and bool(limit) and size > limit)


def fragments(fabric):
    """How many fragments the fabric has made."""

    def read():
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
        names, values = (line.split() for line in lines if line.startswith("Ip:"))
        return int(values[names.index("FragCreates")])

    return namespace.run_in(fabric.names.fabric, read)


# --- routes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "dst", "where"),
    [
        pytest.param(None, POD2, None, id="no-association"),
        pytest.param((), POD2, None, id="no-route"),
        pytest.param(PODS, POD2, "vm2-nic", id="route"),
        pytest.param(PODS, A("10.10.130.7"), None, id="route-of-another-node"),
        pytest.param(
            (user_route("10.10.129.0/24", NextHop.VIRTUAL_APPLIANCE, "10.10.0.99"),),
            POD2,
            None,
            id="dead-next-hop",
        ),
        pytest.param(
            (user_route("10.10.129.0/24", NextHop.NONE),), POD2, None, id="none-drops-silently"
        ),
        pytest.param(
            (*PODS, user_route("10.10.129.0/25", NextHop.VIRTUAL_APPLIANCE, "10.10.0.6")),
            POD2,
            "vm3-nic",
            id="longest-prefix",
        ),
        pytest.param(
            (user_route("10.10.0.0/16", NextHop.VIRTUAL_APPLIANCE, "10.10.0.6"),),
            VM2,
            "vm3-nic",
            id="user-over-default",
        ),
        pytest.param(
            (user_route("10.10.0.0/24", NextHop.VIRTUAL_APPLIANCE, "10.10.0.6"),),
            VM2,
            "vm3-nic",
            id="steers-within-one-subnet",
        ),
        pytest.param(
            (
                user_route("10.10.0.0/24", NextHop.VIRTUAL_APPLIANCE, "10.10.0.6"),
                user_route("10.10.0.5/32", NextHop.VNET_LOCAL),
            ),
            VM2,
            "vm2-nic",
            id="vnet-local-again",
        ),
        pytest.param(
            (user_route("0.0.0.0/0", NextHop.VIRTUAL_APPLIANCE, "10.10.0.6"),),
            OUTSIDE,
            "vm3-nic",
            id="default-through-an-appliance",
        ),
        pytest.param(None, A("192.168.1.1"), None, id="private-space-is-dropped"),
        pytest.param(None, OUTSIDE, INTERNET, id="internet"),
    ],
)
def test_routes(fabric, table, dst, where):
    view = network(table=table)
    fabric.apply(view)
    with wires(fabric, view) as opened:
        assert delivered(opened, "vm1-nic", [Packet(VM1, dst, UDP)]) == [where]
        assert packets(opened["vm1-nic"].fenced()) == [], "the fabric sends no ICMP error"


def test_a_change_takes_effect_at_once_and_back(fabric):
    working = network(table=PODS)
    broken = [network(), network(table=PODS[:1]), network(table=PODS, off=(2,))]
    pods = Packet(POD1, POD2, Protocol.TCP)
    for view in broken:
        assert reaches(fabric, view, "vm1-nic", pods) == [None]
        assert reaches(fabric, working, "vm1-nic", pods) == ["vm2-nic"]


# --- protocols ----------------------------------------------------------------------------------

_DROPPED = [IPIP, GRE, SIX_IN_FOUR, Protocol.SCTP, 2, 136]


@pytest.mark.parametrize("protocol", [Protocol.ICMP, Protocol.TCP, UDP, ESP, AH, *_DROPPED])
def test_protocols(fabric, protocol):
    where = reaches(fabric, network(), "vm1-nic", Packet(VM1, VM2, protocol))
    assert where == [None if protocol in _DROPPED else "vm2-nic"]


def test_a_raw_ipip_packet_from_a_vms_own_socket_is_dropped(fabric):
    view = network(table=PODS)
    fabric.apply(view)
    inner = ipv4(Packet(POD1, POD2, UDP), b"inner")
    with (
        wires(fabric, view) as opened,
        guest_socket(fabric, "vm1", socket.SOCK_RAW, IPIP) as ipip,
        guest_socket(fabric, "vm1", socket.SOCK_RAW, ESP) as esp,
    ):
        ipip.sendto(inner, (str(VM2), 0))
        esp.sendto(inner, (str(VM2), 0))
        opened["vm1-nic"].fenced()
        assert [packet[9] for packet in packets(opened["vm2-nic"].seen())] == [ESP]


@pytest.mark.parametrize(
    ("switch", "protocol"),
    [("ipip", IPIP), ("gre", GRE), ("six_in_four", SIX_IN_FOUR), ("sctp", Protocol.SCTP)],
)
def test_switches_let_uncertain_protocols_pass(fabric, switch, protocol):
    switched = Fabric(fabric.names.lab, Switches(**{switch: True}))
    where = reaches(
        switched, network(), "vm1-nic", *(Packet(VM1, VM2, p) for p in (*_DROPPED, protocol))
    )
    assert where == ["vm2-nic" if p == protocol else None for p in (*_DROPPED, protocol)]


@pytest.mark.parametrize("dst", [A("224.0.0.5"), A("239.1.1.1"), A("255.255.255.255")], ids=str)
def test_multicast_and_broadcast_go_nowhere(fabric, dst):
    assert reaches(fabric, network(), "vm1-nic", Packet(VM1, dst, UDP)) == [None]


# --- the internet -------------------------------------------------------------------------------


def test_the_internet_sees_a_public_address(fabric):
    fabric.apply(network())
    internet = namespace.socket_in(fabric.names.internet, socket.AF_INET, socket.SOCK_STREAM)
    with internet, guest_socket(fabric, "vm1", socket.SOCK_STREAM) as client:
        internet.settimeout(5)
        internet.bind((str(OUTSIDE), 0))
        internet.listen()
        client.connect(internet.getsockname())
        accepted, peer = internet.accept()
        with accepted:
            accepted.sendall(b"hello")
        assert peer[0] == "20.0.0.4"
        assert client.recv(10) == b"hello"


def test_only_a_nics_primary_address_reaches_the_internet(fabric):
    routes = effective_routes([Prefix.parse("10.10.0.0/16")], None)
    second = A("10.10.0.40")
    view = NetworkView((), (), (nic(1, routes, addresses=(VM1, second)), nic(2, routes)))
    sources = (VM1, second, POD1, VM2, A("8.8.8.8"))
    where = reaches(fabric, view, "vm1-nic", *(Packet(src, OUTSIDE, UDP) for src in sources))
    assert where == [INTERNET, None, None, None, None]


def test_nothing_unasked_for_comes_in_from_the_internet(fabric):
    view = network()
    fabric.apply(view)
    inet = namespace.socket_in(fabric.names.internet, socket.AF_INET, socket.SOCK_DGRAM)
    with wires(fabric, view) as opened, inet:
        for target in (VM1, A("20.0.0.4")):
            with pytest.raises(PermissionError):  # how a dropped own packet shows
                inet.sendto(b"x", (str(target), 9))
        opened[INTERNET].ask(FENCE)
        assert opened["vm1-nic"].seen() == []


def echo_request() -> bytes:
    head = struct.pack("!BBHHH", 8, 0, 0, 7, 1)
    return struct.pack("!BBHHH", 8, 0, checksum(head), 7, 1)


def add_address(fabric, vm, addr):
    """Give a VM an address on lo, as if a pod of it had it."""

    def add():
        with IPRoute() as ip:
            ip.addr("replace", index=1, address=str(addr), prefixlen=32)

    namespace.run_in(fabric.names.vm(vm), add)


def add_vxlan(fabric, vm, own, peer, inner):
    """A VXLAN device with one peer, as Calico makes them."""

    def add():
        with closing(IPRoute()) as ip:
            ip.link(
                "add",
                ifname="vxlan.test",
                kind="vxlan",
                vxlan_id=4096,
                vxlan_port=4789,
                vxlan_local=str(own),
                vxlan_group=str(peer),
            )
            (index,) = ip.link_lookup(ifname="vxlan.test")
            ip.addr("add", index=index, address=str(inner), prefixlen=16)
            ip.link("set", index=index, state="up")

    namespace.run_in(fabric.names.vm(vm), add)
