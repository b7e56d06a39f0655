"""Checksum offload in tunnels: tried with real packets, switched off only where it is broken.

A wire that copies frames as they are, without the checksums that nobody has filled in yet, is what
a NIC with broken offload is to a tunnel.
"""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from korat.agent.offload import Finding, OffloadTests, Result, after, examine
from korat.agent.tunnel_echo import TunnelEcho
from korat.core.net.address import Addr, Family
from korat.core.route.vtep import Vtep
from korat.drivers.kernel import namespace
from korat.drivers.kernel.offload import set_transmit_checksum, transmit_checksum
from tunnel_world import Machine, World, eventually, talks, world

pytestmark = pytest.mark.netns

V4, V6 = Family.V4, Family.V6
DEVICES = {V4: "vxlan.calico", V6: "vxlan-v6.calico"}
BOTH = pytest.mark.parametrize("family", [V4, V6], ids=["IPv4", "IPv6"])


@contextlib.contextmanager
def careless(wire: str) -> Iterator[None]:
    """Copies frames between two cables byte by byte, as they lie in memory.

    Only the outer checksum, without which IPv6 carries no UDP, is filled in as a NIC does it.
    """
    one, two = namespace.run_in(wire, lambda: (listener("m1"), listener("m2")))
    bell, ring = socket.socketpair()
    thread = threading.Thread(target=copy, args=({one: two, two: one}, bell))
    thread.start()
    try:
        yield
    finally:
        ring.close()
        thread.join()
        for each in (one, two, bell):
            each.close()


def listener(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.bind((interface, 3))
    return sock


def copy(ways: dict[socket.socket, socket.socket], bell: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        for each in (*ways, bell):
            selector.register(each, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if bell in ready:
                return
            for here in ready:
                frame, (_, _, kind, _, _) = here.recvfrom(65535)
                if kind != socket.PACKET_OUTGOING:
                    with contextlib.suppress(OSError):  # longer than a frame may be
                        ways[here].send(with_outer_checksum(frame))


def with_outer_checksum(frame: bytes) -> bytes:
    if frame[12:14] != b"\x86\xdd" or frame[20] != socket.IPPROTO_UDP:
        return frame
    udp = frame[54:60] + b"\0\0" + frame[62:]
    padded = frame[22:54] + len(udp).to_bytes(4, "big") + b"\0\0\0\x11" + udp + bytes(len(udp) % 2)
    total = sum(int.from_bytes(padded[i : i + 2], "big") for i in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return frame[:60] + ((~total & 0xFFFF) or 0xFFFF).to_bytes(2, "big") + frame[62:]


@contextlib.contextmanager
def answering(machine: Machine, family: Family, peers: list[Machine]) -> Iterator[TunnelEcho]:
    ends = [end(peer, family).address for peer in peers]
    echo = machine.inside(lambda: TunnelEcho(DEVICES[family], end(machine, family).address, ends))
    try:
        yield echo
    finally:
        echo.close()


def end(machine: Machine, family: Family) -> Vtep:
    found = machine.node(family).vtep
    assert found is not None
    return found


def tried(machine: Machine, family: Family, *peers: Vtep) -> Finding:
    own = end(machine, family).address
    return machine.inside(lambda: examine(DEVICES[family], own, peers))


def offloaded(machine: Machine, family: Family) -> bool:
    return machine.inside(lambda: transmit_checksum(DEVICES[family]))


@BOTH
def test_where_all_is_well_nothing_is_changed(family: Family):
    with world(2, (V4, V6), "well") as made:
        made.tell()
        one, two = made.machines
        with answering(two, family, [one]):
            found = tried(one, family, end(two, family))
        assert found == Finding(Result.ON, "UDP and TCP arrive at n2")
        assert offloaded(one, family)


@BOTH
def test_where_checksums_are_broken_the_offload_is_switched_off(family: Family):
    with world(2, (V4, V6), "broken", careless) as made:
        made.tell()
        one, two = made.machines
        assert not talks(one, two, family), "the wire is no good"
        with answering(two, family, [one]), answering(one, family, [two]):
            found = tried(one, family, end(two, family))
            assert found.result is Result.OFF
            assert "only without" in found.reason
            assert not offloaded(one, family)
            assert tried(two, family, end(one, family)).result is Result.OFF
            again = tried(one, family, end(two, family))
        assert again == Finding(Result.OFF, "UDP and TCP arrive at n2; it was off before")


def test_who_does_not_answer_says_nothing_of_checksums():
    with world(2, tag="mute") as made:
        made.tell()
        one, two = made.machines
        found = tried(one, V4, end(two, V4))
        assert found == Finding(Result.UNTESTED, "n2 does not answer by UDP")
        assert offloaded(one, V4), "left as it was"
        assert tried(one, V4).result is Result.UNTESTED


def test_the_next_peer_is_asked_where_the_first_is_mute():
    with world(3, tag="next") as made:
        made.tell()
        one, two, three = made.machines
        with answering(three, V4, [one]):
            found = tried(one, V4, end(two, V4), end(three, V4))
        assert found == Finding(Result.ON, "UDP and TCP arrive at n3")


def test_only_ends_of_tunnels_are_answered():
    with world(2, tag="only") as made:
        made.tell()
        one, two = made.machines
        with answering(two, V4, []):
            assert tried(one, V4, end(two, V4)).result is Result.UNTESTED


def told(made: World, machine: Machine) -> tuple[OffloadTests, list[tuple[str, str]]]:
    said: list[tuple[str, str]] = []
    tests = OffloadTests(machine.name, lambda _family, result, why: said.append((result, why)))
    machine.inside(tests.start)
    tests.look(made.plans(machine))
    return tests, said


def test_the_agents_find_out_by_themselves_and_once_more_for_a_new_device():
    with world(2, tag="own", wire=careless) as made:
        made.tell()
        kept = [told(made, machine) for machine in made.machines]
        one, two = made.machines
        try:
            assert eventually(lambda: all(said and said[-1][0] == "off" for _, said in kept), 30.0)
            assert talks(one, two)
            count = len(kept[0][1])
            made.settings = replace(made.settings, vni=7)
            made.tell()
            for (tests, _), machine in zip(kept, made.machines, strict=True):
                tests.look(made.plans(machine))
            assert eventually(lambda: len(kept[0][1]) > count and kept[0][1][-1][0] == "off", 30.0)
            assert eventually(lambda: talks(one, two), 30.0)
        finally:
            for tests, _ in kept:
                tests.close()


def test_offload_can_be_read_and_set():
    with world(1, tag="set") as made:
        made.tell()
        (one,) = made.machines
        assert offloaded(one, V4)
        one.inside(lambda: set_transmit_checksum("vxlan.calico", on=False))
        assert not offloaded(one, V4)


def test_the_ring_begins_behind_oneself():
    nodes = [Vtep(name, Addr(V4, 1), "", Addr(V4, 1)) for name in ("a", "b", "d")]
    assert [peer.node for peer in after("c", nodes)] == ["d", "a", "b"]
