"""A whole table ``inet korat`` as one value: sets, verdict maps, chains.

For: holding what a node's kernel should have, and printing it for a load from scratch. Not for:
finding out what changed (``diff``), or what a packet meets (``simulate``).
Source: nft(8); every name korat makes is a plain identifier.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum

from korat.core.policy.outcome import RuleRef
from korat.core.render.nft.key import Key, Span, Type, key_text, value_text
from korat.core.render.nft.quote import quoted
from korat.core.render.nft.statement import Statement, Verdict

#: The one table that korat owns.
TABLE = "inet korat"

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,63}")
_COMMENT_MAX = 127
#: nft's scanner is quadratic on very long lines, so that long lists of elements are cut.
_ELEMENTS_PER_COMMAND = 5000
#: These are written beside the node's changes, which must not wait long for one command.
_TIMED_PER_COMMAND = 100


def digest(*parts: str) -> str:
    """A short name for content: the same parts give the same name on every node, at any time."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


class Hook(Enum):
    """Where in the kernel's way of a packet a base chain hangs."""

    PREROUTING = "prerouting"
    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"
    POSTROUTING = "postrouting"


@dataclass(frozen=True, slots=True)
class Base:
    """What makes a chain a base chain; its policy is accept, for others' traffic is not ours."""

    type: str
    hook: Hook
    priority: int

    @property
    def text(self) -> str:
        """As nftables reads it."""
        return f"type {self.type} hook {self.hook.value} priority {self.priority}; policy accept;"


@dataclass(frozen=True, slots=True)
class Rule:
    """Statements in order: matches first, then what happens."""

    statements: tuple[Statement, ...]
    comment: str = ""

    @property
    def text(self) -> str:
        """As nftables reads it."""
        words = [statement.text for statement in self.statements]
        if self.comment:
            words.append(f"comment {quoted(self.comment, _COMMENT_MAX)}")
        return " ".join(words)


