"""A verdict's two sides, and the way to it that ``explain`` shows."""

import pytest

from korat.core.model.policy import Icmp, ServiceMatch
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import judge, verdict
from korat.core.policy.outcome import Action, Direction
from policy_world import (
    allow,
    deny,
    open_namespace,
    packet,
    pod,
    policy,
    profile,
    rule,
    tier,
    who,
)

WEB, DB, OUT = "10.0.0.1", "10.0.0.2", "203.0.113.9"
PODS = [open_namespace("red"), pod("web", WEB, app="web"), pod("db", DB, app="db")]


def test_both_sides_must_allow():
    no_egress = policy("e", selector="app == 'web'", types=("Egress",))
    no_ingress = policy("i", selector="app == 'db'", types=("Ingress",))
    for extra, egress, ingress in (
        ([], Action.ALLOW, Action.ALLOW),
        ([no_egress], Action.DENY, Action.ALLOW),
        ([no_ingress], Action.ALLOW, Action.DENY),
        ([no_egress, no_ingress], Action.DENY, Action.DENY),
    ):
        found = verdict(Cluster.build([*PODS, *extra]), packet(WEB, DB))
        assert found.egress is not None
        assert found.ingress is not None
        assert (found.egress.outcome.action, found.ingress.outcome.action) == (egress, ingress)
        both = egress is ingress is Action.ALLOW
        assert found.action is (Action.ALLOW if both else Action.DENY)


def test_a_side_that_is_no_workload_is_not_asked():
    cluster = Cluster.build([*PODS, policy(types=("Ingress",))])
    inbound, outbound = verdict(cluster, packet(OUT, DB)), verdict(cluster, packet(DB, OUT))
    assert inbound.egress is None
    assert inbound.action is Action.DENY
    assert outbound.ingress is None
    assert outbound.action is Action.ALLOW
    strangers = verdict(cluster, packet(OUT, "203.0.113.10"))
    assert (strangers.egress, strangers.ingress, strangers.action) == (None, None, Action.ALLOW)


def test_the_trace_has_every_stage_policy_and_rule_that_was_asked():
    resources = [
        *PODS,
        tier("ops", 1.0, "Pass"),
        tier("late", 9.0),
        policy("log", tier="ops", order=1.0, ingress=[rule("Log"), allow(protocol="UDP")]),
        policy("pass", tier="ops", order=2.0, ingress=[rule("Pass"), deny()]),
        policy("unasked", tier="ops", order=3.0, ingress=[deny()]),
        policy("other", tier="late", selector="app == 'x'", ingress=[deny()]),
    ]
    cluster = Cluster.build(resources)
    endpoint = next(e for e in cluster.endpoints if e.key.name == "db")
    found = judge(cluster, endpoint, Direction.INGRESS, packet(OUT, DB))
    stages = [
        (stage.tier, [(str(p.key), [r.why_not for r in p.rules]) for p in stage.policies])
        for stage in found.stages
    ]
    assert stages == [
        (
            "ops",
            [
                ("NetworkPolicy red/log", ["", "the protocol is not UDP"]),
                ("NetworkPolicy red/pass", [""]),
            ],
        ),
        ("", [("Profile kns.red", [""])]),
    ]
    assert [stage.ended for stage in found.stages] == [None, found.outcome]
    assert [ref.text for ref in found.outcome.logs] == ["ingress ops NetworkPolicy red/log rule 0"]


def test_a_tier_that_denies_by_default_ends_the_trace():
    cluster = Cluster.build([*PODS, policy(ingress=[allow(protocol="UDP")])])
    found = verdict(cluster, packet(OUT, DB)).ingress
    assert found is not None
    (stage,) = found.stages
    assert stage.ended == found.outcome
    assert found.outcome.ref.text == "ingress default tier default"


def test_a_missing_profile_is_in_the_trace():
    cluster = Cluster.build([pod("db", DB, profiles=["one", "lost"]), profile("one", [])])
    found = verdict(cluster, packet(OUT, DB)).ingress
    assert found is not None
    (stage,) = found.stages
    assert [str(p.key) for p in stage.policies] == ["Profile one"]
    assert stage.ended == found.outcome


PING = packet(OUT, DB, 1, 8, 0)
WHY = {
    "the rule is for IPv6": allow(ip_version=6),
    "the protocol is not UDP": allow(protocol="UDP"),
    "the protocol is TCP": allow(not_protocol="TCP"),
    "it is not ICMP type 8 code 0": allow(icmp=Icmp(type=8, code=0)),
    "the source nets hold none of IPv4": allow(who(nets=["fd00::/64"])),
    "the source notNets exclude every address": allow(who(not_nets=["0.0.0.0/0"])),
    "the source is not in 10.0.0.0/8": allow(who(nets=["10.0.0.0/8"])),
    "the destination is in 10.0.0.0/8": allow(None, who(not_nets=["10.0.0.0/8"])),
    'the source does not match (projectcalico.org/namespace == "red" && has(app))': allow(
        who(selector="has(app)")
    ),
    'the destination does not match (projectcalico.org/namespace == "red" && !app == "db")': allow(
        None, who(not_selector="app == 'db'")
    ),
    "the source is no endpoint of service red/s": allow(who(services=ServiceMatch(name="s"))),
    "the destination port is not http, 81:82": allow(None, who(ports=["http", "81:82"])),
    "the source port is 40000": allow(who(not_ports=[40000])),
}


@pytest.mark.parametrize(("why", "asked"), WHY.items(), ids=WHY)
def test_why_not(why, asked):
    cluster = Cluster.build([*PODS, policy(ingress=[asked])])
    found = verdict(cluster, packet(OUT, DB)).ingress
    assert found is not None
    ((trace,),) = [p.rules for stage in found.stages for p in stage.policies]
    assert trace.why_not == why


def test_why_not_of_a_lone_not_selector_in_a_global_policy():
    asked = allow(None, who(not_selector="app == 'db'"))
    cluster = Cluster.build([*PODS, policy(namespace="", ingress=[asked])])
    found = verdict(cluster, packet(OUT, DB)).ingress
    assert found is not None
    ((trace,),) = [p.rules for stage in found.stages for p in stage.policies]
    assert trace.why_not == 'the destination matches app == "db"'


def test_why_not_of_an_excluded_icmp_type():
    cluster = Cluster.build([*PODS, policy(ingress=[allow(not_icmp=Icmp(type=8))])])
    found = verdict(cluster, PING).ingress
    assert found is not None
    ((trace,),) = [p.rules for stage in found.stages for p in stage.policies]
    assert trace.why_not == "it is ICMP type 8"
