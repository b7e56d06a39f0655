"""From resources to what policy needs of them: text parsed, selectors made effective.

Each function reads one resource and raises ValueError for what it cannot read.
Absent types govern both directions, as in felix/calc.
Source: projectcalico.org/v3, libcalico-go/lib/backend/syncersv1/updateprocessors.
"""

import math
from collections.abc import Iterable, Mapping

from korat.core.model.endpoint import GlobalNetworkSet, NetworkSet, WorkloadEndpoint
from korat.core.model.kubernetes.profile import namespace_profile_name
from korat.core.model.label import (
    NAMESPACE,
    NAMESPACE_PREFIX,
    ORCHESTRATOR,
    SERVICE_ACCOUNT,
    SERVICE_ACCOUNT_PREFIX,
)
from korat.core.model.policy import (
    DEFAULT_TIER,
    GlobalNetworkPolicy,
    GlobalPolicySpec,
    NetworkPolicy,
    Rule,
)
from korat.core.model.policy import Profile as ProfileResource
from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.port import protocol_number
from korat.core.policy.entity import AddressSet, Endpoint, NamedPort, Policy, PolicyRule, Profile
from korat.core.policy.outcome import Direction
from korat.core.policy.rule import normal_rule
from korat.core.policy.scope import entity_scope, policy_selector

ProfileLabels = Mapping[str, Mapping[str, str]]


def endpoint_of(resource: WorkloadEndpoint, lent: ProfileLabels) -> Endpoint:
    """A workload endpoint; ``lent`` has the labels of every profile by name.

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
    return Endpoint(
        key=resource.key,
        node=spec.node,
        interface=spec.interface_name,
        addresses=tuple(sorted({Addr.parse_interface(text) for text in spec.ip_networks})),
        labels=_inherited(own, spec.profiles, lent),
        ports=tuple(NamedPort(p.name, protocol_number(p.protocol), p.port) for p in spec.ports),
        profiles=spec.profiles,
        spoof_allowed=tuple(Prefix.parse(text) for text in spec.allow_spoofed_source_prefixes),
    )


def set_of(resource: NetworkSet | GlobalNetworkSet, lent: ProfileLabels) -> AddressSet:
    """A network set; one in a namespace has the namespace's label and inherits its labels."""
    own, namespace = dict(resource.metadata.labels), resource.metadata.namespace
    parents = (namespace_profile_name(namespace),) if namespace else ()
    if namespace:
        own[NAMESPACE] = namespace
    nets = {Prefix.parse(text) for text in resource.spec.nets}
    return AddressSet(resource.key, tuple(sorted(nets)), _inherited(own, parents, lent))


def policy_of(resource: NetworkPolicy | GlobalNetworkPolicy) -> Policy:
    """A policy of either kind."""
    spec, namespace = resource.spec, resource.metadata.namespace
    return Policy(
        key=resource.key,
        tier=spec.tier or DEFAULT_TIER,
        order=math.inf if spec.order is None else spec.order,
        selector=policy_selector(spec, namespace),
        directions=_directions(spec.types),
        ingress=_rules(spec.ingress, namespace),
        egress=_rules(spec.egress, namespace),
    )


def governs_workloads(resource: NetworkPolicy | GlobalNetworkPolicy) -> bool:
    """Whether workloads are among those it governs; untracked and pre-DNAT policy is for hosts."""
    spec = resource.spec
    return not (isinstance(spec, GlobalPolicySpec) and (spec.do_not_track or spec.pre_dnat))


def profile_of(resource: ProfileResource) -> Profile:
    """A profile's rules; they belong to no namespace."""
    spec = resource.spec
    return Profile(resource.metadata.name, _rules(spec.ingress, ""), _rules(spec.egress, ""))


def _directions(types: Iterable[str]) -> frozenset[Direction]:
    return frozenset(Direction(name.lower()) for name in types) or frozenset(Direction)


def _rules(rules: Iterable[Rule], namespace: str) -> tuple[PolicyRule, ...]:
    return tuple(_rule(rule, namespace) for rule in rules)


def _rule(rule: Rule, namespace: str) -> PolicyRule:
    source = entity_scope(rule.source, namespace)
    destination = entity_scope(rule.destination, namespace)
    v4, v6 = (normal_rule(rule, source, destination, family) for family in Family)
    return PolicyRule(rule, source, destination, v4, v6)


def _inherited(
    own: Mapping[str, str], profiles: Iterable[str], lent: ProfileLabels
) -> Mapping[str, str]:
    """Own labels win over those of profiles, and an earlier profile's over a later one's."""
    labels = dict(own)
    for name in profiles:
        for key, value in lent.get(name, {}).items():
            labels.setdefault(key, value)
    return labels
