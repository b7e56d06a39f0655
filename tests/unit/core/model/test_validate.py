"""What Calico's tables of cases do not hold: Azure, and objects beside each other."""

import pytest

from korat.core.errors import Invalid
from korat.core.model import builtin
from korat.core.model.config import ClusterInformation
from korat.core.model.kind import KINDS
from korat.core.model.kubernetes import decode_any, namespace_profile
from korat.core.model.label import AZURE_SUBNETS
from korat.core.model.pod import Pod
from korat.core.model.resource import Metadata
from korat.core.model.validate import against, deletable, on_azure, validate


def make(kind, name="x", spec=None):
    raw = {"kind": kind, "apiVersion": KINDS[kind].api_version, "metadata": {"name": name}}
    (resource,) = decode_any({**raw, "spec": spec or {}})
    return resource


def pool(cidr="10.0.0.0/16", name="x", **spec):
    return make("IPPool", name, {"cidr": cidr, **spec})


def fields(problems):
    return [problem.field for problem in problems]


def rejected(kind, spec, name="x"):
    with pytest.raises(Invalid) as caught:
        make(kind, name, spec)
    return fields(caught.value.problems)


@pytest.mark.parametrize("mode", ["Always", "CrossSubnet"])
def test_ipip_is_refused_on_azure_with_the_remedy(mode):
    (problem,) = on_azure(pool(ipipMode=mode))
    assert problem.field == "spec.ipipMode"
    assert "Azure's fabric drops IP protocol 4 (IPIP)" in problem.rule
    assert "vxlanMode: Always" in problem.rule


def test_what_is_encapsulated_at_times_is_refused_on_azure_with_the_remedy():
    (problem,) = on_azure(pool(vxlanMode="CrossSubnet"))
    assert problem.field == "spec.vxlanMode"
    assert "within one subnet too; write `vxlanMode: Always`" in problem.rule


@pytest.mark.parametrize("resource", [pool(), pool(vxlanMode="Always"), make("Tier")])
def test_the_rest_is_fine_on_azure(resource):
    assert on_azure(resource) == []


def test_pools_may_not_overlap():
    others = [pool("10.1.0.0/16", "b"), pool("fd00::/64", "c")]
    assert against(pool(), others) == []
    (problem,) = against(pool("10.0.0.0/8"), others)
    assert problem.rule == "overlaps 10.1.0.0/16 of IPPool b"


@pytest.mark.parametrize(
    ("cidr", "size", "refused"),
    [
        ("10.0.0.0/16", 26, False),
        ("10.0.0.0/16", 28, True),
        ("10.0.0.0/16", 24, True),
        ("10.0.0.0/28", 28, True),
        ("10.0.1.0/24", 28, False),
        ("fd00::/64", 122, False),
    ],
)
def test_a_pool_is_refused_over_blocks_of_another_size(cidr, size, refused):
    """Also over one that is larger than the pool."""
    left = make(
        "IPAMBlock",
        "10.0.0.0-26",
        {
            "cidr": "10.0.0.0/26",
            "allocations": [None] * 64,
            "unallocated": list(range(64)),
        },
    )
    found = against(pool(cidr, blockSize=size), [left])
    assert fields(found) == (["spec.blockSize"] if refused else [])
    if refused:
        assert "1 blocks of another size lie within the pool (10.0.0.0/26)" in found[0].rule


BLOCK = {
    "cidr": "10.0.0.4/30",
    "allocations": [None, 0, None, 0],
    "unallocated": [2, 0],
    "attributes": [{"handle_id": "h"}],
}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"cidr": ""}, "spec.cidr"),
        ({"cidr": "10.0.0.0/19"}, "spec.cidr"),
        ({"cidr": "10.0.0.0/30"}, "metadata.name"),
        ({"affinity": "n1"}, "spec.affinity"),
        ({"allocations": [None, 0, None]}, "spec.allocations"),
        ({"allocations": [None, 0, None, 1]}, "spec.allocations[3]"),
        ({"unallocated": [0, 2, 0]}, "spec.unallocated"),
        ({"unallocated": [0, 1, 2]}, "spec.unallocated"),
        ({"unallocated": [0, 2, 4]}, "spec.unallocated"),
        ({"unallocated": [0]}, "spec.unallocated"),
    ],
)
def test_a_block_that_contradicts_itself_is_refused(wrong, field):
    make("IPAMBlock", "10.0.0.4-30", BLOCK)
    assert rejected("IPAMBlock", {**BLOCK, **wrong}, "10.0.0.4-30") == [field]


