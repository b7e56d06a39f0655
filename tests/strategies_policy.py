"""Random clusters and packets for policy: small worlds in which everything overlaps.

There are few names, labels, addresses and ports, so that selectors match, CIDRs overlap, names are
shared and packets land on boundaries. Rules have every field, also combined in ways that validation
would refuse: the semantics must agree on those too.

The worlds are dealt by a ``Random`` with chances tuned so that rules match often. Half of the time
Hypothesis sees each roll and can shrink it, the other half it only gives the seed, which spreads
much wider.
"""

from random import Random

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
from korat.core.model.host import HostEndpoint, HostEndpointSpec, HostPort
from korat.core.model.label import SERVICE_NAME
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
from korat.core.model.service import EndpointSlice, SliceEndpoint, SlicePort
from korat.core.model.staged import (
    StagedGlobalNetworkPolicy,
    StagedGlobalPolicySpec,
    StagedNetworkPolicy,
    StagedPolicySpec,
)
from korat.core.net.address import Addr
from korat.core.policy.match import Packet
from strategies_kubernetes import cluster_policy, kubernetes_policy, staged_kubernetes_policy

NODE = "here"
NAMESPACES = ("red", "blue")
ACCOUNTS = ("web", "db")
#: The last one never has slices.
SERVICES = ("api", "api", "dns", "lost")
TIERS = ("first", "second", "default", "lost")
KUBE_TIERS = ("kube-admin", "kube-baseline")
LABELS = {"app": ("x", "y"), "role": ("p", "q")}

#: Where endpoints live.
ADDRESSES = {4: [f"10.0.0.{i}" for i in range(1, 8)], 6: [f"fd00::{i}" for i in range(1, 8)]}
#: Where only network sets and CIDRs reach, and where nothing does.
STRANGERS = {4: ["10.0.0.200", "192.0.2.1", "203.0.113.9"], 6: ["fd00::200", "2001:db8::1"]}
NETS = (
    *("10.0.0.0/30", "10.0.0.2/31", "10.0.0.4/32", "10.0.0.0/24", "192.0.2.0/24", "0.0.0.0/0"),
    *("fd00::/126", "fd00::4/127", "fd00::4/128", "fd00::/64", "2001:db8::/32", "::/0"),
)
PORTS = (1, 80, 81, 65535, "80:82", "81:90", "1:65535", "http", "http", "dns", "odd.name")
PORT_NAMES = ("http", "dns", "odd.name")
EDGES = (0, 1, 53, 79, 80, 80, 81, 82, 83, 90, 91, 65534, 65535)
PROTOCOLS = ("TCP", "TCP", "TCP", "UDP", "SCTP", "ICMP", "ICMPv6", "UDPLite", "tcp", "17", 6, 99)
PACKET_PROTOCOLS = (6, 6, 6, 6, 17, 17, 132, 1, 1, 58, 136, 99, 47)
SELECTORS = (
    "app == 'x'",
    "app != 'x'",
    "role == 'p'",
    "has(role)",
    "!has(app)",
    "app in {'x', 'y'} && role == 'q'",
    "all()",
    "projectcalico.org/namespace == 'red'",
    "pcns.team == 'a'",
)
NAMESPACE_SELECTORS = ("team == 'a'", "all()", "!has(team)", "projectcalico.org/name == 'blue'")
ACCOUNT_SELECTORS = ("trust == 'high'", "all()", "projectcalico.org/name == 'web'")
ALLOW = (Rule(action="Allow"),)
#: The address of the node's own eth0.
HOST_ADDRESSES = {4: "172.16.0.1", 6: "fd01::1"}
HOST_SWITCHES = (
    *({}, {}, {}, {}, {"apply_on_forward": True}, {"apply_on_forward": True}),
    {"apply_on_forward": True, "do_not_track": True},
    {"apply_on_forward": True, "pre_dnat": True},
)


