"""From resources to what policy needs of them: text parsed, selectors made effective.

Each function reads one resource and raises ValueError for what it cannot read.
Absent types govern both directions, as in felix/calc.
Source: projectcalico.org/v3, libcalico-go/lib/backend/syncersv1/updateprocessors.
"""

import math
from collections.abc import Iterable, Mapping

from korat.core.model.endpoint import GlobalNetworkSet, NetworkSet, WorkloadEndpoint
from korat.core.model.host import HostEndpoint
from korat.core.model.kubernetes.profile import namespace_profile_name
from korat.core.model.label import (
    NAMESPACE,
    NAMESPACE_PREFIX,
    ORCHESTRATOR,
    SERVICE_ACCOUNT,
    SERVICE_ACCOUNT_PREFIX,
    SERVICE_NAME,
)
from korat.core.model.policy import (
    DEFAULT_TIER,
    GlobalPolicySpec,
    PolicySpec,
    Rule,
)
from korat.core.model.policy import Profile as ProfileResource
from korat.core.model.service import EndpointSlice
from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.port import PORT_LAST, Protocol, protocol_number
from korat.core.policy.entity import (
    AddressSet,
    Endpoint,
    NamedPort,
    Policy,
    PolicyRule,
    Profile,
    Slice,
    SlicePort,
)
from korat.core.policy.outcome import Direction, PolicySet
from korat.core.policy.rule import normal_rule
from korat.core.policy.scope import ServiceName, entity_scope, policy_selector
from korat.core.policy.written import Written

ProfileLabels = Mapping[str, Mapping[str, str]]

_SLICE_PROTOCOLS = {"UDP": Protocol.UDP, "SCTP": Protocol.SCTP}


def endpoint_of(resource: WorkloadEndpoint, labels: Mapping[str, str]) -> Endpoint:
    """A workload endpoint; ``labels`` are its own and those of its profiles."""
    spec = resource.spec
    return Endpoint(
        key=resource.key,
        node=spec.node,
        interface=spec.interface_name,
        addresses=tuple(sorted({Addr.parse_interface(text) for text in spec.ip_networks})),
        labels=labels,
        ports=tuple(
            NamedPort(p.name, protocol_number(p.protocol), p.port) for p in spec.ports if p.name
        ),
        profiles=spec.profiles,
        spoof_allowed=tuple(Prefix.parse(text) for text in spec.allow_spoofed_source_prefixes),
    )


def own_labels(resource: WorkloadEndpoint) -> Mapping[str, str]:
    """The labels that a workload endpoint has whatever its profiles lend it.

    The labels that Calico derives from the object itself are set here too, since an object written
    by hand may lack them, and an account's name may be too long for a stored label. None may
    pretend to come from a profile.
    """
    spec, namespace = resource.spec, resource.metadata.namespace
    lendable = (NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX)
    own = {k: v for k, v in resource.metadata.labels.items() if not k.startswith(lendable)}
    derived = {
        NAMESPACE: namespace,
        ORCHESTRATOR: spec.orchestrator,
        SERVICE_ACCOUNT: spec.service_account_name,
    }
    own.update({key: value for key, value in derived.items() if value})
    return own


def host_of(resource: HostEndpoint, lent: ProfileLabels) -> Endpoint:
    """A host endpoint; it is in no namespace and has the labels it was given and its profiles'."""
    spec = resource.spec
    return Endpoint(
        key=resource.key,
        node=spec.node,
        interface=spec.interface_name,
        addresses=tuple(sorted({Addr.parse(text) for text in spec.expected_ips})),
        labels=inherited(resource.metadata.labels, spec.profiles, lent),
        ports=tuple(NamedPort(p.name, protocol_number(p.protocol), p.port) for p in spec.ports),
        profiles=spec.profiles,
        spoof_allowed=(),
    )


def set_of(resource: NetworkSet | GlobalNetworkSet, lent: ProfileLabels) -> AddressSet:
    """A network set; one in a namespace has the namespace's label and inherits its labels."""
    own, parents = set_labels(resource)
    nets = {Prefix.parse(text) for text in resource.spec.nets}
    return AddressSet(resource.key, tuple(sorted(nets)), inherited(own, parents, lent))


