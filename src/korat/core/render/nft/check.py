"""Whether the kernel would take a ruleset, decided without a kernel.

For: refusing a wrong ruleset where it is made, with the name of what is wrong; the simulator and
the tests rely on it. Not for: proving that nft's parser takes the text (the tests on a real kernel
do that).
Source: net/netfilter/nf_tables_api.c (nft_chain_validate, set element checks), nft_masq.c.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from korat.core.net.address import Family
from korat.core.net.port import PORT_LAST, PROTOCOL_LAST, Protocol
from korat.core.render.nft.key import NFPROTO, Field, Key, Span, Type, Value
from korat.core.render.nft.ruleset import (
    Base,
    Chain,
    CounterMap,
    Hook,
    Lookup,
    NamedSet,
    NumberMap,
    Ruleset,
    VerdictMap,
    is_interval,
)
from korat.core.render.nft.statement import (
    Action,
    Carry,
    CarryChoice,
    CarryFrom,
    Choice,
    Counter,
    CounterFrom,
    InSet,
    MapLookup,
    Match,
    Nat,
    Statement,
    Verdict,
)
from korat.core.render.nft.track import NoTrack

#: NFT_JUMP_STACK_SIZE: how deep jumps and gotos may nest.
DEPTH_MAX = 16
#: NF_IP_PRI_CONNTRACK: where a packet's connection is looked up.
TRACKING = -200

_LAST: Mapping[Type, int] = {
    Type.IPV4: (1 << 32) - 1,
    Type.IPV6: (1 << 128) - 1,
    Type.PROTO: PROTOCOL_LAST,
    Type.PORT: PORT_LAST,
    Type.ICMP_TYPE: 255,
    Type.ICMP_CODE: 255,
    Type.ICMPV6_TYPE: 255,
    Type.ICMPV6_CODE: 255,
    Type.NFPROTO: 255,
    Type.TCP_FLAG: 255,
    Type.NUMBER: (1 << 32) - 1,
}


class RefusedError(ValueError):
    """The kernel would refuse this ruleset; the text says which object and why."""


def check(ruleset: Ruleset) -> None:
    """Refuse what the kernel would refuse.

    Raises:
        RefusedError: the first fault found.
    """
    for name, lookup in ruleset.lookups.items():
        _check_lookup(name, lookup, ruleset)
    for name, chain in ruleset.chains.items():
        _check_rules(f"chain {name}", chain, ruleset)
    depths: dict[str, int] = {}
    for name, chain in ruleset.chains.items():
        if chain.base is not None:
            _descend(name, ruleset, depths, [])
            _check_hooks(name, ruleset)


def _check_lookup(name: str, lookup: Lookup, ruleset: Ruleset) -> None:
    _check_elements(name, lookup.types, lookup.elements, interval=is_interval(lookup))
    if isinstance(lookup, CounterMap):
        for counter in set(lookup.elements.values()) - ruleset.counters.keys():
            raise RefusedError(f"{name}: there is no counter {counter}")
    if isinstance(lookup, NumberMap):
        for number in set(lookup.elements.values()):
            _check_value(name, Type.NUMBER, number, interval=False)


def _check_rules(where: str, chain: Chain, ruleset: Ruleset) -> None:
    for each in chain.rules:
        if not one_family(each.statements):
            raise RefusedError(f"{where}: {each.text} asks for both IP versions")
        if not _one_protocol(each.statements):
            raise RefusedError(f"{where}: {each.text} asks for two protocols")
        for statement in each.statements:
            _check_statement(where, statement, ruleset)
            if isinstance(statement, Counter) and not _counts(statement, ruleset):
                raise RefusedError(f"{where}: there is no counter {statement.name}")
    for verdict in verdicts(chain, ruleset.lookups):
        _check_target(where, verdict, ruleset)


def _counts(counter: Counter, ruleset: Ruleset) -> bool:
    return not counter.name or counter.name in ruleset.counters


def verdicts(chain: Chain, lookups: Mapping[str, Lookup]) -> Iterator[Verdict]:
    """Every verdict that a packet in this chain can meet, through its maps too."""
    for statement in _statements(chain):
        if isinstance(statement, Verdict):
            yield statement
        elif isinstance(statement, Choice):
            yield from (verdict for _, verdict in statement.elements)
        elif isinstance(statement, MapLookup):
            target = lookups[statement.name]
            if isinstance(target, VerdictMap):
                yield from set(target.elements.values())


def fields_of(statements: Iterable[Statement]) -> Iterator[Field]:
    """The fields that some statements look at."""
    for statement in statements:
        if isinstance(statement, Match):
            yield statement.field
        elif isinstance(
            statement, InSet | MapLookup | Choice | CarryFrom | CarryChoice | CounterFrom
        ):
            yield from statement.fields


def one_family(statements: Iterable[Statement]) -> bool:
    """Whether nothing is of IPv4 alone while another thing is of IPv6 alone; nft refuses that."""
    asked = tuple(statements)
    types = {field.type for field in fields_of(asked)}
    said = _said(asked, Field.NFPROTO)
    v4 = not types.isdisjoint(_V4_ONLY) or said == {NFPROTO[Family.V4]}
    v6 = not types.isdisjoint(_V6_ONLY) or said == {NFPROTO[Family.V6]}
    return not (v4 and v6)


def _said(statements: Iterable[Statement], field: Field) -> set[Value]:
    """The single values that a field must have."""
    matches = (each for each in statements if isinstance(each, Match) and each.field is field)
    return {match.values[0] for match in matches if len(match.values) == 1 and not match.negated}


def _one_protocol(statements: Iterable[Statement]) -> bool:
    """Whether no ICMP field is asked of what the same rule says is another protocol."""
    asked = tuple(statements)
    kinds = {field.type for field in fields_of(asked)} & _PROTOCOL_OF.keys()
    of_fields: set[Value] = {_PROTOCOL_OF[kind] for kind in kinds}
    return not of_fields or len(_said(asked, Field.L4PROTO) | of_fields) == 1


_PROTOCOL_OF = {
    Type.ICMP_TYPE: Protocol.ICMP,
    Type.ICMP_CODE: Protocol.ICMP,
    Type.ICMPV6_TYPE: Protocol.ICMPV6,
    Type.ICMPV6_CODE: Protocol.ICMPV6,
}
_V4_ONLY = frozenset({Type.IPV4, Type.ICMP_TYPE, Type.ICMP_CODE})
_V6_ONLY = frozenset({Type.IPV6, Type.ICMPV6_TYPE, Type.ICMPV6_CODE})


def _statements(chain: Chain) -> Iterator[Statement]:
    return (statement for rule in chain.rules for statement in rule.statements)


def _check_statement(where: str, statement: Statement, ruleset: Ruleset) -> None:
    match statement:
        case Match(field, values):
            if not values:
                raise RefusedError(f"{where}: {field.value} is compared with nothing")
            for value in values:
                _check_value(where, field.type, _bare(value), interval=True)
        case Choice(fields, elements) | CarryChoice(fields, elements):
            if len({key for key, _ in elements}) != len(elements):
                raise RefusedError(f"{where}: a key stands twice in a map")
            _check_elements(where, _types(fields), [key for key, _ in elements], interval=True)
        case Carry(number):
            _check_value(where, Type.NUMBER, number, interval=False)
        case (
            InSet(fields, name)
            | MapLookup(fields, name)
            | CarryFrom(fields, name)
            | CounterFrom(fields, name)
        ):
            _check_reference(where, statement, ruleset.lookups.get(name), _types(fields))
        case _:
            pass


def _bare(value: Value) -> Value:
    """An interface name without its wildcard, which only a match may have."""
    return value.removesuffix("*") if isinstance(value, str) else value


def _check_reference(
    where: str,
    by: InSet | MapLookup | CarryFrom | CounterFrom,
    lookup: Lookup | None,
    types: tuple[Type, ...],
) -> None:
    kind = _KIND_OF[type(by)]
    if lookup is None:
        raise RefusedError(f"{where}: there is no {by.name}")
    if not isinstance(lookup, kind):
        raise RefusedError(f"{where}: {by.name} is not a {kind.__name__}")
    if lookup.types != types:
        raise RefusedError(f"{where}: {by.name} holds other types than {by.text} looks up")


_KIND_OF: Mapping[type, type[Lookup]] = {
    InSet: NamedSet,
    MapLookup: VerdictMap,
    CarryFrom: NumberMap,
    CounterFrom: CounterMap,
}


def _check_target(where: str, verdict: Verdict, ruleset: Ruleset) -> None:
    if not verdict.chain:
        return
    target = ruleset.chains.get(verdict.chain)
    if target is None:
        raise RefusedError(f"{where}: there is no chain {verdict.chain}")
    if target.base is not None:
        raise RefusedError(f"{where}: {verdict.chain} is a base chain, which cannot be jumped to")


def _types(fields: Iterable[Field]) -> tuple[Type, ...]:
    return tuple(field.type for field in fields)


def _check_elements(
    where: str, types: tuple[Type, ...], keys: Iterable[Key], *, interval: bool
) -> None:
    keys = tuple(keys)
    for key in keys:
        if len(key) != len(types):
            raise RefusedError(f"{where}: {key} has not {len(types)} parts")
        for kind, value in zip(types, key, strict=True):
            _check_value(where, kind, value, interval=interval)
    if interval:
        _check_disjoint(where, keys)


def _check_value(where: str, kind: Type, value: Value, *, interval: bool) -> None:
    if isinstance(value, str) or kind is Type.IFNAME:
        if not isinstance(value, str) or kind is not Type.IFNAME or value.endswith("*"):
            raise RefusedError(f"{where}: {value!r} is not an exact {kind.value}")
        return
    if isinstance(value, Span) and not interval:
        raise RefusedError(f"{where}: a span in a set without the interval flag")
    first, last = value if isinstance(value, Span) else (value, value)
    if not 0 <= first <= last <= _LAST[kind]:
        raise RefusedError(f"{where}: {value} is not a {kind.value}")


def _check_disjoint(where: str, keys: tuple[Key, ...]) -> None:
    boxes = sorted((tuple(map(_ends, key)) for key in keys), key=lambda box: box)
    if boxes and len(boxes[0]) == 1:
        pairs: Iterable[tuple[tuple[Span | str, ...], tuple[Span | str, ...]]] = pairwise(boxes)
    else:
        pairs = ((a, b) for i, a in enumerate(boxes) for b in _sharing(a, boxes, i + 1))
    for left, right in pairs:
        if all(map(_meet, left, right)):
            raise RefusedError(f"{where}: {left} and {right} overlap")


def _sharing(
    box: tuple[Span | str, ...], boxes: list[tuple[Span | str, ...]], start: int
) -> Iterator[tuple[Span | str, ...]]:
    """The boxes after ``start`` whose first part meets this one's; they are sorted by it."""
    for index in range(start, len(boxes)):
        if not _meet(box[0], boxes[index][0]):
            return
        yield boxes[index]


