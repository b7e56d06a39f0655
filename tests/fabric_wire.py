"""Raw packets on the fabric, and a way to know that one was lost without waiting for it.

Everything a VM sends is worked off by the kernel in order, on the processor that sent it. So a VM
that sends packets and then asks by ARP has its answer only after all of them were delivered or
dropped: the ARP question is a fence. Whoever holds a ``Wire`` should have pinned the thread.
"""

import itertools
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from korat.core.net.address import Addr, Prefix
from korat.core.route.effective import TableRoute, effective_routes
from korat.drivers.kernel import namespace, sysctl
from korat.lab.arm.view import NetworkView, NicView
from korat.lab.fabric.apply import Fabric
from korat.lab.fabric.model import INTERNET, Packet

VNET = Prefix.parse("10.10.0.0/16")
NODES = Prefix.parse("10.10.0.0/24")
FENCE = Addr.parse("198.18.0.1")  # a system route drops it, so every port answers ARP for it
UDP = 17

_ETH_IP, _ETH_ARP, _ETH_ALL = 0x0800, 0x0806, 0x0003
_OUTGOING = 4
_MARK = b"korat-mark"
_labs = itertools.count()


def lab_name() -> str:
    """A name that no other lab has, in this process or another."""
    return f"kt{os.getpid()}x{next(_labs)}"


def nic(number: int, routes, *, forwarding=True, subnet=NODES, addresses=()) -> NicView:
    """The NIC of VM ``number``, 1 to 9, at .4 and on of the subnet unless given addresses."""
    own = addresses or (Addr(subnet.family, subnet.first + 3 + number),)
    mac = f"00:0d:3a:00:00:{number:02x}"
    return NicView(f"vm{number}-nic", f"vm{number}", own, forwarding, mac, routes, subnet)


def network(count=3, table=None, *, forwarding=True, off=()) -> NetworkView:
    """VMs of one subnet with this route table; ``off`` are VMs without IP forwarding."""
    routes = effective_routes([VNET], table)
    nics = (nic(n, routes, forwarding=forwarding and n not in off) for n in range(1, count + 1))
    return NetworkView((VNET,), (Addr.parse("10.10.0.1"),), tuple(nics))


def user_route(prefix: str, hop_type, hop: str | None = None) -> TableRoute:
    """A route of a route table."""
    return TableRoute(
        prefix.replace("/", "-"), Prefix.parse(prefix), hop_type, Addr.parse(hop) if hop else None
    )


class Wire:
    """Raw access to the end of one cable: that of a NIC, or of the internet."""

    def __init__(self, name: str, netns: str, mac: str, address: Addr) -> None:
        self.name = name
        self._mac = bytes.fromhex(mac.replace(":", ""))
        self._address = address
        self._socket = namespace.socket_in(netns, socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind(("eth0", _ETH_ALL))
        self._socket.settimeout(5)

    def close(self) -> None:
        self._socket.close()

    def send(self, packet: Packet, *, payload=b"", ttl=64, to="12:34:56:78:9a:bc") -> None:
        """Send an IPv4 packet, by default to the fabric's hardware address."""
        self._socket.send(self._frame(_ETH_IP, ipv4(packet, payload, ttl), to))

    def ask(self, address: Addr) -> None:
        """Ask by ARP who has the address."""
        me = self._mac + self._address.value.to_bytes(4)
        question = struct.pack("!HHBBH", 1, _ETH_IP, 6, 4, 1) + me
        question += bytes(6) + address.value.to_bytes(4)
        self._socket.send(self._frame(_ETH_ARP, question, "ff:ff:ff:ff:ff:ff"))

    def fenced(self) -> list[bytes]:
        """The frames that came in until the fence's answer, which shows that no more will."""
        self.ask(FENCE)
        frames = []
        for frame in iter(self._receive, None):
            if _answer(frame, FENCE):
                return frames
            frames.append(frame)
        raise AssertionError

    def seen(self) -> list[bytes]:
        """The frames that have come in by now."""
        self._socket.setblocking(False)
        try:
            return list(iter(self._receive, None))
        except BlockingIOError:
            raise AssertionError from None
        finally:
            self._socket.settimeout(5)

    def _receive(self) -> bytes | None:
        while True:
            try:
                frame, (_, _, kind, *_) = self._socket.recvfrom(4096)
            except BlockingIOError:
                return None
            if kind != _OUTGOING:
                return frame

    def _frame(self, protocol: int, payload: bytes, to: str) -> bytes:
        return (
            bytes.fromhex(to.replace(":", "")) + self._mac + struct.pack("!H", protocol) + payload
        )


def answers(frames: list[bytes], address: Addr) -> list[str]:
    """The hardware addresses that ARP answers in these frames give for an address."""
    return [frame[22:28].hex(":") for frame in frames if _answer(frame, address)]


def _answer(frame: bytes, address: Addr) -> bool:
    is_reply = frame[12:14] == struct.pack("!H", _ETH_ARP) and frame[20:22] == b"\0\2"
    return is_reply and frame[28:32] == address.value.to_bytes(4)


def packets(frames: list[bytes]) -> list[bytes]:
    """The IPv4 packets in these frames."""
    return [frame[14:] for frame in frames if frame[12:14] == struct.pack("!H", _ETH_IP)]


def marks(frames: list[bytes]) -> list[int]:
    """The numbers of the marked packets in these frames."""
    return [
        int.from_bytes(packet[30:34])
        for packet in packets(frames)
        if packet[20:30] == _MARK  # an ICMP error quotes a mark further back
    ]


def mark(number: int) -> bytes:
    """A payload to know a packet by."""
    return _MARK + number.to_bytes(4)


def ipv4(packet: Packet, payload: bytes, ttl: int = 64) -> bytes:
    """An IPv4 packet."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, ttl, packet.protocol, 0)
    head += packet.src.value.to_bytes(4) + packet.dst.value.to_bytes(4)
    return head[:10] + checksum(head).to_bytes(2) + head[12:] + payload


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of data of even length."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@contextmanager
def wires(fabric: Fabric, view: NetworkView, *, mute=True) -> Iterator[dict[str, Wire]]:
    """A wire for each NIC and the internet; mute VMs do not forward what they are sent."""
    opened = {}
    cpu = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpu)})
    try:
        for each in view.nics:
            guest = fabric.names.vm(each.vm)
            sysctl.write({"net/ipv4/ip_forward": int(not mute)}, guest)
            opened[each.name] = Wire(each.name, guest, each.mac, each.addresses[0])
        outside = Addr.parse("203.0.113.10")
        inet = fabric.names.internet
        opened[INTERNET] = Wire(INTERNET, inet, "12:34:56:00:00:10", outside)
        yield opened
    finally:
        os.sched_setaffinity(0, cpu)
        for wire in opened.values():
            wire.close()


def delivered(opened: dict[str, Wire], sender: str, sent: list[Packet]) -> list[str | None]:
    """Where each packet arrives when this NIC sends it; None where nobody sees it."""
    for number, packet in enumerate(sent):
        opened[sender].send(packet, payload=mark(number))
    where: list[str | None] = [None] * len(sent)
    frames = {sender: opened[sender].fenced()}
    frames |= {name: wire.seen() for name, wire in opened.items() if name != sender}
    for name, seen in frames.items():
        for number in marks(seen):
            assert where[number] is None, f"{sent[number]} arrived twice"
            where[number] = name
    return where
