"""What a packet meets in a ruleset: a pure interpreter.

For: proving renderers against the evaluator without a kernel, and for ``explain``. Stateless: the
connection's state is an input, and a limit always matches; which counters count is told.
Not for: other tables' chains, or routing, which the caller gives as interfaces.
Source: net/netfilter/nf_tables_core.c (nft_do_chain).
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from operator import itemgetter
from typing import Generic, TypeVar, assert_never

from korat.core.net.address import Addr, Family
from korat.core.net.port import ICMP_PROTOCOLS, PORT_PROTOCOLS, Protocol
from korat.core.render.nft.check import check
from korat.core.render.nft.key import NFPROTO, SYN, Field, Key, Span, Type, Value
from korat.core.render.nft.ruleset import (
    CounterMap,
    Hook,
    NamedSet,
    NumberMap,
    Rule,
    Ruleset,
    VerdictMap,
)
from korat.core.render.nft.statement import (
    ACCEPT,
    RETURN,
    Action,
    Carry,
    CarryChoice,
    CarryFrom,
    Choice,
    Counter,
    CounterFrom,
    CtMatch,
    CtState,
    InSet,
    Limit,
    Log,
    MapLookup,
    Match,
    Nat,
    Statement,
    Verdict,
)
from korat.core.render.nft.track import DnatMatch, MarkMatch, MarkSet, NoTrack

E = TypeVar("E")

#: DCCP's packets begin with ports too; Calico has no name for it.
_PORT_PROTOCOLS = PORT_PROTOCOLS | {33}
_ACK = 16
#: What lies where ports would be in a packet that has none, a checksum say: there, but in no set.
_NO_PORT = -1


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet at a hook. ``a`` and ``b`` are source and destination port, or ICMP type and code.

    An interface is empty where the hook knows none. TCP packets open a connection, or ``opens`` is
    False and they belong to one. ``mark`` is what earlier hooks left on it, and ``translated`` says
    that its connection has another destination than it was sent to.
    """

    iif: str
    oif: str
    src: Addr
    dst: Addr
    protocol: int
    a: int = 0
    b: int = 0
    state: CtState = CtState.NEW
    opens: bool = True
    mark: int = 0
    translated: bool = False

    def value(self, field: Field) -> str | int | None:  # noqa: C901, PLR0911, PLR0912 -- one table
        """What the kernel would load, or None where the packet has no such field."""
        match field:
            case Field.IIFNAME:
                return self.iif
            case Field.OIFNAME:
                return self.oif
            case Field.IP_SADDR | Field.IP6_SADDR:
                return self.src.value if self._of_version(field) else None
            case Field.IP_DADDR | Field.IP6_DADDR:
                return self.dst.value if self._of_version(field) else None
            case Field.L4PROTO:
                return self.protocol
            case Field.NFPROTO:
                return NFPROTO[self.src.family]
            case Field.SPORT | Field.DPORT:
                return self._port(field)
            case Field.ICMP_TYPE | Field.ICMP_CODE:
                return self._icmp(Family.V4, 1, self.a if field is Field.ICMP_TYPE else self.b)
            case Field.ICMPV6_TYPE | Field.ICMPV6_CODE:
                return self._icmp(Family.V6, 58, self.a if field is Field.ICMPV6_TYPE else self.b)
            case Field.TCP_FLAGS:
                flags = SYN if self.opens else _ACK
                return flags if self.protocol == Protocol.TCP else None
            case Field.CARRIED:
                return None  # The walk knows it.
            case _:
                assert_never(field)

    def _of_version(self, field: Field) -> bool:
        return (self.src.family is Family.V4) is (field.type is Type.IPV4)

    def _port(self, field: Field) -> int:
        if self.protocol in _PORT_PROTOCOLS:
            return self.a if field is Field.SPORT else self.b
        if self.protocol in ICMP_PROTOCOLS and field is Field.SPORT:
            # The first two octets, whatever they are called: type and code.
            return self.a << 8 | self.b
        return _NO_PORT

    def _icmp(self, family: Family, protocol: int, value: int) -> int | None:
        return value if (self.src.family, self.protocol) == (family, protocol) else None


