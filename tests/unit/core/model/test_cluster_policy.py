"""ClusterNetworkPolicies: what may be written, and what each rule is in Calico's words."""

import json

import msgspec
import pytest

from korat.core.errors import Invalid
from korat.core.model.cluster_policy import ClusterNetworkPolicy
from korat.core.model.codec import dump
from korat.core.model.kubernetes import decode_any
from korat.core.model.kubernetes.cluster_policy import to_calico
from korat.core.model.policy import EntityRule, Rule, RuleMetadata

K8S = "projectcalico.org/orchestrator == 'k8s'"
ALL = {"namespaces": {}}
WEB = {"matchLabels": {"app": "web"}}
BASE = {"tier": "Admin", "priority": 7, "subject": ALL}


def raw(spec):
    return {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "p"},
        "spec": {**BASE, **spec},
    }


def converted(spec):
    """What a policy of a store is in Calico's words; a store may hold more than may be written."""
    own = msgspec.convert(raw(spec), ClusterNetworkPolicy)
    policy, problems = to_calico(own)
    return policy, [(problem.field, problem.rule) for problem in problems]


def rules(action="Deny", peers=(ALL,), **fields):
    """One rule each way, converted."""
    way_in = {"action": action, "from": list(peers), **fields}
    way_out = {"action": action, "to": list(peers), **fields}
    policy, problems = converted({"ingress": [way_in], "egress": [way_out]})
    assert problems == []
    return policy.spec.ingress, policy.spec.egress


@pytest.mark.parametrize(("tier", "name"), [("Admin", "kube-admin"), ("Baseline", "kube-baseline")])
def test_tier_order_and_kind(tier, name):
    (own,) = decode_any(raw({"tier": tier}))
    policy, problems = to_calico(own)
    assert own.key == ("ClusterNetworkPolicy", "", "p")
    assert policy.key == ("KubernetesClusterNetworkPolicy", "", "p")
    assert (policy.spec.tier, policy.spec.order, problems) == (name, 7, ())


@pytest.mark.parametrize(
    ("subject", "namespaces", "pods"),
    [
        (ALL, "all()", K8S),
        ({"namespaces": WEB}, "app == 'web'", K8S),
        ({"pods": {"podSelector": WEB}}, "all()", f"{K8S} && app == 'web'"),
        (
            {"pods": {"namespaceSelector": WEB, "podSelector": {}}},
            "app == 'web'",
            K8S,
        ),
    ],
)
def test_subjects_are_never_hosts(subject, namespaces, pods):
    policy, _ = converted({"subject": subject})
    assert (policy.spec.namespace_selector, policy.spec.selector) == (namespaces, pods)


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, ()),
        ({"ingress": [{"action": "Deny", "from": [ALL]}]}, ("Ingress",)),
        ({"egress": [{"action": "Pass", "to": [ALL]}]}, ("Egress",)),
    ],
)
def test_types_only_for_directions_that_have_rules(spec, types):
    assert converted(spec)[0].spec.types == types


@pytest.mark.parametrize(
    ("action", "calicos"), [("Accept", "Allow"), ("Deny", "Deny"), ("Pass", "Pass")]
)
def test_actions(action, calicos):
    ((own,), (out,)) = rules(action)
    assert own.action == out.action == calicos


@pytest.mark.parametrize(
    ("peer", "entity"),
    [
        (ALL, EntityRule(namespace_selector="all()")),
        ({"namespaces": WEB}, EntityRule(namespace_selector="app == 'web'")),
        (
            {"pods": {"podSelector": WEB}},
            EntityRule(selector=f"{K8S} && app == 'web'", namespace_selector="all()"),
        ),
    ],
)
def test_peers(peer, entity):
    ((own,), (out,)) = rules(peers=[peer])
    assert own == Rule(action="Deny", source=entity)
    assert out == Rule(action="Deny", destination=entity)


def test_networks_lose_their_host_bits():
    nets = {"networks": ["10.0.0.9/8", "FD00::/16"]}
    policy, problems = converted({"egress": [{"action": "Accept", "to": [nets]}]})
    assert problems == []
    (rule,) = policy.spec.egress
    assert rule.destination == EntityRule(nets=("10.0.0.0/8", "fd00::/16"))


def test_the_name_of_a_rule_is_kept():
    ((own,), (out,)) = rules(name="no way")
    assert own.metadata == out.metadata == RuleMetadata(annotations={"name": "no way"})


def to(protocol, **port):
    return {protocol: {"destinationPort": port}}


@pytest.mark.parametrize(
    ("protocols", "expected"),
    [
        ([to("tcp", number=80)], [("TCP", (80,))]),
        ([to("udp", range={"start": 5, "end": 9})], [("UDP", ("5:9",))]),
        (
            [to("tcp", number=82), to("sctp", number=1), to("tcp", range={"start": 80, "end": 81})],
            [("SCTP", (1,)), ("TCP", ("80:82",))],
        ),
        ([{"destinationNamedPort": "http"}], [(None, ("http",))]),
        (
            [to("tcp", number=80), {"destinationNamedPort": "http"}],
            [(None, ("http",)), ("TCP", (80,))],
        ),
        ([{"tcp": {}}, to("tcp", number=80)], [("TCP", ())]),
        ([{}, to("tcp", number=80)], [(None, ())]),
    ],
)
def test_protocols_and_ports(protocols, expected):
    for own in rules(protocols=protocols):
        assert [(rule.protocol, rule.destination.ports) for rule in own] == expected


