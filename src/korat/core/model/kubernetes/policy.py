"""networking.k8s.io/v1 NetworkPolicy as a Calico NetworkPolicy of tier default, order 1000.

The API server's defaults are applied first (protocol TCP, policyTypes), since manifests come
here without having been through it. A rule that cannot be converted is left out, as Calico leaves
it out: the policy then allows less than it says, never more.
Source: libcalico-go/lib/backend/k8s/conversion (K8sNetworkPolicyToCalico), and the name that
kube-controllers gives the copy in etcd.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import msgspec

from korat.core.errors import Problem
from korat.core.model import number
from korat.core.model.key import DEFAULT_NAMESPACE
from korat.core.model.kubernetes_policy import (
    EgressRule,
    IngressRule,
    KubePolicy,
    KubePolicySpec,
    LabelSelector,
    Peer,
    PolicyPort,
)
from korat.core.model.label import KUBERNETES, ORCHESTRATOR
from korat.core.model.policy import (
    DEFAULT_TIER,
    EntityRule,
    NetworkPolicy,
    PolicySpec,
    Port,
    Rule,
)
from korat.core.model.resource import Metadata
from korat.core.net.address import Prefix
from korat.core.selector import parse

W = TypeVar("W")

#: What stands before the name of a policy that came from Kubernetes.
PREFIX = "knp.default."

_ORDER = 1000
#: What the selector of every rule and policy that came from Kubernetes begins with.
ORCHESTRATED = f"{ORCHESTRATOR} == '{KUBERNETES}'"


def to_calico(policy: KubePolicy) -> NetworkPolicy:
    """The Calico policy with the same meaning, under the name of its copy.

    Invariant: ``policy`` is valid, so that every rule can be converted.
    """
    own = policy.metadata
    metadata = Metadata(
        name=PREFIX + own.name,
        namespace=own.namespace or DEFAULT_NAMESPACE,
        uid=own.uid,
        creation_timestamp=own.creation_timestamp,
    )
    spec, _ = spec_to_calico(policy.spec, "")
    return NetworkPolicy(metadata=metadata, spec=spec)


def spec_to_calico(spec: KubePolicySpec, where: str) -> tuple[PolicySpec, tuple[Problem, ...]]:
    """The Calico policy's spec, and a problem for each rule that was left out.

    ``where`` names the object in the problems.

    Raises:
        ValueError: the podSelector cannot be converted.
    """
    ingress, lost_in = _rules(spec.ingress, _ingress, "spec.ingress")
    egress, lost_out = _rules(spec.egress, _egress, "spec.egress")
    converted = PolicySpec(
        tier=DEFAULT_TIER,
        order=_ORDER,
        selector=pod_selector_text(spec.pod_selector),
        types=_types(spec),
        ingress=ingress,
        egress=egress,
    )
    problems = (Problem(where, field, None, why) for field, why in (*lost_in, *lost_out))
    return converted, tuple(problems)


def pod_selector_text(selector: LabelSelector | None) -> str:
    """A pod selector in Calico's language; only Kubernetes' own workloads are meant.

    Raises:
        ValueError: a term of it is none.
    """
    return _text((ORCHESTRATED, *_terms(selector or LabelSelector())))


def namespace_selector_text(selector: LabelSelector | None) -> str:
    """A namespace selector in Calico's language; empty when there is none.

    Raises:
        ValueError: a term of it is none.
    """
    return "" if selector is None else _text(_terms(selector)) or "all()"


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


def _rules(
    rules: Iterable[W], convert: Callable[[W], Iterator[Rule]], field: str
) -> tuple[tuple[Rule, ...], list[tuple[str, str]]]:
    """The rules that can be converted; and the fields of the others, with the reason."""
    converted: list[Rule] = []
    lost = []
    for i, rule in enumerate(rules):
        try:
            converted += list(convert(rule))
        except ValueError as error:
            lost.append((f"{field}[{i}]", f"is left out: {error}"))
    return tuple(converted), lost


def _types(spec: KubePolicySpec) -> tuple[str, ...]:
    if spec.policy_types:
        return tuple(each for each in ("Ingress", "Egress") if each in spec.policy_types)
    return ("Ingress", "Egress") if spec.egress else ("Ingress",)


def _text(terms: Iterable[str]) -> str:
    """The terms as one selector, which must be one."""
    text = " && ".join(terms)
    parse(text)
    return text


def _terms(selector: LabelSelector) -> Iterator[str]:
    for key in sorted(selector.match_labels):
        yield f"{key} == '{_value(selector.match_labels[key])}'"
    for term in selector.match_expressions:
        values = "', '".join(map(_value, term.values))
        match term.operator:
            case "In":
                yield f"{term.key} in {{ '{values}' }}"
            case "NotIn":
                yield f"{term.key} not in {{ '{values}' }}"
            case "Exists":
                yield f"has({term.key})"
            case "DoesNotExist":
                yield f"! has({term.key})"
            case _:
                raise ValueError(f"{term.operator!r} is no operator of a label selector")


def _value(value: str) -> str:
    """A label's value, which must not end the quotes that it stands in."""
    if "'" in value:
        raise ValueError(f"{value!r} is no value of a label")
    return value


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
    """One port or range in Calico's form; a name with an endPort is neither."""
    return number.port(port if end is None else f"{port}:{end}")


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
