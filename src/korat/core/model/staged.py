"""Staged policies: StagedNetworkPolicy, StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy.

Each has the fields of the kind that it stands for, behind a ``stagedAction``. They are structs of
their own, not derived ones, so that nothing takes them for policies that are enforced; ``enforced``
gives the policy that one would be.
Source: projectcalico.org/v3 (stagednetworkpolicy.go and its two siblings, with their converters).
"""

from typing import TypeVar

import msgspec

from korat.core.model.kubernetes_policy import (
    EgressRule,
    IngressRule,
    KubePolicySpec,
    LabelSelector,
)
from korat.core.model.policy import (
    DEFAULT_TIER,
    GlobalNetworkPolicy,
    GlobalPolicySpec,
    NetworkPolicy,
    PolicySpec,
    Rule,
)
from korat.core.model.resource import Frozen, Resource, written

S = TypeVar("S", bound=Frozen)

#: What is to become of the policy that is staged.
SET, DELETE = "Set", "Delete"
#: Every value of stagedAction.
ACTIONS = (SET, DELETE, "Learn", "Ignore")


class StagedPolicySpec(Frozen, frozen=True):
    """The fields of a NetworkPolicy, staged."""

    staged_action: str = ""
    tier: str = written(DEFAULT_TIER)
    order: int | float | None = None
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    selector: str = ""
    types: tuple[str, ...] = ()
    service_account_selector: str = ""
    performance_hints: tuple[str, ...] = ()


class StagedGlobalPolicySpec(StagedPolicySpec, frozen=True):
    """The fields of a GlobalNetworkPolicy, staged."""

    namespace_selector: str = ""
    do_not_track: bool = False
    pre_dnat: bool = msgspec.field(default=False, name="preDNAT")
    apply_on_forward: bool = False


class StagedKubePolicySpec(Frozen, frozen=True):
    """The fields of a Kubernetes NetworkPolicy, staged."""

    staged_action: str = ""
    pod_selector: LabelSelector = written(LabelSelector())
    ingress: tuple[IngressRule, ...] = ()
    egress: tuple[EgressRule, ...] = ()
    policy_types: tuple[str, ...] = ()


class StagedNetworkPolicy(Resource, frozen=True):
    """A policy for the endpoints of one namespace, to be looked at and not enforced."""

    kind: str = written("StagedNetworkPolicy")
    spec: StagedPolicySpec = written(StagedPolicySpec())


class StagedGlobalNetworkPolicy(Resource, frozen=True):
    """A policy for endpoints anywhere, to be looked at and not enforced."""

    kind: str = written("StagedGlobalNetworkPolicy")
    spec: StagedGlobalPolicySpec = written(StagedGlobalPolicySpec())


class StagedKubernetesNetworkPolicy(Resource, frozen=True):
    """A Kubernetes NetworkPolicy, to be looked at and not enforced."""

    kind: str = written("StagedKubernetesNetworkPolicy")
    spec: StagedKubePolicySpec = written(StagedKubePolicySpec())


Staged = StagedNetworkPolicy | StagedGlobalNetworkPolicy | StagedKubernetesNetworkPolicy


def enforced(
    staged: StagedNetworkPolicy | StagedGlobalNetworkPolicy,
) -> NetworkPolicy | GlobalNetworkPolicy:
    """The policy that a staged one would be."""
    if isinstance(staged, StagedGlobalNetworkPolicy):
        spec = _fields(staged.spec, GlobalPolicySpec)
        return GlobalNetworkPolicy(metadata=staged.metadata, spec=spec)
    return NetworkPolicy(metadata=staged.metadata, spec=_fields(staged.spec, PolicySpec))


def enforced_kubernetes(staged: StagedKubernetesNetworkPolicy) -> KubePolicySpec:
    """What the staged policy says in Kubernetes' language."""
    return _fields(staged.spec, KubePolicySpec)


def _fields(spec: Frozen, struct: type[S]) -> S:
    """The fields that both have."""
    return struct(**{name: getattr(spec, name) for name in struct.__struct_fields__})
