"""What a snapshot makes of resources: labels, addresses, effective selectors."""

import pytest

from korat.core.model.policy import EntityRule, GlobalPolicySpec, PolicySpec, ServiceAccountMatch
from korat.core.net.address import Addr, Family
from korat.core.policy.cluster import Cluster
from korat.core.policy.scope import entity_scope, policy_selector
from policy_world import address_set, open_namespace, pod, policy, profile

NS = 'projectcalico.org/namespace == "red"'
SELECTED = {
    "nothing, namespaced": ({}, "red", NS),
    "nothing, global": ({}, "", "all()"),
    "a selector": ({"selector": "has(a)"}, "red", f"(has(a) && {NS})"),
    "an alternative": ({"selector": "has(a) || has(b)"}, "red", f"((has(a) || has(b)) && {NS})"),
    "all()": ({"selector": "all()"}, "red", NS),
    "service accounts": (
        {"service_account_selector": "trust == 'high'"},
        "red",
        f'({NS} && pcsa.trust == "high")',
    ),
    "all service accounts": ({"service_account_selector": "all()"}, "red", NS),
    "all service accounts, global": (
        {"service_account_selector": "all()"},
        "",
        "has(projectcalico.org/serviceaccount)",
    ),
    "all() beside service accounts, global": (
        {"selector": "all()", "service_account_selector": "trust != 'high'"},
        "",
        '(has(projectcalico.org/serviceaccount) && pcsa.trust != "high")',
    ),
    "namespaces": (
        {"namespace_selector": "has(team)", "selector": "has(a)"},
        "",
        "(has(a) && has(pcns.team))",
    ),
    "all namespaces": ({"namespace_selector": "all()"}, "", "has(projectcalico.org/namespace)"),
    "all() beside namespaces": (
        {"namespace_selector": "!has(team)", "selector": "all() || has(a)"},
        "",
        "((has(projectcalico.org/namespace) || has(a)) && !has(pcns.team))",
    ),
    "all() within namespaces": (
        {"namespace_selector": "!all() || has(team)"},
        "",
        "(!has(projectcalico.org/namespace) || has(pcns.team))",
    ),
}


@pytest.mark.parametrize(("spec", "namespace", "text"), SELECTED.values(), ids=SELECTED)
def test_policy_selector(spec, namespace, text):
    shape = PolicySpec if namespace else GlobalPolicySpec
    assert policy_selector(shape(**spec), namespace).canonical == text


SIDES = {
    "nothing": ({}, "red", (None, None)),
    "a selector": ({"selector": "has(a)"}, "red", (f"({NS} && has(a))", None)),
    "a selector, global": ({"selector": "has(a)"}, "", ("has(a)", None)),
    "a lone notSelector": ({"not_selector": "has(a)"}, "red", (f"({NS} && !has(a))", None)),
    "a notSelector beside a selector": (
        {"selector": "has(b)", "not_selector": "!has(a)"},
        "",
        ("(has(b) && has(a))", None),
    ),
    "a lone notSelector, global": ({"not_selector": "has(a)"}, "", (None, "has(a)")),
    "namespaces": (
        {"namespace_selector": "has(team)", "selector": "has(a)"},
        "red",
        ("(has(pcns.team) && has(a))", None),
    ),
    "global()": (
        {"namespace_selector": "global()", "selector": "has(a)"},
        "red",
        ("(!has(projectcalico.org/namespace) && has(a))", None),
    ),
    "accounts": (
        {"service_accounts": ServiceAccountMatch(names=("b", "a"), selector="has(x)")},
        "red",
        (f'({NS} && projectcalico.org/serviceaccount in {{"a", "b"}} && has(pcsa.x))', None),
    ),
    "accounts, global": (
        {"service_accounts": ServiceAccountMatch(names=("a",))},
        "",
        ('projectcalico.org/serviceaccount in {"a"}', None),
    ),
    "accounts of no kind": ({"service_accounts": ServiceAccountMatch()}, "red", (None, None)),
    "all accounts": (
        {"service_accounts": ServiceAccountMatch(selector="all()")},
        "red",
        (NS, None),
    ),
    "all() within namespaces": (
        {"namespace_selector": "!all()"},
        "red",
        ("!has(projectcalico.org/namespace)", None),
    ),
}


@pytest.mark.parametrize(("entity", "namespace", "texts"), SIDES.values(), ids=SIDES)
def test_entity_scope(entity, namespace, texts):
    scope = entity_scope(EntityRule(**entity), namespace)
    found = (scope.selector, scope.not_selector)
    assert tuple(None if s is None else s.canonical for s in found) == texts


def test_labels_own_then_profiles_in_order():
    profiles = [profile("one", a="one", b="one"), profile("two", a="two", b="two", c="two")]
    web = pod("web", "10.0.0.1", profiles=["lost", "one", "two"], account="ops", a="own")
    (endpoint,) = Cluster.build([web, *profiles]).endpoints
    assert endpoint.labels == {
        "a": "own",
        "b": "one",
        "c": "two",
        "projectcalico.org/namespace": "red",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "ops",
    }


def test_an_account_name_too_long_for_a_stored_label_is_known_all_the_same():
    long = "a" * 200
    side = EntityRule(service_accounts=ServiceAccountMatch(names=(long,)))
    (endpoint,) = Cluster.build([pod("web", account=long)]).endpoints
    assert endpoint.labels["projectcalico.org/serviceaccount"] == long
    assert entity_scope(side, "red").selector.matches(endpoint.labels)


def test_a_workload_cannot_pretend_to_be_of_another_namespace_or_account():
    labels = {"pcns.team": "a", "pcsa.trust": "high", "projectcalico.org/namespace": "blue"}
    lent = profile("kns.red", pcns__team="b")
    (endpoint,) = Cluster.build([pod("web", **labels), lent]).endpoints
    assert endpoint.labels == {
        "pcns.team": "b",
        "projectcalico.org/namespace": "red",
        "projectcalico.org/orchestrator": "k8s",
    }


def test_network_sets_inherit_from_their_namespace_global_ones_do_not():
    named, everywhere = address_set("s", namespace="red"), address_set("s", "10.0.0.9/8", own="x")
    first, second = Cluster.build([open_namespace("red", team="a"), named, everywhere]).sets
    assert first.key.kind == "NetworkSet"
    assert first.labels == {
        "pcns.projectcalico.org/name": "red",
        "pcns.team": "a",
        "projectcalico.org/namespace": "red",
    }
    assert second.labels == {"own": "x"}
    assert [str(net) for net in second.nets] == ["10.0.0.0/8"]


def test_addresses_by_family_and_their_first_owner():
    twins = [pod("b", "10.0.0.1/32", "fd00::1/128"), pod("a", "10.0.0.1")]
    cluster = Cluster.build(twins)
    first, second = cluster.endpoints
    assert [str(a) for a in second.addresses_of(Family.V6)] == ["fd00::1"]
    assert first.addresses_of(Family.V6) == ()
    assert cluster.endpoint_at(Addr.parse("10.0.0.1")) is first
    assert cluster.endpoint_at(Addr.parse("fd00::1")) is second
    assert cluster.endpoint_at(Addr.parse("10.0.0.2")) is None


def test_an_empty_tier_name_is_the_default_tier():
    (only,) = Cluster.build([policy(tier="")]).tiers
    assert only.name == "default"
