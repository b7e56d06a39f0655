"""Kubernetes NetworkPolicies in Calico's words, field by field."""

import msgspec
import pytest

from korat.core.errors import Invalid
from korat.core.model.kubernetes import convert, decode_any
from korat.core.model.kubernetes.policy import merged_ports, spec_to_calico
from korat.core.model.kubernetes_policy import KubePolicySpec
from korat.core.model.policy import EntityRule, Rule

K8S = "projectcalico.org/orchestrator == 'k8s'"
POD = {"matchLabels": {"app": "web"}}


def policy(spec, **metadata):
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": "n", **metadata},
        "spec": {"podSelector": {}, **spec},
    }


def converted(spec):
    (resource,) = convert(policy(spec))
    return resource


def test_name_tier_order_and_label():
    (own,) = decode_any(policy({}, uid="u", labels={"a": "b"}))
    assert own.key == ("NetworkPolicy", "n", "knp.default.p")
    assert (own.spec.tier, own.spec.order, own.metadata.uid) == ("default", 1000, "u")
    assert own.metadata.labels == {"projectcalico.org/tier": "default"}


def test_a_policy_without_namespace_is_in_default():
    (own,) = convert(policy({}, namespace=""))
    assert own.metadata.namespace == "default"


def test_what_kubectl_wrote_beside_the_spec_is_no_fault():
    annotated = policy({}, managedFields=[{"manager": "kubectl"}], annotations={"a/b": "{}"})
    assert decode_any({**annotated, "status": {}}) == decode_any(policy({}, annotations={}))


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({}, K8S),
        ({"matchLabels": {"b": "2", "a": ""}}, f"{K8S} && a == '' && b == '2'"),
        (
            {"matchExpressions": [{"key": "x.y/k", "operator": "In", "values": ["b", "a"]}]},
            f"{K8S} && x.y/k in {{ 'b', 'a' }}",
        ),
        (
            {"matchExpressions": [{"key": "k", "operator": "NotIn", "values": ["a"]}]},
            f"{K8S} && k not in {{ 'a' }}",
        ),
        ({"matchExpressions": [{"key": "k", "operator": "Exists"}]}, f"{K8S} && has(k)"),
        (
            {
                "matchLabels": {"z": "1"},
                "matchExpressions": [{"key": "k", "operator": "DoesNotExist"}],
            },
            f"{K8S} && z == '1' && ! has(k)",
        ),
    ],
)
def test_selector_text(selector, text):
    assert converted({"podSelector": selector}).spec.selector == text


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, ("Ingress",)),
        ({"ingress": [{}]}, ("Ingress",)),
        ({"egress": [{}]}, ("Ingress", "Egress")),
        ({"policyTypes": ["Egress"]}, ("Egress",)),
        ({"policyTypes": ["Egress", "Ingress"]}, ("Ingress", "Egress")),
        ({"policyTypes": ["Ingress"], "egress": [{}]}, ("Ingress",)),
    ],
)
def test_types(spec, types):
    assert converted(spec).spec.types == types


@pytest.mark.parametrize(
    ("peer", "entity"),
    [
        ({"podSelector": POD}, EntityRule(selector=f"{K8S} && app == 'web'")),
        ({"podSelector": {}}, EntityRule(selector=K8S)),
        ({"namespaceSelector": {}}, EntityRule(selector=K8S, namespace_selector="all()")),
        (
            {"namespaceSelector": POD, "podSelector": POD},
            EntityRule(selector=f"{K8S} && app == 'web'", namespace_selector="app == 'web'"),
        ),
        ({"ipBlock": {"cidr": "10.0.0.9/8"}}, EntityRule(nets=("10.0.0.0/8",))),
        (
            {"ipBlock": {"cidr": "FD00::/16", "except": ["fd00:1::/32"]}},
            EntityRule(nets=("fd00::/16",), not_nets=("fd00:1::/32",)),
        ),
    ],
)
def test_peers(peer, entity):
    spec = converted({"ingress": [{"from": [peer]}], "egress": [{"to": [peer]}]}).spec
    assert spec.ingress == (Rule(action="Allow", source=entity),)
    assert spec.egress == (Rule(action="Allow", destination=entity),)


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([], [(None, ())]),
        ([{}], [("TCP", ())]),
        ([{"port": 80}], [("TCP", (80,))]),
        ([{"port": "http"}, {"port": 80}], [("TCP", ("http", 80))]),
        ([{"port": 80, "endPort": 90}], [("TCP", ("80:90",))]),
        ([{"port": 80, "endPort": 80}], [("TCP", (80,))]),
        ([{"port": 82}, {"port": 80}, {"port": 81}, {"port": 80}], [("TCP", ("80:82",))]),
        ([{"port": 80}, {"protocol": "TCP"}], [("TCP", ())]),
        (
            [{"protocol": "UDP", "port": 53}, {"port": 53}, {"protocol": "SCTP"}],
            [("SCTP", ()), ("TCP", (53,)), ("UDP", (53,))],
        ),
    ],
)
def test_ports_by_protocol(ports, expected):
    (*rules,) = converted({"ingress": [{"ports": ports}]}).spec.ingress
    assert [(rule.protocol, rule.destination.ports) for rule in rules] == expected
    (*rules,) = converted({"egress": [{"ports": ports}]}).spec.egress
    assert [(rule.protocol, rule.destination.ports) for rule in rules] == expected


