"""Law: Kubernetes' policies, converted and judged, say what they say read as they are written.

The reading here is of raw manifests, by the words of Kubernetes' own documents, and shares nothing
with the conversion: which pods a selector means, which peers and ports a rule has, and that rules
of several policies add up. Of cluster policies the first rule that matches decides, by priority;
one that asks for nodes denies everything, or when it accepts, nothing.
"""

import ipaddress

import msgspec
from hypothesis import given

from korat.core.model.builtin import initial
from korat.core.model.cluster_policy import ClusterNetworkPolicy
from korat.core.model.kubernetes import namespace_profile
from korat.core.model.kubernetes.policy import to_calico
from korat.core.model.kubernetes_policy import KubePolicy
from korat.core.net.port import protocol_number
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import judge
from korat.core.policy.outcome import Action, Direction
from policy_world import pod
from strategies_kubernetes import raw_cluster_policy, raw_policy
from strategies_policy import dealers, flows

LABELS = {"red": {"team": "a"}, "blue": {}}
PORTS = [("http", "TCP", 80), ("dns", "UDP", 53), ("odd.name", "SCTP", 81)]


def dealt(deal):
    """Some pods, each with one address of each version, and raw policies of both kinds."""
    pods = []
    for number in range(1, 5):
        labels = deal.labels()
        ports = [port for port in PORTS if deal.chance(60)]
        ips = (f"10.0.0.{number}", f"fd00::{number}")
        pods.append((f"w{number}", deal.one(("red", "blue")), ips, labels, ports))
    policies = [raw_policy(deal, f"p{i}") for i in range(deal.random.randrange(4))]
    priorities = deal.random.sample(range(10), deal.random.randrange(4))
    clusters = [raw_cluster_policy(deal, f"c{i}", each) for i, each in enumerate(priorities)]
    return pods, policies, clusters


def built(pods, policies, clusters):
    """The same world in korat."""
    return Cluster.build([
        *initial("0" * 32, "1"),
        *(namespace_profile(name, labels) for name, labels in LABELS.items()),
        *(pod(n, *ips, namespace=ns, ports=ports, **labels) for n, ns, ips, labels, ports in pods),
        *(to_calico(msgspec.convert(raw, KubePolicy)) for raw in policies),
        *(msgspec.convert(raw, ClusterNetworkPolicy) for raw in clusters),
    ])  # fmt: skip


def selects(selector, labels):
    """Whether a label selector means what has these labels."""
    terms = selector.get("matchExpressions", [])
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        {
            "In": labels.get(term["key"]) in term.get("values", []),
            "NotIn": labels.get(term["key"]) not in term.get("values", []),
            "Exists": term["key"] in labels,
            "DoesNotExist": term["key"] not in labels,
        }[term["operator"]]
        for term in terms
    )


def within(cidr, address):
    network = ipaddress.ip_network(cidr)
    return network.version == address.version and address in network