@pytest.mark.parametrize(
    ("kind", "name", "spec", "wrong"),
    [
        ("BlockAffinity", "host:n/10.0.0.0-26", {}, {"state": "Confirmed"}),
        ("BlockAffinity", "virtual:lb/fd00::-122", {}, {"cidr": "fd00::40/122"}),
        ("IPAMHandle", "Net.1", {"block": {"10.0.0.0/26": 2}}, {"block": {"10.0.0.0/26": 0}}),
        ("IPAMHandle", "Net.1", {}, {"handleID": "net.1"}),
        ("IPAMConfig", "default", {"maxBlocksPerHost": 9}, {"maxBlocksPerHost": -1}),
        ("IPAMConfiguration", "default", {"ipCooldownSeconds": 1200}, {"ipCooldownSeconds": 1201}),
        (
            "IPReservation",
            "r",
            {"reservedCIDRs": ["10.0.0.1", "fd00::/64"]},
            {"reservedCIDRs": [""]},
        ),
    ],
)
def test_what_else_address_management_stores(kind, name, spec, wrong):
    make(kind, name, spec)
    assert len(rejected(kind, {**spec, **wrong}, name)) == 1


@pytest.mark.parametrize(
    ("cidr", "disabled", "refused"),
    [
        ("10.10.0.0/20", False, True),
        ("10.10.0.128/25", False, True),
        ("10.10.128.0/17", False, False),
        ("10.10.0.0/20", True, False),
    ],
)
def test_a_pool_may_not_lie_over_an_azure_subnet(cidr, disabled, refused):
    """A disabled pool gives no address out; it only says what is not masqueraded."""
    annotations = {AZURE_SUBNETS: "10.10.0.0/24,fd00::/64"}
    cluster = ClusterInformation(metadata=Metadata(name="default", annotations=annotations))
    found = against(pool(cidr, disabled=disabled), [cluster])
    assert fields(found) == (["spec.cidr"] if refused else [])
    if refused:
        assert "overlaps the subnet 10.10.0.0/24 of the virtual network" in found[0].rule


@pytest.mark.parametrize(
    ("new", "changed"),
    [
        (pool(natOutgoing=True), []),
        (pool("10.2.0.0/16"), ["spec.cidr"]),
        (pool(blockSize=28), ["spec.blockSize"]),
        (pool(allowedUses=["LoadBalancer"]), ["spec.allowedUses"]),
    ],
)
def test_what_of_a_pool_is_fixed(new, changed):
    assert fields(against(new, [pool()])) == changed


def test_a_policys_tier_must_exist():
    policy = make("NetworkPolicy", spec={"tier": "security"})
    assert fields(against(policy, [])) == ["spec.tier"]
    assert against(policy, [make("Tier", "security")]) == []
    assert against(make("GlobalNetworkPolicy"), []) == []


def test_a_tier_with_policies_may_not_go():
    tier = make("Tier", "security")
    policies = [make("GlobalNetworkPolicy", f"p{i}", {"tier": "security"}) for i in range(5)]
    assert deletable(tier, [make("NetworkPolicy")]) == []
    (problem,) = deletable(tier, policies)
    assert "still has 5 policies (GlobalNetworkPolicy p0" in problem.rule


@pytest.mark.parametrize("kind", ["StagedNetworkPolicy", "StagedGlobalNetworkPolicy"])
def test_staged_policies_need_their_tier_and_keep_it(kind):
    tier, staged = make("Tier", "security"), make(kind, spec={"tier": "security"})
    assert fields(against(staged, [])) == ["spec.tier"]
    assert against(staged, [tier]) == []
    assert f"still has 1 policies ({staged.title})" in deletable(tier, [staged])[0].rule


def test_a_namespace_with_pods_may_not_go():
    inside = [Pod(metadata=Metadata(name=f"p{i}", namespace="shop")) for i in range(5)]
    elsewhere = Pod(metadata=Metadata(name="p", namespace="bar"))
    assert deletable(namespace_profile("bank", {}), [*inside, elsewhere]) == []
    (problem,) = deletable(namespace_profile("shop", {}), [*inside, elsewhere])
    assert problem.where == "Namespace shop"
    assert "still has 5 pods (p0, p1, p2, ...)" in problem.rule


