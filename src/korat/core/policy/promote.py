"""What would be there if staged policies were enforced: what each of them replaces or deletes.

A staged policy of action Set becomes the enforced policy of its kind and name, in whose place it
comes; Delete takes that one away. Learn and Ignore say that nobody is to enforce them.
Source: projectcalico.org/v3 (stagednetworkpolicy.go: ConvertStagedPolicyToEnforced).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from korat.core.model.key import Key
from korat.core.model.kubernetes.policy import PREFIX, to_calico
from korat.core.model.kubernetes_policy import KubePolicy
from korat.core.model.policy import GlobalNetworkPolicy, NetworkPolicy
from korat.core.model.resource import Resource
from korat.core.model.staged import (
    DELETE,
    SET,
    Staged,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    enforced,
    enforced_kubernetes,
)


@dataclass(frozen=True, slots=True)
class Promotion:
    """The objects once staged policies are enforced.

    ``made`` has the key of the policy that each staged one became; ``notes`` say what became of
    those that changed nothing.
    """

    objects: Mapping[Key, Resource]
    made: Mapping[Key, Key]
    notes: tuple[str, ...]


def promoted(objects: Mapping[Key, Resource], staged: Iterable[Staged]) -> Promotion:
    """Enforce staged policies."""
    there = dict(objects)
    made: dict[Key, Key] = {}
    notes: list[str] = []
    for policy in staged:
        key = enforced_key(policy)
        action = policy.spec.staged_action or SET
        if action == SET:
            there[key] = _policy(policy)
            made[policy.key] = key
        elif action != DELETE:
            notes.append(f"{policy.key} is left out: its stagedAction is {action}")
        elif there.pop(key, None) is None:
            notes.append(f"{policy.key} deletes nothing: there is no {key}")
    return Promotion(there, made, tuple(notes))


def enforced_key(policy: Staged) -> Key:
    """The key of the enforced policy that a staged one is about."""
    name, namespace = policy.metadata.name, policy.metadata.namespace
    if isinstance(policy, StagedGlobalNetworkPolicy):
        return Key("GlobalNetworkPolicy", "", name)
    prefix = PREFIX if isinstance(policy, StagedKubernetesNetworkPolicy) else ""
    return Key("NetworkPolicy", namespace, prefix + name)


def _policy(policy: Staged) -> NetworkPolicy | GlobalNetworkPolicy:
    if isinstance(policy, StagedKubernetesNetworkPolicy):
        return to_calico(KubePolicy(metadata=policy.metadata, spec=enforced_kubernetes(policy)))
    return enforced(policy)
