"""Where policy surprises: tiers, order, types, profiles and labels. Judged by all three engines.

Each test is named after its trap. Source: felix/calc/policy_sorter.go and policy_resolver.go,
felix/rules/endpoints.go.
"""

import pytest

from korat.core.model.default import apply
from korat.core.policy.outcome import Direction
from policy_world import (
    address_set,
    allow,
    deny,
    judged,
    open_namespace,
    packet,
    pod,
    policy,
    profile,
    rule,
    tier,
    told,
    who,
)

WEB, OUT = "10.0.0.1", "192.0.2.1"
WORLD = [open_namespace("red"), pod("web", WEB)]
IN, OPEN = packet(OUT, WEB), "allow: ingress Profile kns.red rule 0"
PASS = rule("Pass")


def comes(*world, sent=IN):
    """What becomes of a packet to the pod, beside what every cluster has."""
    return told(judged([*WORLD, *world], Direction.INGRESS, sent))


# Tiers.


def test_a_missing_tier_is_enforced_after_all_others_and_denies():
    lost = policy("lost", tier="a", ingress=[allow(protocol="UDP")])
    last = tier("z", 1e9, "Pass")
    assert comes(last, lost, policy("kept", tier="z")) == "deny: ingress a tier default"
    assert comes(last, lost, policy("kept", tier="z", ingress=[allow()])).startswith("allow")


def test_missing_tiers_are_asked_by_name():
    worlds = [policy("b", tier="b", ingress=[deny()]), policy("a", tier="a", ingress=[allow()])]
    assert comes(*worlds) == "allow: ingress a NetworkPolicy red/a rule 0"


def test_a_tier_with_no_order_comes_last_but_before_missing_ones():
    worlds = [
        tier("none", None, "Pass"),
        tier("late", 1e9, "Pass"),
        policy("a", tier="none", ingress=[deny()]),
        policy("b", tier="late", ingress=[PASS]),
        policy("c", tier="missing", ingress=[allow()]),
    ]
    assert comes(*worlds) == "deny: ingress none NetworkPolicy red/a rule 0"


def test_a_tier_of_order_zero_has_an_order():
    worlds = [
        tier("zero", 0),
        tier("one", 1),
        policy("a", tier="zero", ingress=[allow()]),
        policy("b", tier="one", ingress=[deny()]),
    ]
    assert comes(*worlds) == "allow: ingress zero NetworkPolicy red/a rule 0"


def test_tiers_of_one_order_are_asked_by_name():
    worlds = [
        tier("b", 5),
        tier("a", 5),
        policy("x", tier="b", ingress=[deny()]),
        policy("y", tier="a", ingress=[allow()]),
    ]
    assert comes(*worlds) == "allow: ingress a NetworkPolicy red/y rule 0"


def test_a_selected_policy_with_no_rules_still_brings_the_tier_default():
    assert comes(policy(types=("Ingress",))) == "deny: ingress default tier default"
    assert comes(policy(types=("Ingress",), selector="has(other)")) == OPEN


def test_a_policy_of_the_other_direction_does_not_bring_the_tier_default():
    assert comes(policy(types=("Egress",), egress=[deny()])) == OPEN


def test_rules_of_a_direction_that_types_leave_out_are_not_asked():
    assert comes(policy(types=("Egress",), ingress=[deny()], egress=[allow()])) == OPEN


def test_a_rule_that_this_ip_version_skips_still_leaves_its_policy():
    lone = policy(types=("Ingress",), ingress=[allow(ip_version=6)])
    assert comes(lone) == "deny: ingress default tier default"


def test_default_pass_goes_on_where_deny_would_end():
    empty = policy(tier="t", types=("Ingress",))
    assert comes(tier("t", 1, "Pass"), empty) == OPEN
    assert comes(tier("t", 1, "Deny"), empty) == "deny: ingress t tier default"


def test_pass_skips_the_rest_of_its_tier_and_its_default():
    worlds = [
        tier("t", 1, "Deny"),
        policy("a", tier="t", order=1, ingress=[PASS]),
        policy("b", tier="t", order=2, ingress=[deny()]),
    ]
    assert comes(*worlds) == OPEN


def test_pass_in_the_last_tier_leaves_it_to_the_profiles():
    assert comes(policy(ingress=[PASS])) == OPEN


def test_log_goes_on_even_into_the_tier_default():
    lone = policy(ingress=[rule("Log")])
    assert comes(lone) == "deny: ingress default tier default after 0"


# Order of policies.


def test_a_policy_with_no_order_comes_last():
    worlds = [policy("a", ingress=[deny()]), policy("z", order=1e300, ingress=[allow()])]
    assert comes(*worlds) == "allow: ingress default NetworkPolicy red/z rule 0"


def test_an_order_of_zero_or_less_is_an_order():
    for order in (0, -5):
        worlds = [policy("z", order=order, ingress=[allow()]), policy("a", ingress=[deny()])]
        assert comes(*worlds) == "allow: ingress default NetworkPolicy red/z rule 0"


@pytest.mark.parametrize("longer", ["a-b", "a.b"])
def test_a_dash_and_a_dot_sort_before_the_end_of_a_name(longer):
    """What is compared is ``name/namespace/kind``, and the slash stands behind both of them."""
    worlds = [policy("a", order=1, ingress=[deny()]), policy(longer, order=1, ingress=[allow()])]
    assert comes(*worlds) == f"allow: ingress default NetworkPolicy red/{longer} rule 0"


