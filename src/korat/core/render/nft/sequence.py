"""The plain sequence as chains: every rule of every policy, tried one by one.

The slow, obvious twin of ``policy``: it makes the same chains ``egress`` and ``ingress``, so that
both can stand behind the same hooks and be compared packet by packet. Its cost grows with the
number of rules; a node loads it only when its tables would be too large to make.

    egress:  meta nfproto ipv4 iifname vmap @sequence-egress-4 -> stage-HASH
    stage-HASH:  one nftables rule per alternative of each policy rule, in order, goto allow-HASH,
                 deny-HASH, or, for Pass, the chain of the next stage; Log only logs. Pass and Log
                 count where they stand, as their outcome does not know of them

Stages follow each other in one chain; only what a Pass leads to begins a new one, because the
kernel does not let chains nest deeper than 16. Addresses of a selector, a list of prefixes or a
named port are sets (``peer_set``).

A staged policy is a chain that the stage jumps to: its first rule that matches counts and comes
back to the stage.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import assert_never

from korat.core.net.address import Family
from korat.core.net.interval import IntervalSet
from korat.core.net.port import PROTOCOLS_WITH_PORTS, icmp_protocol
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint
from korat.core.policy.outcome import Action, Direction, Outcome, RuleRef
from korat.core.policy.rule import (
    IcmpMatch,
    NormalRule,
    Ports,
    RuleAction,
    Side,
)
from korat.core.render.nft.key import (
    NFPROTO,
    Field,
    Key,
    Span,
    Type,
    Value,
    is_interface_name,
)
from korat.core.render.nft.outcome import (
    OutcomeSettings,
    counter_name,
    log_rule,
    outcome_chain,
    outcome_name,
)
from korat.core.render.nft.peer_set import PeerSets, ScannedSets
from korat.core.render.nft.policy import LOCAL, PEER, UNKNOWN
from korat.core.render.nft.ruleset import (
    Chain,
    Lookup,
    Rule,
    Ruleset,
    VerdictMap,
    digest,
    rule,
)
from korat.core.render.nft.statement import (
    RETURN,
    Counter,
    InSet,
    MapLookup,
    Match,
    Statement,
    Verdict,
    goto,
    jump,
)
from korat.core.table.predicate import named_ports, needs_of, serves_of
from korat.core.table.sequence import Sequence, Sequences, Stage, Step, Trial

#: One way for a rule to match; the ways of a rule exclude each other, so that Log logs once.
Way = tuple[Statement, ...]


def render_sequences(
    cluster: Cluster, local: Iterable[Endpoint], settings: OutcomeSettings
) -> Ruleset:
    """The chains ``egress`` and ``ingress`` for these endpoints, rule by rule."""
    sets = ScannedSets(cluster)
    writer = SequenceWriter(sets, settings)
    sequences = Sequences(cluster)
    lookups: dict[str, Lookup] = {}
    endpoints = tuple(local)
    for direction in Direction:
        entrance = []
        for family in Family:
            name = f"sequence-{direction.value}-{family}"
            ways: dict[Key, Verdict] = {
                (endpoint.interface,): goto(
                    writer.sequence(sequences.of(endpoint, direction, family))
                )
                for endpoint in endpoints
                if endpoint.addresses_of(family) and is_interface_name(endpoint.interface)
            }
            lookups[name] = VerdictMap((Type.IFNAME,), ways)
            of_family = Match(Field.NFPROTO, (NFPROTO[family],))
            entrance.append(rule(of_family, MapLookup((LOCAL[direction],), name)))
        writer.chains[direction.value] = Chain((*entrance, UNKNOWN))
    return Ruleset({**lookups, **sets.lookups}, writer.chains, writer.counters)


@dataclass(slots=True)
class SequenceWriter:
    """Collects the chains of many sequences; ``suffix`` tells its outcomes from others."""

    sets: PeerSets
    settings: OutcomeSettings
    suffix: str = ""
    chains: dict[str, Chain] = field(default_factory=dict)
    counters: dict[str, RuleRef] = field(default_factory=dict)
    written: dict[int, tuple[Sequence, str]] = field(default_factory=dict)

    def sequence(self, sequence: Sequence) -> str:
        """Write a sequence once; its chain."""
        if id(sequence) not in self.written:
            self.written[id(sequence)] = (sequence, self._stages(sequence.stages, sequence.family))
        return self.written[id(sequence)][1]

    def _stages(self, stages: tuple[Stage, ...], family: Family) -> str:
        """Write the stages from the last one back; the first one's chain."""
        rules: list[Rule] = []
        for number in range(len(stages) - 1, -1, -1):
            stage = stages[number]
            after = ""
            enforced = (step for step in stage.steps if isinstance(step, Step))
            if any(step.rule.action is RuleAction.PASS for step in enforced):
                # Where a Pass leads, and where the end of this stage goes too unless it denies.
                after = self._chain(rules)
                rules = [rule(goto(after))]
            rules = [*self._stage(stage, family, after), *(() if stage.end else rules)]
        return self._chain(rules)

    def _chain(self, rules: list[Rule]) -> str:
        name = f"stage-{digest(*(each.text for each in rules))}"
        self.chains[name] = Chain(tuple(rules))
        return name

    def _stage(self, stage: Stage, family: Family, after: str) -> Iterator[Rule]:
        for step in stage.steps:
            if isinstance(step, Trial):
                yield rule(jump(self._trial(step, family)))
                continue
            for way in self._ways(step.rule, family):
                yield Rule((*way, *self._end(step, after)))
        if stage.end is not None:
            yield rule(goto(self._outcome(Outcome(Action.DENY, stage.end))))
        elif stage.passing is not None:
            yield rule(self._count(stage.passing))

    def _trial(self, trial: Trial, family: Family) -> str:
        rules = [
            Rule((*way, self._count(step.ref), RETURN))
            for step in trial.steps
            for way in self._ways(step.rule, family)
        ]
        if trial.miss is not None:
            rules.append(rule(self._count(trial.miss)))
        name = f"trial-{digest(*(each.text for each in rules))}"
        self.chains[name] = Chain(tuple(rules))
        return name

    def _count(self, ref: RuleRef) -> Counter:
        name = counter_name(ref)
        self.counters[name] = ref
        return Counter(name)

    def _end(self, step: Step, after: str) -> tuple[Statement, ...]:
        match step.rule.action:
            case RuleAction.ALLOW:
                return (goto(self._outcome(Outcome(Action.ALLOW, step.ref))),)
            case RuleAction.DENY:
                return (goto(self._outcome(Outcome(Action.DENY, step.ref))),)
            case RuleAction.PASS:
                return (self._count(step.ref), goto(after))
            case RuleAction.LOG:
                return (self._count(step.ref), *log_rule(step.ref, self.settings).statements)
            case _:
                assert_never(step.rule.action)

    def _outcome(self, outcome: Outcome) -> str:
        name = outcome_name(outcome) + self.suffix
        self.chains[name] = outcome_chain(outcome, self.settings)
        self._count(outcome.ref)
        return name

    def _ways(self, normal: NormalRule, family: Family) -> Iterator[Way]:
        """The ways in which a rule matches: as ICMP, where it speaks of that, and otherwise.

        The two are kept apart because nft refuses a rule that can match nothing.
        """
        protocol = icmp_protocol(family)
        sides = (
            (normal.source, (PEER[family, Direction.INGRESS], Field.SPORT)),
            (normal.destination, (PEER[family, Direction.EGRESS], Field.DPORT)),
        )
        needs = [ways for side, (address, _) in sides for ways in self._needs(side, address)]
        other: Way = ()
        if normal.icmp or normal.not_icmp:
            ported = any(side.ports or side.serving for side, _ in sides)
            if not ported and _allows(normal, protocol):
                yield from map(_joined, product(*needs, [*_icmp_ways(normal, family)]))
            if normal.icmp or normal.protocol == protocol:
                return
            other = (Match(Field.L4PROTO, (protocol,), negated=True),)
        choices = [
            choose(normal, side, fields)
            for side, fields in sides
            for choose in (self._listed, self._unlisted, self._served)
        ]
        for parts in product(*needs, *choices):
            yield (*_protocol(normal), *other, *_joined(parts))

    def _needs(self, side: Side, address: Field) -> Iterator[list[Way]]:
        """For each thing that is needed of the address, the ways in which it is so."""
        family, needs = _family(address), needs_of(side)
        for predicate in needs.holds:
            yield _in_one((address,), self.sets.of_addresses(predicate, family))
        for predicate in needs.fails:
            yield [_in_none((address,), self.sets.of_addresses(predicate, family))]

    def _listed(self, normal: NormalRule, side: Side, fields: tuple[Field, Field]) -> list[Way]:
        """The port is one of the list's, by number or else by name."""
        if side.ports is None:
            return [()]
        if not normal.port_protocols:
            return []
        numbers = _numbers(normal, side.ports, fields[1], negated=False)
        others = _numbers(normal, side.ports, fields[1], negated=True)
        named = _in_one(_ported_fields(fields), self._named(side, side.ports, fields))
        return [
            *([(_ported(normal), numbers)] if numbers else ()),
            *((_ported(normal), *((others,) if others else ()), *way) for way in named),
        ]

    def _unlisted(self, normal: NormalRule, side: Side, fields: tuple[Field, Field]) -> list[Way]:
        """The protocol has no such ports, or else the port is none of the list's."""
        if side.not_ports is None or not normal.port_protocols:
            return [()]
        numbers = _numbers(normal, side.not_ports, fields[1], negated=True)
        named = _in_none(_ported_fields(fields), self._named(side, side.not_ports, fields))
        return [
            (_ported(normal, negated=True),),
            (_ported(normal), *((numbers,) if numbers else ()), *named),
        ]

    def _served(self, normal: NormalRule, side: Side, fields: tuple[Field, Field]) -> list[Way]:
        """Address, protocol and port are one of the service's."""
        serves = serves_of(side)
        if serves is None:
            return [()]
        protocols = PROTOCOLS_WITH_PORTS
        if normal.protocol is not None:
            protocols &= {normal.protocol}
        if not protocols:
            return []
        ported = Match(Field.L4PROTO, tuple(sorted(protocols)))
        names = self.sets.of_ports([serves], _family(fields[0]))
        return [(ported, *way) for way in _in_one(_ported_fields(fields), names)]

    def _named(self, side: Side, ports: Ports, fields: tuple[Field, Field]) -> tuple[str, ...]:
        named = named_ports(side, ports)
        return self.sets.of_ports(named, _family(fields[0])) if named else ()


