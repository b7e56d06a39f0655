"""Raw objects: all faults at once, each with its place."""

import pytest

from korat.core.errors import Invalid
from korat.core.model.decode import decode, examine_part, nearest
from korat.core.model.kubernetes import decode_any
from korat.core.model.pod import Container
from korat.core.model.policy import NetworkPolicy

V3 = "projectcalico.org/v3"


def obj(kind="NetworkPolicy", metadata=None, **rest):
    return {
        "apiVersion": V3,
        "kind": kind,
        "metadata": {"name": "p"} if metadata is None else metadata,
        **rest,
    }


def problems(raw, where=""):
    with pytest.raises(Invalid) as caught:
        decode(raw, where)
    return [(p.field, p.rule) for p in caught.value.problems]


def test_a_namespaced_object_lands_in_default():
    policy = decode(obj(spec={"selector": "all()"}))
    assert isinstance(policy, NetworkPolicy)
    assert policy.key == ("NetworkPolicy", "default", "p")
    assert policy.spec.selector == "all()"


def test_a_null_is_an_absent_field():
    policy = decode(obj(metadata={"name": "p", "labels": None}, spec={"ingress": None}))
    assert (policy.metadata.labels, policy.spec.ingress) == ({}, ())


def test_what_an_api_server_adds_is_dropped():
    metadata = {"name": "p", "managedFields": [{}], "selfLink": "/x", "uid": "u"}
    assert decode(obj(metadata=metadata)).metadata.uid == "u"


def test_a_pod_may_hold_what_korat_does_not_know():
    raw = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}}
    pod = decode({**raw, "spec": {"restartPolicy": "Never", "containers": [{"tty": True}]}})
    assert pod.spec.containers == (Container(),)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ([], [("", "an object must be a mapping")]),
        ({}, [("kind", "is missing")]),
        (obj(kind=["x"]), [("kind", "unknown kind")]),
        (obj(kind="NetworkPolicies"), [("kind", "did you mean NetworkPolicy?")]),
        (obj(apiVersion="v1"), [("apiVersion", f"must be {V3} for a NetworkPolicy")]),
        (obj(metadata={}), [("metadata.name", "is missing")]),
        (obj(metadata=None) | {"metadata": None}, [("metadata.name", "is missing")]),
        (obj(metadata={"generateName": "x-"}), [("metadata.name", "is not supported")]),
        (obj("Tier", {"name": "t", "namespace": "n"}), [("metadata.namespace", "not namespaced")]),
        (obj(spec=[]), [("spec", "must be a mapping, not a list")]),
        (obj(spec={"selector": {}}), [("spec.selector", "must be a string, not a mapping")]),
        (obj(spec={"selecter": "x"}), [("spec.selecter", "did you mean selector?")]),
        (obj(spec={"zzz": 1}), [("spec.zzz", "unknown field")]),
        (obj(spec={"order": "1"}), [("spec.order", "must be an integer or a number")]),
        (obj(spec={"order": float("inf")}), [("spec.order", "finite")]),
        (obj(spec={"order": 2**70}), [("spec.order", "64 bits")]),
        (obj(spec={"selector": 5}), [("spec.selector", "must be a string")]),
        (obj(spec={"selector": "\ud800"}), [("spec.selector", "not Unicode")]),
        (obj(spec={"types": "Ingress"}), [("spec.types", "must be a list")]),
        (obj(metadata={"name": "p", "labels": {"a": 1}}), [("metadata.labels.a", "a string")]),
        (obj(metadata={"name": "p", "labels": {1: "a"}}), [("metadata.labels", "strings as keys")]),
        (obj("IPPool", spec={"disabled": 1}), [("spec.disabled", "true or false")]),
        (obj("FelixConfiguration", spec={"a": {"b": [{1}]}}), [("spec.a.b[0]", "not JSON")]),
        (
            obj(spec={"ingress": [{"action": 5}, {"source": {"ports": [80, True, 1.5]}}]}),
            [
                ("spec.ingress[0].action", "must be a string"),
                ("spec.ingress[1].source.ports[1]", "an integer or a string"),
                ("spec.ingress[1].source.ports[2]", "an integer or a string"),
            ],
        ),
        (
            obj(apiVersion="v3", metadata={"namespace": "n"}, spec={"egres": []}, extra=1),
            [
                ("apiVersion", "must be"),
                ("spec.egres", "did you mean egress?"),
                ("extra", "unknown field"),
                ("metadata.name", "is missing"),
            ],
        ),
    ],
)
def test_every_fault_has_its_place(raw, expected):
    found = problems(raw)
    assert [field for field, _ in found] == [field for field, _ in expected]
    assert all(part in rule for (_, rule), (_, part) in zip(found, expected, strict=True))


