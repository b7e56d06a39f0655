"""What rules look at and what keys are made of: fields of a packet, their types, their values.

Source: nft(8) 1.0.6, the oldest one that korat supports (Debian 12).
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from korat.core.net.address import Addr, Family, Prefix

#: Printable, without blank, quote, star, slash and backslash: what nft takes literally.
_IFNAME = re.compile(r"[!#-)+-.0-\[\]-~]{1,15}")


class Type(Enum):
    """The type of one part of a key, by nftables' name of it."""

    IPV4 = "ipv4_addr"
    IPV6 = "ipv6_addr"
    IFNAME = "ifname"
    PROTO = "inet_proto"
    PORT = "inet_service"
    ICMP_TYPE = "icmp_type"
    ICMP_CODE = "icmp_code"
    ICMPV6_TYPE = "icmpv6_type"
    ICMPV6_CODE = "icmpv6_code"
    NFPROTO = "nf_proto"
    TCP_FLAG = "tcp_flag"
    NUMBER = "classid"


class Field(Enum):
    """What of a packet a rule may look at, by nftables' words for it."""

    IIFNAME = "iifname"
    OIFNAME = "oifname"
    IP_SADDR = "ip saddr"
    IP_DADDR = "ip daddr"
    IP6_SADDR = "ip6 saddr"
    IP6_DADDR = "ip6 daddr"
    L4PROTO = "meta l4proto"
    NFPROTO = "meta nfproto"
    SPORT = "th sport"
    DPORT = "th dport"
    TCP_FLAGS = "tcp flags & (fin | syn | rst | ack)"
    ICMP_TYPE = "icmp type"
    ICMP_CODE = "icmp code"
    ICMPV6_TYPE = "icmpv6 type"
    ICMPV6_CODE = "icmpv6 code"
    #: A number that rules give the packet on its way and look up again; nothing of the packet.
    CARRIED = "meta priority"

    @property
    def type(self) -> Type:
        """The type of this field's values."""
        return _TYPE_OF[self]


#: The values of ``Field.NFPROTO``.
NFPROTO = {Family.V4: 2, Family.V6: 10}
SYN = 2  # The value of ``Field.TCP_FLAGS`` of what opens a connection.

_TYPE_OF: Mapping[Field, Type] = {
    Field.IIFNAME: Type.IFNAME,
    Field.OIFNAME: Type.IFNAME,
    Field.IP_SADDR: Type.IPV4,
    Field.IP_DADDR: Type.IPV4,
    Field.IP6_SADDR: Type.IPV6,
    Field.IP6_DADDR: Type.IPV6,
    Field.L4PROTO: Type.PROTO,
    Field.NFPROTO: Type.NFPROTO,
    Field.SPORT: Type.PORT,
    Field.DPORT: Type.PORT,
    Field.TCP_FLAGS: Type.TCP_FLAG,
    Field.ICMP_TYPE: Type.ICMP_TYPE,
    Field.ICMP_CODE: Type.ICMP_CODE,
    Field.ICMPV6_TYPE: Type.ICMPV6_TYPE,
    Field.ICMPV6_CODE: Type.ICMPV6_CODE,
    Field.CARRIED: Type.NUMBER,
}


class Span(NamedTuple):
    """All numbers from ``first`` to ``last``, both included."""

    first: int
    last: int


#: One part of a key: an interface name, a number (an address is its number), or a span of numbers.
Value = str | int | Span
#: A key of a set or map: one value for each part of its type.
Key = tuple[Value, ...]


def number_text(kind: Type, number: int) -> str:
    """A number of this type as nftables reads it."""
    match kind:
        case Type.IPV4:
            return str(Addr(Family.V4, number))
        case Type.IPV6:
            return str(Addr(Family.V6, number))
        case Type.NFPROTO:
            return {2: "ipv4", 10: "ipv6"}[number]
        case Type.NUMBER:
            return f"{number >> 16:x}:{number & 0xFFFF:x}" if number else "none"
        case _:
            return str(int(number))


def _span(kind: Type, span: Span) -> str:
    size = span.last - span.first + 1
    if kind in (Type.IPV4, Type.IPV6) and size & (size - 1) == 0 and span.first % size == 0:
        family = Family.V4 if kind is Type.IPV4 else Family.V6
        return str(Prefix(family, span.first, family.bits - size.bit_length() + 1))
    return f"{number_text(kind, span.first)}-{number_text(kind, span.last)}"


def value_text(kind: Type, value: Value) -> str:
    """A value as nftables reads it.

    Raises:
        ValueError: an interface name that Linux or nftables would not take literally.
    """
    if isinstance(value, Span):
        return _span(kind, value)
    if isinstance(value, int):
        return number_text(kind, value)
    if not is_interface_name(value):
        raise ValueError(f"not an interface name: {value!r}")
    return f'"{value}"'


def is_interface_name(text: str) -> bool:
    """Whether nftables can mean exactly this interface; no others are ever rendered."""
    return _IFNAME.fullmatch(text) is not None


def key_text(types: tuple[Type, ...], key: Key) -> str:
    """A key as nftables reads it, its parts joined by dots."""
    if len(key) == 1:
        return value_text(types[0], key[0])
    return " . ".join(map(value_text, types, key))
