"""``policy explain`` as a value for scripts: the verdict, who gave it, and the way to it."""

from collections.abc import Set as AbstractSet
from typing import Any

from korat.cli.policy_place import Places
from korat.cli.question import Question, Side
from korat.core.model.key import Key
from korat.core.net.port import PROTOCOLS_WITH_PORTS, protocol_name
from korat.core.policy.evaluate import Judgement, PolicyTrace, StageTrace, Verdict
from korat.core.policy.outcome import Action

#: The reason of a side that policy does not hinder.
NO_WORKLOAD = "not a workload"


def as_dict(
    question: Question, verdict: Verdict, places: Places, invented: AbstractSet[Key]
) -> dict[str, Any]:
    """The whole answer; ``invented`` are the endpoints whose addresses are made up."""
    packet = question.packet
    return {
        "verdict": verdict.action.value,
        "from": _side(question.source, str(packet.src), invented),
        "to": _side(question.destination, str(packet.dst), invented),
        "protocol": protocol_name(packet.protocol),
        "port": packet.dport if packet.protocol in PROTOCOLS_WITH_PORTS else None,
        "egress": direction(verdict.egress, places),
        "ingress": direction(verdict.ingress, places),
    }


def _side(side: Side, address: str, invented: AbstractSet[Key]) -> dict[str, Any]:
    endpoint = side.endpoint
    return {
        "name": side.name,
        "address": address,
        "invented": endpoint is not None and endpoint.key in invented,
        "node": (endpoint.node or None) if endpoint else None,
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
        "trace": [_stage(stage, places) for stage in judgement.stages],
    }


def _last_asked(judgement: Judgement) -> Key | None:
    """The policy that was asked last in the stage that decided."""
    asked = judgement.stages[-1].policies
    return asked[-1].key if asked else None


def _stage(stage: StageTrace, places: Places) -> dict[str, Any]:
    return {
        "tier": stage.tier or None,
        "stage": "tier" if stage.tier else "profiles",
        "policies": [_policy(policy, places) for policy in stage.policies],
        "action": stage.ended.action.value if stage.ended else None,
    }


def _policy(policy: PolicyTrace, places: Places) -> dict[str, Any]:
    return {
        "kind": policy.key.kind,
        "namespace": policy.key.namespace or None,
        "policy": policy.key.name,
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
