"""Every kind of policy as one of Calico's two: what a resource that is a policy says.

Staged kinds say what the kinds say that they stand for; Kubernetes' kinds are converted.
Source: libcalico-go/lib/backend/syncersv1/updateprocessors (staged*processor.go).
"""

from typing import NamedTuple

from korat.core.errors import Problem
from korat.core.model.cluster_policy import ClusterNetworkPolicy
from korat.core.model.key import Key
from korat.core.model.kubernetes import cluster_policy
from korat.core.model.kubernetes.policy import spec_to_calico
from korat.core.model.policy import GlobalNetworkPolicy, NetworkPolicy
from korat.core.model.resource import Resource
from korat.core.model.staged import (
    DELETE,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
    enforced,
    enforced_kubernetes,
)


class Written(NamedTuple):
    """A policy in Calico's words, under its own key; ``problems`` are rules that have none."""

    key: Key
    policy: NetworkPolicy | GlobalNetworkPolicy
    staged: bool = False
    problems: tuple[Problem, ...] = ()


def written_policy(resource: Resource) -> Written | None:
    """What a resource says as a policy; None when it is none, or stages a deletion.

    Raises:
        ValueError: it is a policy of which nobody knows what it governs.
    """
    match resource:
        case NetworkPolicy() | GlobalNetworkPolicy():
            return Written(resource.key, resource)
        case StagedNetworkPolicy() | StagedGlobalNetworkPolicy():
            if resource.spec.staged_action == DELETE:
                return None
            return Written(resource.key, enforced(resource), staged=True)
        case StagedKubernetesNetworkPolicy():
            return _staged_kubernetes(resource)
        case ClusterNetworkPolicy():
            policy, problems = cluster_policy.to_calico(resource)
            return Written(policy.key, policy, staged=False, problems=problems)
        case _:
            return None


def stored_key(key: Key) -> Key:
    """Where the policy of this key is stored; Calico has a name of its own for one of the kinds."""
    return key._replace(kind="ClusterNetworkPolicy") if key.kind == cluster_policy.KIND else key


def _staged_kubernetes(resource: StagedKubernetesNetworkPolicy) -> Written | None:
    if resource.spec.staged_action == DELETE:
        return None
    spec, problems = spec_to_calico(enforced_kubernetes(resource), resource.title)
    policy = NetworkPolicy(metadata=resource.metadata, spec=spec)
    return Written(resource.key, policy, staged=True, problems=problems)