def _family(address: Field) -> Family:
    return Family.V4 if address.type is Type.IPV4 else Family.V6


def _ported_fields(fields: tuple[Field, Field]) -> tuple[Field, ...]:
    address, port = fields
    return address, Field.L4PROTO, port


def _in_one(fields: tuple[Field, ...], names: tuple[str, ...]) -> list[Way]:
    """The ways of being in at least one of some sets; they exclude each other."""
    return [
        (*_in_none(fields, names[:number]), InSet(fields, name))
        for number, name in enumerate(names)
    ]


def _in_none(fields: tuple[Field, ...], names: tuple[str, ...]) -> Way:
    return tuple(InSet(fields, name, negated=True) for name in names)


def _joined(parts: Iterable[Way]) -> Way:
    return tuple(statement for part in parts for statement in part)


def _protocol(normal: NormalRule) -> Iterator[Match]:
    if normal.protocol is not None:
        yield Match(Field.L4PROTO, (normal.protocol,))
    if normal.not_protocol is not None:
        yield Match(Field.L4PROTO, (normal.not_protocol,), negated=True)


def _allows(normal: NormalRule, protocol: int) -> bool:
    """Whether a packet of this protocol can match."""
    return normal.protocol in (None, protocol) and normal.not_protocol != protocol


_ICMP: Mapping[Family, tuple[Field, Field]] = {
    Family.V4: (Field.ICMP_TYPE, Field.ICMP_CODE),
    Family.V6: (Field.ICMPV6_TYPE, Field.ICMPV6_CODE),
}


