"""ctnetlink's messages: what a tracked connection looks like on netlink, read and written.

For: ``conntrack``, which dumps and deletes. The kernel sends a message per connection; of most only
the addresses matter, so that those are looked at where they always are, and the rest is taken apart
only of what is wanted. Not for: sockets.
Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h, net/netfilter/nf_conntrack_netlink.c.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from korat.core.net.address import Addr, Family
from korat.core.net.port import Protocol
from korat.core.table.rejudge import Connection, Tuple

_SUBSYSTEM = 1 << 8
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEAD = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
_PORT = struct.Struct("!H")
_NUMBER = struct.Struct("!I")
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
_BODY = 20  # netlink's head and nfnetlink's

_ORIGINAL, _REPLY, _TIMEOUT, _ID, _MASTER, _ZONE, _FILTER = 1, 2, 7, 12, 14, 18, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_SRC, _DST = {Family.V4: 1, Family.V6: 3}, {Family.V4: 2, Family.V6: 4}
_PROTO_NUMBER, _SPORT, _DPORT = 1, 2, 3
_ICMP_TYPE_CODE = {Protocol.ICMP: (5, 6), Protocol.ICMPV6: (8, 9)}
_FILTER_ORIGINAL, _FILTER_REPLY, _FILTER_SRC = 1, 2, 1 << 0
_AF = {Family.V4: 2, Family.V6: 10}


class Message(NamedTuple):
    """One netlink message: its type, its number, and all its octets."""

    kind: int
    number: int
    data: bytes

    @property
    def done(self) -> bool:
        """Whether it ends a dump."""
        return self.kind == _DONE

    @property
    def error(self) -> int | None:
        """The errno, 0 for an acknowledgement; None when this says nothing of the kind."""
        if self.kind not in (_ERROR, _DONE) or len(self.data) < _HEAD.size + _ERRNO.size:
            return None
        return -int(_ERRNO.unpack_from(self.data, _HEAD.size)[0])


def messages(datagram: bytes) -> Iterator[Message]:
    """The messages of one datagram."""
    start = 0
    while start + _HEAD.size <= len(datagram):
        length, kind, _, number, _ = _HEAD.unpack_from(datagram, start)
        yield Message(kind, number, datagram[start : start + length])
        start += length + 3 & ~3


class Layout(NamedTuple):
    """Where things are in a family's messages about protocols with ports, which most are.

    ``original`` and ``reply`` are what stands before the two sources then; the tuple of a protocol
    without ports, or in a zone of its own, has another length and so another beginning. ``both``
    reads addresses, protocol and ports of both directions from the first source on.
    """

    original: bytes
    reply: bytes
    src: slice
    reply_src: slice
    before: slice
    before_reply: slice
    both: struct.Struct


def _layout(family: Family) -> Layout:
    width = family.bits // 8
    ip = 4 + 2 * (4 + width)
    whole = 4 + ip + 28

    def head(direction: int) -> bytes:
        return b"".join(
            (
                _ATTRIBUTE.pack(whole, direction | _NESTED),
                _ATTRIBUTE.pack(ip, _TUPLE_IP | _NESTED),
                _ATTRIBUTE.pack(4 + width, _SRC[family]),
            )
        )

    start, again = _BODY + 12, _BODY + whole + 12
    one = f"{width}s4x{width}s8xB7xH6xH2x"
    return Layout(
        head(_ORIGINAL),
        head(_REPLY),
        slice(start, start + width),
        slice(again, again + width),
        slice(start - 12, start),
        slice(again - 12, again),
        struct.Struct(f"!{one}12x{one}"),
    )


LAYOUTS: Mapping[Family, Layout] = {family: _layout(family) for family in Family}
_MASTER_KIND = struct.pack("=H", _MASTER | _NESTED)


class Entry(NamedTuple):
    """A tracked connection and the message that told of it."""

    connection: Connection
    data: bytes

    @property
    def handle(self) -> bytes:
        """What the kernel needs to find exactly this connection again."""
        wanted = (_ORIGINAL, _ZONE, _ID)
        kept = ((k, v) for k, v in _attributes(self.data, _BODY, len(self.data)) if k in wanted)
        return b"".join(_attribute(k | (_NESTED if k == _ORIGINAL else 0), v) for k, v in kept)

    @property
    def timeout_s(self) -> int:
        """For how long the connection would be remembered without another packet."""
        parts = dict(_attributes(self.data, _BODY, len(self.data)))
        return int(_NUMBER.unpack(parts[_TIMEOUT])[0]) if _TIMEOUT in parts else 0


def dump(family: Family, source: Addr | None = None, *, reply: bool = False) -> bytes:
    """The request for all connections of a family, or those with this original or reply source.

    Kernels before 5.8 know no filter and send all.
    """
    body = b""
    if source is not None:
        ip = _attribute(_SRC[family], source.value.to_bytes(family.bits // 8))
        nested = _attribute(_TUPLE_IP | _NESTED, ip)
        flags = _ERRNO.pack(_FILTER_SRC)
        which, flag = (_REPLY, _FILTER_REPLY) if reply else (_ORIGINAL, _FILTER_ORIGINAL)
        asked = _attribute(_FILTER | _NESTED, _attribute(flag, flags))
        body = _attribute(which | _NESTED, nested) + asked
    return _message(_GET, _REQUEST | _DUMP, family, 1, body)


def delete(entry: Entry, number: int, *, ack: bool) -> bytes:
    """The request to delete exactly this connection; ``number`` comes back with an error."""
    flags = _REQUEST | (_ACK if ack else 0)
    return _message(_DELETE, flags, entry.connection.family, number, entry.handle)


def read(data: bytes, family: Family) -> Entry | None:
    """The connection of one message; None where it has not both directions."""
    layout = LAYOUTS[family]
    usual = data[layout.before] == layout.original and data[layout.before_reply] == layout.reply
    if usual and _MASTER_KIND not in data:
        return Entry(_usual(layout.both.unpack_from(data, layout.src.start), family), data)
    parts = dict(_attributes(data, _BODY, len(data)))
    original, reply = parts.get(_ORIGINAL), parts.get(_REPLY)
    if original is None or reply is None:
        return None
    protocol, there = _tuple(original, family)
    _, back = _tuple(reply, family)
    master = parts.get(_MASTER)
    announced = _tuple(master, family)[1] if master is not None else None
    return Entry(Connection(protocol, there, back, announced), data)


def _usual(
    read: tuple[bytes, bytes, int, int, int, bytes, bytes, int, int, int], family: Family
) -> Connection:
    src, dst, protocol, sport, dport, src_back, dst_back, _, sport_back, dport_back = read
    number = int.from_bytes
    return Connection(
        protocol,
        Tuple(Addr(family, number(src)), Addr(family, number(dst)), sport, dport),
        Tuple(
            Addr(family, number(src_back)), Addr(family, number(dst_back)), sport_back, dport_back
        ),
    )


def _tuple(data: bytes, family: Family) -> tuple[int, Tuple]:
    """The protocol and the direction that a nested tuple holds."""
    nested = dict(_attributes(data, 0, len(data)))
    ip = dict(_attributes(nested[_TUPLE_IP], 0, len(nested[_TUPLE_IP])))
    proto = dict(_attributes(nested[_TUPLE_PROTO], 0, len(nested[_TUPLE_PROTO])))
    protocol = proto[_PROTO_NUMBER][0]
    icmp = {int(p): numbers for p, numbers in _ICMP_TYPE_CODE.items()}.get(protocol)
    if icmp is not None:
        a, b = (proto[kind][0] if kind in proto else 0 for kind in icmp)
    else:
        a, b = (_PORT.unpack(proto[k])[0] if k in proto else 0 for k in (_SPORT, _DPORT))
    src, dst = (Addr(family, int.from_bytes(ip[side[family]])) for side in (_SRC, _DST))
    return protocol, Tuple(src, dst, a, b)


def _attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    while start + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE_MASK, data[start + 4 : start + length]
        start += length + 3 & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def _message(kind: int, flags: int, family: Family, number: int, body: bytes) -> bytes:
    head = _HEAD.pack(_BODY + len(body), kind, flags, number, 0)
    return head + struct.pack("BBH", _AF[family], 0, 0) + body
