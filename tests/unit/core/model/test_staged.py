"""Staged policies: their fields, what a staged deletion may say, what each would be."""

import json

import pytest

from korat.core.errors import Invalid
from korat.core.model.codec import dump
from korat.core.model.kubernetes import decode_any
from korat.core.model.kubernetes_policy import KubePolicySpec
from korat.core.model.policy import (
    GlobalNetworkPolicy,
    GlobalPolicySpec,
    NetworkPolicy,
    PolicySpec,
)
from korat.core.model.staged import (
    StagedGlobalNetworkPolicy,
    StagedGlobalPolicySpec,
    StagedKubePolicySpec,
    StagedNetworkPolicy,
    StagedPolicySpec,
    enforced,
    enforced_kubernetes,
)

KINDS = ("StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy")


def raw(kind, spec, **metadata):
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": kind,
        "metadata": {"name": "p", **metadata},
        "spec": spec,
    }


def read(kind, spec, **metadata):
    (own,) = decode_any(raw(kind, spec, **metadata))
    return own


def faults(kind, spec, **metadata):
    with pytest.raises(Invalid) as caught:
        read(kind, spec, **metadata)
    return [(problem.field, problem.rule) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("staged", "real"),
    [
        (StagedPolicySpec, PolicySpec),
        (StagedGlobalPolicySpec, GlobalPolicySpec),
        (StagedKubePolicySpec, KubePolicySpec),
    ],
)
def test_a_staged_kind_has_the_fields_of_its_real_one_behind_the_action(staged, real):
    assert staged.__struct_encode_fields__ == ("stagedAction", *real.__struct_encode_fields__)
    assert not issubclass(staged, real)


def test_no_staged_kind_is_taken_for_an_enforced_one():
    assert not issubclass(StagedNetworkPolicy, NetworkPolicy)
    assert not issubclass(StagedGlobalNetworkPolicy, GlobalNetworkPolicy)


@pytest.mark.parametrize("kind", KINDS)
def test_an_absent_action_is_set(kind):
    assert read(kind, {}).spec.staged_action == "Set"


def test_defaults_are_those_of_the_real_kind():
    rule = {"action": "Allow", "protocol": "tcp", "destination": {"ports": ["80"]}}
    own = read("StagedNetworkPolicy", {"order": 5.0, "egress": [rule]})
    assert own.metadata.labels == {"projectcalico.org/tier": "default"}
    assert own.metadata.namespace == "default"
    assert (own.spec.tier, own.spec.order, own.spec.types) == ("default", 5, ("Egress",))
    assert own.spec.egress[0].protocol == "TCP"
    assert own.spec.egress[0].destination.ports == (80,)


def test_it_is_stored_as_calico_writes_it():
    own = read("StagedGlobalNetworkPolicy", {"stagedAction": "Learn", "selector": "has(a)"})
    written = json.loads(dump(own))["spec"]
    assert list(written.items()) == [
        ("stagedAction", "Learn"),
        ("tier", "default"),
        ("selector", "has(a)"),
        ("types", ["Ingress"]),
    ]


def test_a_staged_kubernetes_policy_is_stored_in_kubernetes_order():
    spec = {"policyTypes": ["Egress"], "egress": [{"ports": [{"port": 80}]}]}
    written = json.loads(dump(read("StagedKubernetesNetworkPolicy", spec)))["spec"]
    assert list(written) == ["stagedAction", "podSelector", "egress", "policyTypes"]
    assert written["egress"] == [{"ports": [{"protocol": "TCP", "port": 80}]}]


def test_types_of_a_staged_deletion_are_dropped():
    own = read("StagedNetworkPolicy", {"stagedAction": "Delete", "types": ["Ingress"]})
    assert own.spec.types == ()


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("StagedNetworkPolicy", {"order": 1}, "order"),
        ("StagedNetworkPolicy", {"ingress": [{"action": "Deny"}]}, "ingress"),
        ("StagedNetworkPolicy", {"performanceHints": ["AssumeNeededOnEveryNode"]}, "performance"),
        ("StagedGlobalNetworkPolicy", {"namespaceSelector": "all()"}, "namespaceSelector"),
        ("StagedGlobalNetworkPolicy", {"applyOnForward": True}, "applyOnForward"),
        ("StagedKubernetesNetworkPolicy", {"podSelector": {"matchLabels": {"a": "b"}}}, "podSel"),
        ("StagedKubernetesNetworkPolicy", {"policyTypes": ["Ingress"]}, "policyTypes"),
    ],
)
def test_a_staged_deletion_says_nothing_else(kind, spec, field):
    ((where, rule),) = faults(kind, {"stagedAction": "Delete", **spec})
    assert where == "spec"
    assert "must not be given with stagedAction Delete; take " + field in rule


@pytest.mark.parametrize("kind", KINDS)
def test_a_staged_deletion_needs_no_more_than_its_action(kind):
    assert read(kind, {"stagedAction": "Delete"}).spec.staged_action == "Delete"


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_action(kind):
    assert faults(kind, {"stagedAction": "delete"}) == [
        ("spec.stagedAction", "must be one of Set, Delete, Learn, Ignore")
    ]


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("StagedNetworkPolicy", {"ingress": [{"action": "allow"}]}, "spec.ingress[0].action"),
        ("StagedNetworkPolicy", {"selector": "a =="}, "spec.selector"),
        ("StagedGlobalNetworkPolicy", {"preDNAT": True}, "spec.applyOnForward"),
        (
            "StagedKubernetesNetworkPolicy",
            {"ingress": [{"ports": [{"port": 9, "endPort": 5}]}]},
            "spec.ingress[0].ports[0].endPort",
        ),
        ("StagedKubernetesNetworkPolicy", {"tier": "default"}, "spec.tier"),
    ],
)
def test_the_rules_of_the_real_kind_hold(kind, spec, field):
    assert field in [where for where, _ in faults(kind, spec)]


@pytest.mark.parametrize(
    ("kind", "name", "ok"),
    [
        ("StagedNetworkPolicy", "tier.name", True),
        ("StagedNetworkPolicy", "knp.default.a.b", True),
        ("StagedNetworkPolicy", "a.b.c", False),
        ("StagedGlobalNetworkPolicy", "knp.default.a", False),
        ("StagedKubernetesNetworkPolicy", "a.b.c", True),
    ],
)
def test_names(kind, name, ok):
    if ok:
        assert read(kind, {}, name=name).metadata.name == name
    else:
        assert [where for where, _ in faults(kind, {}, name=name)] == ["metadata.name"]


def test_what_a_staged_policy_would_be():
    spec = {"order": 3, "selector": "has(a)", "namespaceSelector": "has(b)", "types": ["Egress"]}
    own = read("StagedGlobalNetworkPolicy", {**spec, "stagedAction": "Ignore"})
    (real,) = decode_any(raw("GlobalNetworkPolicy", spec))
    assert enforced(own) == real


def test_what_a_staged_kubernetes_policy_says():
    own = read("StagedKubernetesNetworkPolicy", {"policyTypes": ["Egress"]})
    assert enforced_kubernetes(own) == KubePolicySpec(policy_types=("Egress",))
