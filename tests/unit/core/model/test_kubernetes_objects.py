"""Namespaces, accounts, pods, lists, and what networking has no use for."""

import pytest

from korat.core.errors import Invalid
from korat.core.model.endpoint import EndpointPort
from korat.core.model.kubernetes import (
    account_profile,
    convert,
    decode_any,
    endpoint_of,
    interface_name,
    namespace_profile,
)
from korat.core.model.label import POD_IP, POD_IPS
from korat.core.model.pod import Pod, PodStatus
from korat.core.model.policy import Rule
from korat.core.model.resource import Metadata
from korat.core.model.validate import validate


def kube(kind, name="x", version="v1", **rest):
    metadata = {"name": name, **rest.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def test_of_a_namespaces_annotations_those_of_address_management_stay():
    pools = {"cni.projectcalico.org/ipv4pools": '["blue"]', "team.example/owner": "a"}
    (own,) = decode_any(kube("Namespace", "shop", metadata={"annotations": pools}))
    assert own.metadata.annotations == {"cni.projectcalico.org/ipv4pools": '["blue"]'}


def test_a_namespace_is_a_profile_that_allows_all():
    (own,) = decode_any(kube("Namespace", "shop", metadata={"labels": {"team": "a"}}, status={}))
    assert own == namespace_profile("shop", {"team": "a"})
    assert own.metadata.name == "kns.shop"
    assert own.spec.ingress == own.spec.egress == (Rule(action="Allow"),)
    assert own.spec.labels_to_apply == {
        "pcns.kubernetes.io/metadata.name": "shop",
        "pcns.projectcalico.org/name": "shop",
        "pcns.team": "a",
    }


def test_labels_of_the_full_length_can_be_handed_down():
    key = "k" * 63
    (own,) = decode_any(kube("Namespace", "shop", metadata={"labels": {key: "v"}}))
    assert own.spec.labels_to_apply[f"pcns.{key}"] == "v"


def test_an_account_is_a_profile_without_rules():
    raw = kube("ServiceAccount", "bot", metadata={"namespace": "shop"}, secrets=[{"name": "t"}])
    (own,) = decode_any(raw)
    assert own == account_profile("shop", "bot", {})
    assert own.metadata.name == "ksa.shop.bot"
    assert own.spec.ingress == own.spec.egress == ()
    assert own.spec.labels_to_apply == {"pcsa.projectcalico.org/name": "bot"}


@pytest.mark.parametrize(
    ("namespace", "pod", "prefix", "name"),
    [
        # The first two stand in Calico's own tests.
        ("default", "podA", "cali", "cali7f94ce7c295"),
        ("namespace", "podname", "eni", "eni82111e10a96"),
        ("shop", "web-1", "azv", "azv751425ce827"),
    ],
)
def test_interface_names_are_calicos(namespace, pod, prefix, name):
    assert interface_name(namespace, pod, prefix) == name


def pod(**spec):
    labels = {"app": "web", "pcns.team": "x", "pcsa.role": "y"}
    metadata = {"namespace": "shop", "labels": labels}
    (own,) = decode_any(kube("Pod", "web-1", metadata=metadata, spec=spec))
    assert isinstance(own, Pod)
    return own


def endpoint(own):
    return endpoint_of(own, "vm-1", "abc", ["10.0.0.1/32"], "cali751425ce827", "ee:ee:ee:ee:ee:ee")


def test_an_endpoint_of_a_pod():
    own = endpoint(pod())
    assert own.key == ("WorkloadEndpoint", "shop", "vm--1-k8s-web--1-eth0")
    assert own.metadata.labels == {
        "app": "web",
        "projectcalico.org/namespace": "shop",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "default",
    }
    assert own.spec.profiles == ("kns.shop", "ksa.shop.default")
    assert (own.spec.node, own.spec.pod, own.spec.endpoint) == ("vm-1", "web-1", "eth0")
    assert (own.spec.container_id, own.spec.ip_networks) == ("abc", ("10.0.0.1/32",))
    assert validate(own) == []


@pytest.mark.parametrize(("length", "labelled"), [(62, True), (63, False)])
def test_a_long_account_is_no_label(length, labelled):
    own = endpoint(pod(serviceAccountName="a" * length))
    assert ("projectcalico.org/serviceaccount" in own.metadata.labels) is labelled
    assert own.spec.profiles[1] == f"ksa.shop.{'a' * length}"
    assert own.spec.service_account_name == "a" * length


def test_ports_that_can_be_matched():
    ports = [
        {"name": "http", "containerPort": 80},
        {"containerPort": 81},
        {"containerPort": 82, "hostPort": 8082, "hostIP": "10.0.0.9", "protocol": "UDP"},
    ]
    own = endpoint(
        pod(
            initContainers=[{"ports": [{"name": "init", "containerPort": 1}]}],
            containers=[{"ports": ports}, {"ports": [{"name": "s", "containerPort": 2}]}],
        )
    )
    assert own.spec.ports == (
        EndpointPort(name="http", port=80),
        EndpointPort(protocol="UDP", port=82, host_port=8082, host_ip="10.0.0.9"),
        EndpointPort(name="s", port=2),
        EndpointPort(name="init", port=1),
    )


PREFIXES = "cni.projectcalico.org/allowedSourcePrefixes"


def annotated(**annotations):
    names = {"prefixes": PREFIXES, "ip": POD_IP, "ips": POD_IPS}
    return {names[key]: value for key, value in annotations.items()}


def lone(annotations, **rest):
    return decode_any(kube("Pod", "p", metadata={"annotations": annotations}, **rest))[0]


@pytest.mark.parametrize(
    ("text", "prefixes"),
    [
        ("", ()),
        ("[]", ()),
        ('["10.0.0.9/8", "fd00::1/64"]', ("10.0.0.0/8", "fd00::/64")),
    ],
)
def test_allowed_source_prefixes(text, prefixes):
    own = endpoint(lone(annotated(prefixes=text)))
    assert own.spec.allow_spoofed_source_prefixes == prefixes
    assert validate(own) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("10.0.0.0/8", "is not a JSON list of CIDRs"),
        ("[1]", "is not a JSON list of CIDRs"),
        ('["10.0.0.1"]', "holds '10.0.0.1', which is not a CIDR"),
        ('["10.0.0/8"]', "10.0.0"),
    ],
)
def test_bad_source_prefixes_are_refused_where_they_are_written_and_where_they_are_read(text, rule):
    with pytest.raises(Invalid) as caught:
        lone(annotated(prefixes=text))
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == (f"metadata.annotations.{PREFIXES}", text)
    assert rule in problem.rule
    stored = Pod(metadata=Metadata(name="p", annotations=annotated(prefixes=text)))
    with pytest.raises(Invalid, match=r"Pod p: metadata\.annotations"):
        endpoint(stored)


