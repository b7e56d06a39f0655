"""Random clusters and packets for policy: small worlds in which everything overlaps.

There are few names, labels, addresses and ports, so that selectors match, CIDRs overlap, names are
shared and packets land on boundaries. Rules are drawn with every field, also combined in ways that
validation would refuse: the semantics must agree on those too.
"""

from hypothesis import strategies as st

from korat.core.model.endpoint import (
    EndpointPort,
    GlobalNetworkSet,
    NetworkSet,
    NetworkSetSpec,
    Node,
    WorkloadEndpoint,
    WorkloadEndpointSpec,
)
from korat.core.model.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    GlobalPolicySpec,
    Icmp,
    NetworkPolicy,
    PolicySpec,
    Profile,
    ProfileSpec,
    Rule,
    ServiceAccountMatch,
    ServiceMatch,
    Tier,
    TierSpec,
)
from korat.core.model.resource import Metadata, Resource
from korat.core.net.address import Addr
from korat.core.policy.match import Packet

NODE = "here"
NAMESPACES = ("red", "blue")
ACCOUNTS = ("", "web", "db")
TIERS = ("first", "second", "default", "lost")
LABELS = {"app": ("x", "y"), "role": ("p", "q")}

#: Where endpoints live.
ADDRESSES = {4: [f"10.0.0.{i}" for i in range(1, 8)], 6: [f"fd00::{i}" for i in range(1, 8)]}
#: Where only network sets and CIDRs reach, and where nothing does.
STRANGERS = {4: ["10.0.0.200", "192.0.2.1", "203.0.113.9"], 6: ["fd00::200", "2001:db8::1"]}
NETS = {
    4: ["10.0.0.0/30", "10.0.0.2/31", "10.0.0.4/32", "10.0.0.0/24", "192.0.2.0/24", "0.0.0.0/0"],
    6: ["fd00::/126", "fd00::4/127", "fd00::4/128", "fd00::/64", "2001:db8::/32", "::/0"],
}
PORTS = [1, 80, 81, 65535, "80:82", "81:90", "1:65535", "http", "dns", "odd.name"]
PORT_NAMES = ["http", "dns", "odd.name"]
EDGES = [0, 1, 53, 79, 80, 81, 82, 83, 90, 91, 65534, 65535]
PROTOCOLS = ["TCP", "UDP", "SCTP", "ICMP", "ICMPv6", "UDPLite", "tcp", "17", 6, 99]
PACKET_PROTOCOLS = [6, 6, 6, 6, 17, 17, 132, 1, 1, 58, 136, 99, 47]
SELECTORS = [
    "app == 'x'",
    "app != 'x'",
    "role == 'p'",
    "has(role)",
    "!has(app)",
    "app in {'x', 'y'} && role == 'q'",
    "all()",
    "projectcalico.org/namespace == 'red'",
    "pcns.team == 'a'",
]
NAMESPACE_SELECTORS = ["team == 'a'", "all()", "!has(team)", "projectcalico.org/name == 'blue'"]
ACCOUNT_SELECTORS = ["trust == 'high'", "all()", "projectcalico.org/name == 'web'"]


def mostly(default, strategy):
    """A field that is usually absent."""
    return st.one_of(st.just(default), st.just(default), strategy)


def rarely(default, strategy):
    """A field that is nearly always absent."""
    return st.one_of(*[st.just(default)] * 6, strategy)


def some(items, most=2):
    """A short tuple of distinct items."""
    return st.lists(st.sampled_from(items), min_size=1, max_size=most, unique=True).map(tuple)