BACKWARDS = [to("tcp", range={"start": 9, "end": 5})]
FAILING = {
    "an unknown kind of peer": {"peers": [{"nodes": {}}]},
    "names of domains": {"peers": [ALL, {"domainNames": ["a.example"]}]},
    "no CIDR": {"peers": [{"networks": ["10.0.0.0/8", "10.0.0/8"]}]},
    "a range that ends before it begins": {"peers": [ALL], "protocols": BACKWARDS},
    "an unknown operator": {
        "peers": [{"namespaces": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}]
    },
    "quotes in a label": {"peers": [{"namespaces": {"matchLabels": {"a": "' || all() || '"}}}]},
}


@pytest.mark.parametrize("fields", FAILING.values(), ids=FAILING)
@pytest.mark.parametrize(
    ("action", "left", "fate"),
    [
        ("Accept", (), "is left out: "),
        ("Deny", (Rule(action="Deny"),), "denies everything instead: "),
        ("Pass", (Rule(action="Deny"),), "denies everything instead: "),
        ("Log", (), "is left out: "),
    ],
)
def test_a_rule_that_cannot_be_converted_fails_closed(fields, action, left, fate):
    parts = {"action": action, "to": fields["peers"], "protocols": fields.get("protocols", [])}
    policy, problems = converted({"egress": [parts]})
    assert policy.spec.egress == left
    ((field, rule),) = problems
    assert field == "spec.egress[0]"
    assert rule.startswith(fate)


@pytest.mark.parametrize(
    ("spec", "message"),
    [({"tier": "Other"}, "neither Admin nor Baseline"), ({"subject": {}}, "neither namespaces")],
)
def test_nobody_knows_what_it_governs(spec, message):
    with pytest.raises(ValueError, match=message):
        converted(spec)


def test_it_is_stored_as_it_was_written():
    rule = {"name": "n", "action": "Deny", "from": [ALL], "protocols": [to("tcp", number=80)]}
    (own,) = decode_any(raw({"priority": 0, "ingress": [rule]}))
    written = json.loads(dump(own))["spec"]
    assert list(written.items()) == [
        ("tier", "Admin"),
        ("priority", 0),
        ("subject", ALL),
        ("ingress", [rule]),
    ]


TO = "spec.egress[0].to[0]"
PROTOCOL = "spec.egress[0].protocols[0]"


def egress(peer=ALL, **fields):
    return {"egress": [{"action": "Accept", "to": [peer], **fields}]}


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"tier": "admin"}, ["spec.tier"]),
        ({"priority": None}, ["spec.priority"]),
        ({"priority": 1001}, ["spec.priority"]),
        ({"subject": {}}, ["spec.subject"]),
        ({"subject": {"namespaces": {}, "pods": {"podSelector": {}}}}, ["spec.subject"]),
        ({"subject": {"pods": {}}}, ["spec.subject.pods.podSelector"]),
        ({"subject": {"nodes": {}}}, ["spec.subject.nodes", "spec.subject"]),
        ({"subject": {"namespaces": {"matchLabels": {"a": "'"}}}}, ["namespaces.matchLabels.a"]),
        ({"egress": [{"action": "Allow", "to": [ALL]}]}, ["spec.egress[0].action"]),
        ({"egress": [{"action": "Deny"}]}, ["spec.egress[0].to"]),
        (egress({}), [TO]),
        (egress({"namespaces": {}, "networks": ["10.0.0.0/8"]}), [TO]),
        (egress({"networks": ["10.0.0.1"]}), [f"{TO}.networks[0]"]),
        (egress({"networks": ["10.0.0.0/8", "10.0.0.0/8"]}), [f"{TO}.networks"]),
        (egress(name="n" * 101), ["spec.egress[0].name"]),
        (egress(protocols=[{}]), [PROTOCOL]),
        (egress(protocols=[{"tcp": {}}]), [f"{PROTOCOL}.tcp.destinationPort"]),
        (egress(protocols=[{"tcp": {"destinationPort": {}}}]), [f"{PROTOCOL}.tcp.destinationPort"]),
        (egress(protocols=[to("udp", number=70000)]), [f"{PROTOCOL}.udp.destinationPort.number"]),
        (egress(protocols=BACKWARDS), [f"{PROTOCOL}.tcp.destinationPort.range"]),
        (egress(protocols=[{"destinationNamedPort": "80"}]), [f"{PROTOCOL}.destinationNamedPort"]),
        ({"ingress": [{"action": "Deny", "from": [ALL] * 26}]}, ["spec.ingress[0].from"]),
        (
            {"ingress": [{"action": "Deny", "from": [{"networks": ["10.0.0.0/8"]}]}]},
            ["networks", "]"],
        ),
    ],
)
def test_what_the_api_server_would_refuse(spec, fields):
    with pytest.raises(Invalid) as caught:
        decode_any(raw(spec), "f.yaml")
    problems = caught.value.problems
    assert [p.where for p in problems] == ["f.yaml: ClusterNetworkPolicy p"] * len(fields)
    assert all(p.field.endswith(f) for p, f in zip(problems, fields, strict=True)), problems


@pytest.mark.parametrize("peer", [{"nodes": {}}, {"domainNames": ["a.example"]}])
def test_peers_that_only_other_dataplanes_know_may_be_written(peer):
    (own,) = decode_any(raw(egress(peer)))
    assert to_calico(own)[0].spec.egress == ()


@pytest.mark.parametrize(
    ("kind", "tier"), [("AdminNetworkPolicy", "Admin"), ("BaselineAdminNetworkPolicy", "Baseline")]
)
def test_what_was_before_it_says_what_to_write(kind, tier):
    old = {
        "apiVersion": "policy.networking.k8s.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": "p"},
    }
    with pytest.raises(Invalid, match=f"write a .* ClusterNetworkPolicy of tier {tier}"):
        decode_any(old)