def test_what_is_built_in_stays():
    tiers_and_cluster = builtin.initial("0" * 32, "1")
    assert [r.metadata.name for r in tiers_and_cluster[:3]] == [
        "kube-admin",
        "default",
        "kube-baseline",
    ]
    assert all(validate(resource) == [] for resource in tiers_and_cluster)
    assert not any(builtin.may_delete(resource.key) for resource in tiers_and_cluster)
    assert all(builtin.may_write(resource.key) for resource in tiers_and_cluster)
    assert not builtin.may_delete(builtin.DEFAULT_ALLOW.key)
    assert not builtin.may_write(builtin.DEFAULT_ALLOW.key)
    own = make("Profile").key
    assert builtin.may_delete(own)
    assert builtin.may_write(own)


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("Profile", {"ingress": [{"action": "Allow"}] * 1025}, ["spec.ingress"]),
        (
            "NetworkPolicy",
            {"egress": [{"action": "Allow", "destination": {"nets": ["10.0.0.1/8", "10.0.0.1"]}}]},
            ["spec.egress[0].destination.nets[0]", "spec.egress[0].destination.nets[1]"],
        ),
        (
            "NetworkPolicy",
            {"egress": [{"action": "Allow", "protocol": "TCP", "source": {"ports": [1] * 51}}]},
            ["spec.egress[0].source.ports"],
        ),
        (
            "NetworkPolicy",
            {"ingress": [{"action": "Allow", "source": {"selector": "a" * 1025}}]},
            ["spec.ingress[0].source.selector"],
        ),
        (
            "NetworkPolicy",
            {"ingress": [{"action": "Allow", "source": {"serviceAccounts": {"names": ["A b"]}}}]},
            ["spec.ingress[0].source.serviceAccounts.names[0]"],
        ),
        (
            "GlobalNetworkPolicy",
            {"preDNAT": True, "applyOnForward": True, "egress": [{"action": "Deny"}]},
            ["spec.egress", "spec.types"],
        ),
        ("NetworkPolicy", {"types": ["Ingress", "Ingress"]}, ["spec.types"]),
        ("NetworkPolicy", {"tier": "a.b"}, ["spec.tier"]),
        ("IPPool", {}, ["spec.cidr"]),
        ("IPPool", {"cidr": "10.0.0.0/16", "blockSize": 33}, ["spec.blockSize"]),
        ("ClusterInformation", {}, ["metadata.name"]),
        (
            "KubeControllersConfiguration",
            {
                "debugProfilePort": 65536,
                "controllers": {
                    "policy": {"reconcilerPeriod": "often"},
                    "migration": {"policyNameMigrator": "Perhaps"},
                    "node": {
                        "hostEndpoint": {
                            "autoCreate": "yes",
                            "createDefaultHostEndpoint": "no",
                            "templates": [
                                {
                                    "generateName": "A b",
                                    "interfaceCIDRs": ["ten"],
                                    "interfacePattern": "eth[",
                                    "nodeSelector": "has(",
                                }
                            ],
                        }
                    },
                },
            },
            [
                "metadata.name",
                "spec.debugProfilePort",
                "spec.controllers.policy.reconcilerPeriod",
                "spec.controllers.migration.policyNameMigrator",
                "spec.controllers.node.hostEndpoint.autoCreate",
                "spec.controllers.node.hostEndpoint.createDefaultHostEndpoint",
                "spec.controllers.node.hostEndpoint.templates[0].generateName",
                "spec.controllers.node.hostEndpoint.templates[0].interfaceCIDRs[0]",
                "spec.controllers.node.hostEndpoint.templates[0].interfacePattern",
                "spec.controllers.node.hostEndpoint.templates[0].nodeSelector",
            ],
        ),
        (
            "Pod",
            {
                "nodeName": "A_b",
                "containers": [
                    {"ports": [{"containerPort": 0, "protocol": "ICMP", "name": "UPPER"}]}
                ],
            },
            [
                "spec.nodeName",
                "spec.containers[0].ports[0].protocol",
                "spec.containers[0].ports[0].containerPort",
                "spec.containers[0].ports[0].name",
            ],
        ),
        (
            "Node",
            {"addresses": [{"address": "x", "type": "y"}], "ipv4VXLANTunnelAddr": "fd00::1"},
            ["spec.ipv4VXLANTunnelAddr", "spec.addresses[0].address", "spec.addresses[0].type"],
        ),
        (
            "FelixConfiguration",
            {"interfacPrefix": "x", "vxlanMTU": True, "failsafeInboundHostPorts": [5]},
            ["spec.interfacPrefix", "spec.vxlanMTU", "spec.failsafeInboundHostPorts[0]"],
        ),
    ],
)
def test_rejected_with_the_fields(kind, spec, expected):
    assert rejected(kind, spec) == expected