labels = st.fixed_dictionaries({}, optional={k: st.sampled_from(v) for k, v in LABELS.items()})
orders = st.sampled_from([None, -1.0, 0.0, 1.5, 10.0])
nets = some([*NETS[4], *NETS[6]], most=3)
ports = some(PORTS)
icmps = st.builds(
    Icmp, type=st.sampled_from([None, 0, 8, 128]), code=st.sampled_from([None, None, 0, 1])
)
accounts = st.builds(
    ServiceAccountMatch,
    names=mostly((), some(["web", "db"])),
    selector=mostly("", st.sampled_from(ACCOUNT_SELECTORS)),
)
entities = st.builds(
    EntityRule,
    nets=mostly((), nets),
    not_nets=rarely((), nets),
    selector=mostly("", st.sampled_from(SELECTORS)),
    not_selector=rarely("", st.sampled_from(SELECTORS)),
    namespace_selector=mostly("", st.sampled_from([*NAMESPACE_SELECTORS, "global()"])),
    ports=mostly((), ports),
    not_ports=rarely((), ports),
    service_accounts=rarely(None, accounts),
    services=rarely(None, rarely(None, st.just(ServiceMatch(name="svc")))),
)
light_entities = st.one_of(
    st.just(EntityRule()),
    st.just(EntityRule()),
    st.just(EntityRule()),
    st.builds(EntityRule, selector=st.sampled_from(SELECTORS)),
    st.builds(EntityRule, nets=nets),
    st.builds(EntityRule, ports=ports),
    st.builds(EntityRule, ports=ports),
    st.builds(EntityRule, not_ports=ports),
    st.builds(EntityRule, not_nets=nets),
    entities,
)
rules = st.builds(
    Rule,
    action=st.sampled_from(["Allow", "Deny", "Pass", "Log"]),
    ip_version=rarely(None, st.sampled_from([4, 6])),
    protocol=st.one_of(st.none(), st.none(), st.just("TCP"), st.sampled_from(PROTOCOLS)),
    not_protocol=rarely(None, st.sampled_from(PROTOCOLS)),
    icmp=rarely(None, icmps),
    not_icmp=rarely(None, icmps),
    source=light_entities,
    destination=light_entities,
)
rule_lists = st.lists(rules, max_size=5).map(tuple)
types = st.sampled_from(
    [(), ("Ingress", "Egress"), ("Ingress", "Egress"), ("Ingress",), ("Egress",)]
)
policy_fields = {
    "tier": st.sampled_from(TIERS),
    "order": orders,
    "selector": mostly("", st.sampled_from(SELECTORS)),
    "service_account_selector": rarely("", rarely("", st.sampled_from(ACCOUNT_SELECTORS))),
    "types": types,
    "ingress": rule_lists,
    "egress": rule_lists,
}


def named(kind, spec, namespaces=("",)):
    """A resource of a kind, whose name is given when the cluster is put together."""
    metadata = st.builds(Metadata, namespace=st.sampled_from(namespaces), labels=labels)
    return st.builds(kind, metadata=metadata, spec=spec)


policies = st.one_of(
    named(NetworkPolicy, st.builds(PolicySpec, **policy_fields), NAMESPACES),
    named(
        GlobalNetworkPolicy,
        st.builds(
            GlobalPolicySpec,
            **policy_fields,
            namespace_selector=rarely("", st.sampled_from(NAMESPACE_SELECTORS)),
            do_not_track=rarely(False, rarely(False, st.just(True))),
        ),
    ),
)
network_sets = st.one_of(
    named(NetworkSet, st.builds(NetworkSetSpec, nets=nets), NAMESPACES),
    named(GlobalNetworkSet, st.builds(NetworkSetSpec, nets=nets)),
)
endpoint_ports = st.builds(
    EndpointPort,
    name=st.sampled_from(PORT_NAMES),
    protocol=st.sampled_from(["TCP", "UDP", "SCTP"]),
    port=st.sampled_from([80, 81, 53]),
)


@st.composite
def endpoints(draw, number):
    """The workload endpoint with this number; a few share addresses or have two of a family."""
    namespace, account = draw(st.sampled_from(NAMESPACES)), draw(st.sampled_from(ACCOUNTS))
    own = [f"10.0.0.{number}/32", f"fd00::{number}/128"]
    extra = draw(st.sampled_from([(), (), (), ("10.0.0.6/32",), ("10.0.0.7/32", "fd00::7/128")]))
    lent = (f"kns.{namespace}", f"ksa.{namespace}.{account}") if account else (f"kns.{namespace}",)
    return WorkloadEndpoint(
        metadata=Metadata(name=f"w{number}", namespace=namespace, labels=draw(labels)),
        spec=WorkloadEndpointSpec(
            orchestrator="k8s",
            node=draw(st.sampled_from([NODE, NODE, "there"])),
            service_account_name=account,
            ip_networks=(*own[: draw(st.integers(1, 2))], *extra),
            profiles=(*lent, *draw(mostly((), st.just(("extra",))))),
            interface_name=f"cali{number}",
            ports=tuple(draw(st.lists(endpoint_ports, max_size=2))),
        ),
    )


