"""Routes and neighbours over netlink, many at a time: as they are written and as they are read.

A cluster of a thousand nodes is some thousand of them; a library that makes an object of each takes
seconds for what the kernel does in milliseconds. Here are only the forms that tunnels need.
Source: linux/rtnetlink.h, linux/neighbour.h, rtnetlink(7).
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Self

from korat.core.net.address import Addr, Family, Prefix
from korat.drivers.kernel.family import AF
from korat.drivers.kernel.nfnetlink import (
    ACK,
    DONE,
    DUMP,
    ERROR,
    attribute,
    attributes,
    fault,
    message,
    messages,
    numbered,
    open_socket,
    received,
)

NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
MAIN_TABLE = 254
#: The family of forwarding entries.
AF_BRIDGE = 7
BLACKHOLE, UNICAST = 6, 1
PERMANENT, NO_ARP = 0x80, 0x40
#: Before the attributes of a link: its family, type, index, flags, and which of them change.
LINK_HEADER = struct.Struct("=BxHiII")
#: And of an address: family, prefix length, flags, scope; then its interface.
ADDRESS_HEADER = struct.Struct("=4BI")
FAMILIES = {number: family for family, number in AF.items()}

_NETLINK_ROUTE = 0
_PUT = 0x100 | 0x400  # replace, create
_SELF = 0x02
_ONLINK = 4
_UNIVERSE, _LINK, _NOWHERE = 0, 253, 255
_ROUTE = struct.Struct("=8BI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_NUMBER = struct.Struct("=I")
_DST, _OIF, _GATEWAY, _METRICS, _MTU = 1, 4, 5, 8, 2
_NDA_DST, _NDA_LLADDR = 1, 2
_QUEUE_BYTES = 4 << 20
#: How many requests go in one datagram: their answers must have room in the queue.
_TOGETHER = 256


class Request(NamedTuple):
    """One change: its kind, its flags, its body."""

    kind: int
    flags: int
    body: bytes


class Route(NamedTuple):
    """A route of the main table as the kernel has it; ``kind`` is its type, BLACKHOLE say."""

    prefix: Prefix
    protocol: int
    kind: int
    interface: int
    via: Addr | None
    mtu_bytes: int


class Entry(NamedTuple):
    """A neighbour or, of the family AF_BRIDGE, a forwarding entry."""

    family: int
    interface: int
    state: int
    mac: str
    dst: bytes | None

    def address(self, family: Family) -> Addr:
        """Where it leads, of the family that it must be of."""
        return Addr(family, int.from_bytes(self.dst or b"", "big"))


def put_route(
    prefix: Prefix, protocol: int, index: int = 0, via: Addr | None = None, mtu_bytes: int = 0
) -> Request:
    """A route over an interface, or without one a blackhole, in the place of any other."""
    kind, scope, flags = UNICAST, _UNIVERSE, _ONLINK if via else 0
    if not index:
        kind = BLACKHOLE
    elif via is None and prefix.family is Family.V4:
        scope = _LINK
    body = _ROUTE.pack(
        AF[prefix.family], prefix.length, 0, 0, MAIN_TABLE, protocol, scope, kind, flags
    )
    body += attribute(_DST, _packed(prefix.family, prefix.base))
    if index:
        body += attribute(_OIF, _NUMBER.pack(index))
    if via is not None:
        body += attribute(_GATEWAY, _packed(via.family, via.value))
    if mtu_bytes:
        body += attribute(_METRICS, attribute(_MTU, _NUMBER.pack(mtu_bytes)))
    return Request(NEWROUTE, _PUT, body)


def remove_route(prefix: Prefix, protocol: int, index: int = 0) -> Request:
    """The route to a prefix goes: over an interface whoever made it, or the blackhole."""
    kind, number = (UNICAST, 0) if index else (BLACKHOLE, protocol)
    body = _ROUTE.pack(
        AF[prefix.family], prefix.length, 0, 0, MAIN_TABLE, number, _NOWHERE, kind, 0
    )
    body += attribute(_DST, _packed(prefix.family, prefix.base))
    if index:
        body += attribute(_OIF, _NUMBER.pack(index))
    return Request(DELROUTE, 0, body)


def put_neighbour(index: int, addr: Addr, mac: str) -> Request:
    """An address of an interface's link has this MAC for good."""
    body = _NEIGHBOUR.pack(AF[addr.family], index, PERMANENT, 0, 0)
    body += attribute(_NDA_DST, _packed(addr.family, addr.value))
    return Request(NEWNEIGH, _PUT, body + attribute(_NDA_LLADDR, _mac_bytes(mac)))


def remove_neighbour(index: int, addr: Addr) -> Request:
    """Nobody of an interface's link has the address."""
    body = _NEIGHBOUR.pack(AF[addr.family], index, 0, 0, 0)
    return Request(DELNEIGH, 0, body + attribute(_NDA_DST, _packed(addr.family, addr.value)))


