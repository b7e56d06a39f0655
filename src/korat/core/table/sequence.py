"""The plain sequence: one direction of one workload's policy as rules to be tried one by one.

It is the slow twin of the verdict tables and what they are compiled from. A sequence is a list of
stages, one per tier and per profile. A packet is tried against a stage's steps in order: Allow and
Deny end the sequence, Pass ends the stage, Log leaves a trace and goes on. Past its last step, a
stage with an ``end`` denies; otherwise the next stage is tried. The last stage has an ``end``.
Among the steps are trials, which are staged policies: whatever matches there is noted, no more.
Source: felix/rules/endpoints.go.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from korat.core.net.address import Addr, Family
from korat.core.net.port import icmp_protocol
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint, Policy, Profile, Rules, Tier
from korat.core.policy.match import Packet
from korat.core.policy.outcome import Action, Direction, Outcome, RuleRef
from korat.core.policy.rule import IcmpMatch, NormalRule, Ports, RuleAction, Side
from korat.core.selector import Selector
from korat.core.table.matches import SelectorMatches
from korat.core.table.predicate import (
    Predicate,
    holds,
    named_ports,
    needs_of,
    predicates_of,
    serves_of,
)


@dataclass(frozen=True, slots=True)
class Step:
    """A rule and its name."""

    ref: RuleRef
    rule: NormalRule


@dataclass(frozen=True, slots=True)
class Trial:
    """A staged policy: its first step that matches is noted, else ``miss`` where there is one."""

    steps: tuple[Step, ...]
    miss: RuleRef | None


@dataclass(frozen=True, slots=True)
class Stage:
    """A tier's or a profile's steps; ``end`` denies what none of them decided, None goes on.

    ``passing`` is who sends on what none of them decided, where anybody is to be named for it.
    """

    steps: tuple[Step | Trial, ...]
    end: RuleRef | None
    passing: RuleRef | None = None

    @property
    def rules(self) -> Iterator[Step]:
        """All its steps, those of trials too, in order."""
        for step in self.steps:
            yield from (step.steps if isinstance(step, Trial) else (step,))


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """The stages of one direction for one IP version; an object, shared by its endpoints."""

    family: Family
    direction: Direction
    stages: tuple[Stage, ...]

    def steps(self) -> Iterator[Step]:
        """All steps, in order."""
        return (step for stage in self.stages for step in stage.rules)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a sequence may know of a packet: its numbers and what is true of its two ends."""

    protocol: int
    a: int
    b: int
    source: frozenset[Predicate]
    destination: frozenset[Predicate]


class Governors(NamedTuple):
    """What governs one direction of an endpoint: policies as (tier, policy) indexes, profiles."""

    policies: tuple[tuple[int, int], ...]
    profiles: tuple[str, ...]