def set_labels(
    resource: NetworkSet | GlobalNetworkSet,
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The labels that a network set has by itself, and the profiles that lend it more."""
    namespace = resource.metadata.namespace
    if not namespace:
        return resource.metadata.labels, ()
    own = {**resource.metadata.labels, NAMESPACE: namespace}
    return own, (namespace_profile_name(namespace),)


def slice_of(resource: EndpointSlice) -> Slice:
    """An endpoint slice of the service that it names.

    Names of hosts among the addresses, and ports without a number, say nothing. A protocol that
    Kubernetes does not know is taken for TCP.
    Source: felix/serviceindex.
    """
    service = ServiceName(
        resource.metadata.namespace, resource.metadata.labels.get(SERVICE_NAME, "")
    )
    texts = {text for endpoint in resource.endpoints for text in endpoint.addresses}
    ports = {
        SlicePort(_SLICE_PROTOCOLS.get(port.protocol, Protocol.TCP).value, port.port)
        for port in resource.ports
        if port.port is not None
    }
    wrong = [port.port for port in ports if not 1 <= port.port <= PORT_LAST]
    if wrong:
        raise ValueError(f"port {wrong[0]} is not 1 to {PORT_LAST}")
    addresses = sorted(addr for addr in map(_address, texts) if addr is not None)
    return Slice(resource.key, service, tuple(addresses), tuple(sorted(ports)))


def policy_of(written: Written) -> Policy:
    """A policy of any kind."""
    spec, namespace = written.policy.spec, written.policy.metadata.namespace
    return Policy(
        key=written.key,
        tier=spec.tier or DEFAULT_TIER,
        order=math.inf if spec.order is None else spec.order,
        selector=policy_selector(spec, namespace),
        directions=_directions(spec.types),
        ingress=_rules(spec.ingress, namespace),
        egress=_rules(spec.egress, namespace),
        staged=written.staged,
        sets=_sets(spec),
    )


def _sets(spec: PolicySpec) -> frozenset[PolicySet]:
    """Untracked and pre-DNAT policies are for hosts and belong to their own set alone."""
    if not isinstance(spec, GlobalPolicySpec):
        return frozenset({PolicySet.NORMAL})
    if spec.do_not_track:
        return frozenset({PolicySet.UNTRACKED})
    if spec.pre_dnat:
        return frozenset({PolicySet.PRE_DNAT})
    forward = {PolicySet.FORWARD} if spec.apply_on_forward else set()
    return frozenset({PolicySet.NORMAL, *forward})


def profile_of(resource: ProfileResource) -> Profile:
    """A profile's rules; they belong to no namespace."""
    spec = resource.spec
    return Profile(resource.metadata.name, _rules(spec.ingress, ""), _rules(spec.egress, ""))


def _address(text: str) -> Addr | None:
    try:
        return Addr.parse(text)
    except ValueError:
        return None


def _directions(types: Iterable[str]) -> frozenset[Direction]:
    return frozenset(Direction(name.lower()) for name in types) or frozenset(Direction)


def _rules(rules: Iterable[Rule], namespace: str) -> tuple[PolicyRule, ...]:
    return tuple(_rule(rule, namespace) for rule in rules)


def _rule(rule: Rule, namespace: str) -> PolicyRule:
    source = entity_scope(rule.source, namespace)
    destination = entity_scope(rule.destination, namespace)
    v4, v6 = (normal_rule(rule, source, destination, family) for family in Family)
    return PolicyRule(rule, source, destination, v4, v6)


def inherited(
    own: Mapping[str, str], profiles: Iterable[str], lent: ProfileLabels
) -> Mapping[str, str]:
    """Own labels win over those of profiles, and an earlier profile's over a later one's."""
    labels = dict(own)
    for name in profiles:
        for key, value in lent.get(name, {}).items():
            labels.setdefault(key, value)
    return labels