def test_a_problem_says_where_the_object_stands():
    with pytest.raises(Invalid) as caught:
        decode(obj(metadata={"name": "p", "namespace": "n"}, spec=1), "shop.yaml[2]")
    assert str(caught.value) == "shop.yaml[2]: NetworkPolicy n/p: spec 1: must be a mapping"


def test_parts_are_read_with_the_same_care():
    assert examine_part({"name": "c"}, Container, "here") == (Container(name="c"), [])
    value, problems = examine_part({"name": "c", "ports": 5}, Container, "here")
    assert value == Container(name="c"), "the rest, so that its faults can be told too"
    assert [str(problem) for problem in problems] == ["here: ports 5: must be a list"]


def test_a_wrong_type_does_not_hide_the_other_faults_but_those_that_follow_from_it():
    """Of a rule with a wrong protocol nothing can be said about its ports."""
    spec = {
        "order": "first",
        "selector": "a ==",
        "ingress": [
            {"action": "Allow", "protocol": ["TCP"], "destination": {"ports": [80]}},
            {"action": "Alow", "protocol": "TCP", "destination": {"ports": [70000, "80"]}},
        ],
    }
    with pytest.raises(Invalid) as caught:
        decode_any(obj(apiVersion=V3, metadata={"name": "p"}, spec=spec), "f.yaml")
    assert [p.field for p in caught.value.problems] == [
        "spec.order",
        "spec.ingress[0].protocol",
        "spec.ingress[1].action",
        "spec.ingress[1].destination.ports[0]",
        "spec.selector",
    ]


def test_a_wrong_port_of_a_pod_does_not_hide_another():
    ports = [{"containerPort": "80"}, {"containerPort": 70000}, {"containerPort": 81}]
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "ports": ports}]}}
    with pytest.raises(Invalid) as caught:
        decode_any({"kind": "Pod", "apiVersion": "v1", **pod})
    assert [p.field for p in caught.value.problems] == [
        "spec.containers[0].ports[0].containerPort",
        "spec.containers[0].ports[1].containerPort",
    ]


def test_an_unknown_field_does_not_hide_the_other_faults():
    spec = {"ordr": 5, "selector": "a ==", "ingress": [{"action": "Alow", "protcol": "TCP"}]}
    with pytest.raises(Invalid) as caught:
        decode_any(obj(apiVersion=V3, metadata={"labels": {"a": "b c"}}, spec=spec), "f.yaml")
    assert [p.field for p in caught.value.problems] == [
        "spec.ordr",
        "spec.ingress[0].protcol",
        "metadata.name",
        "metadata.labels.a",
        "spec.ingress[0].action",
        "spec.selector",
    ]
    assert {p.where for p in caught.value.problems} == {"f.yaml: NetworkPolicy"}


@pytest.mark.parametrize(
    ("word", "expected"), [("selecter", "selector"), ("ORDER", "order"), ("zzz", "")]
)
def test_nearest(word, expected):
    assert nearest(word, ["order", "selector", "types"]) == expected
