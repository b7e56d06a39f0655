"""What is filled in when an object is written."""

import pytest

from korat.core.model.codec import to_dict
from korat.core.model.decode import decode
from korat.core.model.default import apply


def filled(kind, spec, name="x"):
    raw = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": {"name": name}}
    return to_dict(apply(decode({**raw, "spec": spec})))


ALLOW = [{"action": "Allow"}]


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, ["Ingress"]),
        ({"ingress": ALLOW}, ["Ingress"]),
        ({"egress": ALLOW}, ["Egress"]),
        ({"ingress": ALLOW, "egress": ALLOW}, ["Ingress", "Egress"]),
        ({"egress": ALLOW, "types": ["Ingress"]}, ["Ingress"]),
    ],
)
@pytest.mark.parametrize("kind", ["NetworkPolicy", "GlobalNetworkPolicy"])
def test_types_follow_from_the_rules(kind, spec, types):
    assert filled(kind, spec)["spec"]["types"] == types


@pytest.mark.parametrize("tier", ["", "security"])
def test_a_policy_is_labelled_with_its_tier(tier):
    raw = filled("NetworkPolicy", {"tier": tier})
    assert raw["spec"]["tier"] == (tier or "default")
    assert raw["metadata"]["labels"] == {"projectcalico.org/tier": tier or "default"}


def test_protocols_and_ports_are_canonical():
    rule = {
        "action": "Allow",
        "protocol": "tcp",
        "notProtocol": "17",
        "destination": {"ports": ["80", "1:1", "2:3", "http", 5], "notPorts": ["bad port"]},
    }
    (ingress,) = filled("Profile", {"ingress": [rule]})["spec"]["ingress"]
    assert (ingress["protocol"], ingress["notProtocol"]) == ("TCP", 17)
    assert ingress["destination"] == {
        "ports": [80, 1, "2:3", "http", 5],
        "notPorts": ["bad port"],
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {"order": 1_000_000, "defaultAction": "Deny"}),
        ({"order": 5.0, "defaultAction": "Pass"}, {"order": 5, "defaultAction": "Pass"}),
        ({"order": 1.5, "defaultAction": ""}, {"order": 1.5, "defaultAction": "Deny"}),
    ],
)
def test_tier(spec, expected):
    assert filled("Tier", spec)["spec"] == expected


POOL = {
    "vxlanMode": "Never",
    "ipipMode": "Never",
    "nodeSelector": "all()",
    "allowedUses": ["Workload", "Tunnel"],
    "assignmentMode": "Automatic",
}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"cidr": "10.0.0.0/16"}, {"cidr": "10.0.0.0/16", "blockSize": 26, **POOL}),
        ({"cidr": "FD00:0::/64"}, {"cidr": "fd00::/64", "blockSize": 122, **POOL}),
        ({"cidr": "10.0.0.1/16"}, {"cidr": "10.0.0.1/16", **POOL}),
        (
            {"cidr": "10.0.0.0/16", "namespaceSelector": "has(a)"},
            {
                "cidr": "10.0.0.0/16",
                "blockSize": 26,
                **POOL,
                "namespaceSelector": "has(a)",
                "allowedUses": ["Workload"],
            },
        ),
    ],
)
def test_pool(spec, expected):
    assert filled("IPPool", spec)["spec"] == expected


def test_a_workload_endpoint_is_labelled():
    raw = filled("WorkloadEndpoint", {"orchestrator": "cni"})
    assert raw["metadata"]["labels"] == {
        "projectcalico.org/namespace": "default",
        "projectcalico.org/orchestrator": "cni",
    }


def test_a_nodes_as_number_is_one_number():
    spec = filled("Node", {"bgp": {"asNumber": "1.10"}})["spec"]
    assert spec["bgp"] == {"asNumber": 65546}
