"""The example with every field of a rule: nothing is left out, and each field decides something.

A field matters when the evaluator, asked the same packets about the same policy without it, answers
otherwise at least once. What the kernel does of it is ``tests/netns`` and ``tests/lab``.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from msgspec.structs import replace as changed

from korat.core.model.policy import EntityRule, GlobalNetworkPolicy, NetworkPolicy, Rule
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import judge, verdict
from korat.core.policy.outcome import Action, Direction
from rule_world import STRANGERS, packets, pairs, snapshot

WORLD = snapshot()
POLICIES = {
    key: resource
    for key, resource in WORLD.objects.by_key.items()
    if isinstance(resource, NetworkPolicy | GlobalNetworkPolicy)
}
ADDRESSES = [addr for endpoint in WORLD.cluster.endpoints for addr in endpoint.addresses]

#: Not the kernel's: http is for proxies, metadata for comments.
NOT_ENFORCED = {"http", "metadata"}


def rules(resource) -> Iterator[tuple[Direction, int, Rule]]:
    for direction in Direction:
        for index, rule in enumerate(getattr(resource.spec, direction.value)):
            yield direction, index, rule


def fields(value, prefix="") -> Iterator[str]:
    """What a rule says, by path: ``protocol``, ``icmp.code``, ``source.ports``."""
    empty = type(value)()
    for name in value.__struct_fields__:
        said = getattr(value, name)
        if said == getattr(empty, name) or name == "action":
            continue
        if name not in ("source", "destination"):
            yield prefix + name
        if name in ("source", "destination", "icmp", "not_icmp", "service_accounts"):
            inner = list(fields(said, f"{prefix}{name}."))
            # a code alone may be taken away; a type without its code would be another match
            yield from inner if name in ("source", "destination") else inner[1:]


def without(value, path):
    """The rule without one field."""
    name, _, rest = path.partition(".")
    inner = without(getattr(value, name), rest) if rest else getattr(type(value)(), name)
    return changed(value, **{name: inner})


def is_implied(rule, path):
    """Whether another field of the rule says it too: the names of ports, or an ICMP type."""
    ports = (*rule.source.ports, *rule.destination.ports)
    named = ports and not any(str(port)[0].isdigit() for port in ports)
    return path == "protocol" and bool(named or rule.icmp)


USES = [
    pytest.param(key, direction, index, path, id=f"{key} {direction.value} {index} {path}")
    for key, resource in POLICIES.items()
    for direction, index, rule in rules(resource)
    for path in fields(rule)
    if not is_implied(rule, path)
]


def test_every_field_of_a_rule_is_there():
    used = {path for use in USES for path in (use.values[3],)}
    expected = {name for name in Rule.__struct_fields__ if name not in NOT_ENFORCED}
    entity = [name for name in EntityRule.__struct_fields__ if name not in NOT_ENFORCED]
    expected |= {f"{side}.{name}" for side in ("source", "destination") for name in entity}
    assert expected - used == {"action", "source", "destination"}
    actions = {r.action for resource in POLICIES.values() for _, _, r in rules(resource)}
    assert actions == {"Allow", "Deny", "Log", "Pass"}


def judged(cluster, key, direction):
    """What becomes of every packet of those whom a policy governs, with what is logged of it."""
    policies = (policy for tier in cluster.tiers for policy in tier.policies)
    policy = next(policy for policy in policies if policy.key == key)
    for endpoint in WORLD.cluster.endpoints:
        if not policy.applies(endpoint, direction):
            continue
        for own, peer in pairs(endpoint.addresses, [*ADDRESSES, *STRANGERS]):
            ends = (peer, own) if direction is Direction.INGRESS else (own, peer)
            for packet in packets(*ends):
                outcome = judge(cluster, endpoint, direction, packet).outcome
                yield outcome.action, outcome.logs


@pytest.mark.parametrize(("key", "direction", "index", "path"), USES)
def test_each_field_matters(key, direction, index, path):
    resource = POLICIES[key]
    listed = list(getattr(resource.spec, direction.value))
    listed[index] = without(listed[index], path)
    less = changed(resource, spec=changed(resource.spec, **{direction.value: tuple(listed)}))
    cluster = Cluster.build({**WORLD.objects.by_key, key: less}.values())
    both = judged(WORLD.cluster, key, direction), judged(cluster, key, direction)
    assert any(before != after for before, after in zip(*both, strict=True))


@pytest.mark.parametrize("key", POLICIES, ids=str)
def test_each_policy_matters(key):
    less = {k: resource for k, resource in WORLD.objects.by_key.items() if k != key}
    cluster = Cluster.build(less.values())
    assert any(
        verdict(WORLD.cluster, packet).action is not verdict(cluster, packet).action
        for src, dst in pairs(ADDRESSES, ADDRESSES)
        for packet in packets(src, dst)
    )


@pytest.mark.parametrize("kind", ["ClusterNetworkPolicy", "StagedNetworkPolicy"])
def test_a_cluster_policy_decides_and_a_staged_one_does_not(kind):
    less = [r for key, r in WORLD.objects.by_key.items() if key.kind != kind]
    assert len(less) == len(WORLD.objects.by_key) - 1
    cluster = Cluster.build(less)
    differs = any(
        verdict(WORLD.cluster, packet).action is not verdict(cluster, packet).action
        for src, dst in pairs(ADDRESSES, ADDRESSES)
        for packet in packets(src, dst)
    )
    assert differs is (kind == "ClusterNetworkPolicy")


def test_much_is_allowed_and_much_denied():
    found = Counter(
        verdict(WORLD.cluster, packet).action
        for src, dst in pairs(ADDRESSES, ADDRESSES)
        if src != dst
        for packet in packets(src, dst)
    )
    assert min(found[Action.ALLOW], found[Action.DENY]) > found.total() / 4
    assert WORLD.cluster.problems == ()
