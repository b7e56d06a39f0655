"""ClusterNetworkPolicy: what the API server would refuse.

What it accepts and Calico's dataplane does not know (the peers ``nodes`` and ``domainNames``) is
accepted here too; the conversion closes what such a rule would open.
Source: the CRD of policy.networking.k8s.io/v1alpha2 (its schema and CEL rules).
"""

from collections.abc import Sequence

from korat.core.model import number
from korat.core.model.cluster_policy import (
    ClusterEgressRule,
    ClusterIngressRule,
    ClusterNetworkPolicy,
    ClusterPort,
    ClusterProtocol,
    EgressPeer,
    IngressPeer,
    NamespacedPods,
    Subject,
    Transport,
)
from korat.core.model.validate.faults import Faults
from korat.core.model.validate.kubernetes_policy import cidr, label_selector
from korat.core.net.port import PORT_LAST

_TIERS = ("Admin", "Baseline")
_ACTIONS = ("Accept", "Deny", "Pass")
_PRIORITY_LAST = 1000
_NAME_CHARS = 100
_MOST = 25


def cluster_network_policy(faults: Faults, policy: ClusterNetworkPolicy) -> None:
    """A policy of the cluster's administrator."""
    spec = policy.spec
    faults.choice("spec.tier", spec.tier, _TIERS)
    if spec.priority is None:
        faults.add("spec.priority", None, "is missing")
    elif not 0 <= spec.priority <= _PRIORITY_LAST:
        faults.add("spec.priority", spec.priority, f"must be 0 to {_PRIORITY_LAST}")
    _one_of(
        faults, "spec.subject", {"namespaces": spec.subject.namespaces, "pods": spec.subject.pods}
    )
    _whom(faults, "spec.subject", spec.subject)
    _rules(faults, "spec.ingress", spec.ingress)
    _rules(faults, "spec.egress", spec.egress)


def _rules(
    faults: Faults, field: str, rules: Sequence[ClusterIngressRule | ClusterEgressRule]
) -> None:
    faults.at_most(field, rules, _MOST)
    for i, rule in enumerate(rules):
        _rule(faults, f"{field}[{i}]", rule)


def _rule(faults: Faults, field: str, rule: ClusterIngressRule | ClusterEgressRule) -> None:
    faults.choice(f"{field}.action", rule.action, _ACTIONS)
    if len(rule.name) > _NAME_CHARS:
        faults.add(f"{field}.name", None, f"is longer than {_NAME_CHARS} characters")
    side = "from" if isinstance(rule, ClusterIngressRule) else "to"
    _peers(faults, f"{field}.{side}", rule.peers)
    faults.at_most(f"{field}.protocols", rule.protocols, _MOST)
    for i, protocol in enumerate(rule.protocols):
        _protocol(faults, f"{field}.protocols[{i}]", protocol)


def _peers(faults: Faults, field: str, peers: Sequence[IngressPeer | EgressPeer]) -> None:
    if not peers:
        faults.add(field, None, "is missing; name at least one peer")
    faults.at_most(field, peers, _MOST)
    for i, peer in enumerate(peers):
        _peer(faults, f"{field}[{i}]", peer)


def _peer(faults: Faults, field: str, peer: IngressPeer | EgressPeer) -> None:
    given: dict[str, object] = {"namespaces": peer.namespaces, "pods": peer.pods}
    if isinstance(peer, EgressPeer):
        given |= {
            "nodes": peer.nodes,
            "networks": peer.networks or None,
            "domainNames": peer.domain_names or None,
        }
        label_selector(faults, f"{field}.nodes", peer.nodes)
        faults.at_most(f"{field}.networks", peer.networks, _MOST)
        faults.unique(f"{field}.networks", peer.networks)
        for i, text in enumerate(peer.networks):
            cidr(faults, f"{field}.networks[{i}]", text)
    _one_of(faults, field, given)
    _whom(faults, field, peer)


def _whom(faults: Faults, field: str, entity: Subject | IngressPeer | EgressPeer) -> None:
    label_selector(faults, f"{field}.namespaces", entity.namespaces)
    if entity.pods is not None:
        _pods(faults, f"{field}.pods", entity.pods)


def _pods(faults: Faults, field: str, pods: NamespacedPods) -> None:
    label_selector(faults, f"{field}.namespaceSelector", pods.namespace_selector)
    if pods.pod_selector is None:
        faults.add(f"{field}.podSelector", None, "is missing; {} selects every pod")
    label_selector(faults, f"{field}.podSelector", pods.pod_selector)


def _protocol(faults: Faults, field: str, protocol: ClusterProtocol) -> None:
    transports = {"tcp": protocol.tcp, "udp": protocol.udp, "sctp": protocol.sctp}
    named = protocol.destination_named_port
    _one_of(faults, field, {**transports, "destinationNamedPort": named or None})
    for name, transport in transports.items():
        if transport is not None:
            _transport(faults, f"{field}.{name}", transport)
    if named:
        _named_port(faults, f"{field}.destinationNamedPort", named)


def _transport(faults: Faults, field: str, transport: Transport) -> None:
    if transport.destination_port is None:
        faults.add(f"{field}.destinationPort", None, "is missing; it is all that can be asked here")
        return
    _port(faults, f"{field}.destinationPort", transport.destination_port)


def _port(faults: Faults, field: str, port: ClusterPort) -> None:
    _one_of(faults, field, {"number": port.number or None, "range": port.range})
    if port.number and not 1 <= port.number <= PORT_LAST:
        faults.add(f"{field}.number", port.number, f"must be 1 to {PORT_LAST}")
    if port.range is not None:
        first, last = port.range.start, port.range.end
        if not 1 <= first < last <= PORT_LAST:
            rule = f"start must be less than end, both 1 to {PORT_LAST}"
            faults.add(f"{field}.range", f"{first}:{last}", rule)


def _named_port(faults: Faults, field: str, name: str) -> None:
    try:
        is_name = number.is_named(number.port(name))
    except ValueError:
        is_name = False
    if not is_name:
        faults.add(field, name, "is not the name of a port")


def _one_of(faults: Faults, field: str, choices: dict[str, object]) -> None:
    """Exactly one of these must be given."""
    given = [name for name, value in choices.items() if value is not None]
    if len(given) != 1:
        names = ", ".join(choices)
        found = f"has {' and '.join(given)}" if given else "is empty"
        faults.add(field, None, f"{found}; give exactly one of {names}")
