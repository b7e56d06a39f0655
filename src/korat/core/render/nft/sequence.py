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
named port are a set, named by its content.

A staged policy is a chain that the stage jumps to: its first rule that matches counts and comes
back to the stage.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import assert_never

from korat.core.net.address import Addr, Family
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
    key_text,
)
from korat.core.render.nft.outcome import (
    OutcomeSettings,
    counter_name,
    log_rule,
    outcome_chain,
    outcome_name,
)
from korat.core.render.nft.policy import LOCAL, PEER, UNKNOWN
from korat.core.render.nft.ruleset import (
    Chain,
    Lookup,
    NamedSet,
    Rule,
    Ruleset,
    VerdictMap,
    digest,
    rule,
    sort_key,
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
from korat.core.table.predicate import (
    AddressPredicate,
    InNets,
    InService,
    addresses,
    named_ports,
    needs_of,
    owned_ports,
    serves_of,
    service_addresses,
    service_ports,
)
from korat.core.table.sequence import Sequence, Sequences, Stage, Step, Trial

#: One way for a rule to match; the ways of a rule exclude each other, so that Log logs once.
Way = tuple[Statement, ...]


def render_sequences(
    cluster: Cluster, local: Iterable[Endpoint], settings: OutcomeSettings
) -> Ruleset:
    """The chains ``egress`` and ``ingress`` for these endpoints, rule by rule."""
    writer = SequenceWriter(cluster, settings)
    sequences = Sequences(cluster)
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
            writer.lookups[name] = VerdictMap((Type.IFNAME,), ways)
            of_family = Match(Field.NFPROTO, (NFPROTO[family],))
            entrance.append(rule(of_family, MapLookup((LOCAL[direction],), name)))
        writer.chains[direction.value] = Chain((*entrance, UNKNOWN))
    return Ruleset(writer.lookups, writer.chains, writer.counters)


@dataclass(slots=True)
class SequenceWriter:
    """Collects the chains and sets of many sequences; ``suffix`` tells its outcomes from others."""

    cluster: Cluster
    settings: OutcomeSettings
    suffix: str = ""
    lookups: dict[str, Lookup] = field(default_factory=dict)
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
        needs = [need for side, (address, _) in sides for need in self._needs(side, address)]
        other: Way = ()
        if normal.icmp or normal.not_icmp:
            ported = any(side.ports or side.serving for side, _ in sides)
            if not ported and _allows(normal, protocol):
                for way in _icmp_ways(normal, family):
                    yield (*needs, *way)
            if normal.icmp or normal.protocol == protocol:
                return
            other = (Match(Field.L4PROTO, (protocol,), negated=True),)
        choices = [
            choose(normal, side, fields)
            for side, fields in sides
            for choose in (self._listed, self._unlisted, self._served)
        ]
        for parts in product(*choices):
            ports = (statement for part in parts for statement in part)
            yield (*_protocol(normal), *other, *needs, *ports)

    def _needs(self, side: Side, address: Field) -> Iterator[InSet]:
        family = Family.V4 if address.type is Type.IPV4 else Family.V6
        needs = needs_of(side)
        for predicates, negated in ((needs.holds, False), (needs.fails, True)):
            for predicate in predicates:
                yield InSet((address,), self._addresses(predicate, family), negated=negated)

    def _addresses(self, predicate: AddressPredicate, family: Family) -> str:
        if isinstance(predicate, InNets):
            found = IntervalSet.of_prefixes(predicate.nets)
        elif isinstance(predicate, InService):
            found = service_addresses(self.cluster, predicate.service, family)
        else:
            found = addresses(self.cluster, predicate.selector, family)
        kind = Type.IPV4 if family is Family.V4 else Type.IPV6
        return self._set((kind,), {(Span(*span),) for span in found.spans}, interval=True)

    def _listed(self, normal: NormalRule, side: Side, fields: tuple[Field, Field]) -> list[Way]:
        """The port is one of the list's, by number or else by name."""
        if side.ports is None:
            return [()]
        numbers = _numbers(normal, side.ports, fields[1], negated=False)
        named = self._named(side, side.ports, fields, negated=False)
        ways: list[Way] = [(_ported(normal), numbers)] if numbers else []
        if named is None or not normal.port_protocols:
            return ways if normal.port_protocols else []
        others = _numbers(normal, side.ports, fields[1], negated=True)
        return [*ways, (_ported(normal), *((others,) if others else ()), named)]

    def _unlisted(self, normal: NormalRule, side: Side, fields: tuple[Field, Field]) -> list[Way]:
        """The protocol has no such ports, or else the port is none of the list's."""
        if side.not_ports is None or not normal.port_protocols:
            return [()]
        numbers = _numbers(normal, side.not_ports, fields[1], negated=True)
        named = self._named(side, side.not_ports, fields, negated=True)
        others = (statement for statement in (numbers, named) if statement is not None)
        return [(_ported(normal, negated=True),), (_ported(normal), *others)]

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
        return [(ported, self._owned(service_ports(self.cluster, serves.service), fields))]

    def _named(
        self, side: Side, ports: Ports, fields: tuple[Field, Field], *, negated: bool
    ) -> InSet | None:
        if not ports.names:
            return None
        named = (owned_ports(self.cluster, each) for each in named_ports(side, ports))
        owned = frozenset[tuple[Addr, int, int]]().union(*named)
        return self._owned(owned, fields, negated=negated)

    def _owned(
        self,
        owned: Iterable[tuple[Addr, int, int]],
        fields: tuple[Field, Field],
        *,
        negated: bool = False,
    ) -> InSet:
        """Address, protocol and port are one of these."""
        address, port = fields
        family = Family.V4 if address.type is Type.IPV4 else Family.V6
        elements: set[Key] = {
            (addr.value, protocol, number)
            for addr, protocol, number in owned
            if addr.family is family
        }
        name = self._set((address.type, Type.PROTO, Type.PORT), elements, interval=False)
        return InSet((address, Field.L4PROTO, port), name, negated=negated)

    def _set(self, types: tuple[Type, ...], keys: Iterable[Key], *, interval: bool) -> str:
        made = NamedSet(types, frozenset(keys), interval)
        words = (key_text(types, key) for key in sorted(made.elements, key=sort_key))
        name = f"set-{digest(*(kind.value for kind in types), *words)}"
        self.lookups[name] = made
        return name


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