def put_forwarding(index: int, mac: str, node: Addr) -> Request:
    """Frames to a MAC leave a tunnel's device for this node."""
    body = _NEIGHBOUR.pack(AF_BRIDGE, index, PERMANENT | NO_ARP, _SELF, 0)
    body += attribute(_NDA_LLADDR, _mac_bytes(mac))
    return Request(NEWNEIGH, _PUT, body + attribute(_NDA_DST, _packed(node.family, node.value)))


def remove_forwarding(index: int, mac: str) -> Request:
    """Frames to a MAC leave a tunnel's device for nobody."""
    body = _NEIGHBOUR.pack(AF_BRIDGE, index, PERMANENT | NO_ARP, _SELF, 0)
    return Request(DELNEIGH, 0, body + attribute(_NDA_LLADDR, _mac_bytes(mac)))


def route_of(body: bytes) -> Route | None:
    """What a message says of a route; None of those that are not of the main table."""
    number, length, _, _, table, protocol, _, kind, _ = _ROUTE.unpack_from(body)
    family = FAMILIES.get(number)
    if family is None or table != MAIN_TABLE:
        return None
    found = dict(attributes(body, _ROUTE.size))
    via = found.get(_GATEWAY)
    metrics = dict(attributes(found.get(_METRICS, b"")))
    return Route(
        Prefix(family, int.from_bytes(found.get(_DST, b"\0"), "big"), length),
        protocol,
        kind,
        _number(found.get(_OIF)),
        Addr(family, int.from_bytes(via, "big")) if via else None,
        _number(metrics.get(_MTU)),
    )


def entry_of(body: bytes) -> Entry:
    """What a message says of a neighbour."""
    number, index, state, _, _ = _NEIGHBOUR.unpack_from(body)
    found = dict(attributes(body, _NEIGHBOUR.size))
    return Entry(number, index, state, mac_text(found.get(_NDA_LLADDR, b"")), found.get(_NDA_DST))


def mac_text(data: bytes) -> str:
    """A MAC as people write it; empty for none."""
    return ":".join(f"{byte:02x}" for byte in data)


class RouteSocket:
    """Asks and hears in the network namespace in which it was opened."""

    def __init__(self) -> None:
        self._socket = open_socket(_QUEUE_BYTES, _NETLINK_ROUTE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def carry_out(self, requests: Iterable[Request]) -> Iterator[OSError | None]:
        """Do these in their order; what came of each, as it is asked for.

        Raises:
            OSError: the kernel does not answer.
        """
        left = iter(requests)
        while part := list(islice(left, _TOGETHER)):
            yield from self._together(part)

    def routes(self, family: Family) -> Iterator[Route]:
        """All routes of the main table.

        Raises:
            OSError: the kernel does not answer.
        """
        for body in self.dump(GETROUTE, _ROUTE.pack(AF[family], *[0] * 8)):
            found = route_of(body)
            if found is not None:
                yield found

    def neighbours(self, family: Family) -> Iterator[Entry]:
        """All neighbours.

        Raises:
            OSError: the kernel does not answer.
        """
        yield from map(entry_of, self.dump(GETNEIGH, _NEIGHBOUR.pack(AF[family], 0, 0, 0, 0)))

    def forwarding(self, index: int) -> Iterator[Entry]:
        """All forwarding entries of one device.

        Raises:
            OSError: the kernel does not answer.
        """
        header = LINK_HEADER.pack(AF_BRIDGE, 0, index, 0, 0)
        yield from map(entry_of, self.dump(GETNEIGH, header))

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """What a request for all of something is answered with, a body each.

        Raises:
            OSError: the kernel does not answer.
        """
        self._socket.send(message(kind, DUMP, body))
        while True:
            for answer in messages(self._received()):
                if answer.kind == DONE:
                    return
                if answer.kind == ERROR:
                    error = fault(answer.body)
                    if error is not None:
                        raise error
                    return
                yield answer.body

    def _together(self, part: Sequence[Request]) -> Iterator[OSError | None]:
        data = b"".join(
            numbered(each.kind, each.flags | ACK, number, each.body)
            for number, each in enumerate(part)
        )
        self._socket.send(data)
        answers: dict[int, OSError | None] = {}
        while len(answers) < len(part):
            for answer in messages(self._received()):
                if answer.kind == ERROR:
                    answers[answer.sequence] = fault(answer.body)
        for number in range(len(part)):
            yield answers[number]

    def _received(self) -> bytes:
        data = received(self._socket)
        if data is None:
            raise OSError("answers of the kernel were lost")
        return data


def _packed(family: Family, value: int) -> bytes:
    return value.to_bytes(family.bits // 8, "big")


def _mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _number(data: bytes | None) -> int:
    return int(_NUMBER.unpack(data)[0]) if data else 0
