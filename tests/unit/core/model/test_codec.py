"""The bytes of a store and the dictionary that is printed."""

import json

import pytest
from msgspec.structs import replace

from korat.core.errors import Invalid
from korat.core.model.codec import dump, load, to_dict
from korat.core.model.config import FelixConfiguration
from korat.core.model.endpoint import EndpointPort, Node, WorkloadEndpoint, WorkloadEndpointSpec
from korat.core.model.key import Key
from korat.core.model.policy import NetworkPolicy, PolicySpec, Rule, Tier, TierSpec
from korat.core.model.resource import Metadata

POLICY = NetworkPolicy(
    metadata=Metadata(name="p", namespace="n", uid="u", labels={"a": "b"}),
    spec=PolicySpec(order=1000, ingress=(Rule(action="Allow"),)),
)


def test_a_policy_is_written_as_calico_writes_it():
    assert dump(POLICY) == (
        b'{"kind":"NetworkPolicy","apiVersion":"projectcalico.org/v3",'
        b'"metadata":{"name":"p","namespace":"n","uid":"u","labels":{"a":"b"}},'
        b'"spec":{"tier":"default","order":1000,'
        b'"ingress":[{"action":"Allow","source":{},"destination":{}}]}}'
    )


#: As in etcd, and with what Go omits omitted.
BLOCK = (
    b'{"cidr":"192.168.0.64/30","affinity":"host:node1",'
    b'"affinity_claim_time":"2026-01-02T03:04:05Z","allocations":[null,0,1,null],'
    b'"unallocated":[3,0],"attributes":[{"handle_id":"k8s-pod-network.c1",'
    b'"secondary":{"namespace":"ns","node":"node1","pod":"p"}},'
    b'{"handle_id":null,"secondary":{},"releasedAt":"2026-01-02T03:04:06Z"}],'
    b'"sequenceNumber":1724300000000000002,'
    b'"sequenceNumberForAllocation":{"1":1724300000000000001},"deleted":false}'
)


@pytest.mark.parametrize(
    ("key", "spec"),
    [
        (Key("IPAMBlock", "", "192.168.0.64-30"), BLOCK),
        (
            Key("BlockAffinity", "", "host:node1/10.0.0.0-26"),
            b'{"state":"pending","node":"node1","type":"host","cidr":"10.0.0.0/26","deleted":false}',
        ),
        (
            Key("IPAMHandle", "", "k8s-pod-network.c1"),
            b'{"handleID":"k8s-pod-network.c1","block":{"192.168.0.64/26":1},"deleted":false}',
        ),
        (Key("IPAMConfig", "", "default"), b'{"auto_allocate_blocks":true,"maxBlocksPerHost":4}'),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_address_management_is_written_as_calico_writes_it(key, spec):
    """The value that etcd has is the object's spec."""
    whole = (
        b'{"kind":"%b","apiVersion":"projectcalico.org/v3","metadata":{"name":"%b"},"spec":%b}'
        % (key.kind.encode(), key.name.encode(), spec)
    )
    assert dump(load(key, whole)) == whole


@pytest.mark.parametrize(
    ("resource", "fields"),
    [
        (Tier(spec=TierSpec(order=5)), {"order": 5, "defaultAction": "Deny"}),
        (FelixConfiguration(), {}),
        (Node(), {}),
        (
            WorkloadEndpoint(
                spec=WorkloadEndpointSpec(ports=(EndpointPort(name="http", port=80),))
            ),
            {
                "ports": [
                    {"name": "http", "protocol": "TCP", "port": 80, "hostPort": 0, "hostIP": ""}
                ]
            },
        ),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_what_go_writes_though_empty_is_written(resource, fields):
    assert json.loads(dump(resource))["spec"] == fields


def test_the_resource_version_is_the_stores_and_not_the_values():
    held = replace(POLICY, metadata=replace(POLICY.metadata, resource_version="9"))
    assert dump(held) == dump(POLICY)
    assert "resourceVersion" not in to_dict(held)["metadata"]
    assert to_dict(held, 12)["metadata"]["resourceVersion"] == "12"


def test_fields_of_a_newer_calico_are_ignored():
    raw = to_dict(POLICY)
    raw["spec"]["new"] = 1
    assert load(POLICY.key, json.dumps(raw).encode()) == POLICY


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (Key("Unknown", "", "x"), b"{}", "does not know this kind"),
        (Key("Tier", "", "x"), b"{", "Tier x: the stored value"),
        (Key("Tier", "", "x"), b'{"spec":{"order":"a"}}', "order"),
    ],
)
def test_what_cannot_be_read_is_said(key, value, reason):
    with pytest.raises(Invalid, match=reason):
        load(key, value)


def test_an_object_under_anothers_key_is_refused():
    with pytest.raises(Invalid, match="another object's"):
        load(Key("NetworkPolicy", "elsewhere", "p"), dump(POLICY))
    with pytest.raises(Invalid, match="another object's"):
        load(Key("NetworkPolicy", "n", "q"), dump(POLICY))
