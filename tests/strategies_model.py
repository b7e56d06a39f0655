"""Hypothesis strategies for the model: raw objects, valid ones and broken ones."""

from hypothesis import strategies as st

from korat.core.model.kind import KINDS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)

LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
LABELS = st.dictionaries(LABEL, LABEL, max_size=3)
CIDR = st.builds(lambda a, b: f"10.{a}.{b}.0/24", st.integers(0, 255), st.integers(0, 255))
SELECTOR = st.sampled_from(["", "all()", "app == 'web'", "has(a) && !has(b)", "x in {'1', '2'}"])
PORT = st.integers(1, 65535) | st.sampled_from(["http", "80:90", "443", "7:7"])


def some(**fields):
    """A mapping with any of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


ENTITY = some(
    nets=st.lists(CIDR, max_size=2),
    notNets=st.lists(CIDR, max_size=2),
    selector=SELECTOR,
    notSelector=SELECTOR,
    namespaceSelector=SELECTOR | st.just("global()"),
    ports=st.lists(PORT, max_size=3),
    notPorts=st.lists(PORT, max_size=3),
)
RULE = st.fixed_dictionaries(
    {
        "action": st.sampled_from(["Allow", "Deny", "Log", "Pass"]),
        "protocol": st.sampled_from(["TCP", "udp", 6, "132"]),
    },
    optional={
        "ipVersion": st.just(4),
        "source": ENTITY,
        "destination": ENTITY,
        "metadata": some(annotations=LABELS),
    },
)
RULES = st.lists(RULE, max_size=3)
ORDER = st.none() | st.integers(0, 10**6) | st.floats(0, 1e6, allow_nan=False)

_POLICY = {
    "order": ORDER,
    "ingress": RULES,
    "egress": RULES,
    "selector": SELECTOR,
    "types": st.lists(st.sampled_from(["Ingress", "Egress"]), unique=True),
}
_ADDRESS = st.builds(lambda n: f"10.0.{n >> 8}.{n & 255}/32", st.integers(0, 65535))

_STAGED = st.sampled_from(["Set", "Learn", "Ignore"])
_DELETED = st.fixed_dictionaries({"stagedAction": st.just("Delete")})

_LABEL_SELECTOR = some(
    matchLabels=LABELS,
    matchExpressions=st.lists(
        st.fixed_dictionaries({"key": LABEL, "operator": st.sampled_from(["Exists"])})
        | st.fixed_dictionaries(
            {
                "key": LABEL,
                "operator": st.sampled_from(["In", "NotIn"]),
                "values": st.lists(LABEL, min_size=1, max_size=2),
            }
        ),
        max_size=2,
    ),
)
_BLOCK = st.fixed_dictionaries({"cidr": CIDR})
_KUBE_PEER = (
    st.fixed_dictionaries({"podSelector": _LABEL_SELECTOR})
    | st.fixed_dictionaries({"namespaceSelector": _LABEL_SELECTOR})
    | st.fixed_dictionaries({"ipBlock": _BLOCK})
)
_KUBE_PORT = some(protocol=st.sampled_from(["TCP", "UDP", "SCTP"]), port=st.integers(1, 65535))


def _kube_rules(side):
    parts = {side: st.lists(_KUBE_PEER, max_size=2), "ports": st.lists(_KUBE_PORT, max_size=2)}
    return st.lists(some(**parts), max_size=2)


_PODS = st.fixed_dictionaries(
    {"podSelector": _LABEL_SELECTOR}, optional={"namespaceSelector": _LABEL_SELECTOR}
)
_ENTITY = st.fixed_dictionaries({"namespaces": _LABEL_SELECTOR}) | st.fixed_dictionaries(
    {"pods": _PODS}
)
_NETWORKS = st.fixed_dictionaries({"networks": st.lists(CIDR, min_size=1, max_size=2, unique=True)})
_CLUSTER_PORT = st.fixed_dictionaries({"number": st.integers(1, 65535)}) | st.fixed_dictionaries(
    {"range": st.just({"start": 80, "end": 90})}
)
_CLUSTER_PROTOCOL = st.builds(
    lambda name, port: {name: {"destinationPort": port}},
    st.sampled_from(["tcp", "udp", "sctp"]),
    _CLUSTER_PORT,
) | st.just({"destinationNamedPort": "http"})


def _cluster_rules(side, peer):
    return st.lists(
        st.fixed_dictionaries(
            {
                "action": st.sampled_from(["Accept", "Deny", "Pass"]),
                side: st.lists(peer, min_size=1, max_size=2),
            },
            optional={
                "name": st.text("abc ", max_size=5),
                "protocols": st.lists(_CLUSTER_PROTOCOL, min_size=1, max_size=2),
            },
        ),
        max_size=2,
    )


_NAMED_PORT = {"name": LABEL, "protocol": st.sampled_from(["TCP", "UDP", "SCTP"])}

#: What kinds without a spec have instead.
BARE = {
    "EndpointSlice": st.fixed_dictionaries(
        {"addressType": st.just("IPv4")},
        optional={
            "endpoints": st.lists(
                st.fixed_dictionaries(
                    {"addresses": st.just(["10.0.0.1"])},
                    optional={"conditions": some(ready=st.booleans()), "hostname": LABEL},
                ),
                max_size=2,
            ),
            "ports": st.lists(
                some(**_NAMED_PORT, port=st.integers(1, 65535)),
                max_size=2,
                unique_by=lambda port: port.get("name", ""),
            ),
        },
    ),
}

SPECS = {
    "NetworkPolicy": some(**_POLICY),
    "GlobalNetworkPolicy": some(
        **_POLICY, namespaceSelector=SELECTOR, applyOnForward=st.booleans()
    ),
    "StagedNetworkPolicy": some(**_POLICY, stagedAction=_STAGED) | _DELETED,
    "StagedGlobalNetworkPolicy": some(
        **_POLICY, namespaceSelector=SELECTOR, stagedAction=_STAGED, applyOnForward=st.booleans()
    )
    | _DELETED,
    "StagedKubernetesNetworkPolicy": some(
        podSelector=_LABEL_SELECTOR,
        ingress=_kube_rules("from"),
        egress=_kube_rules("to"),
        policyTypes=st.lists(st.sampled_from(["Ingress", "Egress"]), unique=True),
        stagedAction=_STAGED,
    )
    | _DELETED,
    "ClusterNetworkPolicy": st.fixed_dictionaries(
        {
            "tier": st.sampled_from(["Admin", "Baseline"]),
            "priority": st.integers(0, 1000),
            "subject": _ENTITY,
        },
        optional={
            "ingress": _cluster_rules("from", _ENTITY),
            "egress": _cluster_rules("to", _ENTITY | _NETWORKS),
        },
    ),
    "Tier": some(order=ORDER, defaultAction=st.sampled_from(["Deny", "Pass"])),
    "Profile": some(ingress=RULES, egress=RULES, labelsToApply=LABELS),
    "NetworkSet": some(nets=st.lists(CIDR | st.just("fd00::1"), max_size=3)),
    "GlobalNetworkSet": some(nets=st.lists(CIDR, max_size=3)),
    "WorkloadEndpoint": st.fixed_dictionaries(
        {
            "node": st.just("n"),
            "orchestrator": st.just("k8s"),
            "pod": st.just("p"),
            "endpoint": st.just("eth0"),
            "interfaceName": st.just("cali12345678901"),
        },
        optional={"ipNetworks": st.lists(_ADDRESS, max_size=2), "profiles": st.lists(LABEL)},
    ),
    "HostEndpoint": st.fixed_dictionaries(
        {"node": LABEL, "interfaceName": st.sampled_from(["*", "eth0"])},
        optional={
            "expectedIPs": st.lists(st.sampled_from(["10.0.0.1", "fd00::1"]), unique=True),
            "profiles": st.lists(LABEL, unique=True, max_size=2),
            "ports": st.lists(
                st.fixed_dictionaries(
                    {"name": LABEL, "protocol": st.just("tcp"), "port": st.integers(1, 65535)}
                ),
                max_size=2,
            ),
        },
    ),
    "Node": some(
        bgp=st.fixed_dictionaries({"ipv4Address": CIDR}),
        addresses=st.lists(st.fixed_dictionaries({"address": CIDR}), max_size=2),
    ),
    "IPPool": st.fixed_dictionaries(
        {"cidr": CIDR},
        optional={"natOutgoing": st.booleans(), "blockSize": st.integers(24, 32)},
    ),
    "FelixConfiguration": some(interfacePrefix=st.just("cali"), vxlanMTU=st.integers(0, 9000)),
    "ClusterInformation": some(clusterGUID=st.just("0" * 32), datastoreReady=st.booleans()),
    "KubeControllersConfiguration": some(
        healthChecks=st.sampled_from(["Enabled", "Disabled"]),
        etcdV3CompactionPeriod=st.just("10m0s"),
        controllers=st.fixed_dictionaries(
            {},
            optional={
                "node": st.fixed_dictionaries(
                    {},
                    optional={
                        "syncLabels": st.just("Enabled"),
                        "hostEndpoint": st.fixed_dictionaries(
                            {"autoCreate": st.sampled_from(["Enabled", "Disabled"])},
                            optional={
                                "templates": st.lists(
                                    st.fixed_dictionaries(
                                        {"generateName": LABEL},
                                        optional={
                                            "interfaceCIDRs": st.just(["10.0.0.0/8"]),
                                            "interfacePattern": st.just("^eth[0-9]+$"),
                                            "labels": LABELS,
                                            "annotations": LABELS,
                                            "nodeSelector": st.just("has(zone)"),
                                        },
                                    ),
                                    max_size=2,
                                )
                            },
                        ),
                    },
                ),
                "policy": st.just({"reconcilerPeriod": "5m"}),
                "loadBalancer": st.just({"assignIPs": "AllServices"}),
            },
        ),
    ),
    "Service": some(
        selector=LABELS,
        type=st.sampled_from(["ClusterIP", "NodePort"]),
        clusterIP=st.sampled_from(["None", "10.96.0.1", "fd00::96"]),
        ports=st.lists(
            st.fixed_dictionaries(
                {**_NAMED_PORT, "port": st.integers(1, 65535)},
                optional={"targetPort": st.integers(1, 65535) | st.just("http")},
            ),
            max_size=2,
            unique_by=lambda port: port["name"],
        ),
    ),
    "Pod": some(
        nodeName=LABEL,
        containers=st.lists(
            st.fixed_dictionaries(
                {"name": LABEL, "command": st.just(["run"])},
                optional={
                    "ports": st.lists(
                        st.fixed_dictionaries({"containerPort": st.integers(1, 65535)}), max_size=2
                    )
                },
            ),
            max_size=2,
        ),
    ),
}


#: A block that contradicts itself is refused, so there is one whose parts vary where they may.
SPECS |= {
    "IPAMBlock": st.fixed_dictionaries(
        {
            "cidr": st.just("10.0.0.4/30"),
            "affinity": st.sampled_from([None, "host:n", "virtual:lb"]),
            "allocations": st.just([None, 0, None, 0]),
            "unallocated": st.permutations([0, 2]),
            "attributes": st.lists(
                some(
                    handle_id=LABEL,
                    secondary=LABELS,
                    alternateOwnerAttrs=LABELS,
                    releasedAt=st.just("2026-01-02T03:04:05Z"),
                ),
                min_size=1,
                max_size=2,
            ),
            "sequenceNumber": st.integers(0, 2**63),
        },
        optional={
            "sequenceNumberForAllocation": st.just({"1": 5, "3": 6}),
            "affinity_claim_time": st.just("2026-01-02T03:04:05Z"),
            "deleted": st.booleans(),
        },
    ),
    "BlockAffinity": some(
        state=st.sampled_from(["", "pending", "confirmed", "pendingDeletion"]),
        node=st.just("n"),
        type=st.just("host"),
        cidr=st.just("fd00::40/122"),
    ),
    "IPAMHandle": some(
        handleID=st.just("net.A1"), block=st.dictionaries(CIDR, st.integers(1, 9), max_size=2)
    ),
    "IPAMConfig": some(
        strict_affinity=st.booleans(),
        auto_allocate_blocks=st.booleans(),
        maxBlocksPerHost=st.integers(0, 9),
    ),
    "IPAMConfiguration": some(
        strictAffinity=st.booleans(),
        autoAllocateBlocks=st.booleans(),
        ipCooldownSeconds=st.integers(0, 1200),
        kubeVirtVMAddressPersistence=st.sampled_from(["Enabled", "Disabled"]),
    ),
    "IPAMHost": some(),
    "IPReservation": some(reservedCIDRs=st.lists(CIDR | st.just("fd00::1"), max_size=3)),
}


@st.composite
def objects(draw):
    """A valid raw object of any kind, as a user could write it."""
    name = draw(st.sampled_from(sorted(KINDS)))
    kind = KINDS[name]
    fixed = {
        "WorkloadEndpoint": "n-k8s-p-eth0",
        "ClusterInformation": "default",
        "KubeControllersConfiguration": "default",
        "IPAMConfig": "default",
        "IPAMConfiguration": "default",
        "IPAMBlock": "10.0.0.4-30",
        "BlockAffinity": "host:n/fd00::40-122",
        "IPAMHandle": "net.A1",
    }.get(name)
    metadata = {"name": fixed or draw(LABEL), "labels": draw(LABELS), "annotations": draw(LABELS)}
    if kind.namespaced and draw(st.booleans()):
        metadata["namespace"] = draw(LABEL)
    raw = {"apiVersion": kind.api_version, "kind": name, "metadata": metadata}
    return {**raw, **draw(BARE[name])} if name in BARE else {**raw, "spec": draw(SPECS[name])}


@st.composite
def broken(draw):
    """An object that is valid but for one place, where anything may stand."""
    raw = draw(objects())
    node, path = raw, []
    while isinstance(node, dict | list) and node and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        path.append((node, key))
        node = node[key]
    if path:
        parent, key = path[-1]
        parent[key] = draw(JSON)
    elif isinstance(raw, dict):
        raw[draw(st.text(max_size=6))] = draw(JSON)
    return raw