class Fate(Enum):
    """How a hook ends for a packet."""

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Passage:
    """What happened at one hook: the fate, the chains entered, the log lines, the translation.

    ``logs`` are those of the kernel's log, ``told`` what listeners to NFLOG hear; ``counted`` names
    a counter as often as it counts; ``numbers`` are those that the packet carried, in order;
    ``mark`` is its own when it leaves, ``untracked`` says that tracking was turned off for it.
    """

    fate: Fate
    chains: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    nat: Nat | None = None
    told: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    mark: int = 0
    untracked: bool = False


def simulate(ruleset: Ruleset, packet: Packet, hook: Hook) -> Passage:
    """Send one packet through all base chains of one hook; many packets want a ``Simulator``.

    Raises:
        RefusedError: the kernel would not load this ruleset.
    """
    return Simulator(ruleset).run(packet, hook)


class Simulator:
    """A checked ruleset ready for many packets."""

    def __init__(self, ruleset: Ruleset) -> None:
        check(ruleset)
        self._chains = ruleset.chains
        self._verdicts: dict[str, _Finder[Verdict]] = {}
        self._numbers: dict[str, _Finder[int]] = {}
        self._counters: dict[str, _Finder[str]] = {}
        for name, lookup in ruleset.lookups.items():
            match lookup:
                case NumberMap(_, numbers):
                    self._numbers[name] = _Finder(numbers)
                case VerdictMap(_, verdicts):
                    self._verdicts[name] = _Finder(verdicts)
                case CounterMap(_, names):
                    self._counters[name] = _Finder(names)
                case NamedSet(elements=keys):
                    self._verdicts[name] = _Finder(dict.fromkeys(keys, ACCEPT))
        self._choices: dict[int, tuple[Choice, _Finder[Verdict]]] = {}

    def run(self, packet: Packet, hook: Hook) -> Passage:
        """Send one packet through all base chains of one hook, in order of priority."""
        walk = _Walk([], [], mark=packet.mark)
        order = sorted(
            (chain.base.priority, name)
            for name, chain in self._chains.items()
            if chain.base and chain.base.hook is hook
        )
        for _, name in order:
            fate = self._base(name, packet, walk)
            if fate is not Fate.ACCEPT:
                return walk.end(fate)
        return walk.end(Fate.ACCEPT)

    def _base(self, name: str, packet: Packet, walk: "_Walk") -> Fate:
        verdict = self._chain(name, packet, walk)
        match verdict.action:
            case Action.DROP:
                return Fate.DROP
            case Action.REJECT:
                return Fate.REJECT
            case _:
                return Fate.ACCEPT

    def _chain(self, name: str, packet: Packet, walk: "_Walk") -> Verdict:
        """Run a chain; ends with accept, drop, reject, or return when it came to its end."""
        walk.chains.append(name)
        for rule in self._chains[name].rules:
            verdict = self._rule(rule, packet, walk)
            if verdict is None:
                continue
            if verdict.action is Action.GOTO:
                return self._chain(verdict.chain, packet, walk)
            if verdict.action is not Action.JUMP:
                return verdict
            inner = self._chain(verdict.chain, packet, walk)
            if inner.action is not Action.RETURN:
                return inner
        return RETURN

    def _rule(self, rule: Rule, packet: Packet, walk: "_Walk") -> Verdict | None:
        """The verdict of a rule, or None when it did not match or had none."""
        for statement in rule.statements:
            result = self._statement(statement, packet, walk)
            if result is False:
                return None
            if isinstance(result, Verdict):
                return result
        return None

    def _statement(  # noqa: C901, PLR0911, PLR0912 -- one arm per statement
        self, statement: Statement, packet: Packet, walk: "_Walk"
    ) -> Verdict | bool:
        """A verdict, or whether the rule goes on."""
        match statement:
            case Verdict():
                return statement
            case Match():
                return _matches(statement, packet, walk)
            case Carry(number):
                return walk.carry(number)
            case CarryFrom(fields, name):
                return walk.carry(self._numbers[name].find(_key(fields, packet, walk)))
            case CarryChoice(fields, elements):
                return walk.carry(_Finder(dict(elements)).find(_key(fields, packet, walk)))
            case CounterFrom(fields, name):
                counter = self._counters[name].find(_key(fields, packet, walk))
                walk.counted.extend([counter] if counter else [])
                return counter is not None
            case CtMatch(states):
                return packet.state in states
            case DnatMatch():
                return packet.translated
            case MarkMatch(bit):
                return bool(walk.mark & bit)
            case MarkSet(bit, on):
                walk.mark = walk.mark | bit if on else walk.mark & ~bit
                return True
            case NoTrack():
                walk.untracked = True
                return True
            case InSet(fields, name, negated):  # In a simulation no time passes.
                key = _key(fields, packet, walk)
                return key is not None and (self._verdicts[name].find(key) is None) is negated
            case MapLookup(fields, name):
                return self._verdicts[name].find(_key(fields, packet, walk)) or False
            case Choice(fields):
                return self._choice(statement).find(_key(fields, packet, walk)) or False
            case Log(prefix, group):
                (walk.logs if group is None else walk.told).append(prefix)
                return True
            case Counter(name):
                walk.counted.extend([name] if name else [])
                return True
            case Nat():
                walk.nat = statement
                return ACCEPT
            case Limit():
                return True
            case _:
                assert_never(statement)

    def _choice(self, choice: Choice) -> "_Finder[Verdict]":
        known = self._choices.get(id(choice))
        if known is None:
            # The choice is kept beside its finder, so that its id stays its own.
            known = self._choices[id(choice)] = (choice, _Finder(dict(choice.elements)))
        return known[1]