def rule(*statements: Statement, comment: str = "") -> Rule:
    """A rule of these statements."""
    return Rule(statements, comment)


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules in order; ``base`` is None for a chain that is only jumped to."""

    rules: tuple[Rule, ...] = ()
    base: Base | None = None


class Pace(Enum):
    """When the elements of a lookup change, of the steps in which a table is changed."""

    #: At once, with the rules.
    SWITCH = "switch"
    #: Keys begin with the number of a content, which never changes: they come before any packet
    #: can carry the number, and go when none can any more.
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class NamedSet:
    """Keys of one type. ``interval``: its keys may hold spans; they do not overlap.

    With ``timeout_s`` (and ``size``) its elements come and go while the table stays: they are
    nobody's intent, so that here are none.
    """

    types: tuple[Type, ...]
    elements: AbstractSet[Key] = frozenset()
    interval: bool = False
    timeout_s: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class VerdictMap:
    """Keys of one type, each with its verdict. ``interval``: its keys may hold spans."""

    types: tuple[Type, ...]
    elements: Mapping[Key, Verdict] = field(default_factory=dict)
    interval: bool = False
    pace: Pace = field(default=Pace.SWITCH, compare=False)


@dataclass(frozen=True, slots=True)
class NumberMap:
    """Keys of one type, each with a number for the packet to carry; else as ``VerdictMap``.

    The kernel walks every verdict of a table again when one of them changes, but no number, so that
    a map may be large and still change fast.

    ``carried``: the numbers that packets may come with, where they are the first part of the keys;
    an element with another number is reached by no packet, and changes at the pace of a content.
    """

    types: tuple[Type, ...]
    elements: Mapping[Key, int] = field(default_factory=dict)
    interval: bool = False
    pace: Pace = field(default=Pace.SWITCH, compare=False)
    carried: Mapping[int, object] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class CounterMap:
    """Keys of one type, each with the name of a counter; they change at the pace of a content."""

    types: tuple[Type, ...]
    elements: Mapping[Key, str] = field(default_factory=dict)


Lookup = NamedSet | VerdictMap | NumberMap | CounterMap


@dataclass(frozen=True, slots=True, repr=False)
class Ruleset:
    """The table: sets and maps share one space of names, chains have another, counters a third.

    A counter is named by what it counts, and so counts on whatever chains come and go.
    Invariant: names are plain identifiers; ``check`` says whether the kernel would take the rest.
    """

    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)
    counters: Mapping[str, RuleRef] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.lookups, *self.chains):
            _plain(name)

    @property
    def text(self) -> str:
        """A transaction that replaces whatever the kernel has under this name with this table."""
        lines = [f"add table {TABLE}", f"delete table {TABLE}", f"add table {TABLE}"]
        lines.extend(declare_chain(name, chain) for name, chain in sorted(self.chains.items()))
        lines.extend(declare_counter(name, self.counters[name]) for name in sorted(self.counters))
        for name, lookup in sorted(self.lookups.items()):
            lines.append(declare_lookup(name, lookup))
            lines.extend(add_elements(name, lookup, lookup.elements))
        for name, chain in sorted(self.chains.items()):
            lines.extend(add_rules(name, chain))
        return "\n".join(lines) + "\n"


def declare_chain(name: str, chain: Chain) -> str:
    """The command that makes the chain, still empty."""
    return f"add chain {TABLE} {name}" + (f" {{ {chain.base.text} }}" if chain.base else "")


def declare_counter(name: str, ref: RuleRef) -> str:
    """The command that makes the counter, which says whom it counts for."""
    return f"add counter {TABLE} {_plain(name)} {{ comment {quoted(ref.text, _COMMENT_MAX)}; }}"


def _plain(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name for nftables: {name!r}")
    return name


def declare_lookup(name: str, lookup: Lookup) -> str:
    """The command that makes the set or map, still empty."""
    noun, value = {
        NamedSet: ("set", ""),
        VerdictMap: ("map", " : verdict"),
        NumberMap: ("map", f" : {Type.NUMBER.value}"),
        CounterMap: ("map", " : counter"),
    }[type(lookup)]
    types = " . ".join(kind.value for kind in lookup.types)
    flags = " flags interval;" if is_interval(lookup) else ""
    if isinstance(lookup, NamedSet) and lookup.timeout_s:
        flags = f" flags dynamic,timeout; timeout {lookup.timeout_s}s; size {lookup.size};"
    return f"add {noun} {TABLE} {name} {{ type {types}{value};{flags} }}"


def is_interval(lookup: Lookup) -> bool:
    """Whether its keys may hold spans."""
    return not isinstance(lookup, CounterMap) and lookup.interval


def add_rules(name: str, chain: Chain) -> Iterable[str]:
    """The commands that fill the chain."""
    return (f"add rule {TABLE} {name} {each.text}" for each in chain.rules)


def add_elements(name: str, lookup: Lookup, keys: Iterable[Key]) -> Iterable[str]:
    """The commands that put these of the lookup's own elements into it, sorted."""
    ordered = sorted(keys, key=sort_key)
    words = [key_text(lookup.types, key) for key in ordered]
    match lookup:
        case VerdictMap(_, verdicts):
            ends = [verdicts[key].text for key in ordered]
            words = [f"{word} : {end}" for word, end in zip(words, ends, strict=True)]
        case NumberMap(_, numbers):
            ends = [value_text(Type.NUMBER, numbers[key]) for key in ordered]
            words = [f"{word} : {end}" for word, end in zip(words, ends, strict=True)]
        case CounterMap(_, names):
            words = [f'{word} : "{names[k]}"' for word, k in zip(words, ordered, strict=True)]
        case _:
            pass
    return _element_commands("add", name, words)


def add_timed_elements(name: str, lookup: NamedSet, times: Mapping[Key, int]) -> Iterable[str]:
    """The commands that put keys into a set with a timeout, each for so many seconds, sorted."""
    words = [
        f"{key_text(lookup.types, key)} timeout {times[key]}s"
        for key in sorted(times, key=sort_key)
    ]
    return _element_commands("add", name, words, _TIMED_PER_COMMAND)


def delete_elements(name: str, lookup: Lookup, keys: Iterable[Key]) -> Iterable[str]:
    """The commands that take these keys out of the lookup, sorted."""
    words = [key_text(lookup.types, key) for key in sorted(keys, key=sort_key)]
    return _element_commands("delete", name, words)


def sort_key(key: Key) -> tuple[tuple[int, int, str], ...]:
    """An order of keys whose parts are numbers, spans and names mixed."""
    return tuple(
        (part.first, part.last, "")
        if isinstance(part, Span)
        else (0, 0, part)
        if isinstance(part, str)
        else (part, part, "")
        for part in key
    )


def _element_commands(
    verb: str, name: str, words: list[str], most: int = _ELEMENTS_PER_COMMAND
) -> Iterable[str]:
    for start in range(0, len(words), most):
        inside = ", ".join(words[start : start + most])
        yield f"{verb} element {TABLE} {name} {{ {inside} }}"
