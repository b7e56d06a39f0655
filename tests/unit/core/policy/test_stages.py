"""Tiers, policies and profiles: who is asked, in which order, and what ends the asking."""

import pytest

from korat.core.model.config import IPPool
from korat.core.model.endpoint import Node
from korat.core.model.resource import Metadata
from korat.core.policy.cluster import Cluster
from korat.core.policy.outcome import Action, Direction
from policy_world import (
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
)

WEB = pod("web", "10.0.0.1")
CASES = {
    "no policy: the profile decides": (
        [],
        "allow: ingress Profile kns.red rule 0",
    ),
    "a policy without rules brings its tier's default": (
        [policy(types=("Ingress",))],
        "deny: ingress default tier default",
    ),
    "the default action Pass goes on": (
        [tier("default", default="Pass"), policy(types=("Ingress",))],
        "allow: ingress Profile kns.red rule 0",
    ),
    "a policy of the other direction does not count": (
        [policy(types=("Egress",), ingress=[deny()])],
        "allow: ingress Profile kns.red rule 0",
    ),
    "no types means both": (
        [policy()],
        "deny: ingress default tier default",
    ),
    "a policy that does not select the workload does not count": (
        [policy(selector="app == 'other'", ingress=[deny()])],
        "allow: ingress Profile kns.red rule 0",
    ),
    "the first matching rule decides": (
        [policy(ingress=[deny(protocol="UDP"), allow(protocol="TCP"), deny()])],
        "allow: ingress default NetworkPolicy red/p rule 1",
    ),
    "policies by order, none given is last": (
        [policy("a", ingress=[deny()]), policy("b", order=7.0, ingress=[allow()])],
        "allow: ingress default NetworkPolicy red/b rule 0",
    ),
    "policies of one order by name": (
        [policy("b", order=7.0, ingress=[deny()]), policy("a", order=7.0, ingress=[allow()])],
        "allow: ingress default NetworkPolicy red/a rule 0",
    ),
    "by name before namespace": (
        [policy("b", namespace="", ingress=[deny()]), policy("a", ingress=[allow()])],
        "allow: ingress default NetworkPolicy red/a rule 0",
    ),
    "of one name by namespace: a global one first": (
        [policy(ingress=[deny()]), policy(namespace="", ingress=[allow()])],
        "allow: ingress default GlobalNetworkPolicy p rule 0",
    ),
    "tiers by order, none given is last": (
        [
            tier("a"),
            tier("b", 1.0),
            policy("late", tier="a", ingress=[deny()]),
            policy("soon", tier="b", ingress=[allow()]),
        ],
        "allow: ingress b NetworkPolicy red/soon rule 0",
    ),
    "a tier that nobody stored comes after those stored": (
        [
            tier("z"),
            policy("lost", tier="a", ingress=[deny()]),
            policy("kept", tier="z", ingress=[allow()]),
        ],
        "allow: ingress z NetworkPolicy red/kept rule 0",
    ),
    "a tier that nobody stored is enforced and denies": (
        [tier("z", default="Pass"), policy(tier="lost"), policy("kept", tier="z")],
        "deny: ingress lost tier default",
    ),
    "Pass leaves the tier": (
        [
            tier("z", 1.0),
            policy("a", tier="z", ingress=[rule("Pass"), deny()]),
            policy("b", tier="z", ingress=[deny()]),
            policy("c", ingress=[allow()]),
        ],
        "allow: ingress default NetworkPolicy red/c rule 0",
    ),
    "Pass in the last tier leaves it to the profiles": (
        [policy(ingress=[rule("Pass")])],
        "allow: ingress Profile kns.red rule 0",
    ),
    "Log goes on and is remembered": (
        [policy(ingress=[rule("Log"), rule("Log", protocol="UDP"), rule("Log"), allow()])],
        "allow: ingress default NetworkPolicy red/p rule 3 after 0 2",
    ),
    "Log is remembered across tiers": (
        [
            tier("z", 1.0, "Pass"),
            policy("a", tier="z", ingress=[rule("Log")]),
            policy("b", ingress=[rule("Log"), rule("Pass")]),
        ],
        "allow: ingress Profile kns.red rule 0 after 0 0",
    ),
    "untracked policy is for hosts": (
        [policy(namespace="", do_not_track=True, apply_on_forward=True, ingress=[deny()])],
        "allow: ingress Profile kns.red rule 0",
    ),
    "pre-DNAT policy is for hosts": (
        [policy(namespace="", pre_dnat=True, apply_on_forward=True, ingress=[deny()])],
        "allow: ingress Profile kns.red rule 0",
    ),
}


@pytest.mark.parametrize(("world", "expected"), CASES.values(), ids=CASES)
def test_stage(world, expected):
    resources = [open_namespace("red"), WEB, *world]
    sent = packet("192.0.2.1", "10.0.0.1")
    assert told(judged(resources, Direction.INGRESS, sent)) == expected


PROFILES = {
    "no profile": ([], "deny: egress no profile matched"),
    "a profile without a rule that matches": (
        [profile("one", [], [deny(protocol="UDP")])],
        "deny: egress no profile matched",
    ),
    "profiles in the endpoint's order": (
        [profile("two", [], [deny()]), profile("one", [], [allow()])],
        "deny: egress Profile two rule 0",
    ),
    "Pass leaves it to the next profile": (
        [profile("one", [], [rule("Pass"), deny()]), profile("two", [], [allow()])],
        "allow: egress Profile two rule 0",
    ),
    "a missing profile denies, whatever comes after": (
        [None, profile("one", [], [allow()])],
        "deny: egress Profile lost missing",
    ),
    "a missing profile after one that decides is not asked": (
        [profile("one", [], [allow()]), None],
        "allow: egress Profile one rule 0",
    ),
}


@pytest.mark.parametrize(("profiles", "expected"), PROFILES.values(), ids=PROFILES)
def test_profile(profiles, expected):
    names = ["lost" if p is None else p.metadata.name for p in profiles]
    stored = [p for p in profiles if p is not None]
    resources = [pod("web", "10.0.0.1", profiles=names), *stored]
    sent = packet("10.0.0.1", "192.0.2.1")
    assert told(judged(resources, Direction.EGRESS, sent)) == expected


def test_the_built_in_profile_needs_no_object():
    resources = [pod("web", "10.0.0.1", profiles=["projectcalico-default-allow"])]
    outcome = judged(resources, Direction.INGRESS, packet("192.0.2.1", "10.0.0.1"))
    assert outcome.action is Action.ALLOW


def test_kinds_that_policy_does_not_need_are_passed_over():
    others = [Node(metadata=Metadata(name="n")), IPPool(metadata=Metadata(name="pool"))]
    assert Cluster.build([WEB, *others]) == Cluster.build([WEB])


def test_what_cannot_be_read_is_left_out_and_named():
    bad = policy("bad", selector="app ==", ingress=[deny()])
    cluster = Cluster.build([open_namespace("red"), WEB, bad, pod("broken", "10.0.0.300")])
    assert [problem.where for problem in cluster.problems] == [
        "WorkloadEndpoint red/broken",
        "NetworkPolicy red/bad",
    ]
    assert [endpoint.key.name for endpoint in cluster.endpoints] == ["web"]
    assert cluster.tiers == ()