@st.composite
def profiles(draw):
    """The profiles of namespaces and accounts, some with rules of their own, some missing."""
    allow = (Rule(action="Allow"),)
    every = [
        Profile(
            metadata=Metadata(name=f"kns.{namespace}"),
            spec=ProfileSpec(
                ingress=draw(st.one_of(st.just(allow), rule_lists)),
                egress=draw(st.one_of(st.just(allow), rule_lists)),
                labels_to_apply={"pcns.projectcalico.org/name": namespace}
                | ({"pcns.team": "a", "app": "y"} if namespace == "red" else {}),
            ),
        )
        for namespace in NAMESPACES
    ]
    every += [
        Profile(
            metadata=Metadata(name=f"ksa.{namespace}.{account}"),
            spec=ProfileSpec(
                labels_to_apply={
                    "pcsa.projectcalico.org/name": account,
                    "pcsa.trust": "high" if account == "db" else "low",
                }
            ),
        )
        for namespace in NAMESPACES
        for account in ACCOUNTS[1:]
    ]
    every.append(
        Profile(
            metadata=Metadata(name="extra"),
            spec=ProfileSpec(ingress=draw(rule_lists), egress=draw(rule_lists)),
        )
    )
    missing = draw(mostly((), some([p.metadata.name for p in every], most=1)))
    return [profile for profile in every if profile.metadata.name not in missing]


@st.composite
def tiers(draw):
    """Some of the tiers; ``lost`` never exists."""
    names = draw(st.lists(st.sampled_from(TIERS[:3]), unique=True))
    return [
        Tier(
            metadata=Metadata(name=name),
            spec=TierSpec(
                order=draw(orders), default_action=draw(st.sampled_from(["Pass", "Deny"]))
            ),
        )
        for name in names
    ]


def _numbered(resources, prefix):
    return [
        type(r)(
            metadata=Metadata(
                name=f"{prefix}{i}", namespace=r.metadata.namespace, labels=r.metadata.labels
            ),
            spec=r.spec,
        )
        for i, r in enumerate(resources)
    ]


@st.composite
def clusters(draw) -> list[Resource]:
    """The resources of a cluster, among them one that policy has no use for."""
    count = draw(st.integers(1, 5))
    return [
        Node(metadata=Metadata(name=NODE)),
        *draw(profiles()),
        *draw(tiers()),
        *_numbered(draw(st.lists(policies, min_size=1, max_size=6)), "p"),
        *_numbered(draw(st.lists(network_sets, max_size=3)), "s"),
        *[draw(endpoints(number)) for number in range(1, count + 1)],
    ]


@st.composite
def packets(draw) -> Packet:
    """A packet between addresses that mean something, at the edges of what rules say."""
    family = draw(st.sampled_from([4, 4, 6]))
    addrs = st.sampled_from([*ADDRESSES[family], *STRANGERS[family]]).map(Addr.parse)
    protocol = draw(st.sampled_from(PACKET_PROTOCOLS))
    packet = {"src": draw(addrs), "dst": draw(addrs), "protocol": protocol}
    if protocol in (1, 58):
        types, codes = st.sampled_from([0, 1, 8, 128, 255]), st.sampled_from([0, 1, 2, 255])
        return Packet(**packet, icmp_type=draw(types), icmp_code=draw(codes))
    if protocol in (6, 17, 132, 136):
        edges = st.sampled_from(EDGES)
        return Packet(**packet, sport=draw(edges), dport=draw(edges))
    return Packet(**packet)
