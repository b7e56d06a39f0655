"""networking.k8s.io/v1 NetworkPolicy as a Calico NetworkPolicy of tier default, order 1000.

The API server's defaults are applied first (protocol TCP, policyTypes), since manifests come
here without having been through it.
Source: libcalico-go/lib/backend/k8s/conversion (K8sNetworkPolicyToCalico), and the name that
kube-controllers gives the copy in etcd.
"""

from collections.abc import Iterable, Iterator

import msgspec

from korat.core.model.key import DEFAULT_NAMESPACE
from korat.core.model.label import KUBERNETES, ORCHESTRATOR
from korat.core.model.policy import (
    DEFAULT_TIER,
    EntityRule,
    NetworkPolicy,
    PolicySpec,
    Port,
    Rule,
)
from korat.core.model.resource import Frozen, Metadata, Resource, written
from korat.core.net.address import Prefix

#: What stands before the name of a policy that came from Kubernetes.
PREFIX = "knp.default."

_ORDER = 1000
#: What the selector of every rule and policy that came from Kubernetes begins with.
ORCHESTRATED = f"{ORCHESTRATOR} == '{KUBERNETES}'"


class Requirement(Frozen, frozen=True):
    """One term of matchExpressions."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(Frozen, frozen=True):
    """Kubernetes' selector: all terms must hold; without terms it selects everything."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)
    match_expressions: tuple[Requirement, ...] = ()


class IpBlock(Frozen, frozen=True):
    """Addresses by CIDR."""

    cidr: str = ""
    excepted: tuple[str, ...] = msgspec.field(default=(), name="except")


class Peer(Frozen, frozen=True):
    """The other side: pods, or addresses."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IpBlock | None = None


class PolicyPort(Frozen, frozen=True):
    """A port, a range of ports, or without ``port`` all ports of the protocol."""

    protocol: str = "TCP"
    port: Port | None = None
    end_port: int | None = None


class IngressRule(Frozen, frozen=True):
    """Who may come in, to which ports."""

    peers: tuple[Peer, ...] = msgspec.field(default=(), name="from")
    ports: tuple[PolicyPort, ...] = ()


class EgressRule(Frozen, frozen=True):
    """Where to, on which ports."""

    peers: tuple[Peer, ...] = msgspec.field(default=(), name="to")
    ports: tuple[PolicyPort, ...] = ()


class KubePolicySpec(Frozen, frozen=True):
    """The pods that are policed and what they may do."""

    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[str, ...] = ()
    ingress: tuple[IngressRule, ...] = ()
    egress: tuple[EgressRule, ...] = ()


class KubePolicy(Resource, frozen=True):
    """A Kubernetes NetworkPolicy as it is written."""

    kind: str = written("NetworkPolicy")
    api_version: str = written("networking.k8s.io/v1")
    spec: KubePolicySpec = written(KubePolicySpec())
    #: Kubernetes 1.24 to 1.27 had one, and ``kubectl get -o yaml`` wrote it into people's files.
    status: dict[str, object] = msgspec.field(default_factory=dict)


def to_calico(policy: KubePolicy) -> NetworkPolicy:
    """The Calico policy with the same meaning.

    Invariant: ``policy`` is valid; ``kubernetes.fault.policy_faults`` found nothing.
    """
    spec = policy.spec
    own = policy.metadata
    metadata = Metadata(
        name=PREFIX + own.name,
        namespace=own.namespace or DEFAULT_NAMESPACE,
        uid=own.uid,
        creation_timestamp=own.creation_timestamp,
    )
    return NetworkPolicy(
        metadata=metadata,
        spec=PolicySpec(
            tier=DEFAULT_TIER,
            order=_ORDER,
            selector=pod_selector_text(spec.pod_selector),
            types=_types(spec),
            ingress=tuple(rule for each in spec.ingress for rule in _ingress(each)),
            egress=tuple(rule for each in spec.egress for rule in _egress(each)),
        ),
    )


def pod_selector_text(selector: LabelSelector | None) -> str:
    """A pod selector in Calico's language; only Kubernetes' own workloads are meant."""
    return " && ".join((ORCHESTRATED, *_terms(selector or LabelSelector())))


def namespace_selector_text(selector: LabelSelector | None) -> str:
    """A namespace selector in Calico's language; empty when there is none."""
    if selector is None:
        return ""
    return " && ".join(_terms(selector)) or "all()"