def rule(**fields):
    return {"action": "Allow", **fields}


def source(**fields):
    return rule(protocol="TCP", source=fields)


SERVICE = {"name": "s", "namespace": "n"}
BESIDE_SERVICES = {
    "selector": "has(a)",
    "notSelector": "has(a)",
    "nets": ["10.0.0.0/8"],
    "notNets": ["10.0.0.0/8"],
    "namespaceSelector": "has(a)",
    "serviceAccounts": {"names": ["a"]},
}


@pytest.mark.parametrize("word", BESIDE_SERVICES)
@pytest.mark.parametrize(("side", "way"), [("source", "ingress"), ("destination", "egress")])
def test_services_stand_alone(side, way, word):
    alone = {"services": SERVICE}
    make("NetworkPolicy", spec={way: [rule(**{side: alone})]})
    both = rule(**{side: {**alone, word: BESIDE_SERVICES[word]}})
    assert rejected("NetworkPolicy", {way: [both]}) == [f"spec.{way}[0].{side}.services"]


@pytest.mark.parametrize(
    ("way", "fields", "field"),
    [
        ("egress", {"source": {"services": SERVICE}}, "source.services"),
        ("ingress", {"destination": {"services": SERVICE}}, "destination.services"),
        (
            "egress",
            {"protocol": "TCP", "destination": {"services": SERVICE, "ports": [80]}},
            "destination.ports",
        ),
        (
            "egress",
            {"protocol": "TCP", "destination": {"services": SERVICE, "notPorts": [80]}},
            "destination.ports",
        ),
    ],
)
def test_where_services_may_not_stand(way, fields, field):
    assert rejected("NetworkPolicy", {way: [rule(**fields)]}) == [f"spec.{way}[0].{field}"]


@pytest.mark.parametrize(("side", "way"), [("source", "ingress"), ("destination", "egress")])
def test_a_global_policy_says_the_services_namespace(side, way):
    make("GlobalNetworkPolicy", spec={way: [rule(**{side: {"services": SERVICE}})]})
    lone = {way: [rule(**{side: {"services": {"name": "s"}}})]}
    field = f"spec.{way}[0].{side}.services.namespace"
    assert rejected("GlobalNetworkPolicy", lone) == [field]


NETS = [f"10.0.{i}.0/24" for i in range(256)]
PATHS = [{"exact": f"/{i}"} for i in range(20)]


