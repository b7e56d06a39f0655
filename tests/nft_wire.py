"""A router in a namespace with a raw wire on each of its interfaces, and no waiting for losses.

    outer namespace:   wire       wire   ...   wire    wire
                         |          |            |       |
    router namespace:  cali1 ... cali5  calighost  eth0    eth1

Packets are put on a wire as frames and read off the others as frames, so that any protocol and any
source address can be sent and nobody answers. The kernel works frames off in order on the
processor that sent them: when the fence, an ARP question that eth1 answers, has come back,
everything before it was delivered or dropped.
"""

import contextlib
import os
import socket
import struct
from contextlib import contextmanager
from dataclasses import dataclass

from pyroute2 import IPRoute

from korat.core.net.address import Addr, Family, Prefix
from korat.drivers.kernel import namespace, sysctl
from korat.drivers.kernel.nft import Nft
from korat.drivers.kernel.nft_counter import NftCounters

WORKLOADS = tuple(f"cali{number}" for number in range(1, 6))
INTERFACES = (*WORKLOADS, "calighost", "eth0", "eth1")
GHOST = Prefix.parse("198.51.100.66")  # routed to the workload interface that nobody has
FENCE = Addr.parse("198.51.100.1")
OWN = tuple(map(Addr.parse, ("172.16.0.1", "fd01::1")))  # the router's own, on eth0
_ETHERTYPE = {Family.V4: 0x0800, Family.V6: 0x86DD}
_AF = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
_OUTGOING = 4
_ANY = 0x0003
_ARP = 0x0806
_IPV6_HDRINCL = 36