def _ends(value: Value) -> Span | str:
    return Span(value, value) if isinstance(value, int) else value


def _meet(left: Span | str, right: Span | str) -> bool:
    if isinstance(left, str) or isinstance(right, str):
        return left == right
    return left.first <= right.last and right.first <= left.last


def _descend(name: str, ruleset: Ruleset, depths: dict[str, int], way: list[str]) -> int:
    """How many chains deep a packet can get from here; refuses loops."""
    if name in way:
        raise RefusedError(f"chain {name}: a loop: {' -> '.join([*way, name])}")
    if name not in depths:
        below = {v.chain for v in verdicts(ruleset.chains[name], ruleset.lookups) if v.chain}
        way.append(name)
        depths[name] = 1 + max((_descend(n, ruleset, depths, way) for n in below), default=0)
        way.pop()
    if len(way) + depths[name] > DEPTH_MAX:
        raise RefusedError(f"chain {name}: more than {DEPTH_MAX} chains deep")
    return depths[name]


def _check_hooks(name: str, ruleset: Ruleset) -> None:
    """Address translation belongs to nat chains, reject to where a reply can be sent."""
    base = ruleset.chains[name].base
    seen: set[str] = set()
    todo = [name]
    while todo:
        here = todo.pop()
        if here in seen:
            continue
        seen.add(here)
        chain = ruleset.chains[here]
        todo.extend(v.chain for v in verdicts(chain, ruleset.lookups) if v.chain)
        if base is None:
            continue
        for statement in _statements(chain):
            if isinstance(statement, Nat) and (base.type, base.hook) != ("nat", Hook.POSTROUTING):
                raise RefusedError(f"chain {here}: source NAT reached from {name}")
            if isinstance(statement, NoTrack) and not _before_tracking(base):
                raise RefusedError(f"chain {here}: notrack after tracking, reached from {name}")
        if base.hook is Hook.POSTROUTING and any(
            verdict.action is Action.REJECT for verdict in verdicts(chain, ruleset.lookups)
        ):
            raise RefusedError(f"chain {here}: reject reached from {name}")


def _before_tracking(base: Base) -> bool:
    """Whether connections are not looked up yet; the kernel takes notrack later and ignores it."""
    return base.hook in (Hook.PREROUTING, Hook.OUTPUT) and base.priority < TRACKING
