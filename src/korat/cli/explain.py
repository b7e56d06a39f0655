"""``policy explain`` as a value for scripts: the verdict, who gave it, and the way to it."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from korat.cli.policy_place import Places
from korat.cli.question import Question, Side
from korat.core.model.key import Key
from korat.core.net.port import ICMP_PROTOCOLS, PROTOCOLS_WITH_PORTS, protocol_name
from korat.core.policy.evaluate import Judgement, PolicyTrace, StageTrace, Verdict
from korat.core.policy.match import Packet
from korat.core.policy.outcome import Action, Outcome, PolicySet, Reason, RuleRef
from korat.core.policy.rule import RuleAction

#: The reason of a side that policy does not hinder.
NO_WORKLOAD = "not a workload"


def as_dict(
    questions: Sequence[Question],
    verdicts: Sequence[Verdict],
    places: Places,
    invented: AbstractSet[Key],
) -> dict[str, Any]:
    """The whole answer to the first question, and the verdict of each IP version.

    ``invented`` are the endpoints whose addresses are made up.
    """
    question, verdict, packet = questions[0], verdicts[0], questions[0].packet
    return {
        "verdict": verdict.action.value,
        "ipVersions": {
            str(each.packet.family.value): said.action.value
            for each, said in zip(questions, verdicts, strict=True)
        },
        "from": _side(question.source, str(packet.src), invented),
        "to": _side(question.destination, str(packet.dst), invented),
        **numbers(packet),
        "egress": direction(verdict.egress, places),
        "ingress": direction(verdict.ingress, places),
    }


def numbers(packet: Packet) -> dict[str, Any]:
    """IP version, protocol and what the protocol has beside; null for what it has not."""
    ported, icmp = packet.protocol in PROTOCOLS_WITH_PORTS, packet.protocol in ICMP_PROTOCOLS
    return {
        "ipVersion": packet.family.value,
        "protocol": protocol_name(packet.protocol),
        "port": packet.dport if ported else None,
        "sourcePort": packet.sport if ported else None,
        "icmpType": packet.icmp_type if icmp else None,
        "icmpCode": packet.icmp_code if icmp else None,
    }


def _side(side: Side, address: str, invented: AbstractSet[Key]) -> dict[str, Any]:
    endpoint = side.endpoint
    return {
        "name": side.name,
        "address": address,
        "invented": endpoint is not None and endpoint.key in invented,
        "node": (endpoint.node or None) if endpoint else side.host.node if side.host else None,
        "hostEndpoint": side.host.key.name if side.host else None,
    }


def direction(judgement: Judgement | None, places: Places) -> dict[str, Any]:
    """One direction: what decided, and every tier, policy and rule that was asked before.

    Where a tier's default decided, ``policy`` is the last one asked in it, and ``rule`` is null.
    ``place`` is the file and line of what decided, where they are known.
    """
    if judgement is None:
        return {
            "action": Action.ALLOW.value,
            "reason": NO_WORKLOAD,
            "tier": None,
            "kind": None,
            "namespace": None,
            "policy": None,
            "rule": None,
            "place": None,
            "text": NO_WORKLOAD,
            "logged": [],
            "staged": [],
            "trace": [],
        }
    outcome = judgement.outcome
    ref = outcome.ref
    key = ref.policy or _last_asked(judgement)
    return {
        "action": outcome.action.value,
        "reason": ref.reason.value,
        "tier": ref.tier or None,
        "kind": key.kind if key else None,
        "namespace": (key.namespace or None) if key else None,
        "policy": key.name if key else None,
        "rule": ref.index,
        "place": places.of(ref) or None,
        "text": ref.text,
        "logged": [log.text for log in outcome.logs],
        "staged": [ref.text for ref in outcome.staged],
        "trace": [_stage(stage, outcome, places) for stage in judgement.stages],
    }


def _last_asked(judgement: Judgement) -> Key | None:
    """The enforced policy that was asked last in the stage that decided."""
    stages = judgement.stages[-1:]
    asked = [each.key for stage in stages for each in stage.policies if not each.staged]
    return asked[-1] if asked else None


def would(policy: PolicyTrace, outcome: Outcome) -> tuple[RuleRef, str] | None:
    """What a staged policy would have done, ``allow``, ``deny`` or ``pass``, and by what.

    None for what is enforced, and for a staged policy that would have left it to the next one.
    """
    if not policy.staged:
        return None
    last = policy.rules[-1] if policy.rules else None
    if last and not last.why_not and last.action is not RuleAction.LOG:
        return last.ref, last.action.value.lower()
    default = (ref for ref in outcome.staged if ref.policy == policy.key)
    ref = next((ref for ref in default if ref.reason is Reason.STAGED_DEFAULT), None)
    return (ref, Action.DENY.value) if ref else None


def _stage(stage: StageTrace, outcome: Outcome, places: Places) -> dict[str, Any]:
    return {
        "tier": stage.tier or None,
        "stage": "tier" if stage.tier else "profiles",
        "set": stage.which or PolicySet.NORMAL.value,
        "policies": [_policy(policy, outcome, places) for policy in stage.policies],
        "action": stage.ended.action.value if stage.ended else None,
    }


def _policy(policy: PolicyTrace, outcome: Outcome, places: Places) -> dict[str, Any]:
    found = would(policy, outcome)
    return {
        "kind": policy.key.kind,
        "namespace": policy.key.namespace or None,
        "policy": policy.key.name,
        "staged": policy.staged,
        "would": found[1] if found else None,
        "rules": [
            {
                "rule": rule.ref.index,
                "action": rule.action.value,
                "matched": not rule.why_not,
                "why": rule.why_not or None,
                "place": places.of(rule.ref) or None,
            }
            for rule in policy.rules
        ],
    }
