"""ClusterNetworkPolicy as a Calico GlobalNetworkPolicy of tier kube-admin or kube-baseline.

What cannot be converted fails closed: a rule that would deny or pass becomes one that denies
everything, one that would accept is left out.
Source: libcalico-go/lib/backend/k8s/conversion/clusternetworkpolicy.go.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import msgspec

from korat.core.errors import Problem
from korat.core.model import number
from korat.core.model.cluster_policy import (
    ClusterEgressRule,
    ClusterIngressRule,
    ClusterNetworkPolicy,
    ClusterPort,
    ClusterProtocol,
    EgressPeer,
    IngressPeer,
    Subject,
)
from korat.core.model.kubernetes.policy import (
    ORCHESTRATED,
    merged_ports,
    namespace_selector_text,
    pod_selector_text,
)
from korat.core.model.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    GlobalPolicySpec,
    Port,
    Rule,
    RuleMetadata,
)
from korat.core.model.resource import Metadata
from korat.core.net.address import Prefix
from korat.core.net.port import PORT_LAST

R = TypeVar("R", ClusterIngressRule, ClusterEgressRule)

#: Calico's own name of the kind, by which such policies are sorted and reported.
KIND = "KubernetesClusterNetworkPolicy"
#: The annotation that keeps the name of a rule.
RULE_NAME = "name"

_TIERS = {"Admin": "kube-admin", "Baseline": "kube-baseline"}
_ACTIONS = {"Accept": "Allow", "Deny": "Deny", "Pass": "Pass"}
_DENY_ALL = Rule(action="Deny")


def to_calico(policy: ClusterNetworkPolicy) -> tuple[GlobalNetworkPolicy, tuple[Problem, ...]]:
    """The Calico policy with the same meaning, and a problem for each rule that has none.

    Raises:
        ValueError: it names no tier or no subject, so that nobody knows what it governs.
    """
    spec, own = policy.spec, policy.metadata
    if spec.tier not in _TIERS:
        raise ValueError(f"spec.tier {spec.tier!r} is neither Admin nor Baseline")
    namespaces, pods = _subject(spec.subject)
    ingress, lost_in = _rules(spec.ingress, _ingress, "spec.ingress")
    egress, lost_out = _rules(spec.egress, _egress, "spec.egress")
    directions = (("Ingress", ingress), ("Egress", egress))
    converted = GlobalNetworkPolicy(
        kind=KIND,
        metadata=Metadata(name=own.name, uid=own.uid, creation_timestamp=own.creation_timestamp),
        spec=GlobalPolicySpec(
            tier=_TIERS[spec.tier],
            order=spec.priority or 0,
            namespace_selector=namespaces,
            selector=pods,
            # These tiers pass on what they do not decide, so only rules make a direction matter.
            types=tuple(name for name, rules in directions if rules),
            ingress=ingress,
            egress=egress,
        ),
    )
    problems = (Problem(policy.title, field, None, why) for field, why in (*lost_in, *lost_out))
    return converted, tuple(problems)


def _subject(subject: Subject) -> tuple[str, str]:
    """The namespaces and the pods that are governed; hosts never are."""
    if subject.namespaces is not None:
        return namespace_selector_text(subject.namespaces), ORCHESTRATED
    if subject.pods is not None:
        pods = subject.pods
        return namespace_selector_text(pods.namespace_selector), pod_selector_text(
            pods.pod_selector
        )
    raise ValueError("spec.subject selects neither namespaces nor pods")


def _rules(
    rules: Iterable[R], convert: Callable[[R], Iterator[Rule]], field: str
) -> tuple[tuple[Rule, ...], list[tuple[str, str]]]:
    """The rules, failed ones closed; and the fields of the failed ones, with the reason."""
    converted: list[Rule] = []
    lost = []
    for i, rule in enumerate(rules):
        try:
            converted += list(convert(rule))
        except ValueError as error:
            closed = rule.action in {"Deny", "Pass"}
            converted += [_DENY_ALL] if closed else []
            fate = "denies everything instead" if closed else "is left out"
            lost.append((f"{field}[{i}]", f"{fate}: {error}"))
    return tuple(converted), lost


def _ingress(rule: ClusterIngressRule) -> Iterator[Rule]:
    for protocol, ports in _by_protocol(rule.protocols):
        for peer in rule.peers:
            yield Rule(
                action=_action(rule.action),
                protocol=protocol,
                source=_pods(peer),
                destination=EntityRule(ports=ports),
                metadata=_metadata(rule.name),
            )


def _egress(rule: ClusterEgressRule) -> Iterator[Rule]:
    for protocol, ports in _by_protocol(rule.protocols):
        for peer in rule.peers:
            entity = _networks(peer.networks) if peer.networks else _pods(peer)
            yield Rule(
                action=_action(rule.action),
                protocol=protocol,
                destination=msgspec.structs.replace(entity, ports=ports),
                metadata=_metadata(rule.name),
            )


def _action(action: str) -> str:
    if action not in _ACTIONS:
        raise ValueError(f"{action!r} is none of {', '.join(_ACTIONS)}")
    return _ACTIONS[action]


def _metadata(name: str) -> RuleMetadata | None:
    return RuleMetadata(annotations={RULE_NAME: name}) if name else None


def _pods(peer: IngressPeer | EgressPeer) -> EntityRule:
    """Everyone in some namespaces, network sets too, or pods alone."""
    if peer.pods is not None:
        return EntityRule(
            selector=pod_selector_text(peer.pods.pod_selector),
            namespace_selector=namespace_selector_text(peer.pods.namespace_selector),
        )
    if peer.namespaces is not None:
        return EntityRule(namespace_selector=namespace_selector_text(peer.namespaces))
    raise ValueError("a peer is of a kind that this dataplane does not know")


def _networks(networks: Iterable[str]) -> EntityRule:
    return EntityRule(nets=tuple(str(Prefix.parse(text)) for text in networks))


def _by_protocol(
    protocols: tuple[ClusterProtocol, ...],
) -> Iterator[tuple[str | None, tuple[Port, ...]]]:
    """The ports of each protocol, none for all of them; a port's name goes without protocol."""
    if not protocols or ClusterProtocol() in protocols:
        yield None, ()
        return
    asked = [_protocol(protocol) for protocol in protocols]
    for name in sorted({name for name, _ in asked}):
        ports = [port for own, port in asked if own == name]
        given = [port for port in ports if port is not None]
        yield name or None, merged_ports(given) if len(given) == len(ports) else ()


def _protocol(protocol: ClusterProtocol) -> tuple[str, Port | None]:
    for name, transport in (
        ("TCP", protocol.tcp),
        ("UDP", protocol.udp),
        ("SCTP", protocol.sctp),
    ):
        if transport is not None:
            return name, _port(transport.destination_port)
    return "", number.port(protocol.destination_named_port)


def _port(port: ClusterPort | None) -> Port | None:
    if port is None or port == ClusterPort():
        return None
    text = f"{port.range.start}:{port.range.end}" if port.range else str(port.number)
    canonical = number.port(text)
    if canonical == 0 or str(canonical).startswith("0:"):
        raise ValueError(f"ports are 1 to {PORT_LAST}")
    return canonical