@dataclass(slots=True)
class _Walk:
    """What is noted on the way."""

    chains: list[str]
    logs: list[str]
    nat: Nat | None = None
    carried: int = 0
    numbers: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)
    mark: int = 0
    untracked: bool = False

    def carry(self, number: int | None) -> bool:
        """Take a number on; False where there is none to take."""
        if number is None:
            return False
        self.carried = number
        self.numbers.append(number)
        return True

    def end(self, fate: Fate) -> Passage:
        chains, logs, told = tuple(self.chains), tuple(self.logs), tuple(self.told)
        numbers, counted = tuple(self.numbers), tuple(self.counted)
        mine = chains, logs, self.nat, told, counted, numbers
        return Passage(fate, *mine, self.mark, self.untracked)


class _Finder(Generic[E]):
    """Looks a packet's key up among elements that may hold spans."""

    def __init__(self, elements: Mapping[Key, E]) -> None:
        spans = {key: end for key, end in elements.items() if _has_span(key)}
        self._exact = (
            elements if not spans else {k: v for k, v in elements.items() if k not in spans}
        )
        self._single = _singles(spans)
        self._boxes = [(key, end) for key, end in spans.items() if len(key) > 1]

    def find(self, key: Key | None) -> E | None:
        if key is None:
            return None
        exact = self._exact.get(key)
        if exact is not None:
            return exact
        if self._single and isinstance(key[0], int):
            at = bisect_right(self._single, key[0], key=itemgetter(0)) - 1
            if at >= 0 and key[0] <= self._single[at][1]:
                return self._single[at][2]
        return next((v for box, v in self._boxes if all(map(_inside, key, box))), None)


def _singles(spans: Mapping[Key, E]) -> list[tuple[int, int, E]]:
    """The one-part spans, sorted; they are disjoint."""
    found = [
        (key[0].first, key[0].last, end)
        for key, end in spans.items()
        if len(key) == 1 and isinstance(key[0], Span)
    ]
    return sorted(found, key=itemgetter(0))


def _has_span(key: Key) -> bool:
    return any(isinstance(part, Span) for part in key)


def _inside(value: Value, part: Value) -> bool:
    if isinstance(part, Span) and isinstance(value, int):
        return part.first <= value <= part.last
    return value == part


def _matches(match: Match, packet: Packet, walk: _Walk) -> bool:
    value = walk.carried if match.field is Field.CARRIED else packet.value(match.field)
    if value is None:
        return False
    return any(_equals(value, wanted) for wanted in match.values) is not match.negated


def _equals(value: str | int, wanted: Value) -> bool:
    if isinstance(value, str) and isinstance(wanted, str) and wanted.endswith("*"):
        return value.startswith(wanted[:-1])
    return _inside(value, wanted)


def _key(fields: Iterable[Field], packet: Packet, walk: _Walk) -> Key | None:
    """The packet's key, or None where it lacks one of the fields."""
    parts = [walk.carried if f is Field.CARRIED else packet.value(f) for f in fields]
    key = tuple(part for part in parts if part is not None)
    return key if len(key) == len(parts) else None
