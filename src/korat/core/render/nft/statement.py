"""The nftables statements that korat uses, as values that print themselves.

For: naming exactly what a rule of ``inet korat`` may hold, so that the same value is printed for
the kernel, interpreted by ``simulate`` and compared by ``diff``. Not for: parsing nftables text, or
statements that no renderer of korat writes.
Source: nft(8) 1.0.6, the oldest one that korat supports (Debian 12).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from korat.core.net.address import Addr, Family, Prefix
from korat.core.render.nft.quote import quoted

#: Maps of many elements have few verdicts; that equal ones are one object makes diffs cheap.
_CACHED_VERDICTS = 8192
#: What the kernel keeps of a log prefix (NF_LOG_PREFIXLEN less its terminator).
LOG_PREFIX_MAX = 127

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


#: Fields that lie side by side in a packet, and that nft reads as one where it can.
_MERGED = frozenset(field for field in Field if field.value.startswith(("th ", "icmp")))

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


def _number(kind: Type, number: int) -> str:
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
    return f"{_number(kind, span.first)}-{_number(kind, span.last)}"


def value_text(kind: Type, value: Value) -> str:
    """A value as nftables reads it.

    Raises:
        ValueError: an interface name that Linux or nftables would not take literally.
    """
    if isinstance(value, Span):
        return _span(kind, value)
    if isinstance(value, int):
        return _number(kind, value)
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


class Action(Enum):
    """What a verdict does."""

    ACCEPT = "accept"
    DROP = "drop"
    RETURN = "return"
    REJECT = "reject"
    JUMP = "jump"
    GOTO = "goto"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a rule; ``chain`` is the target of a jump or goto and empty otherwise."""

    action: Action
    chain: str = ""

    def __post_init__(self) -> None:
        if bool(self.chain) is not (self.action in (Action.JUMP, Action.GOTO)):
            raise ValueError(f"{self.action.value} with chain {self.chain!r}")

    @property
    def text(self) -> str:
        """As nftables reads it."""
        return f"{self.action.value} {self.chain}" if self.chain else self.action.value


ACCEPT = Verdict(Action.ACCEPT)
DROP = Verdict(Action.DROP)
RETURN = Verdict(Action.RETURN)
REJECT = Verdict(Action.REJECT)


def jump(chain: str) -> Verdict:
    """Go on in ``chain`` and come back."""
    return Verdict(Action.JUMP, chain)


@lru_cache(maxsize=_CACHED_VERDICTS)
def goto(chain: str) -> Verdict:
    """Go on in ``chain`` and come back where this chain would have come back."""
    return Verdict(Action.GOTO, chain)


class CtState(Enum):
    """What connection tracking thinks of a packet."""

    NEW = "new"
    ESTABLISHED = "established"
    RELATED = "related"
    INVALID = "invalid"
    UNTRACKED = "untracked"


@dataclass(frozen=True, slots=True)
class Match:
    """A field is one of the values (or none of them); one interface name may end in ``*``."""

    field: Field
    values: tuple[Value, ...]
    negated: bool = False

    @property
    def text(self) -> str:
        """As nftables reads it."""
        values = [self._value(value) for value in self.values]
        right = values[0] if len(values) == 1 else f"{{ {', '.join(values)} }}"
        if self.negated and self.field in _MERGED and right.isdigit():
            right = f"{right}-{right}"  # nft 1.0.6 turns "neither of two numbers" into "not both"
        return f"{self.field.value} {'!= ' if self.negated else ''}{right}"

    def _value(self, value: Value) -> str:
        if isinstance(value, str) and value.endswith("*"):
            return value_text(self.field.type, value[:-1])[:-1] + '*"'
        return value_text(self.field.type, value)


@dataclass(frozen=True, slots=True)
class CtMatch:
    """The connection's state is one of these."""

    states: tuple[CtState, ...]

    @property
    def text(self) -> str:
        """As nftables reads it."""
        return f"ct state {','.join(state.value for state in self.states)}"


@dataclass(frozen=True, slots=True)
class InSet:
    """The fields are (or are not) a named set's element; ``renewed``, its time begins anew."""

    fields: tuple[Field, ...]
    name: str
    negated: bool = False
    renewed: bool = False

    @property
    def text(self) -> str:
        """As nftables reads it."""
        then = f" update @{self.name} {{ {_fields(self.fields)} }}" if self.renewed else ""
        return f"{_fields(self.fields)} {'!= ' if self.negated else ''}@{self.name}{then}"


