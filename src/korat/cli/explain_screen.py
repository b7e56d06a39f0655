"""``policy explain`` for people: the tiers as they are walked, the rule that decided in bold.

A tree, because a packet's way through policy is one: direction, tier, policy, rule. Lines wrap,
nothing is cut; colour only says again what the words say.
"""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from korat.cli.explain import would
from korat.cli.policy_ruling import BESIDE_POLICY
from korat.cli.policy_source import INVENTED, Snapshot
from korat.cli.question import Question, Side
from korat.cli.rule_text import rule_text, rules_of
from korat.cli.screen import ALLOWED, DENIED, DIM, STAGED
from korat.core.model.policy import Rule
from korat.core.net.address import Addr
from korat.core.policy.evaluate import Judgement, PolicyTrace, RuleTrace, StageTrace, Verdict
from korat.core.policy.outcome import Action, Direction, Outcome, Reason, RuleRef
from korat.core.policy.rule import RuleAction
from korat.core.policy.written import stored_key

_MARK = {Action.ALLOW: "✔", Action.DENY: "✘"}
_COLOUR = {Action.ALLOW: ALLOWED, Action.DENY: DENIED}
_DONE = {Action.ALLOW: "allowed", Action.DENY: "denied"}
_WOULD = {"allow": "allow it", "deny": "deny it", "pass": "pass it on to the next tier"}


def drawn(
    questions: Sequence[Question], verdicts: Sequence[Verdict], snapshot: Snapshot
) -> RenderableType:
    """The whole answer to the first question, and a line for each other IP version's."""
    question, verdict, packet = questions[0], verdicts[0], questions[0].packet
    parts: list[RenderableType] = [_headline(question, verdict), Text("")]
    for head, judgement in (
        (_head(Direction.EGRESS, question.source, packet.src, snapshot), verdict.egress),
        (_head(Direction.INGRESS, question.destination, packet.dst, snapshot), verdict.ingress),
    ):
        parts += [_direction(head, judgement, snapshot), Text("")]
    parts += _next_step(verdict, snapshot)
    for other, said in zip(questions[1:], verdicts[1:], strict=True):
        parts.append(_other(other, said, same=said.action is verdict.action))
    if any(_is_invented(side, snapshot) for side in (question.source, question.destination)):
        words = f"pods without an address have made-up ones of {INVENTED}, "
        parts.append(Text(f"{words}which rules with nets hardly mean", DIM))
    return Group(*parts)


def _headline(question: Question, verdict: Verdict) -> Text:
    """``✘ denied  shop/web → shop/db  TCP 5432``."""
    line = Text()
    line.append(f"{_MARK[verdict.action]} {_DONE[verdict.action]}", _bold(verdict.action))
    line.append(f"  {question.source.name} → {question.destination.name}", "bold")
    line.append(f"  {question.packet_words}")
    return line


def _other(question: Question, verdict: Verdict, *, same: bool) -> Text:
    """What becomes of the same over the other IP version."""
    version = question.packet.family.value
    words = f"over IPv{version} it is {_DONE[verdict.action]}{' too' if same else ''}; "
    style = DIM if same else _bold(verdict.action)
    return Text.assemble((words, style), (f"--ip-version {version} says why", DIM))


def _head(direction: Direction, side: Side, address: Addr, snapshot: Snapshot) -> Text:
    """``entering shop/db  10.0.0.2 on vm1``."""
    verb = "leaving" if direction is Direction.EGRESS else "entering"
    head = Text.assemble((f"{direction.value}  ", DIM), f"{verb} ", (side.name, "bold"))
    if side.endpoint is None and side.host is not None:
        return head.append(f"  {address} of {side.host.key} on {side.host.node}", DIM)
    if side.endpoint is None:
        who = (
            f"node {side.node} has no host endpoint" if side.node else "no workload of this cluster"
        )
        return head.append(f"  {who}: policy does not hinder it", DIM)
    node = f" on {side.endpoint.node}" if side.endpoint.node else ""
    invented = " (made up)" if _is_invented(side, snapshot) else ""
    head.append(f"  {address}{invented}{node}", DIM)
    return head


def _is_invented(side: Side, snapshot: Snapshot) -> bool:
    return side.endpoint is not None and side.endpoint.key in snapshot.invented


def _direction(head: Text, judgement: Judgement | None, snapshot: Snapshot) -> RenderableType:
    """One direction of one end."""
    if judgement is None:
        return head
    tree = Tree(head, guide_style=DIM)
    for stage in judgement.stages:
        _add_stage(tree, stage, judgement.outcome, snapshot)
    if judgement.outcome.ref.policy is None and judgement.outcome.ref.reason in BESIDE_POLICY:
        tree.add(_verdict_line(judgement.outcome, BESIDE_POLICY[judgement.outcome.ref.reason]))
    return tree