class Reader:
    """One packet at one pod, in one direction, with everyone's policies as they are written."""

    def __init__(self, pods, own, direction, packet):
        self.own = own
        self.ingress = direction is Direction.INGRESS
        self.packet = packet
        at = {ip: each for each in pods for ip in each[2]}
        peer = packet.src if self.ingress else packet.dst
        self.peer, self.address = at.get(str(peer)), ipaddress.ip_address(str(peer))
        self.receiver = own if self.ingress else self.peer
        self.side, self.field = ("from", "ingress") if self.ingress else ("to", "egress")

    def is_allowed(self, policies, clusters):
        """Admin's word, else that of the namespaces' policies, else Baseline's, else yes."""
        word = self.first(clusters, "Admin")
        if word in (None, "Pass"):
            word = self.of_namespaces(policies)
        if word is None:
            word = self.first(clusters, "Baseline")
        return word != "Deny"

    def of_namespaces(self, policies):
        mine = [p["spec"] for p in policies if p["metadata"]["namespace"] == self.own[1]]
        mine = [spec for spec in mine if selects(spec["podSelector"], self.own[3])]
        mine = [spec for spec in mine if self.field.title() in self.types(spec)]
        if not mine:
            return None
        rules = [rule for spec in mine for rule in spec[self.field]]
        return "Accept" if any(map(self.matches, rules)) else "Deny"

    @staticmethod
    def types(spec):
        return spec["policyTypes"] or ["Ingress", *(["Egress"] if spec["egress"] else [])]

    def matches(self, rule):
        peers, ports = rule[self.side], rule["ports"]
        return (not peers or any(map(self.is_peer, peers))) and (
            not ports or any(map(self.is_port, ports))
        )

    def is_peer(self, peer):
        if "ipBlock" in peer:
            block = peer["ipBlock"]
            outside = any(within(cidr, self.address) for cidr in block.get("except", []))
            return within(block["cidr"], self.address) and not outside
        if self.peer is None:
            return False
        _, namespace, _, labels, _ = self.peer
        here = (
            selects(peer["namespaceSelector"], LABELS[namespace])
            if "namespaceSelector" in peer
            else namespace == self.own[1]
        )
        return here and selects(peer.get("podSelector", {}), labels)

    def is_port(self, port):
        protocol = port.get("protocol", "TCP")
        if protocol_number(protocol) != self.packet.protocol:
            return False
        match port.get("port"):
            case None:
                return True
            case str() as name:
                return self.is_named(name)
            case number:
                return number <= self.packet.dport <= port.get("endPort", number)

    def is_named(self, name):
        there = self.receiver[4] if self.receiver else []
        packet = self.packet.protocol, self.packet.dport
        return packet in {(protocol_number(p), number) for n, p, number in there if n == name}

    def first(self, clusters, tier):
        """The action of the first rule that matches, by priority."""
        specs = sorted((c["spec"] for c in clusters), key=lambda spec: spec["priority"])
        for spec in specs:
            if spec["tier"] != tier or not self.is_whom(spec["subject"], self.own):
                continue
            for rule in spec[self.field]:
                if any("nodes" in peer for peer in rule[self.side]):
                    if rule["action"] != "Accept":
                        return "Deny"
                elif self.is_ruled(rule):
                    return rule["action"]
        return None

    def is_ruled(self, rule):
        protocols = rule.get("protocols", [])
        return any(map(self.is_cluster_peer, rule[self.side])) and (
            not protocols or any(map(self.is_protocol, protocols))
        )

    def is_cluster_peer(self, peer):
        if "networks" in peer:
            return any(within(cidr, self.address) for cidr in peer["networks"])
        return self.peer is not None and self.is_whom(peer, self.peer)

    @staticmethod
    def is_whom(entity, someone):
        _, namespace, _, labels, _ = someone
        if "namespaces" in entity:
            return selects(entity["namespaces"], LABELS[namespace])
        pods = entity["pods"]
        return selects(pods["namespaceSelector"], LABELS[namespace]) and selects(
            pods["podSelector"], labels
        )

    def is_protocol(self, protocol):
        ((name, value),) = protocol.items()
        if name == "destinationNamedPort":
            return self.is_named(value)
        port = value["destinationPort"]
        span = port.get("range") or {"start": port["number"], "end": port["number"]}
        same = protocol_number(name.upper()) == self.packet.protocol
        return same and span["start"] <= self.packet.dport <= span["end"]


@given(dealers.map(dealt), flows())
def test_converted_policies_judge_as_their_authors_wrote_them(world, sent):
    pods, policies, clusters = world
    cluster = built(*world)
    endpoints = {endpoint.key.name: endpoint for endpoint in cluster.endpoints}
    for packet in sent:
        for direction in Direction:
            own = str(packet.dst if direction is Direction.INGRESS else packet.src)
            for each in pods:
                if own not in each[2]:
                    continue
                outcome = judge(cluster, endpoints[each[0]], direction, packet).outcome
                reader = Reader(pods, each, direction, packet)
                expected = reader.is_allowed(policies, clusters)
                assert (outcome.action is Action.ALLOW) is expected, (packet, direction)
