"""Staged policies: what they stage, and that a staged deletion says nothing else.

Source: libcalico-go/lib/validator/v3 (validateStagedNetworkPolicy and its siblings), the CRDs.
"""

from korat.core.model.policy import GlobalNetworkPolicy
from korat.core.model.resource import Frozen
from korat.core.model.staged import (
    ACTIONS,
    DELETE,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
    enforced,
    enforced_kubernetes,
)
from korat.core.model.validate.faults import Faults
from korat.core.model.validate.kubernetes_policy import kubernetes_spec
from korat.core.model.validate.name import dns_label
from korat.core.model.validate.policy import global_network_policy, network_policy


def staged_policy(faults: Faults, policy: StagedNetworkPolicy | StagedGlobalNetworkPolicy) -> None:
    """A staged policy keeps to the rules of the one that it stands for."""
    spec = policy.spec
    faults.choice("spec.stagedAction", spec.staged_action, ACTIONS)
    if spec.staged_action == DELETE:
        dns_label(faults, "spec.tier", spec.tier)
        _nothing_else(faults, spec, {"stagedAction", "tier"})
        return
    real = enforced(policy)
    if isinstance(real, GlobalNetworkPolicy):
        global_network_policy(faults, real)
    else:
        network_policy(faults, real)


def staged_kubernetes_policy(faults: Faults, policy: StagedKubernetesNetworkPolicy) -> None:
    """A staged Kubernetes policy keeps to Kubernetes' rules."""
    faults.choice("spec.stagedAction", policy.spec.staged_action, ACTIONS)
    if policy.spec.staged_action == DELETE:
        _nothing_else(faults, policy.spec, {"stagedAction"})
    else:
        kubernetes_spec(faults, enforced_kubernetes(policy))


def _nothing_else(faults: Faults, spec: Frozen, allowed: set[str]) -> None:
    """What deletes a policy need not say what the policy was."""
    empty = type(spec)()
    names = zip(spec.__struct_fields__, spec.__struct_encode_fields__, strict=True)
    given = [
        written
        for name, written in names
        if written not in allowed and getattr(spec, name) != getattr(empty, name)
    ]
    if given:
        rule = f"must not be given with stagedAction {DELETE}; take {', '.join(given)} out"
        faults.add("spec", None, rule)
