"""The slices that Kubernetes' endpointslice controller would keep, and what is refused in them."""

import pytest

from korat.core.errors import Invalid
from korat.core.model.kind import KINDS, kind_of
from korat.core.model.kubernetes import decode_any
from korat.core.model.kubernetes.endpointslice import (
    ENDPOINTS_MAX,
    KEEPER,
    kept,
    slices_of,
    wanted_slices,
)
from korat.core.model.label import SERVICE_NAME, SLICE_KEEPER
from korat.core.model.pod import Container, ContainerPort, Pod, PodIp, PodSpec, PodStatus
from korat.core.model.resource import Metadata
from korat.core.model.service import EndpointSlice, Service, ServicePort, ServiceSpec

WEB = {"app": "web"}


def pod(name, *ips, ports=(), phase="Running", namespace="red", labels=None):
    """A pod that runs; ``ports`` are (name, protocol, number) of its container."""
    own = tuple(ContainerPort(name=n, protocol=p, container_port=number) for n, p, number in ports)
    return Pod(
        metadata=Metadata(name=name, namespace=namespace, labels=labels or WEB),
        spec=PodSpec(node_name="vm1", containers=(Container(ports=own),)),
        status=PodStatus(phase=phase, pod_ip=ips[0] if ips else "", pod_ips=tuple(map(PodIp, ips))),
    )


def service(*ports, **spec):
    """A service of the pods of ``web``; a port is (name, number, target)."""
    own = tuple(ServicePort(name=n, port=number, target_port=t) for n, number, t in ports)
    chosen = ServiceSpec(**{"selector": WEB, "ports": own, **spec})
    return Service(metadata=Metadata(name="svc", namespace="red"), spec=chosen)


def members(own, *pods):
    """(address, protocol, port) of every slice, as policy reads them."""
    return {
        (text, port.protocol, port.port)
        for each in slices_of(own, pods)
        for endpoint in each.endpoints
        for text in endpoint.addresses
        for port in each.ports
    }


HTTP = ("", 80, None)


def test_a_slice():
    (made,) = slices_of(service(HTTP), [pod("a", "10.0.0.1")])
    assert made.key == ("EndpointSlice", "red", made.metadata.name)
    assert made.metadata.labels == {SERVICE_NAME: "svc", SLICE_KEEPER: KEEPER}
    assert made.address_type == "IPv4"
    assert [e.node_name for e in made.endpoints] == ["vm1"]
    assert kept(made)
    assert not kept(EndpointSlice(metadata=Metadata(name="x", labels={SERVICE_NAME: "svc"})))


PODS = {
    "another namespace": (pod("a", "10.0.0.1", namespace="blue"), False),
    "other labels": (pod("a", "10.0.0.1", labels={"app": "db"}), False),
    "more labels": (pod("a", "10.0.0.1", labels={**WEB, "x": "y"}), True),
    "no address yet": (pod("a", phase="Pending"), False),
    "an address that is none": (pod("a", "nonsense"), False),
    "not ready": (pod("a", "10.0.0.1", phase="Pending"), True),
    "ended": (pod("a", "10.0.0.1", phase="Succeeded"), False),
    "failed": (pod("a", "10.0.0.1", phase="Failed"), False),
}


@pytest.mark.parametrize(("own", "chosen"), PODS.values(), ids=PODS)
def test_which_pods(own, chosen):
    assert bool(wanted_slices([service(HTTP), own])) is chosen


SERVICES = {
    "the port itself": (service(HTTP), {("10.0.0.1", "TCP", 80)}),
    "a number": (service(("", 80, 8080)), {("10.0.0.1", "TCP", 8080)}),
    "a name": (service(("", 80, "web")), {("10.0.0.1", "TCP", 3000)}),
    "a name of another protocol": (service(("", 80, "dns")), set()),
    "a name that the pod does not have": (service(("", 80, "lost")), set()),
    "several": (
        service(("a", 80, "web"), ("b", 81, "lost"), ("c", 82, None)),
        {("10.0.0.1", "TCP", 3000), ("10.0.0.1", "TCP", 82)},
    ),
    "no selector": (service(HTTP, selector={}), set()),
    "another host's name": (service(HTTP, type="ExternalName"), set()),
}


