"""Sums of the kernel's counters, and the words for whom they count."""

import pytest

from korat.agent.counters import Counting, Totals, words_of
from korat.agent.intent import intent
from korat.core.model.key import Key
from korat.core.policy.outcome import Direction, RuleRef
from korat.core.render.nft.outcome import counter_name
from korat.drivers.kernel.nft_counter import Count
from policy_world import NODE, allow, deny, host, open_namespace, pod, policy, rule, staged, tier

IN, OUT = Direction.INGRESS, Direction.EGRESS
SHOP = Key("NetworkPolicy", "shop", "web")


def test_sums_grow_also_when_the_kernel_begins_anew():
    totals = Totals()
    readings = [Count(3, 300), Count(5, 500), Count(2, 200), Count(2, 200), Count(0, 0)]
    found = [totals.add({"a": each}, ["a"])["a"] for each in readings]
    assert found == [(3, 300), (5, 500), (7, 700), (7, 700), (7, 700)]


def test_who_is_gone_is_forgotten_and_begins_at_nothing_when_back():
    totals = Totals()
    assert totals.add({"a": Count(3, 3), "b": Count(1, 1)}, ["a"]) == {"a": (3, 3)}
    assert totals.add({"b": Count(4, 4)}, ["b"]) == {"b": (4, 4)}
    assert totals.add({"a": Count(2, 2), "b": Count(4, 4)}, ["a", "b"]) == {
        "a": (2, 2),
        "b": (4, 4),
    }


def test_who_is_not_in_the_kernel_yet_has_nothing():
    assert Totals().add({}, ["a"]) == {"a": (0, 0)}


WORDS = [
    (RuleRef.rule(IN, "ops", SHOP, 2), "ingress|ops|NetworkPolicy|shop|web|2"),
    (RuleRef.tier_default(OUT, "ops"), "egress|ops|Tier||ops|default"),
    (RuleRef.staged_default(IN, "ops", SHOP), "ingress|ops|NetworkPolicy|shop|web|default"),
    (RuleRef.profile_rule(IN, "kns.a", 0), "ingress||Profile||kns.a|0"),
    (RuleRef.profile_missing(IN, "kns.a"), "ingress||Profile||kns.a|missing"),
    (RuleRef.no_profile_matched(OUT), "egress|||||no profile matched"),
    (RuleRef.wireserver(), "egress|||||koratPodsToWireserver"),
    (RuleRef.instance_metadata(), "egress|||||koratPodsToInstanceMetadata"),
]


@pytest.mark.parametrize(("ref", "text"), WORDS)
def test_words(ref, text):
    assert "|".join(words_of(ref).values()) == text


def test_tallies_say_what_each_rule_does():
    objects = [
        open_namespace("red"),
        pod("1", "10.0.0.1/32"),
        tier("ops", 1.0, default="Pass"),
        policy(
            "first",
            ingress=[rule("Log"), rule("Pass", protocol="UDP")],
            tier="ops",
            types=("Ingress",),
        ),
        policy("last", ingress=[allow(protocol="TCP")], types=("Ingress",)),
    ]
    enforced = intent({each.key: each for each in objects}, NODE, {})
    names = list(enforced.ruleset.counters)
    reading = {name: Count(number, number * 10) for number, name in enumerate(names)}
    counting = Counting(lambda: enforced, lambda: reading)
    found = {(t.direction, t.kind, t.name, t.rule): t for t in counting.tallies()}
    assert len(found) == len(names)
    actions = {place: tally.action for place, tally in found.items() if place[0] == "ingress"}
    assert actions == {
        ("ingress", "NetworkPolicy", "first", "0"): "Log",
        ("ingress", "NetworkPolicy", "first", "1"): "Pass",
        ("ingress", "Tier", "ops", "default"): "Pass",
        ("ingress", "NetworkPolicy", "last", "0"): "Allow",
        ("ingress", "Tier", "default", "default"): "Deny",
    }
    [ref] = [r for r in enforced.ruleset.counters.values() if r.text.endswith("first rule 1")]
    assert found["ingress", "NetworkPolicy", "first", "1"].packets == names.index(counter_name(ref))


def test_a_staged_policy_is_counted_under_its_own_kind_and_says_that_it_is_staged():
    objects = [
        open_namespace("red"),
        pod("1", "10.0.0.1/32"),
        staged("trial", ingress=[deny(protocol="TCP")], types=("Ingress",), order=1.0),
        staged("nothing", ingress=[], types=("Ingress",), order=2.0),
    ]
    enforced = intent({each.key: each for each in objects}, NODE, {})
    found = {
        (tally.kind, tally.name, tally.rule): (tally.action, tally.staged)
        for tally in Counting(lambda: enforced, dict).tallies()
        if tally.direction == "ingress"
    }
    assert found == {
        ("StagedNetworkPolicy", "trial", "0"): ("Deny", True),
        ("StagedNetworkPolicy", "trial", "default"): ("Deny", True),
        ("StagedNetworkPolicy", "nothing", "default"): ("Deny", True),
        ("Profile", "kns.red", "0"): ("Allow", False),
    }


def test_nothing_is_counted_before_anything_is_enforced():
    assert Counting(lambda: None, dict).tallies() == []


def test_what_hosts_policies_count_has_words_and_actions():
    hosts = [
        host("eth0", name="h", role="host"),
        policy(
            "u",
            namespace="",
            selector="role == 'host'",
            do_not_track=True,
            apply_on_forward=True,
            ingress=[rule("Deny")],
        ),
    ]
    enforced = intent({each.key: each for each in hosts}, NODE, {})
    reading = dict.fromkeys(enforced.ruleset.counters, Count(1, 2))
    found = {
        (t.direction, t.kind, t.name, t.rule): t.action
        for t in Counting(lambda: enforced, lambda: reading).tallies()
    }
    assert found["ingress", "GlobalNetworkPolicy", "u", "0"] == "Deny"
    assert found["ingress", "", "", "failsafe 0"] == "Allow"
    assert found["egress", "", "", "failsafe reply 8"] == "Allow"
    assert found["ingress", "", "", "undecided"] == "Allow"
    assert found["ingress", "", "", "no profile matched"] == "Deny"
