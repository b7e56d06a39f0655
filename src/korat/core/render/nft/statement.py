"""The nftables statements that korat uses, as values that print themselves.

For: naming exactly what a rule of ``inet korat`` may hold, so that the same value is printed for
the kernel, interpreted by ``simulate`` and compared by ``diff``. Not for: parsing nftables text, or
statements that no renderer of korat writes.
Source: nft(8) 1.0.6, the oldest one that korat supports (Debian 12).
"""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from korat.core.net.address import Addr, Family
from korat.core.render.nft.key import (
    Field,
    Key,
    Span,
    Type,
    Value,
    key_text,
    number_text,
    value_text,
)
from korat.core.render.nft.quote import quoted
from korat.core.render.nft.track import TrackStatement

#: Maps of many elements have few verdicts; that equal ones are one object makes diffs cheap.
_CACHED_VERDICTS = 8192
#: What the kernel keeps of a log prefix (NF_LOG_PREFIXLEN less its terminator).
LOG_PREFIX_MAX = 127


#: Fields that lie side by side in a packet, and that nft reads as one where it can.
_MERGED = frozenset(field for field in Field if field.value.startswith(("th ", "icmp")))


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
        return f"{Field.CARRIED.value} set {number_text(Type.NUMBER, self.number)}"


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
        pairs = ((key_text(types, key), number_text(Type.NUMBER, to)) for key, to in self.elements)
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
    | TrackStatement
    | Verdict
)


def _fields(fields: tuple[Field, ...]) -> str:
    return " . ".join(field.value for field in fields)