@pytest.mark.parametrize(("own", "expected"), SERVICES.values(), ids=SERVICES)
def test_which_ports(own, expected):
    ports = [("web", "TCP", 3000), ("dns", "UDP", 53)]
    assert members(own, pod("a", "10.0.0.1", ports=ports)) == expected


def test_a_name_is_each_pods_own():
    pods = [
        pod("a", "10.0.0.1", ports=[("web", "TCP", 3000)]),
        pod("b", "10.0.0.2", ports=[("web", "TCP", 4000)]),
        pod("c", "10.0.0.3", ports=[("web", "TCP", 3000)]),
    ]
    named = service(("", 80, "web"))
    assert members(named, *pods) == {
        ("10.0.0.1", "TCP", 3000),
        ("10.0.0.2", "TCP", 4000),
        ("10.0.0.3", "TCP", 3000),
    }
    assert sorted(len(each.endpoints) for each in slices_of(named, pods)) == [1, 2]


def test_a_pod_without_the_name_is_behind_a_service_and_serves_nothing():
    (made,) = slices_of(service(("", 80, "lost")), [pod("a", "10.0.0.1")])
    assert (len(made.endpoints), made.ports) == (1, ())


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [
        ({}, ["IPv4", "IPv6"]),
        ({"ip_families": ("IPv6",)}, ["IPv6"]),
        ({"cluster_ip": "None"}, ["IPv4", "IPv6"]),
        ({"cluster_ip": "10.96.0.1"}, ["IPv4"]),
        ({"cluster_ip": "fd00::96"}, ["IPv6"]),
        ({"cluster_ip": "10.96.0.1", "ip_families": ("IPv4", "IPv6")}, ["IPv4", "IPv6"]),
    ],
)
def test_the_ip_versions(spec, kinds):
    made = slices_of(service(HTTP, **spec), [pod("a", "10.0.0.1", "fd00::1")])
    assert [each.address_type for each in made] == kinds


def test_many_endpoints_are_many_slices_with_names_that_stay():
    pods = [pod(f"p{i:03}", f"10.0.{i // 250}.{1 + i % 250}") for i in range(ENDPOINTS_MAX + 1)]
    made = list(slices_of(service(HTTP), pods))
    assert [len(each.endpoints) for each in made] == [ENDPOINTS_MAX, 1]
    assert len({each.key for each in made}) == 2
    assert list(slices_of(service(HTTP), reversed(pods))) == made
    assert [each.key for each in slices_of(service(HTTP), pods[1:])] == [made[0].key]


def manifest(kind, **fields):
    return {
        "apiVersion": KINDS[kind].api_version,
        "kind": kind,
        "metadata": {"name": "x", "namespace": "red"},
        **fields,
    }


