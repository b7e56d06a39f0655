"""Verdict tables as elements of maps: from a table's number and a packet to an outcome's number.

    outcome:  meta priority vmap @special                     tables with spans, below
              meta priority set meta priority . meta l4proto . th dport map @ports return
              meta priority set meta priority . meta l4proto map @protocols return
              meta priority set meta priority map @others return
              drop

For each protocol the outcome that most of its cells have becomes the protocol's default, and only
the other cells are written down. A table that asks for spans of ports, for source ports or for ICMP
numbers is special: it has a chain of its own with one lookup per kind of key,

- ``meta l4proto . th dport``            protocols that look at destination ports only
- ``meta l4proto . th sport``            source ports only; also ICMP, whose type and code are the
  two octets that stand where other protocols have the source port (so that one lookup serves both
  families, and an ICMP packet within the wrong family is judged as the table says)
- ``meta l4proto . th sport . th dport`` protocols that look at both

and what those do not know is looked up as for other tables. A lookup without spans becomes a hash
in the kernel, one with spans an interval tree.
"""

from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from korat.core.net.port import ICMP_PROTOCOLS
from korat.core.pmap import PMap
from korat.core.policy.outcome import Outcome
from korat.core.render.nft.key import Field, Key, Span, Type, Value
from korat.core.render.nft.outcome import outcome_name
from korat.core.render.nft.outcome_map import OutcomeMap
from korat.core.render.nft.ruleset import (
    Chain,
    Lookup,
    NumberMap,
    Pace,
    Rule,
    VerdictMap,
    rule,
    sort_key,
)
from korat.core.render.nft.statement import (
    DROP,
    RETURN,
    CarryChoice,
    CarryFrom,
    Counter,
    MapLookup,
    Verdict,
    goto,
)
from korat.core.table.number import Numbers
from korat.core.table.value import Cell, Cells, VerdictTable, number_last

_DPORT = (Field.L4PROTO, Field.DPORT)
_SPORT = (Field.L4PROTO, Field.SPORT)
_BOTH = (Field.L4PROTO, Field.SPORT, Field.DPORT)
_SHAPES = (_DPORT, _SPORT, _BOTH)

#: Rather so many elements for one table than a chain for it.
_PORTS_MAX = 64

_CARRIED = Field.CARRIED
_TYPES: Mapping[str, tuple[Type, ...]] = {
    "ports": (Type.NUMBER, Type.PROTO, Type.PORT),
    "protocols": (Type.NUMBER, Type.PROTO),
    "others": (Type.NUMBER,),
}


@dataclass(frozen=True, slots=True)
class _Written:
    """A table in terms of outcomes: its default, those of protocols, and all else by shape."""

    other: Outcome
    protocols: tuple[tuple[int, Outcome], ...]
    cells: Mapping[tuple[Field, ...], Mapping[Key, Outcome]]

    @property
    def outcomes(self) -> set[Outcome]:
        found = {self.other, *(outcome for _, outcome in self.protocols)}
        return found.union(*(cells.values() for cells in self.cells.values()))


class TableMap:
    """The tables in use, and the elements and chains that they need."""

    def __init__(self, outcomes: OutcomeMap) -> None:
        self._outcomes = outcomes
        self._numbers = Numbers()
        self._given: dict[VerdictTable, tuple[int, _Written]] = {}
        self._uses: dict[VerdictTable, int] = {}
        self._maps: dict[str, PMap[Key, int]] = {name: PMap() for name in _TYPES}
        self._changes: dict[str, dict[Key, int | None]] = {name: {} for name in _TYPES}
        self._special: PMap[Key, Verdict] = PMap()
        self._specials: dict[Key, Verdict | None] = {}
        self._chains: dict[str, Chain | None] = {}
        self.chains: PMap[str, Chain] = PMap()

    def use(self, table: VerdictTable) -> int:
        """The table's number, with one use more."""
        found = self._given.get(table)
        if found is None:
            written = _written(table)
            found = self._given[table] = self._numbers.give(_text(written)), written
            self._uses[table] = 0
            self._add(*found)
        self._uses[table] += 1
        return found[0]

    def drop(self, table: VerdictTable) -> None:
        """One use less; a table that nothing leads to goes."""
        self._uses[table] -= 1
        if self._uses[table]:
            return
        del self._uses[table]
        number, written = self._given.pop(table)
        self._numbers.take_back(number)
        for name, elements in _elements(number, written).items():
            self._changes[name].update(dict.fromkeys(elements))
        if _is_special(written):
            self._specials[number,] = None
            self._chains[_chain_name(number)] = None
        for outcome in written.outcomes:
            self._outcomes.drop(outcome)

    def settle(self) -> dict[str, Lookup]:
        """End a turn: the maps, with what came and went."""
        self._numbers.settle()
        found: dict[str, Lookup] = {}
        for name, types in _TYPES.items():
            self._maps[name] = self._maps[name].changed(self._changes[name])
            found[name] = NumberMap(types, self._maps[name], pace=Pace.CONTENT)
        self._special = self._special.changed(self._specials)
        found["special"] = VerdictMap((Type.NUMBER,), self._special, pace=Pace.CONTENT)
        self.chains = self.chains.changed(self._chains)
        self._changes = {name: {} for name in _TYPES}
        self._specials, self._chains = {}, {}
        return found

    def outcome_chain(self) -> Chain:
        """From the table's number that a packet carries to the outcome's."""
        special = [rule(MapLookup((_CARRIED,), "special"))] if self._special else []
        return Chain((*special, *_LOOKUPS))

    def _add(self, number: int, written: _Written) -> None:
        numbers = {outcome: self._outcomes.use(outcome) for outcome in written.outcomes}
        for name, elements in _elements(number, written).items():
            self._changes[name].update((key, numbers[end]) for key, end in elements.items())
        if _is_special(written):
            name = _chain_name(number)
            own = (_lookup(shape, written.cells[shape], numbers) for shape in _SHAPES)
            self._chains[name] = Chain((*filter(None, own), *_LOOKUPS[1:]))
            self._specials[number,] = goto(name)