def _icmp_ways(normal: NormalRule, family: Family) -> Iterator[Way]:
    """The type and code that are asked for; then another type, or the same and another code."""
    kind, code = _ICMP[family]
    asked: list[Match] = []
    if normal.icmp is not None:
        asked = list(_icmp_match(normal.icmp, kind, code))
    if normal.not_icmp is None:
        yield tuple(asked)
        return
    yield (*asked, Match(kind, (normal.not_icmp.type,), negated=True))
    if normal.not_icmp.code is not None:
        same = Match(kind, (normal.not_icmp.type,))
        yield (*asked, same, Match(code, (normal.not_icmp.code,), negated=True))


def _icmp_match(icmp: IcmpMatch, kind: Field, code: Field) -> Iterator[Match]:
    yield Match(kind, (icmp.type,))
    if icmp.code is not None:
        yield Match(code, (icmp.code,))


def _ported(normal: NormalRule, *, negated: bool = False) -> Match:
    return Match(Field.L4PROTO, tuple(sorted(normal.port_protocols)), negated=negated)


def _numbers(normal: NormalRule, ports: Ports, port: Field, *, negated: bool) -> Match | None:
    if not ports.ranges or not normal.port_protocols:
        return None
    spans = IntervalSet.of((each.first, each.last) for each in ports.ranges).spans
    values: tuple[Value, ...] = tuple(a if a == b else Span(a, b) for a, b in spans)
    return Match(port, values, negated=negated)