@pytest.mark.parametrize(
    ("within", "beyond", "field"),
    [
        (source(nets=NETS), source(nets=[*NETS, "10.1.0.0/24"]), "source.nets"),
        (source(notNets=NETS), source(notNets=[*NETS, "10.1.0.0/24"]), "source.notNets"),
        (source(notPorts=[1] * 50), source(notPorts=[1] * 51), "source.notPorts"),
        (source(ports=[65535]), source(ports=[65536]), "source.ports[0]"),
        (source(ports=["1:2"]), source(ports=["0:2"]), "source.ports[0]"),
        (
            rule(http={"paths": PATHS}),
            rule(http={"paths": [*PATHS, {"prefix": "/"}]}),
            "http.paths",
        ),
        (rule(http={"paths": [{"prefix": "/"}]}), rule(http={"paths": [{}]}), "http.paths[0]"),
        (
            rule(http={"methods": [f"M{i}" for i in range(20)]}),
            rule(http={"methods": [f"M{i}" for i in range(21)]}),
            "http.methods",
        ),
        (rule(protocol=6, http={}), rule(protocol="UDP", http={}), "http"),
        (
            rule(protocol=1, icmp={"type": 254, "code": 255}),
            rule(protocol=1, icmp={"type": 255}),
            "icmp.type",
        ),
        (
            rule(protocol="icmpv6", notICMP={"type": 0, "code": 255}),
            rule(protocol="ICMPv6", notICMP={"type": 0, "code": 256}),
            "notICMP.code",
        ),
        (rule(notProtocol=255), rule(notProtocol=256), "notProtocol"),
        (
            rule(ipVersion=6, notProtocol="ICMPv6"),
            rule(ipVersion=4, notProtocol="ICMPv6"),
            "ipVersion",
        ),
        (
            source(services=SERVICE, ports=[80]),
            source(services=SERVICE, notSelector="has(a)"),
            "source.services",
        ),
        (
            source(services=SERVICE),
            source(services=SERVICE, serviceAccounts={"names": ["a"]}),
            "source.services",
        ),
        (source(services=SERVICE), source(services={"namespace": "n"}), "source.services.name"),
        (source(notSelector="!has(a)"), source(notSelector="global()"), "source.notSelector"),
        (
            rule(metadata={"annotations": {"a/b": "c d"}}),
            rule(metadata={"annotations": {"a b": ""}}),
            "metadata.annotations.a b",
        ),
    ],
)
def test_a_rule_within_and_beyond_its_limits(within, beyond, field):
    make("NetworkPolicy", spec={"ingress": [within]})
    assert rejected("NetworkPolicy", {"ingress": [beyond]}) == [f"spec.ingress[0].{field}"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"allowedUses": ["LoadBalancer"]}, []),
        ({"allowedUses": ["LoadBalancer", "Workload"]}, ["spec.allowedUses"]),
        ({"allowedUses": ["LoadBalancer"], "disableBGPExport": True}, ["spec.disableBGPExport"]),
        ({"allowedUses": ["LoadBalancer"], "ipipMode": "Always"}, ["spec.allowedUses"]),
        ({"ipipMode": "Always", "vxlanMode": "CrossSubnet"}, ["spec.vxlanMode"]),
        ({"cidr": "fe90::/64"}, ["spec.cidr"]),
        ({"cidr": "fd00::/64", "blockSize": 116}, []),
        ({"cidr": "10.0.0.0/26"}, []),
    ],
)
def test_a_pool(spec, expected):
    whole = {"cidr": "10.0.0.0/16", **spec}
    if expected:
        assert rejected("IPPool", whole) == expected
    else:
        make("IPPool", spec=whole)


WORKLOAD = {
    "node": "n",
    "orchestrator": "k8s",
    "pod": "p",
    "endpoint": "eth0",
    "interfaceName": "cali1",
}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"ipv4Gateway": "fd00::1"}, "spec.ipv4Gateway"),
        ({"ipv6Gateway": "10.0.0.1"}, "spec.ipv6Gateway"),
        ({"mac": "ee:ee"}, "spec.mac"),
        ({"profiles": ["kns.a", "Kns"]}, "spec.profiles[1]"),
        ({"ports": [{"name": "a", "port": 1, "hostIP": "x"}]}, "spec.ports[0].hostIP"),
        ({"ports": [{"name": "a", "port": 1, "hostPort": 65536}]}, "spec.ports[0].hostPort"),
        ({"ports": [{"name": "a--b", "port": 1}]}, "spec.ports[0].name"),
    ],
)
def test_a_workload_endpoint(spec, field):
    make("WorkloadEndpoint", "n-k8s-p-eth0", WORKLOAD)
    assert rejected("WorkloadEndpoint", {**WORKLOAD, **spec}, "n-k8s-p-eth0") == [field]


def test_a_workload_endpoint_is_named_after_its_parts():
    spec = {
        "node": "vm-1",
        "orchestrator": "k8s",
        "pod": "web-1",
        "endpoint": "eth0",
        "interfaceName": "cali1",
    }
    make("WorkloadEndpoint", "vm--1-k8s-web--1-eth0", spec)
    assert rejected("WorkloadEndpoint", spec, "other") == ["metadata.name"]
    assert rejected("WorkloadEndpoint", {**spec, "pod": ""}, "other") == ["spec"]