class Sequences:
    """Makes sequences; endpoints that the same policies and profiles govern share one object."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._made: dict[tuple[Family, Direction, Governors], Sequence] = {}
        self._places: defaultdict[Selector, list[tuple[int, int]]] = defaultdict(list)
        for at, tier in enumerate(cluster.tiers):
            for index, policy in enumerate(tier.policies):
                self._places[policy.selector].append((at, index))
        self._matches = SelectorMatches(self._places)

    def of(self, endpoint: Endpoint, direction: Direction, family: Family) -> Sequence:
        """The sequence of one direction of an endpoint."""
        governors = self._governors(endpoint, direction)
        key = family, direction, governors
        if key not in self._made:
            stages = tuple(_stages(self._cluster, governors, direction, family))
            self._made[key] = Sequence(family, direction, stages)
        return self._made[key]

    def _governors(self, endpoint: Endpoint, direction: Direction) -> Governors:
        tiers = self._cluster.tiers
        places = (
            (tier, index)
            for selector in self._matches.of(endpoint.labels)
            for tier, index in self._places[selector]
            if direction in tiers[tier].policies[index].directions
        )
        return Governors(tuple(sorted(places)), endpoint.profiles)


def _stages(
    cluster: Cluster, governors: Governors, direction: Direction, family: Family
) -> Iterator[Stage]:
    for at, places in groupby(governors.policies, key=itemgetter(0)):
        tier = cluster.tiers[at]
        yield tier_stage(tier, [tier.policies[place] for _, place in places], direction, family)
    yield from profile_stages(cluster, governors.profiles, direction, family)


def profile_stages(
    cluster: Cluster, names: Iterable[str], direction: Direction, family: Family
) -> Iterator[Stage]:
    """The stages of some profiles, the last of which denies."""
    for name in names:
        profile = cluster.profiles.get(name)
        if profile is None:
            yield Stage((), RuleRef.profile_missing(direction, name))
            return
        yield Stage(tuple(profile_steps(profile, direction, family)), None)
    yield Stage((), RuleRef.no_profile_matched(direction))


def tier_stage(
    tier: Tier, policies: Iterable[Policy], direction: Direction, family: Family
) -> Stage:
    """The stage of a tier; without a policy that is enforced it denies nothing."""
    policies = list(policies)
    enforced = any(not policy.staged for policy in policies)
    steps: list[Step | Trial] = []
    for policy in policies:
        own = policy_steps(policy, direction, family)
        if policy.staged:
            missing = tier.denies and not enforced
            miss = RuleRef.staged_default(direction, tier.name, policy.key) if missing else None
            steps.append(Trial(tuple(own), miss))
        else:
            steps += own
    end, passing = tier_end(tier.name, direction, denies=tier.denies, enforced=enforced)
    return Stage(tuple(steps), end, passing)


def tier_end(
    tier: str, direction: Direction, *, denies: bool, enforced: bool
) -> tuple[RuleRef | None, RuleRef | None]:
    """Who denies what a tier did not decide, and who sends it on; nobody if none is enforced."""
    if not enforced:
        return None, None
    default = RuleRef.tier_default(direction, tier)
    return (default, None) if denies else (None, default)


def policy_steps(policy: Policy, direction: Direction, family: Family) -> Iterator[Step]:
    """The steps of a policy; the Log rules of a staged one do not log."""
    for index, rule in _normal(policy.rules(direction), family):
        if not (policy.staged and rule.action is RuleAction.LOG):
            yield Step(RuleRef.rule(direction, policy.tier, policy.key, index), rule)


def profile_steps(profile: Profile, direction: Direction, family: Family) -> Iterator[Step]:
    """The steps of a profile."""
    for index, rule in _normal(profile.rules(direction), family):
        yield Step(RuleRef.profile_rule(direction, profile.name, index), rule)


def _normal(rules: Rules, family: Family) -> Iterator[tuple[int, NormalRule]]:
    """The rules that can match for this IP version, with their place among all."""
    for index, rule in enumerate(rules):
        normal = rule.normal(family)
        if normal is not None:
            yield index, normal


class Asked(NamedTuple):
    """Every predicate that a sequence asks of the source and of the destination."""

    source: frozenset[Predicate]
    destination: frozenset[Predicate]

    @classmethod
    def by(cls, sequence: Sequence) -> "Asked":
        """What a sequence asks."""
        rules = [step.rule for step in sequence.steps()]
        return cls(
            frozenset(p for rule in rules for p in predicates_of(rule.source)),
            frozenset(p for rule in rules for p in predicates_of(rule.destination)),
        )

    def facts(self, packet: Packet, true: Callable[[Predicate, Addr, int, int], bool]) -> Facts:
        """What the sequence needs to know of a packet; ``true`` is asked as ``holds`` is."""
        src, dst, protocol = packet.src, packet.dst, packet.protocol
        return Facts(
            protocol,
            *packet.numbers,
            frozenset(p for p in self.source if true(p, src, protocol, packet.sport)),
            frozenset(p for p in self.destination if true(p, dst, protocol, packet.dport)),
        )


def facts(cluster: Cluster, sequence: Sequence, packet: Packet) -> Facts:
    """What a sequence needs to know of a packet, found by scanning the cluster."""
    return Asked.by(sequence).facts(packet, partial(holds, cluster))


def run(sequence: Sequence, known: Facts) -> Outcome:
    """Try the steps one by one."""
    trail = _Trail([], [], [])
    for stage in sequence.stages:
        decided = _try(stage, sequence.family, known, trail)
        if decided is not None:
            return Outcome(*decided, *map(tuple, trail))
    raise ValueError("the sequence has no last stage that denies")


class _Trail(NamedTuple):
    """What was passed on the way."""

    logs: list[RuleRef]
    staged: list[RuleRef]
    passes: list[RuleRef]


def _try(
    stage: Stage, family: Family, known: Facts, trail: _Trail
) -> tuple[Action, RuleRef] | None:
    for step in stage.steps:
        if isinstance(step, Trial):
            hits = (each.ref for each in step.steps if matches(each.rule, family, known))
            noted = next(hits, step.miss)
            trail.staged.extend([noted] if noted else [])
            continue
        if not matches(step.rule, family, known):
            continue
        match step.rule.action:
            case RuleAction.ALLOW:
                return Action.ALLOW, step.ref
            case RuleAction.DENY:
                return Action.DENY, step.ref
            case RuleAction.PASS:
                trail.passes.append(step.ref)
                return None
            case RuleAction.LOG:
                trail.logs.append(step.ref)
    trail.passes.extend([stage.passing] if stage.passing else [])
    return None if stage.end is None else (Action.DENY, stage.end)


def matches(rule: NormalRule, family: Family, known: Facts) -> bool:
    """Whether a rule matches a packet of which this is known."""
    icmp = (known.a, known.b) if known.protocol == icmp_protocol(family) else None
    return (
        rule.protocol in (None, known.protocol)
        and rule.not_protocol != known.protocol
        and (rule.icmp is None or _is_icmp(rule.icmp, icmp))
        and (rule.not_icmp is None or not _is_icmp(rule.not_icmp, icmp))
        and _side_matches(rule, rule.source, known.source, (known.protocol, known.a))
        and _side_matches(rule, rule.destination, known.destination, (known.protocol, known.b))
    )


def _is_icmp(wanted: IcmpMatch, icmp: tuple[int, int] | None) -> bool:
    return icmp is not None and wanted.type == icmp[0] and wanted.code in (None, icmp[1])


def _side_matches(
    rule: NormalRule, side: Side, true: frozenset[Predicate], transport: tuple[int, int]
) -> bool:
    needs, serves = needs_of(side), serves_of(side)
    protocol, number = transport

    def listed(ports: Ports) -> bool:
        return protocol in rule.port_protocols and (
            any(number in span for span in ports.ranges)
            or not true.isdisjoint(named_ports(side, ports))
        )

    return (
        true.issuperset(needs.holds)
        and true.isdisjoint(needs.fails)
        and (serves is None or serves in true)
        and (side.ports is None or listed(side.ports))
        and (side.not_ports is None or not listed(side.not_ports))
    )