def _add_stage(tree: Tree, stage: StageTrace, outcome: Outcome, snapshot: Snapshot) -> None:
    """A tier, or the profiles, with what was asked in it."""
    head = Text.assemble(("tier ", DIM), stage.tier) if stage.tier else Text("profiles")
    if stage.which:
        head.append(f"  {stage.which} policies of the node", DIM)
    branch = tree.add(head)
    for policy in stage.policies:
        _add_policy(branch, policy, outcome, snapshot)
    if stage.ended is None:
        branch.add(Text(_went_on(stage), DIM))
    elif stage.ended.ref.index is None:
        line = _verdict_line(stage.ended, _why(stage.ended.ref))
        branch.add(_placed(line, stage.ended.ref, snapshot))


def _went_on(stage: StageTrace) -> str:
    """Why the packet left a stage undecided."""
    last = stage.policies[-1].rules[-1:] if stage.policies else ()
    passed = bool(last) and not last[0].why_not and last[0].action is RuleAction.PASS
    passed = passed and not stage.policies[-1].staged
    next_one = "the next tier or set" if stage.which else "the next tier"
    return f"passed on to {next_one}" if passed else f"nothing decided: on to {next_one}"


def _add_policy(branch: Tree, policy: PolicyTrace, outcome: Outcome, snapshot: Snapshot) -> None:
    """A policy with its rules up to the one that decided."""
    head, decisive = Text(str(stored_key(policy.key))), [outcome.ref]
    if policy.staged:
        found = would(policy, outcome)
        words = f"would {_WOULD[found[1]]}" if found else "would leave it to the next policy"
        default = found is not None and found[0].index is None
        head.append(f"  staged: {words}{', as its tier does' if default else ''}", STAGED)
        decisive = [found[0]] if found else []
    node = branch.add(head)
    rules = rules_of(snapshot.cluster, policy.key, outcome.ref.direction)
    for trace in policy.rules:
        line = _rule_line(trace, rules, outcome, staged=policy.staged)
        node.add(_placed(line, trace.ref, snapshot) if trace.ref in decisive else line)
    if not policy.rules:
        node.add(Text("has no rules in this direction", DIM))


def _rule_line(
    trace: RuleTrace, rules: tuple[Rule, ...], outcome: Outcome, *, staged: bool
) -> Text:
    """One rule: decided, matched without deciding, or why it did not match."""
    index = trace.ref.index or 0
    words = rule_text(rules[index]) if index < len(rules) else trace.action.value
    if trace.ref == outcome.ref:
        return _verdict_line(outcome, f"rule {index}: {words}")
    if trace.why_not:
        return Text(f"rule {index}: {words}  - {_short(trace.why_not)}", DIM)
    logs = trace.action is RuleAction.LOG and not staged
    return Text(f"rule {index}: {words}  - {'logs it, and goes on' if logs else 'matched'}")


def _short(why_not: str) -> str:
    """The objection without the selector, which the rule's own words have just said."""
    role, matches, _ = why_not.partition(" does not match ")
    return f"{role} is somebody else" if matches else why_not


def _verdict_line(outcome: Outcome, words: str) -> Text:
    """The line that decided."""
    mark = f"{_MARK[outcome.action]} {outcome.action.value}"
    return Text.assemble((f"{mark}  ", _bold(outcome.action)), (words, "bold"))


def _placed(line: Text, ref: RuleRef, snapshot: Snapshot) -> Text:
    """The line with the file and line of what it speaks of, where they are known."""
    place = snapshot.places.of(ref)
    return line.append(f"  {place}", "cyan") if place else line


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


def _next_step(verdict: Verdict, snapshot: Snapshot) -> Iterable[RenderableType]:
    """Where to look at what denied."""
    for judgement in (verdict.egress, verdict.ingress):
        if judgement is None or judgement.outcome.action is Action.ALLOW:
            continue
        keys = [judgement.outcome.ref.policy] if judgement.outcome.ref.policy else []
        asked = (p for stage in judgement.stages[-1:] for p in stage.policies if not p.staged)
        keys = keys or [policy.key for policy in asked]
        for key in map(stored_key, keys[:1]):
            space = f" -n {key.namespace}" if key.namespace else ""
            command = f"korat get {key.kind.lower()} {key.name}{space} -o yaml"
            place = snapshot.places.object(key)
            yield Text.assemble(
                ("see it in: " if place else "see it with: ", DIM), place or command
            )