def test_a_name_decides_before_a_namespace_and_a_namespace_before_a_kind():
    named, everywhere = policy("b", ingress=[deny()]), policy("a", namespace="", ingress=[allow()])
    assert comes(named, everywhere) == "allow: ingress default GlobalNetworkPolicy a rule 0"
    named, everywhere = policy("a", ingress=[deny()]), policy("a", namespace="", ingress=[allow()])
    assert comes(named, everywhere) == "allow: ingress default GlobalNetworkPolicy a rule 0"


# Types.


def test_types_that_are_stored_empty_mean_both():
    assert comes(policy(egress=[allow()])) == "deny: ingress default tier default"


def test_types_that_are_absent_are_inferred_when_written():
    assert comes(apply(policy(egress=[allow()]))) == OPEN
    assert comes(apply(policy(ingress=[deny()], egress=[allow()]))).startswith("deny")
    assert comes(apply(policy())) == "deny: ingress default tier default"


# Policies that are for hosts too.


def test_forward_policy_is_workload_policy_too():
    lone = policy(namespace="", apply_on_forward=True, ingress=[deny()])
    assert comes(lone) == "deny: ingress default GlobalNetworkPolicy p rule 0"


def test_performance_hints_change_no_verdict():
    lone = policy(performance_hints=("AssumeNeededOnEveryNode",), selector="has(other)")
    assert comes(lone) == OPEN


# Profiles and labels.


def with_profiles(*profiles, stored=(), sent=IN):
    """What becomes of a packet to a pod of these profiles and no policy."""
    names = [each if isinstance(each, str) else each.metadata.name for each in profiles]
    known = [each for each in profiles if not isinstance(each, str)]
    resources = [pod("web", WEB, profiles=names), *known, *stored]
    return told(judged(resources, Direction.INGRESS, sent))


def test_without_policy_the_profiles_decide():
    assert with_profiles(profile("one", [deny(protocol="TCP")])).endswith("Profile one rule 0")


def test_a_missing_profile_denies_whatever_comes_after():
    found = with_profiles("lost", profile("one", [allow()]))
    assert found == "deny: ingress Profile lost missing"


def test_a_missing_profile_is_not_asked_when_a_policy_decides():
    allowing = policy(ingress=[allow()])
    found = with_profiles("lost", stored=[allowing])
    assert found == "allow: ingress default NetworkPolicy red/p rule 0"


def test_pass_in_a_profile_leaves_it_to_the_next():
    found = with_profiles(profile("one", [PASS, deny()]), profile("two", [allow()]))
    assert found == "allow: ingress Profile two rule 0"


def test_pass_in_the_last_profile_denies():
    found = with_profiles(profile("one", [PASS, allow()]))
    assert found == "deny: ingress no profile matched"


def test_log_in_a_profile_goes_on_into_the_next():
    found = with_profiles(profile("one", [rule("Log")]), profile("two", [allow()]))
    assert found == "allow: ingress Profile two rule 0 after 0"


def test_no_profile_denies():
    assert with_profiles() == "deny: ingress no profile matched"


def test_the_built_in_profile_needs_no_object():
    found = with_profiles("projectcalico-default-allow")
    assert found == "allow: ingress Profile projectcalico-default-allow rule 0"


def test_an_endpoints_own_label_beats_its_profiles():
    lender = profile("one", [allow()], tint="lent", shade="lent")
    dyed = pod("web", WEB, profiles=["one"], tint="own")
    for selector, end in (
        ("tint == 'own' && shade == 'lent'", "deny: ingress default NetworkPolicy red/p rule 0"),
        ("tint == 'lent'", "allow: ingress Profile one rule 0"),
    ):
        lone = policy(selector=selector, ingress=[deny()])
        assert told(judged([lender, dyed, lone], Direction.INGRESS, IN)) == end


def test_an_earlier_profiles_label_beats_a_later_ones():
    lenders = [profile("one", [allow()], tint="one"), profile("two", tint="two")]
    lone = policy(selector="tint == 'one'", ingress=[deny()])
    assert with_profiles(*lenders, stored=[lone]).startswith("deny: ingress default")


def test_a_pod_may_not_pretend_to_labels_of_a_namespace_or_an_account():
    liar = pod("web", WEB, **{"pcns.team": "a", "pcsa.trust": "high"})
    lone = policy(namespace="", namespace_selector="team == 'a'", ingress=[deny()])
    assert told(judged([open_namespace("red"), liar, lone], Direction.INGRESS, IN)) == OPEN


def test_a_network_set_has_its_namespaces_labels_and_a_global_one_has_none():
    near = address_set("near", f"{OUT}/32", namespace="red")
    lone = policy(namespace="", ingress=[allow(who(namespace_selector="team == 'a'"))])
    red = open_namespace("red", team="a")
    worlds = [red, pod("web", WEB), lone]
    for sets, start in (([near], "allow"), ([address_set("far", f"{OUT}/32")], "deny")):
        assert told(judged([*worlds, *sets], Direction.INGRESS, IN)).startswith(start)