#: The plain lookups; a special table knows its ports itself.
_LOOKUPS = (
    rule(CarryFrom((_CARRIED, Field.L4PROTO, Field.DPORT), "ports"), RETURN),
    rule(CarryFrom((_CARRIED, Field.L4PROTO), "protocols"), RETURN),
    rule(CarryFrom((_CARRIED,), "others"), RETURN),
    rule(Counter(), DROP, comment="no such verdict table"),
)


def _chain_name(number: int) -> str:
    return f"table-{number:08x}"


def _elements(number: int, written: _Written) -> dict[str, dict[Key, Outcome]]:
    """What a table puts into the maps of all tables."""
    ports = {} if _is_special(written) else written.cells[_DPORT]
    return {
        "ports": {(number, *key): outcome for key, outcome in ports.items()},
        "protocols": {(number, protocol): outcome for protocol, outcome in written.protocols},
        "others": {(number,): written.other},
    }


def _is_special(written: _Written) -> bool:
    ports = written.cells[_DPORT]
    return (
        bool(written.cells[_SPORT] or written.cells[_BOTH])
        or len(ports) > _PORTS_MAX
        or any(isinstance(part, Span) for key in ports for part in key)
    )


def _written(table: VerdictTable) -> _Written:
    found: dict[tuple[Field, ...], dict[Key, Outcome]] = {shape: {} for shape in _SHAPES}
    protocols = []
    for protocol, cells in table.protocols:
        default = _default(cells, table.other)
        if default != table.other:
            protocols.append((protocol, default))
        shape = _shape(protocol, cells)
        for cell in cells:
            if cell.outcome != default:
                found[shape].update((key, cell.outcome) for key in _keys(protocol, cell, shape))
    return _Written(table.other, tuple(protocols), found)


def _text(written: _Written) -> str:
    """One text for what the table says, whatever numbers stand for it."""
    lines = [f"{protocol} {outcome_name(outcome)}" for protocol, outcome in written.protocols]
    for shape, cells in written.cells.items():
        lines += (f"{len(shape)} {shape[1]} {key} {outcome_name(o)}" for key, o in cells.items())
    return "\n".join((outcome_name(written.other), *lines))


def _default(cells: Cells, other: Outcome) -> Outcome:
    """The outcome of most cells; ties go to the table's own default, then by name."""
    counts = Tally(cell.outcome for cell in cells)
    return max(counts, key=lambda o: (counts[o], o == other, outcome_name(o)))


def _shape(protocol: int, cells: Cells) -> tuple[Field, ...]:
    last = number_last(protocol)
    if protocol in ICMP_PROTOCOLS or all(c.b_first == 0 and c.b_last == last for c in cells):
        return _SPORT
    if all(c.a_first == 0 and c.a_last == last for c in cells):
        return _DPORT
    return _BOTH


def _keys(protocol: int, cell: Cell, shape: tuple[Field, ...]) -> Iterator[Key]:
    if protocol in ICMP_PROTOCOLS:
        yield from ((protocol, numbers) for numbers in _icmp_numbers(cell))
        return
    sport = _value(cell.a_first, cell.a_last)
    dport = _value(cell.b_first, cell.b_last)
    if shape is _BOTH:
        yield protocol, sport, dport
    else:
        yield protocol, (dport if shape is _DPORT else sport)


def _icmp_numbers(cell: Cell) -> Iterator[Value]:
    """Type and code as one number of 16 bits; types with all codes are one span."""
    if (cell.b_first, cell.b_last) == (0, 255):
        yield Span(cell.a_first << 8, cell.a_last << 8 | 255)
        return
    for number in range(cell.a_first, cell.a_last + 1):
        yield _value(number << 8 | cell.b_first, number << 8 | cell.b_last)


def _value(first: int, last: int) -> Value:
    return first if first == last else Span(first, last)


def _lookup(
    fields: tuple[Field, ...], cells: Mapping[Key, Outcome], numbers: Mapping[Outcome, int]
) -> Rule | None:
    if not cells:
        return None
    elements = ((key, numbers[cells[key]]) for key in sorted(cells, key=sort_key))
    return rule(CarryChoice(fields, tuple(elements)), RETURN)