_SETTINGS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv4/conf/all/send_redirects": 0,
    "net/ipv4/conf/default/send_redirects": 0,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv6/conf/default/accept_dad": 0,
    "net/ipv6/conf/all/accept_dad": 0,
}
_MUTE = {"net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1}
_STATELESS = """
add table inet kt-stateless
add chain inet kt-stateless raw { type filter hook prerouting priority -310; }
add rule inet kt-stateless raw notrack
add chain inet kt-stateless out { type filter hook output priority -310; }
add rule inet kt-stateless out icmpv6 type { 130-137, 143 } drop
add rule inet kt-stateless out meta l4proto 2 drop
add rule inet kt-stateless out notrack
add chain inet kt-stateless sink { type filter hook input priority 500; }
add rule inet kt-stateless sink counter drop
"""


@dataclass(frozen=True)
class Probe:
    """A packet and the interface by which it comes; ``a`` and ``b`` are its first two numbers."""

    iif: str
    src: Addr
    dst: Addr
    protocol: int
    a: int = 0
    b: int = 0


@contextmanager
def routers(suffix):
    """A router whose connection tracking is off, so that every packet is judged for itself."""
    inner, outer = (f"kt-{os.getpid()}-{suffix}-{end}" for end in ("in", "out"))
    processors = os.sched_getaffinity(0)
    try:
        namespace.create(inner)
        namespace.create(outer)
        sysctl.write(_SETTINGS, inner)
        sysctl.write(_MUTE, outer)
        namespace.run_in(inner, lambda: _cable(outer))
        os.sched_setaffinity(0, {min(processors)})
        with namespace.run_in(inner, Nft) as nft, _wires(outer) as wires:
            nft.apply(_STATELESS)
            yield Router(inner, nft, wires)
    finally:
        os.sched_setaffinity(0, processors)
        namespace.remove(inner)
        namespace.remove(outer)


@contextmanager
def _wires(outer):
    wires = {
        name: namespace.socket_in(outer, socket.AF_PACKET, socket.SOCK_RAW) for name in INTERFACES
    }
    try:
        for name, wire in wires.items():
            wire.bind((name, _ANY))
            wire.settimeout(5)
        yield wires
    finally:
        for wire in wires.values():
            wire.close()


def _cable(outer):
    """In the router's namespace: a veth per interface, its other end outside."""
    with IPRoute() as ip:
        for number, name in enumerate(INTERFACES):
            there = {"ifname": name, "net_ns_fd": outer, "address": _mac(1, number)}
            ip.link("add", ifname=name, kind="veth", peer=there, address=_mac(0, number))
            index = ip.link_lookup(ifname=name)[0]
            if name == "eth1":
                ip.addr("add", index=index, address=str(FENCE), prefixlen=32)
                ip.link("set", index=index, state="up")
                continue
            if name == "eth0":
                for own in OWN:
                    ip.addr("add", index=index, address=str(own), prefixlen=own.family.bits)
            # Without ARP no neighbour is ever asked for; a frame goes to its own sender's address.
            ip.link("set", index=index, arp=False, state="up")
        _route(ip, "add", str(GHOST), "calighost")
        for default in ("0.0.0.0/0", "::/0"):
            _route(ip, "add", default, "eth0")
    namespace.run_in(outer, _up)


def _up():
    with IPRoute() as ip:
        for name in INTERFACES:
            ip.link("set", index=ip.link_lookup(ifname=name)[0], state="up")


def _route(ip, verb, prefix, interface):
    family = _AF[Prefix.parse(prefix).family]
    ip.route(verb, family=family, dst=prefix, oif=ip.link_lookup(ifname=interface)[0])


def _change(changes):
    with IPRoute() as ip:
        for verb, addr, interface in changes:
            _route(ip, verb, str(Prefix.of(addr)), interface)


def _mac(side, number):
    return f"02:00:00:00:{side:02x}:{number:02x}"


class Router:
    """What a test does with the router: load rules, route addresses, send packets."""

    def __init__(self, inner, nft, wires):
        self.nft = nft
        self._inner = inner
        self._wires = wires
        self._routes = {}
        self._taken = 0

    def route(self, routes):
        """Route exactly these addresses to these workload interfaces; others go to eth0."""
        gone, fresh = self._routes.items() - routes.items(), routes.items() - self._routes.items()
        changes = [("del", *route) for route in gone] + [("add", *route) for route in fresh]
        if changes:
            namespace.run_in(self._inner, lambda: _change(changes))
        self._routes = dict(routes)

    def counters(self):
        """What the named counters of korat's table have counted."""
        with namespace.run_in(self._inner, lambda: NftCounters("korat")) as counters:
            return counters.read()

    def way(self, addr):
        """The interface by which packets to an address leave."""
        ghost = addr == Addr(GHOST.family, GHOST.base)
        return "calighost" if ghost else self._routes.get(addr, "eth0")

    def taken(self):
        """How many packets came to the router itself since the last time this was asked."""
        total = sum(
            statement["counter"]["packets"]
            for each in self.nft.list_json("inet kt-stateless")
            if "rule" in each
            for statement in each["rule"]["expr"]
            if "counter" in statement
        )
        before, self._taken = self._taken, total
        return total - before

    def send(self, probes):
        """For each probe the interface on which it came out, or an empty name.

        A probe without an interface is sent by the router itself.
        """
        for mark, probe in enumerate(probes):
            if probe.iif:
                self._put(probe, mark)
            else:
                self._emit(probe, mark)
        self._fence()
        found = {}
        for name, wire in self._wires.items():
            wire.setblocking(False)
            while (marks := self._take(name)) is not None:
                for mark in marks:
                    assert mark not in found, f"probe {mark} came out twice"
                    found[mark] = name
            wire.settimeout(5)
        return [found.get(mark, "") for mark in range(len(probes))]

    def _fence(self):
        wire = self._wires["eth1"]
        me = bytes.fromhex(_mac(1, INTERFACES.index("eth1")).replace(":", ""))
        question = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + me + b"\xc6\x33\x64\x09"
        question += bytes(6) + FENCE.value.to_bytes(4)
        wire.send(b"\xff" * 6 + me + struct.pack("!H", _ARP) + question)
        while True:
            frame, (_, protocol, kind, *_) = wire.recvfrom(4096)
            if protocol == _ARP and kind != _OUTGOING and frame[20:22] == b"\0\2":
                return

    def _put(self, probe, mark):
        number = INTERFACES.index(probe.iif)
        head = bytes.fromhex(f"{_mac(0, number)}{_mac(1, number)}".replace(":", ""))
        frame = head + struct.pack("!H", _ETHERTYPE[probe.src.family]) + packed(probe, mark)
        self._wires[probe.iif].send(frame)

    def _emit(self, probe, mark):
        family = probe.src.family
        with (
            namespace.socket_in(
                self._inner, _AF[family], socket.SOCK_RAW, socket.IPPROTO_RAW
            ) as raw,
            contextlib.suppress(PermissionError),  # what the kernel says of what it dropped
        ):
            if family is Family.V6:
                raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
            raw.sendto(packed(probe, mark), (str(probe.dst), 0))

    def _take(self, name):
        """The marks in the next frame, or None when there is no frame."""
        try:
            frame, (_, _, kind, *_) = self._wires[name].recvfrom(4096)
        except BlockingIOError:
            return None
        start = {b"\x08\x00": 34, b"\x86\xdd": 54}.get(frame[12:14])
        if kind == _OUTGOING or start is None or frame[start + 8 : start + 12] != b"mark":
            return []
        return [int.from_bytes(frame[start + 4 : start + 8])]


def packed(probe, mark):
    """The packet: an IP header and twenty octets, the first four of which are ``a`` and ``b``."""
    numbers = "!BB2x" if probe.protocol in (1, 58) else "!HH"
    body = struct.pack(numbers, probe.a, probe.b) + struct.pack("!I4s8x", mark, b"mark")
    width = probe.src.family.bits // 8
    addresses = probe.src.value.to_bytes(width) + probe.dst.value.to_bytes(width)
    if probe.src.family is Family.V6:
        return struct.pack("!IHBB", 6 << 28, len(body), probe.protocol, 64) + addresses + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, probe.protocol, 0)
    total = sum(struct.unpack("!10H", head + addresses))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~total & 0xFFFF) + addresses + body
