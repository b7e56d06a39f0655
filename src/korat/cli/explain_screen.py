"""``policy explain`` for people: the tiers as they are walked, the rule that decided in bold.

A tree, because a packet's way through policy is one: direction, tier, policy, rule. Lines wrap,
nothing is cut; colour only says again what the words say.
"""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from korat.cli.question import Question, Side
from korat.cli.rule_text import rule_text
from korat.cli.screen import ALLOWED, DENIED, DIM
from korat.core.model.key import Key
from korat.core.model.policy import GlobalNetworkPolicy, NetworkPolicy, Profile, Rule
from korat.core.net.port import PROTOCOLS_WITH_PORTS, protocol_name
from korat.core.policy.evaluate import Judgement, PolicyTrace, RuleTrace, StageTrace, Verdict
from korat.core.policy.outcome import Action, Direction, Outcome, Reason, RuleRef
from korat.drivers.store.client import Objects

_MARK = {Action.ALLOW: "✔", Action.DENY: "✘"}
_COLOUR = {Action.ALLOW: ALLOWED, Action.DENY: DENIED}
_DONE = {Action.ALLOW: "allowed", Action.DENY: "denied"}


def drawn(question: Question, verdict: Verdict, objects: Objects) -> RenderableType:
    """The whole answer."""
    parts: list[RenderableType] = [_headline(question, verdict), Text("")]
    for direction, judgement, side in (
        (Direction.EGRESS, verdict.egress, question.source),
        (Direction.INGRESS, verdict.ingress, question.destination),
    ):
        parts += [_direction(direction, judgement, side, objects), Text("")]
    parts += _next_step(verdict)
    return Group(*parts)


def _headline(question: Question, verdict: Verdict) -> Text:
    """``✘ denied  shop/web → shop/db  TCP 5432``."""
    packet = question.packet
    port = f" {packet.dport}" if packet.protocol in PROTOCOLS_WITH_PORTS else ""
    line = Text()
    line.append(f"{_MARK[verdict.action]} {_DONE[verdict.action]}", _bold(verdict.action))
    line.append(f"  {question.source.name} → {question.destination.name}", "bold")
    line.append(f"  {protocol_name(packet.protocol)}{port}")
    return line


def _direction(
    direction: Direction, judgement: Judgement | None, side: Side, objects: Objects
) -> RenderableType:
    """One direction of one end."""
    verb = "leaving" if direction is Direction.EGRESS else "entering"
    head = Text.assemble((f"{direction.value}  ", DIM), f"{verb} ", (side.name, "bold"))
    if judgement is None:
        head.append("  no workload of this cluster: policy does not hinder it", DIM)
        return head
    node = side.endpoint.node if side.endpoint else ""
    head.append(f"  {side.addresses[0]}{f' on {node}' if node else ''}", DIM)
    tree = Tree(head, guide_style=DIM)
    for stage in judgement.stages:
        _add_stage(tree, stage, judgement.outcome, objects)
    return tree


def _add_stage(tree: Tree, stage: StageTrace, outcome: Outcome, objects: Objects) -> None:
    """A tier, or the profiles, with what was asked in it."""
    head = Text.assemble(("tier ", DIM), stage.tier) if stage.tier else Text("profiles")
    branch = tree.add(head)
    for policy in stage.policies:
        _add_policy(branch, policy, outcome, objects)
    if stage.ended is None:
        branch.add(Text(_went_on(stage), DIM))
    elif stage.ended.ref.index is None:
        branch.add(_verdict_line(stage.ended, _why(stage.ended.ref)))


def _went_on(stage: StageTrace) -> str:
    """Why the packet left a stage undecided."""
    last = stage.policies[-1].rules[-1:] if stage.policies else ()
    passed = bool(last) and not last[0].why_not and last[0].action.value == "Pass"
    return "passed on to the next tier" if passed else "nothing decided: on to the next tier"


def _add_policy(branch: Tree, policy: PolicyTrace, outcome: Outcome, objects: Objects) -> None:
    """A policy with its rules up to the one that decided."""
    node = branch.add(Text(str(policy.key)))
    rules = _rules(objects, policy.key, outcome.ref.direction)
    for trace in policy.rules:
        node.add(_rule_line(trace, rules, outcome))
    if not policy.rules:
        node.add(Text("has no rules in this direction", DIM))


def _rule_line(trace: RuleTrace, rules: tuple[Rule, ...], outcome: Outcome) -> Text:
    """One rule: decided, matched without deciding, or why it did not match."""
    index = trace.ref.index or 0
    words = rule_text(rules[index]) if index < len(rules) else trace.action.value
    if trace.ref == outcome.ref:
        return _verdict_line(outcome, f"rule {index}: {words}")
    if trace.why_not:
        return Text(f"rule {index}: {words}  - {_short(trace.why_not)}", DIM)
    return Text(f"rule {index}: {words}  - matched")


def _short(why_not: str) -> str:
    """The objection without the selector, which the rule's own words have just said."""
    role, matches, _ = why_not.partition(" does not match ")
    return f"{role} is somebody else" if matches else why_not


def _verdict_line(outcome: Outcome, words: str) -> Text:
    """The line that decided."""
    mark = f"{_MARK[outcome.action]} {outcome.action.value}"
    return Text.assemble((f"{mark}  ", _bold(outcome.action)), (words, "bold"))


def _bold(action: Action) -> str:
    return f"bold {_COLOUR[action]}"


def _why(ref: RuleRef) -> str:
    """What decided when no rule did."""
    match ref.reason:
        case Reason.TIER_DEFAULT:
            return f"no rule matched, and tier {ref.tier} denies what its policies do not decide"
        case Reason.PROFILE_MISSING:
            name = ref.policy.name if ref.policy else ""
            return f"the profile {name} does not exist, and that denies everything"
        case _:
            return "no profile allows it"


def _rules(objects: Objects, key: Key, direction: Direction) -> tuple[Rule, ...]:
    """The rules as their author wrote them."""
    resource = objects.by_key.get(key)
    if not isinstance(resource, NetworkPolicy | GlobalNetworkPolicy | Profile):
        return ()
    spec = resource.spec
    return spec.ingress if direction is Direction.INGRESS else spec.egress


def _next_step(verdict: Verdict) -> Iterable[RenderableType]:
    """Where to look at what denied."""
    for judgement in (verdict.egress, verdict.ingress):
        if judgement is None or judgement.outcome.action is Action.ALLOW:
            continue
        keys = [judgement.outcome.ref.policy] if judgement.outcome.ref.policy else []
        keys = keys or [p.key for p in judgement.stages[-1].policies]
        for key in keys[:1]:
            space = f" -n {key.namespace}" if key.namespace else ""
            command = f"korat get {key.kind.lower()} {key.name}{space} -o yaml"
            yield Text.assemble(("see it with: ", DIM), command)
