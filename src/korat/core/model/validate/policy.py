"""NetworkPolicy, GlobalNetworkPolicy, Tier and Profile.

Source: libcalico-go/lib/validator/v3 and the CEL rules of the CRDs.
"""

from korat.core.model import builtin, label
from korat.core.model.policy import (
    GlobalNetworkPolicy,
    GlobalPolicySpec,
    NetworkPolicy,
    PolicySpec,
    Profile,
    Tier,
)
from korat.core.model.validate.faults import Faults
from korat.core.model.validate.name import dns_label, labels
from korat.core.model.validate.rule import Direction, rules

#: Which profiles' labels stand with which prefix.
_INHERITED = (
    (label.NAMESPACE_PROFILE_PREFIX, label.NAMESPACE_PREFIX),
    (label.ACCOUNT_PROFILE_PREFIX, label.SERVICE_ACCOUNT_PREFIX),
)
_TYPES = ("Ingress", "Egress")
_HINTS = ("AssumeNeededOnEveryNode",)


def network_policy(faults: Faults, policy: NetworkPolicy) -> None:
    """A policy of one namespace."""
    _spec(faults, policy.spec)


def global_network_policy(faults: Faults, policy: GlobalNetworkPolicy) -> None:
    """A policy of all namespaces and hosts."""
    spec = policy.spec
    _spec(faults, spec)
    faults.selector("spec.namespaceSelector", spec.namespace_selector)
    _host_switches(faults, spec)
    services = [
        (f"spec.egress[{i}].destination", rule.destination.services)
        for i, rule in enumerate(spec.egress)
    ] + [(f"spec.ingress[{i}].source", rule.source.services) for i, rule in enumerate(spec.ingress)]
    for field, service in services:
        if service and not service.namespace:
            faults.add(f"{field}.services.namespace", None, "is missing in a global policy")


def tier(faults: Faults, own: Tier) -> None:
    """A tier; the built-in ones keep their order and action."""
    spec = own.spec
    faults.choice("spec.defaultAction", spec.default_action, ("Deny", "Pass"))
    pinned = builtin.TIERS.get(own.metadata.name)
    if pinned is None:
        return
    if spec.order != pinned.order:
        text = f"tier {own.metadata.name} must have order {pinned.order}"
        faults.add("spec.order", spec.order, text)
    if spec.default_action != pinned.default_action:
        text = f"tier {own.metadata.name} must have default action {pinned.default_action}"
        faults.add("spec.defaultAction", spec.default_action, text)


def profile(faults: Faults, own: Profile) -> None:
    """A profile's rules and the labels that its endpoints inherit."""
    rules(faults, own.spec.ingress, Direction.INGRESS)
    rules(faults, own.spec.egress, Direction.EGRESS)
    labels(faults, "spec.labelsToApply", _handed_down(own))


def _handed_down(own: Profile) -> dict[str, str]:
    """The labels as they stand on the namespace or account, where 63 characters are legal too."""
    prefix = next((p for of, p in _INHERITED if own.metadata.name.startswith(of)), "")
    return {key.removeprefix(prefix): value for key, value in own.spec.labels_to_apply.items()}


def _spec(faults: Faults, spec: PolicySpec) -> None:
    dns_label(faults, "spec.tier", spec.tier)
    rules(faults, spec.ingress, Direction.INGRESS)
    rules(faults, spec.egress, Direction.EGRESS)
    faults.selector("spec.selector", spec.selector)
    faults.selector("spec.serviceAccountSelector", spec.service_account_selector)
    for i, each in enumerate(spec.types):
        faults.choice(f"spec.types[{i}]", each, _TYPES)
    faults.unique("spec.types", spec.types)
    for i, each in enumerate(spec.performance_hints):
        faults.choice(f"spec.performanceHints[{i}]", each, _HINTS)
    faults.unique("spec.performanceHints", spec.performance_hints)


def _host_switches(faults: Faults, spec: GlobalPolicySpec) -> None:
    """The switches for host endpoints, which do not all go together."""
    if spec.do_not_track and spec.pre_dnat:
        faults.add("spec.preDNAT", None, "may not be true together with doNotTrack")
    if (spec.do_not_track or spec.pre_dnat) and not spec.apply_on_forward:
        text = "must be true with preDNAT or doNotTrack"
        faults.add("spec.applyOnForward", spec.apply_on_forward, text)
    if spec.pre_dnat and spec.egress:
        faults.add("spec.egress", None, "a preDNAT policy may have no egress rules")
    if spec.pre_dnat and "Egress" in spec.types:
        faults.add("spec.types", None, "a preDNAT policy may not have type Egress")