def merged_ports(ports: Iterable[Port]) -> tuple[Port, ...]:
    """The same ports with neighbours and overlaps joined: names first, then numbers in order."""
    names = tuple(dict.fromkeys(p for p in ports if isinstance(p, str) and not _is_range(p)))
    spans: list[tuple[int, int]] = []
    for first, last in sorted(_span(p) for p in ports if p not in names):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(spans[-1][1], last))
        else:
            spans.append((first, last))
    return names + tuple(a if a == b else f"{a}:{b}" for a, b in spans)


def _types(spec: KubePolicySpec) -> tuple[str, ...]:
    if spec.policy_types:
        return tuple(each for each in ("Ingress", "Egress") if each in spec.policy_types)
    return ("Ingress", "Egress") if spec.egress else ("Ingress",)


def _terms(selector: LabelSelector) -> Iterator[str]:
    for key in sorted(selector.match_labels):
        yield f"{key} == '{selector.match_labels[key]}'"
    for term in selector.match_expressions:
        values = "', '".join(term.values)
        match term.operator:
            case "In":
                yield f"{term.key} in {{ '{values}' }}"
            case "NotIn":
                yield f"{term.key} not in {{ '{values}' }}"
            case "Exists":
                yield f"has({term.key})"
            case _:
                yield f"! has({term.key})"


def _ingress(rule: IngressRule) -> Iterator[Rule]:
    for protocol, ports in _by_protocol(rule.ports):
        for peer in rule.peers or (None,):
            yield Rule(
                action="Allow",
                protocol=protocol,
                source=_entity(peer),
                destination=EntityRule(ports=ports),
            )


def _egress(rule: EgressRule) -> Iterator[Rule]:
    for protocol, ports in _by_protocol(rule.ports):
        for peer in rule.peers or (None,):
            entity = msgspec.structs.replace(_entity(peer), ports=ports)
            yield Rule(action="Allow", protocol=protocol, destination=entity)


def _by_protocol(
    ports: tuple[PolicyPort, ...],
) -> Iterator[tuple[str | None, tuple[Port, ...]]]:
    """The ports of each protocol; a port-less entry means all of its protocol's ports."""
    if not ports:
        yield None, ()
    for protocol in sorted({port.protocol for port in ports}):
        own = [port for port in ports if port.protocol == protocol]
        given = [_calico_port(p.port, p.end_port) for p in own if p.port is not None]
        yield protocol, merged_ports(given) if len(given) == len(own) else ()


def _calico_port(port: Port, end: int | None) -> Port:
    if isinstance(port, str) and port.isdecimal():
        port = int(port)
    return port if end is None or end == port else f"{port}:{end}"


def _entity(peer: Peer | None) -> EntityRule:
    if peer is None:
        return EntityRule()
    if peer.ip_block is not None:
        return EntityRule(
            nets=(str(Prefix.parse(peer.ip_block.cidr)),),
            not_nets=tuple(str(Prefix.parse(each)) for each in peer.ip_block.excepted),
        )
    return EntityRule(
        selector=pod_selector_text(peer.pod_selector),
        namespace_selector=namespace_selector_text(peer.namespace_selector),
    )


def _is_range(port: str) -> bool:
    first, colon, last = port.partition(":")
    return bool(colon) and first.isdecimal() and last.isdecimal()


def _span(port: Port) -> tuple[int, int]:
    if isinstance(port, int):
        return port, port
    first, _, last = port.partition(":")
    return int(first), int(last)
