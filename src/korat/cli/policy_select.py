"""``policy explain --pod`` and ``--policy``: which policies govern a pod, which pods a policy.

As values for scripts here; for people in ``policy_select_screen``.
"""

import difflib
from collections.abc import Iterator
from typing import Any

from korat.cli.policy_source import Snapshot
from korat.cli.question import side, title
from korat.cli.screen import emit, out
from korat.core.errors import Invalid, NotFound, Problem
from korat.core.model.key import Key
from korat.core.model.kind import kind_of
from korat.core.model.kubernetes.policy import PREFIX
from korat.core.model.policy import Tier as TierResource
from korat.core.policy.entity import Policy, Tier
from korat.core.policy.outcome import Direction, PolicySet
from korat.core.policy.written import stored_key, written_policy

#: What a policy's kind ends with; staged kinds begin with it.
_POLICY, STAGED = "NetworkPolicy", "Staged"


def show_pod(snapshot: Snapshot, word: str, output: str) -> None:
    """Say which policies select a pod, in the order in which they are asked.

    Raises:
        KoratError: there is no such pod, or it is no workload.
    """
    found = governors(snapshot, word)
    if output:
        emit(found, output)
        return
    from korat.cli.policy_select_screen import pod_drawn  # noqa: PLC0415  # rich is for people only

    out().print(pod_drawn(found))


def show_policy(snapshot: Snapshot, word: str, output: str) -> None:
    """Say which pods and host endpoints a policy selects.

    Raises:
        KoratError: there is no such policy, or several.
    """
    found = governed(snapshot, word)
    if output:
        emit(found, output)
        return
    from korat.cli.policy_select_screen import policy_drawn  # noqa: PLC0415  # as above

    out().print(policy_drawn(found))


def governors(snapshot: Snapshot, word: str) -> dict[str, Any]:
    """The policies of a pod, per direction in the order in which they are asked.

    Raises:
        KoratError: there is no such pod, or it is no workload.
    """
    if "/" not in word:
        raise Invalid([Problem("", "--pod", word, "give NAMESPACE/POD")])
    pod = side(snapshot.objects, snapshot.cluster, word, "--pod")
    if pod.endpoint is None:
        raise NotFound(f"{word} shares its node's network, and policy for workloads passes it by")
    endpoint = pod.endpoint
    return {
        "pod": pod.name,
        "addresses": [str(addr) for addr in pod.addresses],
        "invented": endpoint.key in snapshot.invented,
        "node": endpoint.node or None,
        "labels": dict(sorted(endpoint.labels.items())),
        **{
            direction.value: [
                _governor(snapshot, tier, policy, direction)
                for tier, policy in _policies(snapshot)
                if policy.applies(endpoint, direction)
            ]
            for direction in Direction
        },
        "profiles": list(endpoint.profiles),
    }


def _policies(snapshot: Snapshot) -> Iterator[tuple[Tier, Policy]]:
    """Every policy with its tier, in order."""
    for tier in snapshot.cluster.tiers:
        yield from ((tier, policy) for policy in tier.policies)


def _policies_of_all(snapshot: Snapshot) -> Iterator[tuple[Tier, Policy]]:
    """As above, and those that only hosts may have."""
    for tier in snapshot.cluster.host_tiers or snapshot.cluster.tiers:
        yield from ((tier, policy) for policy in tier.policies)


def _governor(
    snapshot: Snapshot, tier: Tier, policy: Policy, direction: Direction
) -> dict[str, Any]:
    stored = snapshot.objects.by_key.get(Key("Tier", "", tier.name))
    return {
        "tier": tier.name,
        "tierOrder": stored.spec.order if isinstance(stored, TierResource) else None,
        "tierDefaultAction": "Deny" if tier.denies else "Pass",
        **_identity(snapshot, policy.key),
        "order": _order(policy),
        "rules": len(policy.rules(direction)),
    }


def _identity(snapshot: Snapshot, key: Key) -> dict[str, Any]:
    return {
        "kind": key.kind,
        "namespace": key.namespace or None,
        "policy": key.name,
        "staged": key.kind.startswith(STAGED),
        "place": snapshot.places.object(key) or None,
    }


def _order(policy: Policy) -> float | None:
    """The order as it is written; none sorts last."""
    return None if policy.order == float("inf") else policy.order


def governed(snapshot: Snapshot, word: str) -> dict[str, Any]:
    """The pods and host endpoints of a policy, per direction.

    Raises:
        KoratError: there is no such policy, or several.
    """
    key = policy_named(snapshot, word)
    found = next(((t, p) for t, p in _policies_of_all(snapshot) if stored_key(p.key) == key), None)
    if found is None:
        problems = [p.rule for p in snapshot.cluster.problems if p.where == str(key)]
        why = problems[0] if problems else _no_workloads(snapshot, key)
        raise NotFound(f"{key} selects no pod: it {why}")
    tier, policy = found
    return {
        **_identity(snapshot, key),
        "tier": tier.name,
        "order": _order(policy),
        "selector": policy.selector.canonical,
        **{
            direction.value: {
                "governed": direction in policy.directions,
                "rules": len(policy.rules(direction)),
                "pods": sorted(
                    title(snapshot.objects, endpoint.key)
                    for endpoint in snapshot.cluster.endpoints
                    if PolicySet.NORMAL in policy.sets and policy.applies(endpoint, direction)
                ),
                "hosts": [
                    host.key.name
                    for host in snapshot.cluster.hosts
                    if policy.applies(host, direction)
                ],
            }
            for direction in Direction
        },
    }


def _no_workloads(snapshot: Snapshot, key: Key) -> str:
    """Why a policy that can be read governs no workload at all."""
    if written_policy(snapshot.objects.by_key[key]) is None:
        return "stages the deletion of the policy of this name"
    return "is for hosts: it is not tracked, or comes before DNAT"


def policy_named(snapshot: Snapshot, word: str) -> Key:
    """The policy that a user means: ``NAME``, ``NS/NAME``, or either behind ``KIND/``.

    A Kubernetes policy may be called by the name that its author gave it.

    Raises:
        NotFound: there is none.
        Invalid: there are several.
    """
    *where, name = word.split("/")
    kind = kind_of(where[0]) if where else None
    rest = where[1:] if kind else where
    keys = sorted(key for key in snapshot.objects.by_key if key.kind.endswith(_POLICY))
    found = [
        key
        for key in keys
        if key.name in (name, PREFIX + name)
        and (kind is None or key.kind == kind.name)
        and rest in ([], [key.namespace])
    ]
    if len(found) == 1:
        return found[0]
    if found:
        there = ", ".join(f"{key.kind}/{_path(key)}" for key in found)
        raise Invalid([Problem("", "--policy", word, f"could be any of {there}; say which")])
    near = difflib.get_close_matches(
        word, sorted({*map(_path, keys), *(k.name for k in keys)}), n=3
    )
    meant = f"did you mean {', '.join(near)}?" if near else "give NAME, NS/NAME or KIND/NS/NAME"
    raise NotFound(f"there is no policy {word}", meant)


def _path(key: Key) -> str:
    return f"{key.namespace}/{key.name}" if key.namespace else key.name