def test_every_peer_with_every_protocol():
    rule = {
        "from": [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}],
        "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}],
    }
    rules = converted({"ingress": [rule, {}]}).spec.ingress
    assert [(r.protocol, r.source.selector, r.source.nets) for r in rules] == [
        ("TCP", K8S, ()),
        ("TCP", "", ("10.0.0.0/8",)),
        ("UDP", K8S, ()),
        ("UDP", "", ("10.0.0.0/8",)),
        (None, "", ()),
    ]


@pytest.mark.parametrize(
    ("ports", "merged"),
    [
        ((), ()),
        ((80, "http", 80, "http"), ("http", 80)),
        ((1, 3, 2, "5:9", "7:12", 13, 15), ("1:3", "5:13", 15)),
    ],
)
def test_merged_ports(ports, merged):
    assert merged_ports(ports) == merged


def requirement(**fields):
    return {"podSelector": {"matchExpressions": [fields]}}


PEER = "spec.ingress[0].from[0]"
PORT = "spec.ingress[0].ports[0]"
TERM = "spec.podSelector.matchExpressions[0]"


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"podSelector": {"matchLabels": {"a": "x' || all() || a == 'x"}}}, ["matchLabels.a"]),
        ({"podSelector": {"matchLabels": {"a)": "x"}}}, ["matchLabels.a)"]),
        ({"podSelector": None, "podselector": {}}, ["spec.podselector"]),
        (requirement(key="k", operator="Is", values=["a"]), [f"{TERM}.operator"]),
        (requirement(key="k", operator="In"), [f"{TERM}.values"]),
        (requirement(key="k", operator="Exists", values=["a"]), [f"{TERM}.values"]),
        (requirement(key="k", operator="In", values=["'"]), [f"{TERM}.values[0]"]),
        ({"policyTypes": ["ingress"]}, ["spec.policyTypes[0]"]),
        ({"ingress": [{"from": [{}]}]}, [PEER]),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1"}}]}]}, [f"{PEER}.ipBlock.cidr"]),
        (
            {"ingress": [{"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
            [f"{PEER}.ipBlock"],
        ),
        (
            {
                "ingress": [
                    {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]}
                ]
            },
            [f"{PEER}.ipBlock.except[0]"],
        ),
        ({"ingress": [{"ports": [{"port": 0}]}]}, [f"{PORT}.port"]),
        ({"ingress": [{"ports": [{"port": "80"}]}]}, [f"{PORT}.port"]),
        ({"ingress": [{"ports": [{"port": "Http"}]}]}, [f"{PORT}.port"]),
        ({"ingress": [{"ports": [{"endPort": 5}]}]}, [f"{PORT}.endPort"]),
        ({"ingress": [{"ports": [{"port": 9, "endPort": 5}]}]}, [f"{PORT}.endPort"]),
        ({"ingress": [{"ports": [{"protocol": "ICMP"}]}]}, [f"{PORT}.protocol"]),
        ({"ingress": [{"to": []}]}, ["spec.ingress[0].to"]),
        (
            {"policyTypes": ["x"], "egress": [{"to": [{}], "ports": [{"port": 70000}]}]},
            ["spec.policyTypes[0]", "spec.egress[0].to[0]", "spec.egress[0].ports[0].port"],
        ),
    ],
)
def test_what_the_api_server_would_refuse(spec, fields):
    with pytest.raises(Invalid) as caught:
        convert(policy(spec), "f.yaml")
    problems = caught.value.problems
    assert len(problems) == len(fields)
    assert all(p.field.endswith(f) for p, f in zip(problems, fields, strict=True))
    assert all(p.where == "f.yaml: NetworkPolicy n/p" for p in problems)


BAD_RULES = {
    "a name with an endPort": {"ports": [{"port": "http", "endPort": 90}]},
    "an endPort before its port": {"ports": [{"port": 90, "endPort": 80}]},
    "a port beyond all": {"ports": [{"port": 70000}]},
    "no CIDR": {"from": [{"ipBlock": {"cidr": "10.0.0/8"}}]},
    "an exception that is no CIDR": {
        "from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["here"]}}]
    },
    "an unknown operator": {
        "from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}]
    },
    "quotes in a label": {"from": [{"podSelector": {"matchLabels": {"a": "x' || a != 'x"}}}]},
    "a key that is none": {"from": [{"namespaceSelector": {"matchLabels": {"a b": "x"}}}]},
}


@pytest.mark.parametrize("rule", BAD_RULES.values(), ids=BAD_RULES)
def test_a_rule_that_fails_to_convert_is_skipped_and_the_rest_stands(rule):
    """Nothing that the API server has seen is like that, but what a store holds may be."""
    good = {"ports": [{"port": 443}]}
    spec = msgspec.convert({"ingress": [good, rule, {}]}, KubePolicySpec)
    own, problems = spec_to_calico(spec, "it")
    assert [r.destination.ports for r in own.ingress] == [(443,), ()]
    assert own.types == ("Ingress",)
    ((problem),) = problems
    assert (problem.where, problem.field) == ("it", "spec.ingress[1]")
    assert problem.rule.startswith("is left out: ")


def test_a_policy_whose_every_rule_is_skipped_still_isolates():
    spec = msgspec.convert({"egress": [{"ports": [{"port": 0, "endPort": -1}]}]}, KubePolicySpec)
    own, problems = spec_to_calico(spec, "it")
    assert (own.egress, own.types, len(problems)) == ((), ("Ingress", "Egress"), 1)
