"""What enforcing staged policies makes of the objects."""

import pytest

from korat.core.model.key import Key
from korat.core.model.kubernetes_policy import IngressRule, LabelSelector
from korat.core.model.policy import GlobalNetworkPolicy, NetworkPolicy
from korat.core.model.resource import Metadata
from korat.core.model.staged import (
    StagedGlobalNetworkPolicy,
    StagedGlobalPolicySpec,
    StagedKubePolicySpec,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
    StagedPolicySpec,
)
from korat.core.policy.promote import promoted
from policy_world import allow, deny, policy, tier

OWN = Metadata(name="p", namespace="red")
NAMED, GLOBAL = Key("NetworkPolicy", "red", "p"), Key("GlobalNetworkPolicy", "", "p")
COPY = Key("NetworkPolicy", "red", "knp.default.p")
SELECTED = LabelSelector(match_labels={"app": "db"})


def staged(kind, action="Set"):
    """A staged policy of each kind, with a rule unless it deletes."""
    rules = (allow(),) if action != "Delete" else ()
    if kind is StagedNetworkPolicy:
        return kind(metadata=OWN, spec=StagedPolicySpec(staged_action=action, ingress=rules))
    if kind is StagedGlobalNetworkPolicy:
        spec = StagedGlobalPolicySpec(staged_action=action, ingress=rules, pre_dnat=True)
        return kind(metadata=Metadata(name="p"), spec=spec)
    spec = StagedKubePolicySpec(
        staged_action=action, pod_selector=SELECTED, ingress=(IngressRule(),) if rules else ()
    )
    return kind(metadata=OWN, spec=spec)


KINDS = {
    StagedNetworkPolicy: NAMED,
    StagedGlobalNetworkPolicy: GLOBAL,
    StagedKubernetesNetworkPolicy: COPY,
}


def there(*resources):
    return {resource.key: resource for resource in resources}


@pytest.mark.parametrize(("kind", "key"), KINDS.items())
@pytest.mark.parametrize("action", ["Set", ""])
def test_set_makes_the_policy_of_its_kind_and_name(kind, key, action):
    own = staged(kind, action)
    before = there(own, tier("t"))
    found = promoted(before, [own])
    assert found.objects.keys() - before.keys() == {key}
    assert (found.made, found.notes) == ({own.key: key}, ())
    made = found.objects[key]
    assert type(made) in (NetworkPolicy, GlobalNetworkPolicy)
    assert [rule.action for rule in made.spec.ingress] == ["Allow"]
    assert own.key in found.objects


def test_set_takes_the_place_of_the_enforced_one_and_of_no_other():
    old, other = policy("p", ingress=[deny()]), policy("q", ingress=[deny()])
    own = staged(StagedNetworkPolicy)
    found = promoted(there(old, other, own), [own])
    assert found.objects[NAMED].spec.ingress == (allow(),)
    assert found.objects[other.key] is other
    assert len(found.objects) == 3


def test_every_field_of_the_staged_policy_comes_along():
    made = promoted({}, [staged(StagedGlobalNetworkPolicy)]).objects[GLOBAL]
    assert made.spec.pre_dnat
    kubernetes = promoted({}, [staged(StagedKubernetesNetworkPolicy)]).objects[COPY]
    assert "app == 'db'" in kubernetes.spec.selector
    assert kubernetes.spec.order == 1000


@pytest.mark.parametrize(("kind", "key"), KINDS.items())
def test_delete_takes_the_enforced_one_away_and_says_when_there_is_none(kind, key):
    own = staged(kind, "Delete")
    namespace = key.namespace
    old = policy(key.name, namespace=namespace, ingress=[deny()])
    assert old.key == key
    gone = promoted(there(old, own), [own])
    assert (set(gone.objects), gone.made, gone.notes) == ({own.key}, {}, ())
    nothing = promoted(there(own), [own])
    assert nothing.notes == (f"{own.key} deletes nothing: there is no {key}",)


@pytest.mark.parametrize("action", ["Learn", "Ignore"])
def test_what_nobody_is_to_enforce_is_left_out(action):
    own, old = staged(StagedNetworkPolicy, action), policy("p", ingress=[deny()])
    found = promoted(there(own, old), [own])
    assert found.objects == there(own, old)
    assert found.notes == (f"{own.key} is left out: its stagedAction is {action}",)
