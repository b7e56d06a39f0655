"""The plain sequence as a value: its stages, what it leaves out, and who shares it."""

import pytest

from korat.core.net.address import Family
from korat.core.policy.cluster import Cluster
from korat.core.policy.outcome import Direction
from korat.core.table.sequence import Sequence, Sequences, facts, run
from policy_world import allow, deny, open_namespace, packet, pod, policy, profile, rule, tier, who

WORLD = [
    open_namespace("red"),
    profile("extra", [deny()]),
    tier("ops", 1.0, "Pass"),
    pod("a", "10.0.0.1", profiles=["kns.red", "extra"]),
    pod("b", "10.0.0.2", profiles=["kns.red", "extra"]),
    pod("c", "10.0.0.3", profiles=["extra", "lost", "kns.red"], namespace="blue"),
    policy("o", tier="ops", ingress=[rule("Pass", ip_version=6), rule("Log")]),
    policy("p", ingress=[allow(who(nets=["fd00::/8"])), allow(protocol="TCP")]),
]


def sequences(family=Family.V4, direction=Direction.INGRESS):
    cluster = Cluster.build(WORLD)
    made = Sequences(cluster)
    return {e.key.name: made.of(e, direction, family) for e in cluster.endpoints}


def shape(sequence):
    return [
        ([step.ref.index for step in stage.steps], stage.end.text if stage.end else "")
        for stage in sequence.stages
    ]


def test_a_stage_per_tier_and_profile_with_the_rules_of_one_family():
    assert shape(sequences()["a"]) == [
        ([1], ""),
        ([1], "ingress default tier default"),
        ([0], ""),
        ([0], ""),
        ([], "ingress no profile matched"),
    ]
    assert shape(sequences(Family.V6)["a"])[:2] == [
        ([0, 1], ""),
        ([0, 1], "ingress default tier default"),
    ]


def test_nothing_comes_after_a_missing_profile():
    assert shape(sequences()["c"]) == [([0], ""), ([], "ingress Profile lost missing")]


def test_endpoints_that_the_same_policies_govern_share_one_object():
    made = sequences()
    assert made["a"] is made["b"]
    assert made["a"] is not made["c"]


def test_a_sequence_without_an_end_is_refused():
    cluster = Cluster.build(WORLD)
    endless = Sequence(Family.V4, Direction.INGRESS, ())
    known = facts(cluster, endless, packet("10.0.0.1", "10.0.0.2"))
    with pytest.raises(ValueError, match="no last stage"):
        run(endless, known)
