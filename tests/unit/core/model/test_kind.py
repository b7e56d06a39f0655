"""The kinds' names and what their tables show."""

import pytest

from korat.core.model.cluster_policy import ClusterNetworkPolicy, ClusterPolicySpec
from korat.core.model.config import IPPool, IPPoolSpec
from korat.core.model.endpoint import NetworkSet, NetworkSetSpec, Node, WorkloadEndpoint
from korat.core.model.endpoint import WorkloadEndpointSpec as EndpointSpec
from korat.core.model.host import HostEndpoint, HostEndpointSpec
from korat.core.model.kind import KINDS, kind_of
from korat.core.model.kubernetes_policy import LabelSelector, Requirement
from korat.core.model.pod import Container, ContainerPort, Pod, PodSpec
from korat.core.model.policy import NetworkPolicy, PolicySpec, Profile, ProfileSpec
from korat.core.model.resource import Metadata
from korat.core.model.staged import (
    StagedGlobalNetworkPolicy,
    StagedGlobalPolicySpec,
    StagedKubePolicySpec,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
    StagedPolicySpec,
)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("np", "NetworkPolicy"),
        ("policy", "NetworkPolicy"),
        ("NetworkPolicy", "NetworkPolicy"),
        ("gnps", "GlobalNetworkPolicy"),
        ("tiers", "Tier"),
        ("pro", "Profile"),
        ("networksets", "NetworkSet"),
        ("gnetsets", "GlobalNetworkSet"),
        ("weps", "WorkloadEndpoint"),
        ("hep", "HostEndpoint"),
        ("heps", "HostEndpoint"),
        ("no", "Node"),
        ("POOL", "IPPool"),
        ("felixconfig", "FelixConfiguration"),
        ("clusterinfo", "ClusterInformation"),
        ("po", "Pod"),
        ("snp", "StagedNetworkPolicy"),
        ("spols", "StagedNetworkPolicy"),
        ("sgnps", "StagedGlobalNetworkPolicy"),
        ("sknp", "StagedKubernetesNetworkPolicy"),
        ("skpol", "StagedKubernetesNetworkPolicy"),
        ("cnp", "ClusterNetworkPolicy"),
        ("reservation", "IPReservation"),
        ("ipamconfig", "IPAMConfiguration"),
        ("blockaffinities", "BlockAffinity"),
    ],
)
def test_aliases(word, name):
    assert kind_of(word) is KINDS[name]


def test_an_unknown_word_is_no_kind():
    assert kind_of("deployment") is None


def test_each_struct_knows_its_own_kind():
    assert all(kind.struct().kind == name for name, kind in KINDS.items())
    named = [kind for name, kind in KINDS.items() if name != "IPAMConfig"]
    words = [w for k in named for w in (k.name.lower(), k.plural, *k.aliases)]
    assert len(words) == len(set(words))


META = Metadata(name="x", namespace="n")


@pytest.mark.parametrize(
    ("resource", "wide"),
    [
        (
            NetworkPolicy(metadata=META, spec=PolicySpec(tier="t", order=5, selector="all()")),
            {"NAME": "x", "TIER": "t", "ORDER": "5", "SELECTOR": "all()"},
        ),
        (
            HostEndpoint(
                metadata=META,
                spec=HostEndpointSpec(
                    node="n", interface_name="*", expected_ips=("1.1.1.1", "::1"), profiles=("p",)
                ),
            ),
            {"NAME": "x", "NODE": "n", "INTERFACE": "*", "IPS": "1.1.1.1,::1", "PROFILES": "p"},
        ),
        (
            Profile(metadata=META, spec=ProfileSpec(labels_to_apply={"b": "2", "a": "1"})),
            {"NAME": "x", "LABELS": "a=1,b=2"},
        ),
        (
            WorkloadEndpoint(
                metadata=META,
                spec=EndpointSpec(pod="web", node="vm1", ip_networks=("10.0.0.1/32",)),
            ),
            {
                "NAME": "x",
                "WORKLOAD": "web",
                "NODE": "vm1",
                "NETWORKS": "10.0.0.1/32",
                "INTERFACE": "",
                "PROFILES": "",
                "NATS": "",
            },
        ),
        (
            StagedNetworkPolicy(metadata=META, spec=StagedPolicySpec(tier="t", selector="all()")),
            {"NAME": "x", "TIER": "t", "ORDER": "", "SELECTOR": "all()"},
        ),
        (
            StagedGlobalNetworkPolicy(metadata=META, spec=StagedGlobalPolicySpec(order=1.5)),
            {"NAME": "x", "TIER": "default", "ORDER": "1.5", "SELECTOR": ""},
        ),
        (
            StagedKubernetesNetworkPolicy(metadata=META),
            {"NAME": "x", "PODSELECTOR": "<all>"},
        ),
        (
            StagedKubernetesNetworkPolicy(
                metadata=META,
                spec=StagedKubePolicySpec(
                    pod_selector=LabelSelector(
                        match_labels={"b": "2", "a": "1"},
                        match_expressions=(
                            Requirement(key="k", operator="In", values=("x", "y")),
                            Requirement(key="l", operator="Exists"),
                        ),
                    )
                ),
            ),
            {"NAME": "x", "PODSELECTOR": "a=1,b=2,k In (x,y),l Exists"},
        ),
        (
            ClusterNetworkPolicy(metadata=META, spec=ClusterPolicySpec(tier="Admin", priority=0)),
            {"NAME": "x", "TIER": "Admin", "PRIORITY": "0"},
        ),
        (Node(metadata=META), {"NAME": "x", "ASN": "", "IPV4": "", "IPV6": ""}),
        (
            IPPool(metadata=META, spec=IPPoolSpec(cidr="10.0.0.0/8", node_selector="all()")),
            {
                "NAME": "x",
                "CIDR": "10.0.0.0/8",
                "NAT": "false",
                "IPIPMODE": "Never",
                "VXLANMODE": "Never",
                "DISABLED": "false",
                "DISABLEBGPEXPORT": "false",
                "SELECTOR": "all()",
                "ASSIGNMENTMODE": "",
            },
        ),
        (
            Pod(
                metadata=META,
                spec=PodSpec(
                    containers=(Container(ports=(ContainerPort(container_port=80),)),),
                    node_name="v",
                ),
            ),
            {
                "NAME": "x",
                "STATUS": "",
                "IP": "",
                "NODE": "v",
                "ACCOUNT": "default",
                "PORTS": "80/TCP",
            },
        ),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_wide_columns(resource, wide):
    kind = KINDS[resource.kind]
    assert {title: cell(resource) for title, cell in kind.wide} == wide
    assert {title for title, _ in kind.columns} <= set(wide)


def test_a_long_set_is_cut():
    own = NetworkSet(metadata=META, spec=NetworkSetSpec(nets=tuple(["10.0.0.0/8"] * 20)))
    (_, nets) = KINDS["NetworkSet"].wide
    assert len(nets[1](own)) == 80
    assert nets[1](own).endswith("...")


def test_a_column_is_for_its_own_kind():
    with pytest.raises(TypeError, match="is not a IPPool"):
        KINDS["IPPool"].columns[1][1](Node(metadata=META))
