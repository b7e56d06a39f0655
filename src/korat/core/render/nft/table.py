"""A verdict table as one chain: at most five rules, whatever the number of ports.

For each protocol the outcome that most of its cells have becomes the protocol's default, and only
the other cells are written down. They go into one lookup per kind of key:

- ``meta l4proto . th dport``            protocols that look at destination ports only
- ``meta l4proto . th sport``            source ports only; also ICMP, whose type and code are the
  two octets that stand where other protocols have the source port (so that one lookup serves both
  families, and an ICMP packet within the wrong family is judged as the table says)
- ``meta l4proto . th sport . th dport`` protocols that look at both
- ``meta l4proto``                       the defaults

A lookup without ranges becomes a hash in the kernel, one with ranges an interval tree.
"""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from korat.core.net.port import ICMP_PROTOCOLS
from korat.core.policy.outcome import Outcome
from korat.core.render.nft.outcome import outcome_name
from korat.core.render.nft.ruleset import Chain, Rule, digest, rule, sort_key
from korat.core.render.nft.statement import Choice, Field, Key, Span, Value, Verdict, goto
from korat.core.table.value import Cell, Cells, VerdictTable, number_last

_DPORT = (Field.L4PROTO, Field.DPORT)
_SPORT = (Field.L4PROTO, Field.SPORT)
_BOTH = (Field.L4PROTO, Field.SPORT, Field.DPORT)
_PROTOCOL = (Field.L4PROTO,)
_SHAPES = (_DPORT, _SPORT, _BOTH, _PROTOCOL)

_CACHED_TABLES = 4096


@lru_cache(maxsize=_CACHED_TABLES)
def table_chain(table: VerdictTable) -> tuple[str, Chain]:
    """The table's chain and its name, which is made of the content."""
    found: dict[tuple[Field, ...], dict[Key, Verdict]] = {shape: {} for shape in _SHAPES}
    for protocol, cells in table.protocols:
        default = _default(cells, table.other)
        if default != table.other:
            found[_PROTOCOL][protocol,] = goto(outcome_name(default))
        shape = _shape(protocol, cells)
        for cell in cells:
            if cell.outcome != default:
                end = goto(outcome_name(cell.outcome))
                found[shape].update((key, end) for key in _keys(protocol, cell, shape))
    rules = [_lookup(shape, found[shape]) for shape in _SHAPES if found[shape]]
    rules.append(rule(goto(outcome_name(table.other))))
    name = f"table-{digest(*(each.text for each in rules))}"
    return name, Chain(tuple(rules))


def _default(cells: Cells, other: Outcome) -> Outcome:
    """The outcome of most cells; ties go to the table's own default, then by name."""
    counts = Counter(cell.outcome for cell in cells)
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


def _lookup(fields: tuple[Field, ...], elements: dict[Key, Verdict]) -> Rule:
    return rule(Choice(fields, tuple(sorted(elements.items(), key=lambda e: sort_key(e[0])))))
