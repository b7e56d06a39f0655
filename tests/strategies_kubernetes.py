"""Random policies of Kubernetes, dealt by ``strategies_policy.Dealer`` into its small worlds.

They are dealt as their authors would write them and converted, so that the conversion is among what
the engines are held to.
"""

import msgspec

from korat.core.model.cluster_policy import ClusterNetworkPolicy
from korat.core.model.kubernetes.policy import to_calico
from korat.core.model.kubernetes_policy import KubePolicy
from korat.core.model.staged import StagedKubernetesNetworkPolicy

NAMESPACES = ("red", "blue")
TERMS = (
    {"key": "app", "operator": "In", "values": ["x", "y"]},
    {"key": "app", "operator": "NotIn", "values": ["x"]},
    {"key": "role", "operator": "Exists"},
    {"key": "app", "operator": "DoesNotExist"},
)
BLOCKS = (
    {"cidr": "10.0.0.0/24", "except": ["10.0.0.2/31"]},
    {"cidr": "10.0.0.0/30"},
    {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "192.0.2.0/24"]},
    {"cidr": "fd00::/64", "except": ["fd00::4/127"]},
    {"cidr": "::/0"},
)
NETWORKS = ("10.0.0.0/30", "10.0.0.4/32", "192.0.2.0/24", "fd00::/126", "::/0", "0.0.0.0/0")
KUBE_PORTS = (
    {"port": 80},
    {"port": "http"},
    {},
    {"port": 80, "endPort": 82},
    {"port": 81, "protocol": "UDP"},
    {"protocol": "SCTP"},
    {"port": "dns", "protocol": "UDP"},
)
PROTOCOLS = (
    {"tcp": {"destinationPort": {"number": 80}}},
    {"destinationNamedPort": "http"},
    {"tcp": {"destinationPort": {"range": {"start": 80, "end": 90}}}},
    {"udp": {"destinationPort": {"number": 53}}},
    {"sctp": {"destinationPort": {"number": 81}}},
    {"destinationNamedPort": "odd.name"},
)


def kubernetes_policy(deal, name):
    """What korat stores for a Kubernetes NetworkPolicy."""
    return to_calico(msgspec.convert(raw_policy(deal, name), KubePolicy))


def staged_kubernetes_policy(deal, name):
    """A staged Kubernetes NetworkPolicy."""
    raw = raw_policy(deal, name)
    raw["spec"]["stagedAction"] = deal.one(("Set", "Learn", "Ignore"))
    return msgspec.convert(raw, StagedKubernetesNetworkPolicy)


def cluster_policy(deal, name):
    """A ClusterNetworkPolicy."""
    return msgspec.convert(raw_cluster_policy(deal, name), ClusterNetworkPolicy)


def raw_policy(deal, name):
    """A Kubernetes NetworkPolicy as its author writes it."""
    spec = {
        "podSelector": _labels(deal),
        "policyTypes": deal.one(([], ["Ingress"], ["Egress"], ["Ingress", "Egress"])),
        "ingress": [_rule(deal, "from") for _ in range(deal.random.randrange(3))],
        "egress": [_rule(deal, "to") for _ in range(deal.random.randrange(3))],
    }
    return {"metadata": {"name": name, "namespace": deal.one(NAMESPACES)}, "spec": spec}


def raw_cluster_policy(deal, name, priority=None):
    """A ClusterNetworkPolicy as its author writes it.

    Now and then it has a rule for nodes, which no dataplane of Calico's knows.
    """
    spec = {
        "tier": deal.one(("Admin", "Baseline")),
        "priority": deal.one((0, 5, 10)) if priority is None else priority,
        "subject": _whom(deal),
        "ingress": [_cluster_rule(deal, "from") for _ in range(deal.random.randrange(4))],
        "egress": [_cluster_rule(deal, "to") for _ in range(deal.random.randrange(4))],
    }
    return {"metadata": {"name": name}, "spec": spec}


def _rule(deal, side):
    peers = [_peer(deal) for _ in range(deal.random.randrange(3))]
    return {side: peers, "ports": list(_few(deal, KUBE_PORTS)) if deal.chance(60) else []}


def _peer(deal):
    match deal.one(("pods", "block", "namespaces", "both")):
        case "pods":
            return {"podSelector": _labels(deal)}
        case "block":
            return {"ipBlock": deal.one(BLOCKS)}
        case "namespaces":
            return {"namespaceSelector": _namespaces(deal)}
        case _:
            return {"namespaceSelector": _namespaces(deal), "podSelector": _labels(deal)}


def _cluster_rule(deal, side):
    peers = [_cluster_peer(deal, side) for _ in range(deal.random.randint(1, 2))]
    rule = {"name": "r", "action": deal.one(("Accept", "Deny", "Pass")), side: peers}
    return rule | ({"protocols": list(_few(deal, PROTOCOLS))} if deal.chance(50) else {})


def _cluster_peer(deal, side):
    if side == "to" and deal.chance(30):
        return {"networks": list(_few(deal, NETWORKS))}
    if side == "to" and deal.chance(5):
        return {"nodes": {}}
    return _whom(deal)


def _whom(deal):
    if deal.chance(50):
        return {"namespaces": _namespaces(deal)}
    return {"pods": {"podSelector": _labels(deal), "namespaceSelector": _namespaces(deal)}}


def _labels(deal):
    """A selector of pods, half of the time one for all of them."""
    match deal.one(("all", "all", "label", "term")):
        case "label":
            return {"matchLabels": {"app": deal.one(("x", "y"))}}
        case "term":
            return {"matchExpressions": [deal.one(TERMS)]}
        case _:
            return {}


def _namespaces(deal):
    return deal.one(({}, {"matchLabels": {"team": "a"}}, {"matchExpressions": [_NO_TEAM]}))


_NO_TEAM = {"key": "team", "operator": "DoesNotExist"}


def _few(deal, items):
    """A short list of distinct items, at least one."""
    places = {deal.one(range(len(items))): None for _ in range(deal.random.randint(1, 2))}
    return (items[place] for place in places)
