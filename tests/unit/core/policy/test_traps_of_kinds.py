"""Where kinds of policy surprise: staged ones and Kubernetes' cluster policies.

Each test is named after its trap and judged by all three engines.
Source: libcalico-go/lib/backend/syncersv1/updateprocessors (staged*processor.go) and
lib/backend/k8s/conversion/clusternetworkpolicy.go.
"""

import pytest
from msgspec.structs import replace

from korat.core.model.builtin import initial
from korat.core.policy.outcome import Direction
from policy_world import (
    address_set,
    allow,
    cluster_policy,
    deny,
    judged,
    kubernetes,
    open_namespace,
    packet,
    pod,
    policy,
    rule,
    staged,
    tier,
    told,
)

WEB, OUT = "10.0.0.1", "192.0.2.1"
WORLD = [open_namespace("red"), pod("web", WEB)]
IN, OPEN = packet(OUT, WEB), "allow: ingress Profile kns.red rule 0"
PASS = rule("Pass")


def comes(*world, sent=IN):
    """What becomes of a packet to the pod, beside what every cluster has."""
    return told(judged([*WORLD, *world], Direction.INGRESS, sent))


def noted(*world, sent=IN):
    """What staged policies would have done, and what became of the packet."""
    outcome = judged([*WORLD, *world], Direction.INGRESS, sent)
    return [ref.text for ref in outcome.staged], told(outcome)


# Staged policies.


@pytest.mark.parametrize("action", ["Set", "Learn", "Ignore", ""])
def test_staged_set_learn_and_ignore_are_all_alike(action):
    found = noted(staged(action=action, types=("Ingress",), ingress=[deny()]))
    assert found == (["ingress default StagedNetworkPolicy red/p rule 0"], OPEN)


def test_a_staged_deletion_is_left_out():
    gone = [
        staged(action="Delete"),
        staged(action="Delete", namespace=""),
        kubernetes("StagedKubernetesNetworkPolicy", {"stagedAction": "Delete"}),
    ]
    assert noted(*gone) == ([], OPEN)


def test_a_tier_of_staged_policies_alone_is_as_if_absent():
    worlds = [
        tier("t", 1, "Deny"),
        staged("a", tier="t", types=("Ingress",)),
        staged("b", namespace="", tier="t", types=("Ingress",), ingress=[allow(protocol="UDP")]),
    ]
    assert noted(*worlds) == (
        [
            "ingress t StagedNetworkPolicy red/a tier default",
            "ingress t StagedGlobalNetworkPolicy b tier default",
        ],
        OPEN,
    )


def test_a_missing_tier_of_staged_policies_alone_is_as_if_absent():
    assert noted(staged("a", tier="lost", types=("Ingress",)))[1] == OPEN


def test_staged_policies_are_sorted_with_enforced_ones():
    """What decides ends the asking, so a staged policy behind it is not asked."""
    worlds = [
        staged("first", order=1, ingress=[deny()]),
        policy("second", order=2, ingress=[allow()]),
        staged("third", order=3, ingress=[deny()]),
    ]
    assert noted(*worlds) == (
        ["ingress default StagedNetworkPolicy red/first rule 0"],
        "allow: ingress default NetworkPolicy red/second rule 0",
    )


def test_a_staged_pass_does_not_leave_the_tier():
    worlds = [staged("a", order=1, ingress=[PASS]), policy("b", order=2, ingress=[deny()])]
    assert noted(*worlds)[1] == "deny: ingress default NetworkPolicy red/b rule 0"


def test_a_staged_log_does_not_log():
    worlds = [staged("a", order=1, ingress=[rule("Log"), allow()]), policy("b", ingress=[deny()])]
    found, said = noted(*worlds)
    assert found == ["ingress default StagedNetworkPolicy red/a rule 1"]
    assert said == "deny: ingress default NetworkPolicy red/b rule 0"


def test_a_staged_policy_does_not_keep_the_tier_default_from_a_neighbour():
    worlds = [staged("a", ingress=[allow()]), policy("b", types=("Ingress",))]
    assert noted(*worlds)[1] == "deny: ingress default tier default"


def test_staged_host_policy_passes_workloads_by():
    worlds = [staged(namespace="", do_not_track=True, apply_on_forward=True, ingress=[deny()])]
    assert noted(*worlds) == ([], OPEN)


