"""Hears what happens to the tunnels: their devices, neighbours, forwarding entries and routes.

One netlink socket and one thread. Most of what it hears is what korat does itself, so it tells each
fact and lets the listener say whether it is as it should be; the kernel does not say whose doing
a forwarding entry is. Lost messages are told as damage.

Not for mending, nor for links and addresses of the node in general (``monitor``).
Source: linux/rtnetlink.h, linux/neighbour.h, linux/if_link.h.
"""

import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.tunnel import TunnelNames
from korat.drivers.kernel.nfnetlink import attributes, messages, open_socket, received
from korat.drivers.kernel.rtnetlink import (
    ADDRESS_HEADER,
    AF_BRIDGE,
    DELNEIGH,
    DELROUTE,
    FAMILIES,
    LINK_HEADER,
    NEWNEIGH,
    NEWROUTE,
    PERMANENT,
    entry_of,
    mac_text,
    route_of,
)

_NETLINK_ROUTE = 0
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
#: Links, neighbours (forwarding entries too), addresses and routes of both families.
_GROUPS = (1, 3, 5, 7, 9, 11)
_NEWLINK, _DELLINK, _NEWADDR, _DELADDR = 16, 17, 20, 21
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU = 1, 3, 4
_PROTOCOL_KERNEL = 2
_IFA_ADDRESS = 1
_NUMBER = struct.Struct("=I")
_UP = 0x01
_QUEUE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class LinkFact:
    """The device is as said here; ``mac`` is empty once it is gone."""

    mac: str
    mtu_bytes: int
    up: bool


@dataclass(frozen=True, slots=True)
class AddressFact:
    """The device has an address, or has it no more."""

    address: Addr
    present: bool


@dataclass(frozen=True, slots=True)
class NeighbourFact:
    """The device has a permanent neighbour; with an empty MAC it has it no more."""

    address: Addr
    mac: str


@dataclass(frozen=True, slots=True)
class ForwardingFact:
    """Frames to this MAC go to this node; None: they go nowhere."""

    mac: str
    node: Addr | None


@dataclass(frozen=True, slots=True)
class RouteFact:
    """There is a route to a prefix that is korat's or on the device, or no more."""

    prefix: Prefix
    present: bool
    via: Addr | None = None


Fact = LinkFact | AddressFact | NeighbourFact | ForwardingFact | RouteFact


class TunnelMonitor:
    """Tells ``hear`` each fact with its family, and None where some were lost."""

    def __init__(
        self, names: TunnelNames, hear: Callable[[Family | None, Fact | None], None]
    ) -> None:
        """Listens in the calling thread's network namespace from now on."""
        self._hear = hear
        self._names = {name.device: family for family, name in names.items()}
        self._numbers = {name.protocol for name in names.values() if name.everywhere}
        self._devices = dict(_present(self._names))
        self._socket = open_socket(_QUEUE_BYTES, _NETLINK_ROUTE)
        for group in _GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._bell, self._ring = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="tunnel-monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ring.close()
        self._thread.join()
        self._socket.close()
        self._bell.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            while not any(key.fileobj is self._bell for key, _ in selector.select()):
                data = received(self._socket)
                if data is None:
                    self._hear(None, None)
                    continue
                for message in messages(data):
                    for family, fact in self._facts(message.kind, message.body):
                        self._hear(family, fact)

    def _facts(self, kind: int, body: bytes) -> Iterator[tuple[Family, Fact]]:
        if kind in (_NEWLINK, _DELLINK):
            yield from self._link(body, gone=kind == _DELLINK)
        elif kind in (_NEWADDR, _DELADDR):
            yield from self._address(body, present=kind == _NEWADDR)
        elif kind in (NEWNEIGH, DELNEIGH):
            yield from self._neighbour(body, gone=kind == DELNEIGH)
        elif kind in (NEWROUTE, DELROUTE):
            yield from self._route(body, present=kind == NEWROUTE)

    def _link(self, body: bytes, *, gone: bool) -> Iterator[tuple[Family, Fact]]:
        _, _, index, flags, _ = LINK_HEADER.unpack_from(body)
        found = dict(attributes(body, LINK_HEADER.size))
        name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
        family = self._names.get(name)
        if family is None:
            # A device that was given another name is none of ours any more.
            lost = self._devices.pop(index, None)
            if lost is not None:
                yield lost, LinkFact("", 0, up=False)
            return
        if gone:
            self._devices.pop(index, None)
            yield family, LinkFact("", 0, up=False)
            return
        self._devices[index] = family
        mtu = _NUMBER.unpack(found[_IFLA_MTU])[0] if _IFLA_MTU in found else 0
        yield family, LinkFact(mac_text(found.get(_IFLA_ADDRESS, b"")), mtu, up=bool(flags & _UP))

    def _address(self, body: bytes, *, present: bool) -> Iterator[tuple[Family, Fact]]:
        number, _, _, scope, index = ADDRESS_HEADER.unpack_from(body)
        device = self._devices.get(index)
        family = FAMILIES.get(number)
        if device is None or family is not device or scope:
            return
        found = dict(attributes(body, ADDRESS_HEADER.size))
        value = int.from_bytes(found.get(_IFA_ADDRESS, b""), "big")
        yield device, AddressFact(Addr(family, value), present)

    def _neighbour(self, body: bytes, *, gone: bool) -> Iterator[tuple[Family, Fact]]:
        entry = entry_of(body)
        device = self._devices.get(entry.interface)
        if device is None or entry.dst is None:
            return
        if entry.family == AF_BRIDGE:
            yield device, ForwardingFact(entry.mac, None if gone else entry.address(device))
        elif FAMILIES.get(entry.family) is device:
            permanent = bool(entry.state & PERMANENT) and not gone
            yield device, NeighbourFact(entry.address(device), entry.mac if permanent else "")

    def _route(self, body: bytes, *, present: bool) -> Iterator[tuple[Family, Fact]]:
        route = route_of(body)
        if route is None:
            return
        family = route.prefix.family
        on_device = self._devices.get(route.interface) is family
        others = on_device and route.protocol != _PROTOCOL_KERNEL
        if route.protocol in self._numbers or others:
            yield family, RouteFact(route.prefix, present, route.via)


def _present(names: Mapping[str, Family]) -> Iterator[tuple[int, Family]]:
    for index, name in socket.if_nameindex():
        if name in names:
            yield index, names[name]