@dataclass(frozen=True, slots=True)
class Limit:
    """Matches at most so often: ``rate`` is nftables' ``10/second``."""

    rate: str
    burst: int

    @property
    def text(self) -> str:
        """As nftables reads it."""
        return f"limit rate {self.rate} burst {self.burst} packets"


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts packets and bytes: in the rule itself, or in the table's counter of this name."""

    name: str = ""

    @property
    def text(self) -> str:
        """As nftables reads it."""
        return f"counter name {self.name}" if self.name else "counter"


@dataclass(frozen=True, slots=True)
class Log:
    """Writes a line to the kernel's log, or gives the packet to who listens to an NFLOG group."""

    prefix: str
    group: int | None = None

    @property
    def text(self) -> str:
        """As nftables reads it."""
        group = "" if self.group is None else f" group {self.group}"
        return f"log prefix {quoted(self.prefix, LOG_PREFIX_MAX)}{group}"


@dataclass(frozen=True, slots=True)
class MapLookup:
    """The fields together choose a verdict in a named map; a miss goes on to the next rule."""

    fields: tuple[Field, ...]
    name: str

    @property
    def text(self) -> str:
        """As nftables reads it."""
        return f"{_fields(self.fields)} vmap @{self.name}"


@dataclass(frozen=True, slots=True)
class Carry:
    """Gives the packet a number to carry; 0 is none.

    The packet's priority is where it is carried: it means nothing between the kernel's routing and
    a queue, and the number is taken away again before the packet goes on.
    """

    number: int

    @property
    def text(self) -> str:
        """As nftables reads it."""
        return f"{Field.CARRIED.value} set {_number(Type.NUMBER, self.number)}"


@dataclass(frozen=True, slots=True)
class CarryFrom:
    """Gives the packet the number that a map has for the fields together; a miss ends the rule."""

    fields: tuple[Field, ...]
    name: str

    @property
    def text(self) -> str:
        """As nftables reads it."""
        return f"{Field.CARRIED.value} set {_fields(self.fields)} map @{self.name}"


@dataclass(frozen=True, slots=True)
class Choice:
    """As ``MapLookup`` in a map that belongs to the rule itself. Elements are disjoint."""

    fields: tuple[Field, ...]
    elements: tuple[tuple[Key, Verdict], ...]

    @property
    def text(self) -> str:
        """As nftables reads it."""
        types = tuple(field.type for field in self.fields)
        inside = ", ".join(f"{key_text(types, key)} : {to.text}" for key, to in self.elements)
        return f"{_fields(self.fields)} vmap {{ {inside} }}"


@dataclass(frozen=True, slots=True)
class CarryChoice:
    """As ``CarryFrom`` with a map that belongs to the rule itself. Elements are disjoint."""

    fields: tuple[Field, ...]
    elements: tuple[tuple[Key, int], ...]

    @property
    def text(self) -> str:
        """As nftables reads it."""
        types = tuple(field.type for field in self.fields)
        pairs = ((key_text(types, key), _number(Type.NUMBER, to)) for key, to in self.elements)
        inside = ", ".join(f"{key} : {to}" for key, to in pairs)
        return f"{Field.CARRIED.value} set {_fields(self.fields)} map {{ {inside} }}"


@dataclass(frozen=True, slots=True)
class CounterFrom:
    """Counts in the counter that a map has for the fields together; a miss ends the rule."""

    fields: tuple[Field, ...]
    name: str

    @property
    def text(self) -> str:
        """As nftables reads it."""
        return f"counter name {_fields(self.fields)} map @{self.name}"


@dataclass(frozen=True, slots=True)
class Nat:
    """Source address translation: to ``address``, or to the outgoing interface's (masquerade).

    ``ports`` may only stand in a rule that matches TCP, UDP or SCTP.
    """

    address: Addr | None = None
    ports: Span | None = None
    fully_random: bool = False

    @property
    def text(self) -> str:
        """As nftables reads it."""
        ports = f":{self.ports.first}-{self.ports.last}" if self.ports else ""
        flags = " fully-random" if self.fully_random else ""
        if self.address is None:
            return f"masquerade{f' to {ports}' if ports else ''}{flags}"
        if self.address.family is Family.V4:
            return f"snat ip to {self.address}{ports}{flags}"
        return f"snat ip6 to {f'[{self.address}]' if ports else self.address}{ports}{flags}"


Statement = (
    Match
    | CtMatch
    | InSet
    | Limit
    | Counter
    | Log
    | Carry
    | CarryFrom
    | CarryChoice
    | CounterFrom
    | MapLookup
    | Choice
    | Nat
    | Verdict
)


def _fields(fields: tuple[Field, ...]) -> str:
    return " . ".join(field.value for field in fields)