def test_policies_of_all_kinds_may_share_a_name():
    worlds = [
        policy("p", ingress=[allow(protocol="UDP")]),
        policy("p", namespace="", ingress=[allow(protocol="UDP")]),
        staged("p", ingress=[deny()]),
        staged("p", namespace="", ingress=[allow()]),
        kubernetes("StagedKubernetesNetworkPolicy", {"podSelector": {}, "ingress": [{}]}, "p"),
    ]
    assert noted(*worlds) == (
        [
            "ingress default StagedKubernetesNetworkPolicy red/p rule 0",
            "ingress default StagedGlobalNetworkPolicy p rule 0",
            "ingress default StagedNetworkPolicy red/p rule 0",
        ],
        "deny: ingress default tier default",
    )


# Cluster policies, where the tiers of every cluster are stored.

BUILT_IN = initial("0" * 32, "1")[:3]
DENY_ALL = {"ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]}
PEER = pod("peer", OUT)


def test_cluster_policies_stand_before_and_behind_everyone_elses():
    admin, baseline = (
        cluster_policy(DENY_ALL | {"tier": name}, name.lower()) for name in ("Admin", "Baseline")
    )
    allowing = policy(ingress=[allow()])
    kcnp = "KubernetesClusterNetworkPolicy"
    for world, end in (
        ([admin, allowing], f"deny: ingress kube-admin {kcnp} admin rule 0"),
        ([baseline, allowing], "allow: ingress default NetworkPolicy red/p rule 0"),
        ([baseline], f"deny: ingress kube-baseline {kcnp} baseline rule 0"),
    ):
        assert comes(*BUILT_IN, PEER, *world) == end


def test_a_cluster_policy_of_priority_zero_is_first():
    accept = {"ingress": [{"action": "Accept", "from": [{"namespaces": {}}]}], "priority": 0}
    worlds = [cluster_policy(DENY_ALL | {"priority": 1}, "a"), cluster_policy(accept, "z")]
    assert comes(*BUILT_IN, PEER, *worlds).endswith("KubernetesClusterNetworkPolicy z rule 0")


def test_a_cluster_policy_whose_rules_do_not_match_passes_on():
    assert comes(*BUILT_IN, cluster_policy(DENY_ALL)) == OPEN


def test_a_cluster_policy_without_rules_does_nothing_where_its_tier_is_stored():
    """Its types are empty, which means both; only the tier's default Pass keeps that harmless."""
    assert comes(*BUILT_IN, cluster_policy({})) == OPEN
    assert comes(cluster_policy({})) == "deny: ingress kube-admin tier default"


def test_a_cluster_policy_is_for_pods_only():
    lone = policy(namespace="", ingress=[deny()])
    own = pod("web", WEB)
    other = replace(own, spec=replace(own.spec, orchestrator="cni"))
    world = [open_namespace("red"), other, PEER, *BUILT_IN]
    told_of = [
        told(judged([*world, each], Direction.INGRESS, IN))
        for each in (cluster_policy(DENY_ALL), lone)
    ]
    assert told_of == [OPEN, "deny: ingress default GlobalNetworkPolicy p rule 0"]


@pytest.mark.parametrize(
    ("action", "end"),
    [
        ("Deny", "deny: egress kube-admin KubernetesClusterNetworkPolicy p rule 0"),
        ("Pass", "deny: egress kube-admin KubernetesClusterNetworkPolicy p rule 0"),
        ("Accept", "allow: egress Profile kns.red rule 0"),
    ],
)
def test_a_cluster_rule_that_cannot_be_converted_fails_closed(action, end):
    lone = cluster_policy({"egress": [{"action": action, "to": [{"nodes": {}}]}]})
    outcome = judged([*WORLD, *BUILT_IN, lone], Direction.EGRESS, packet(WEB, OUT), problems=1)
    assert told(outcome) == end


def test_a_cluster_rule_for_namespaces_means_their_network_sets_too_and_one_for_pods_does_not():
    near = address_set("near", f"{OUT}/32", namespace="red")
    pods = {"pods": {"podSelector": {}}}
    for peer, start in (({"namespaces": {}}, "deny: ingress kube-admin"), (pods, OPEN)):
        lone = cluster_policy({"ingress": [{"action": "Deny", "from": [peer]}]})
        assert comes(*BUILT_IN, near, lone).startswith(start)
