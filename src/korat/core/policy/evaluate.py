"""The reference evaluator: what policy says about one packet, and the whole way to the answer.

It is the slow obvious twin of the verdict tables. It reads rules as they are written and scans
endpoints and sets for each packet, and shares with the table compiler only the snapshot (order,
effective selectors, inherited labels), neither normal forms nor predicates.

Policy alone is judged here: not routes, anti-spoofing, NAT, nor that a node may always reach its
own workloads.
Source: felix/calc/policy_resolver.go, felix/rules/endpoints.go.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from korat.core.model.key import Key
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint, Policy, PolicyRule, Tier
from korat.core.policy.match import Packet, Scene, mismatch
from korat.core.policy.outcome import Action, Direction, Outcome, RuleRef, profile_key
from korat.core.policy.rule import RuleAction


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """A rule that was asked; ``why_not`` is empty when it matched."""

    ref: RuleRef
    action: RuleAction
    why_not: str


@dataclass(frozen=True, slots=True)
class PolicyTrace:
    """A policy or profile that was asked, with its rules up to the one that decided.

    In a ``staged`` policy the last one that matched would have decided, and Log rules do not log.
    """

    key: Key
    rules: tuple[RuleTrace, ...]
    staged: bool = False


@dataclass(frozen=True, slots=True)
class StageTrace:
    """A tier that was asked, or the profiles when ``tier`` is empty; ``ended`` says how it went.

    ``ended`` is None when the packet went on to the next stage. ``which`` names the set of a host
    endpoint's policies where it is not the normal one.
    """

    tier: str
    policies: tuple[PolicyTrace, ...]
    ended: Outcome | None
    which: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One direction of one workload: the outcome and the way to it."""

    endpoint: Key
    outcome: Outcome
    stages: tuple[StageTrace, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Both directions; None where that side is no workload, which policy does not hinder."""

    egress: Judgement | None
    ingress: Judgement | None

    @property
    def action(self) -> Action:
        """What becomes of the packet: both directions must allow it."""
        sides = [side.outcome.action for side in (self.egress, self.ingress) if side is not None]
        return Action.DENY if Action.DENY in sides else Action.ALLOW


def verdict(cluster: Cluster, packet: Packet) -> Verdict:
    """Judge a packet by the policy of both its ends."""
    source, destination = cluster.endpoint_at(packet.src), cluster.endpoint_at(packet.dst)
    return Verdict(
        egress=judge(cluster, source, Direction.EGRESS, packet) if source else None,
        ingress=judge(cluster, destination, Direction.INGRESS, packet) if destination else None,
    )


def judge(cluster: Cluster, endpoint: Endpoint, direction: Direction, packet: Packet) -> Judgement:
    """Judge a packet by one direction of one workload's policy."""
    walk = Walk(direction, Scene.of(cluster, packet))
    for tier in cluster.tiers:
        policies = [policy for policy in tier.policies if policy.applies(endpoint, direction)]
        outcome = walk.ask_tier(tier, policies) if policies else None
        if outcome is not None:
            break
    else:
        outcome = walk.ask_profiles(cluster, endpoint.profiles)
    return Judgement(endpoint.key, outcome, tuple(walk.stages))


class Walk:
    """One packet on its way through the stages, with the trail it leaves.

    Where it is ``open_ended``, tiers have no default, and leave the packet to who is asked later.
    """

    def __init__(self, direction: Direction, scene: Scene, *, open_ended: bool = False) -> None:
        """Nothing was asked yet."""
        self.open_ended = open_ended
        self.direction = direction
        self.scene = scene
        self.logs: list[RuleRef] = []
        self.staged: list[RuleRef] = []
        self.passes: list[RuleRef] = []
        self.stages: list[StageTrace] = []

    def ask_tier(self, tier: Tier, policies: list[Policy]) -> Outcome | None:
        """The outcome of a tier, or None when the packet goes on to the next one."""
        traces: list[PolicyTrace] = []
        # A tier of which only staged policies govern the endpoint is as if it were not there.
        enforced = any(not policy.staged for policy in policies)
        decided = None
        for policy in policies:
            refs = (
                (RuleRef.rule(self.direction, tier.name, policy.key, index), rule)
                for index, rule in enumerate(policy.rules(self.direction))
            )
            found = self._ask(policy.key, refs, traces, staged=policy.staged)
            if policy.staged and found is not None:
                self.staged.append(found.ref)
            elif policy.staged and tier.denies and not enforced:
                ref = RuleRef.staged_default(self.direction, tier.name, policy.key)
                self.staged.append(ref)
            elif not policy.staged and found is not None:
                decided = found
                break
        if decided is not None:
            outcome = self._outcome(decided)
        elif enforced:
            outcome = self._default(tier)
        else:
            outcome = None
        self.stages.append(StageTrace(tier.name, tuple(traces), outcome))
        return outcome

    def ask_profiles(self, cluster: Cluster, names: Iterable[str]) -> Outcome:
        """The outcome of the profiles, which is always one."""
        traces: list[PolicyTrace] = []
        outcome = None
        for name in names:
            profile = cluster.profiles.get(name)
            if profile is None:
                outcome = self._deny(RuleRef.profile_missing(self.direction, name))
                break
            refs = (
                (RuleRef.profile_rule(self.direction, name, index), rule)
                for index, rule in enumerate(profile.rules(self.direction))
            )
            decided = self._ask(profile_key(name), refs, traces)
            outcome = self._outcome(decided) if decided is not None else None
            if outcome is not None:
                break
        outcome = outcome or self._deny(RuleRef.no_profile_matched(self.direction))
        self.stages.append(StageTrace("", tuple(traces), outcome))
        return outcome

    def leave_open(self) -> Outcome:
        """The outcome of a set of policies that hinders nothing unless one of them denies."""
        return self._end(Action.ALLOW, RuleRef.undecided(self.direction))

    def _ask(
        self,
        key: Key,
        rules: Iterable[tuple[RuleRef, PolicyRule]],
        traces: list[PolicyTrace],
        *,
        staged: bool = False,
    ) -> RuleTrace | None:
        """The first rule that matches and is no Log, if any; adds to ``traces`` and logs."""
        asked: list[RuleTrace] = []
        decided = None
        for ref, rule in rules:
            trace = RuleTrace(ref, RuleAction(rule.written.action), mismatch(rule, self.scene))
            asked.append(trace)
            if trace.why_not:
                continue
            if trace.action is not RuleAction.LOG:
                decided = trace
                break
            if not staged:
                self.logs.append(ref)
        traces.append(PolicyTrace(key, tuple(asked), staged))
        return decided

    def _outcome(self, decided: RuleTrace) -> Outcome | None:
        match decided.action:
            case RuleAction.ALLOW:
                return self._end(Action.ALLOW, decided.ref)
            case RuleAction.DENY:
                return self._deny(decided.ref)
            case _:
                self.passes.append(decided.ref)
                return None

    def _default(self, tier: Tier) -> Outcome | None:
        if self.open_ended:
            return None
        ref = RuleRef.tier_default(self.direction, tier.name)
        if tier.denies:
            return self._deny(ref)
        self.passes.append(ref)
        return None

    def _deny(self, ref: RuleRef) -> Outcome:
        return self._end(Action.DENY, ref)

    def _end(self, action: Action, ref: RuleRef) -> Outcome:
        return Outcome(action, ref, tuple(self.logs), tuple(self.staged), tuple(self.passes))