class Dealer:
    """Deals out parts of a world; zero rolls, to which Hypothesis shrinks, deal the plain ones."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.one = random.choice
        self.served = 20  # in a hundred sides of rules, how many ask for a service

    def chance(self, percent: int) -> bool:
        """Whether something unlikely happens."""
        return self.random.randrange(100) >= 100 - percent

    def few(self, items, most=2):
        """A short tuple of distinct items, at least one."""
        return tuple({self.one(items): None for _ in range(self.random.randint(1, most))})

    def text(self, percent, items):
        """One of the texts, or more often none."""
        return self.one(items) if self.chance(percent) else ""

    def labels(self):
        """Labels of an object."""
        return {key: self.one(values) for key, values in LABELS.items() if self.chance(60)}

    def entity(self) -> EntityRule:
        """One side of a rule, half of the time one that asks for nothing."""
        if not self.chance(50):
            return EntityRule()
        if self.chance(self.served):
            return self.of_service()
        accounts = ServiceAccountMatch(
            names=self.few(ACCOUNTS) if self.chance(50) else (),
            selector=self.text(50, ACCOUNT_SELECTORS),
        )
        return EntityRule(
            nets=self.few(NETS, 3) if self.chance(20) else (),
            not_nets=self.few(NETS, 3) if self.chance(10) else (),
            selector=self.text(25, SELECTORS),
            not_selector=self.text(8, SELECTORS),
            namespace_selector=self.text(15, (*NAMESPACE_SELECTORS, "global()")),
            ports=self.few(PORTS) if self.chance(30) else (),
            not_ports=self.few(PORTS) if self.chance(10) else (),
            service_accounts=accounts if self.chance(6) else None,
            services=self.service() if self.chance(3) else None,
        )

    def service(self) -> ServiceMatch:
        """A service by name, half of the time of the policy's own namespace."""
        return ServiceMatch(name=self.one(SERVICES), namespace=self.text(50, NAMESPACES))

    def of_service(self) -> EntityRule:
        """One side of a rule that asks for a service, and now and then for its own ports too."""
        ports = self.few(PORTS) if self.chance(10) else ()
        return EntityRule(services=self.service(), ports=ports)

    def icmp(self) -> Icmp:
        """An ICMP match, of a type, a type and a code, or nothing."""
        return Icmp(type=self.one((8, 0, 128, None)), code=self.one((None, None, 0, 1)))

    def rule(self) -> Rule:
        """A rule of any kind."""
        return Rule(
            action=self.one(("Allow", "Deny", "Pass", "Log")),
            ip_version=self.one((4, 6)) if self.chance(10) else None,
            protocol=self.one(PROTOCOLS) if self.chance(50) else None,
            not_protocol=self.one(PROTOCOLS) if self.chance(8) else None,
            icmp=self.icmp() if self.chance(8) else None,
            not_icmp=self.icmp() if self.chance(8) else None,
            source=self.entity(),
            destination=self.entity(),
        )

    def rules(self) -> tuple[Rule, ...]:
        """The rules of one direction."""
        return tuple(self.rule() for _ in range(self.random.choice((3, 0, 1, 2, 4, 6))))

    def policy(self, name) -> Resource:
        """A policy of any kind, half of the time one of Calico's own that is enforced."""
        match self.one((*(["calico"] * 5), "staged", "kube", "staged kube", "cluster", "cluster")):
            case "calico":
                return self.calico_policy(name)
            case "staged":
                return self.staged_policy(name)
            case "kube":
                return kubernetes_policy(self, name)
            case "staged kube":
                return staged_kubernetes_policy(self, name)
            case _:
                return cluster_policy(self, name)

    def calico_policy(self, name) -> Resource:
        """A NetworkPolicy or a GlobalNetworkPolicy."""
        common, of_global = self._spec()
        if self.chance(50):
            metadata = Metadata(name=name, namespace=self.one(NAMESPACES))
            return NetworkPolicy(metadata=metadata, spec=PolicySpec(**common))
        spec = GlobalPolicySpec(**common, **of_global)
        return GlobalNetworkPolicy(metadata=Metadata(name=name), spec=spec)

    def staged_policy(self, name) -> Resource:
        """A staged one of either; one that stages a deletion should be seen by nobody."""
        common, of_global = self._spec()
        common["staged_action"] = self.one(("Set", "Set", "Learn", "Ignore", "Delete", ""))
        if self.chance(50):
            metadata = Metadata(name=name, namespace=self.one(NAMESPACES))
            return StagedNetworkPolicy(metadata=metadata, spec=StagedPolicySpec(**common))
        spec = StagedGlobalPolicySpec(**common, **of_global)
        return StagedGlobalNetworkPolicy(metadata=Metadata(name=name), spec=spec)

    def _spec(self):
        """The fields of a policy, and those that only a global one has."""
        common = {
            "tier": self.one(TIERS),
            "order": self.one((None, -1.0, 0.0, 1.5, 10.0)),
            "selector": self.text(40, SELECTORS),
            "service_account_selector": self.text(4, ACCOUNT_SELECTORS),
            "types": self.one(((), ("Ingress", "Egress"), (), ("Ingress",), ("Egress",))),
            "ingress": self.rules(),
            "egress": self.rules(),
        }
        return common, {
            "namespace_selector": self.text(15, NAMESPACE_SELECTORS),
            **self.one(HOST_SWITCHES),
        }

    def network_set(self, name) -> Resource:
        """A set of addresses in a namespace or in none."""
        spec = NetworkSetSpec(nets=self.few(NETS, 3))
        if self.chance(50):
            return GlobalNetworkSet(metadata=Metadata(name=name, labels=self.labels()), spec=spec)
        metadata = Metadata(name=name, namespace=self.one(NAMESPACES), labels=self.labels())
        return NetworkSet(metadata=metadata, spec=spec)

    def slice(self, name) -> EndpointSlice:
        """Endpoints of a service, some of them of workloads; some slices are of no service."""
        kind, family = self.one((("IPv4", 4), ("IPv4", 4), ("IPv6", 6), ("FQDN", 0)))
        known = (*ADDRESSES[family], *STRANGERS[family]) if family else ("api.example.com",)
        labels = {SERVICE_NAME: self.one(SERVICES[:3])} if not self.chance(5) else {}
        return EndpointSlice(
            metadata=Metadata(name=name, namespace=self.one(NAMESPACES), labels=labels),
            address_type=kind,
            endpoints=tuple(
                SliceEndpoint(addresses=self.few(known, 3))
                for _ in range(self.random.randint(1, 3))
            ),
            ports=tuple(
                SlicePort(
                    name=f"p{i}",
                    protocol=self.one(("TCP", "TCP", "UDP", "SCTP")),
                    port=self.one((80, 80, 81, 53, 65535, None)),
                )
                for i in range(self.one((1, 2, 3, 0)))
            ),
        )

    def endpoint(self, number) -> WorkloadEndpoint:
        """The endpoint with this number; a few share addresses or have two of a family."""
        namespace, account = self.one(NAMESPACES), self.text(50, ACCOUNTS)
        both = (f"10.0.0.{number}/32", f"fd00::{number}/128")
        own = self.one((both, both[:1], both, both[1:]))
        extra = self.one((("10.0.0.6/32",), ("10.0.0.7/32", "fd00::7/128")))
        lent = (f"kns.{namespace}", *((f"ksa.{namespace}.{account}",) if account else ()))
        ports = (
            EndpointPort(
                name=self.one(PORT_NAMES),
                protocol=self.one(("TCP", "UDP", "SCTP")),
                port=self.one((80, 81, 53)),
            )
            for _ in range(self.random.randint(0, 2))
        )
        return WorkloadEndpoint(
            metadata=Metadata(name=f"w{number}", namespace=namespace, labels=self.labels()),
            spec=WorkloadEndpointSpec(
                orchestrator="k8s",
                node=self.one((NODE, NODE, "there")),
                service_account_name=account,
                ip_networks=(*own, *(extra if self.chance(25) else ())),
                profiles=(*lent, *(("extra",) if self.chance(30) else ())),
                interface_name=f"cali{number}",
                ports=tuple(ports),
            ),
        )

    def host(self, number) -> HostEndpoint:
        """A host endpoint; several may claim one interface."""
        interface = self.one(("eth0", "", "*", "eth1", "lo"))
        family = (4, 6) if self.chance(50) else (4,)
        addresses = [addr for f in family for addr in ([*ADDRESSES[f][-2:], HOST_ADDRESSES[f]])]
        expected = self.few(addresses) if not interface or self.chance(50) else ()
        return HostEndpoint(
            metadata=Metadata(name=f"h{number}", labels=self.labels()),
            spec=HostEndpointSpec(
                node=self.one((NODE, NODE, NODE, "there")),
                interface_name=interface,
                expected_ips=expected,
                profiles=self.one(((), ("projectcalico-default-allow",), ("extra",), ("kns.red",))),
                ports=tuple(
                    HostPort(name=self.one(PORT_NAMES), protocol="TCP", port=self.one((80, 81, 53)))
                    for _ in range(self.random.randint(0, 1))
                ),
            ),
        )

    def profiles(self) -> list[Profile]:
        """The profiles of namespaces and accounts, some with rules of their own, some missing."""
        lent = {
            "kns.red": {"pcns.projectcalico.org/name": "red", "pcns.team": "a", "app": "y"},
            "kns.blue": {"pcns.projectcalico.org/name": "blue"},
            "extra": {},
        }
        for namespace in NAMESPACES:
            for account in ACCOUNTS:
                lent[f"ksa.{namespace}.{account}"] = {
                    "pcsa.projectcalico.org/name": account,
                    "pcsa.trust": "high" if account == "db" else "low",
                }
        return [
            Profile(
                metadata=Metadata(name=name),
                spec=ProfileSpec(
                    ingress=self.rules() if self.chance(50) else ALLOW,
                    egress=self.rules() if self.chance(50) else ALLOW,
                    labels_to_apply=labels,
                ),
            )
            for name, labels in lent.items()
            if not self.chance(5)
        ]

    def tiers(self) -> list[Tier]:
        """Some of the tiers, those of Kubernetes' policies among them; ``lost`` never exists."""
        return [
            Tier(
                metadata=Metadata(name=name),
                spec=TierSpec(
                    order=self.one((None, -1.0, 0.0, 10.0)),
                    default_action=self.one(("Pass", "Pass", "Deny")),
                ),
            )
            for name in (*TIERS[:3], *KUBE_TIERS)
            if not self.chance(30 if name in TIERS else 10)
        ]

    def world(self) -> list[Resource]:
        """The resources of a cluster, among them one that policy has no use for.

        Some worlds are full of services, so that it matters which of their endpoints is meant.
        """
        many = self.chance(30)
        self.served = 95 if many else 20
        slices = self.random.randint(3, 6) if many else self.random.randint(0, 3)
        return [
            Node(metadata=Metadata(name=NODE)),
            *self.profiles(),
            *self.tiers(),
            *[self.policy(f"p{i}") for i in range(self.random.randint(1, 6))],
            *[self.network_set(f"s{i}") for i in range(self.random.randint(0, 3))],
            *[self.slice(f"e{i}") for i in range(slices)],
            *[self.endpoint(i) for i in range(1, 1 + self.random.randint(1, 5))],
            *[self.host(i) for i in range(self.random.choice((0, 1, 2, 3)))],
        ]

    def packet(self) -> Packet:
        """A packet between addresses that mean something, at the edges of what rules say."""
        family = self.one((4, 4, 6))
        addrs = [Addr.parse(text) for text in (*ADDRESSES[family], *STRANGERS[family])]
        protocol = self.one(PACKET_PROTOCOLS)
        ends = self.one(addrs), self.one(addrs), protocol
        if protocol in (1, 58):
            return Packet(
                *ends,
                icmp_type=self.one((8, 0, 1, 128, 255)),
                icmp_code=self.one((0, 1, 2, 255)),
            )
        if protocol in (6, 17, 132, 136):
            return Packet(*ends, sport=self.one(EDGES), dport=self.one(EDGES))
        return Packet(*ends)


dealers = st.one_of(st.randoms(use_true_random=False), st.randoms(use_true_random=True)).map(Dealer)


def clusters() -> st.SearchStrategy[list[Resource]]:
    """The resources of a cluster."""
    return dealers.map(Dealer.world)


def packets() -> st.SearchStrategy[Packet]:
    """A packet."""
    return dealers.map(Dealer.packet)


def flows(most=8) -> st.SearchStrategy[list[Packet]]:
    """Some packets."""
    return dealers.map(lambda dealer: [dealer.packet() for _ in range(most)])