def test_what_is_not_needed_is_dropped():
    (own,) = decode_any(
        manifest(
            "Service",
            spec={
                "selector": WEB,
                "sessionAffinity": "None",
                "ports": [{"port": 80, "nodePort": 3}],
            },
            status={"loadBalancer": {}},
        )
    )
    assert own == Service(
        metadata=Metadata(name="x", namespace="red"),
        spec=ServiceSpec(selector=WEB, ports=(ServicePort(port=80),)),
    )
    (made,) = decode_any(
        manifest(
            "EndpointSlice",
            addressType="IPv4",
            endpoints=[{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod"}, "zone": "1"}],
            ports=[{"name": None, "port": 80, "appProtocol": "http"}],
        )
    )
    assert isinstance(made, EndpointSlice)
    assert made.ports[0].protocol == "TCP"


SLICE = {"addressType": "IPv4"}
WRONG = {
    "a port of none": ("Service", {"spec": {"ports": [{"port": 0}]}}, "spec.ports[0].port"),
    "a target of none": (
        "Service",
        {"spec": {"ports": [{"port": 1, "targetPort": 65536}]}},
        "spec.ports[0].targetPort",
    ),
    "a target that is no name": (
        "Service",
        {"spec": {"ports": [{"port": 1, "targetPort": "A_B"}]}},
        "spec.ports[0].targetPort",
    ),
    "a protocol without ports": (
        "Service",
        {"spec": {"ports": [{"port": 1, "protocol": "ICMP"}]}},
        "spec.ports[0].protocol",
    ),
    "several ports and no name": (
        "Service",
        {"spec": {"ports": [{"port": 1, "name": "a"}, {"port": 2}]}},
        "spec.ports[1].name",
    ),
    "a type": ("Service", {"spec": {"type": "Other"}}, "spec.type"),
    "a version": ("Service", {"spec": {"ipFamilies": ["IPv5"]}}, "spec.ipFamilies[0]"),
    "a selector": ("Service", {"spec": {"selector": {"a b": "c"}}}, "spec.selector.a b"),
    "a cluster address": ("Service", {"spec": {"clusterIP": "x"}}, "spec.clusterIP"),
    "an address type": ("EndpointSlice", {"addressType": ""}, "addressType"),
    "an address": (
        "EndpointSlice",
        {**SLICE, "endpoints": [{"addresses": ["x"]}]},
        "endpoints[0].addresses[0]",
    ),
    "an address of the other version": (
        "EndpointSlice",
        {**SLICE, "endpoints": [{"addresses": ["fd00::1"]}]},
        "endpoints[0].addresses[0]",
    ),
    "no address": ("EndpointSlice", {**SLICE, "endpoints": [{}]}, "endpoints[0].addresses"),
    "too many endpoints": (
        "EndpointSlice",
        {**SLICE, "endpoints": [{"addresses": ["10.0.0.1"]}] * 1001},
        "endpoints",
    ),
    "a port twice": ("EndpointSlice", {**SLICE, "ports": [{"port": 1}, {"port": 2}]}, "ports"),
    "a slice's port": ("EndpointSlice", {**SLICE, "ports": [{"port": 65536}]}, "ports[0].port"),
    "a slice's protocol": (
        "EndpointSlice",
        {**SLICE, "ports": [{"port": 1, "protocol": "tcp"}]},
        "ports[0].protocol",
    ),
}


@pytest.mark.parametrize(("kind", "fields", "field"), WRONG.values(), ids=WRONG)
def test_what_is_refused(kind, fields, field):
    with pytest.raises(Invalid) as caught:
        decode_any(manifest(kind, **fields))
    assert [problem.field for problem in caught.value.problems] == [field]


def test_names_of_hosts_may_be_endpoints():
    (made,) = decode_any(
        manifest("EndpointSlice", addressType="FQDN", endpoints=[{"addresses": ["a.example.com"]}])
    )
    assert made.endpoints[0].addresses == ("a.example.com",)


def test_columns():
    (made,) = slices_of(service(HTTP), [pod("a", "10.0.0.1"), pod("b", "10.0.0.2")])
    slices, services = KINDS["EndpointSlice"], kind_of("svc")
    cells = {title: cell(made) for title, cell in slices.columns}
    assert cells == {
        "NAME": made.metadata.name,
        "ADDRESSTYPE": "IPv4",
        "PORTS": "80",
        "ENDPOINTS": "10.0.0.1,10.0.0.2",
    }
    own = service(("a", 80, None), ("b", 81, None), cluster_ip="10.96.0.1")
    assert {title: cell(own) for title, cell in services.wide} == {
        "NAME": "svc",
        "TYPE": "ClusterIP",
        "CLUSTER-IP": "10.96.0.1",
        "PORTS": "80/TCP,81/TCP",
        "SELECTOR": "app=web",
    }