@pytest.mark.parametrize(
    ("status", "annotations", "addresses"),
    [
        ({}, {}, ()),
        ({"podIP": "10.0.0.1"}, {"ips": "10.0.0.2/32"}, ("10.0.0.1",)),
        (
            {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
            {},
            ("10.0.0.1", "fd00::1"),
        ),
        ({}, {"ips": "10.0.0.2/32,fd00::2/128"}, ("10.0.0.2/32", "fd00::2/128")),
        ({}, {"ip": "10.0.0.2/32"}, ("10.0.0.2/32",)),
        ({"podIP": "10.0.0.1", "phase": "Succeeded"}, {}, ()),
        ({"podIP": "10.0.0.1", "phase": "Failed"}, {"ips": "10.0.0.2/32"}, ()),
        ({"podIP": "10.0.0.1", "phase": "Running"}, {"ip": ""}, ("10.0.0.1",)),
    ],
)
def test_addresses_of_a_pod(status, annotations, addresses):
    assert lone(annotated(**annotations), status=status).addresses == addresses


@pytest.mark.parametrize(
    ("annotations", "finished"), [({"ip": ""}, True), ({"ip": "10.0.0.1/32"}, False), ({}, False)]
)
def test_a_pod_that_is_deleted_is_finished_when_cni_took_its_address_back(annotations, finished):
    metadata = Metadata(
        name="p",
        deletion_timestamp="2026-01-01T00:00:00Z",
        annotations=annotated(**annotations),
    )
    assert Pod(metadata=metadata, status=PodStatus(phase="Running")).is_finished is finished


def test_lists_of_all_sorts_are_expanded():
    inner = kube("NamespaceList", items=[{"metadata": {"name": "c"}}])
    tiers = kube("TierList", version="projectcalico.org/v3", items=[{"metadata": {"name": "t"}}])
    raw = kube("List", items=[kube("Namespace", "a"), inner, tiers])
    assert [r.metadata.name for r in decode_any(raw)] == ["kns.a", "kns.c", "t"]
    assert decode_any(kube("List", items=None)) == []


def test_every_fault_of_a_list_is_said():
    raw = kube("List", items=[kube("Namespace", "A"), 5, kube("Namespace", "b"), kube("Job")])
    with pytest.raises(Invalid) as caught:
        decode_any(raw, "f.yaml")
    assert [p.where for p in caught.value.problems] == [
        "f.yaml[0]: Namespace A",
        "f.yaml[1]",
        "f.yaml[3]: Job x",
    ]


@pytest.mark.parametrize(
    ("raw", "field", "rule"),
    [
        (kube("Deployment", version="apps/v1"), "kind", "is not used for networking"),
        (kube("NameSpace"), "kind", "did you mean Namespace?"),
        (kube("Namespace", version="v2"), "apiVersion", "must be v1 for a Namespace"),
        (kube("NetworkPolicy"), "apiVersion", "must be networking.k8s.io/v1"),
        (kube("List", items={}), "items", "must be a list"),
        ({"apiVersion": "v1"}, "kind", "is missing"),
        ({"apiVersion": "v1", "kind": ["Pod"]}, "kind", "must be a string"),
        (kube("Namespace", ""), "metadata.name", "is missing"),
    ],
)
@pytest.mark.parametrize("read", [convert, decode_any])
def test_what_is_not_supported(read, raw, field, rule):
    with pytest.raises(Invalid) as caught:
        read(raw)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert rule in problem.rule


def test_the_names_of_kubernetes_policies_are_reserved():
    raw = kube("NetworkPolicy", "knp.default.x", "projectcalico.org/v3")
    with pytest.raises(Invalid, match="must be managed through the kubernetes API"):
        decode_any(raw)
