"""What the API server would refuse in a Kubernetes NetworkPolicy.

Checked before conversion: a label that is not one could otherwise end its quotes in the selector
text and say something else. Source: Kubernetes' validation of networking.k8s.io/v1.
"""

from korat.core.errors import Problem
from korat.core.model.kubernetes_policy import (
    IpBlock,
    KubePolicy,
    KubePolicySpec,
    LabelSelector,
    Peer,
    PolicyPort,
    Requirement,
)
from korat.core.model.validate.endpoint import PORT_NAME, PORT_NAME_RULE
from korat.core.model.validate.faults import Faults
from korat.core.model.validate.name import label_value, labels, metadata, qualified_name
from korat.core.net.address import Prefix
from korat.core.net.port import NAMES_WITH_PORTS, PORT_LAST

_TYPES = ("Ingress", "Egress")
_WITH_VALUES = ("In", "NotIn")
_WITHOUT_VALUES = ("Exists", "DoesNotExist")


def policy_faults(policy: KubePolicy, where: str) -> list[Problem]:
    """Every fault of the policy, by its own JSON paths."""
    faults = Faults(where)
    metadata(faults, policy)
    kubernetes_spec(faults, policy.spec)
    return faults.found


def kubernetes_spec(faults: Faults, spec: KubePolicySpec) -> None:
    """The pods of a policy and its rules."""
    label_selector(faults, "spec.podSelector", spec.pod_selector)
    for i, each in enumerate(spec.policy_types):
        faults.choice(f"spec.policyTypes[{i}]", each, _TYPES)
    for i, rule in enumerate(spec.ingress):
        _peers(faults, f"spec.ingress[{i}].from", rule.peers)
        _ports(faults, f"spec.ingress[{i}].ports", rule.ports)
    for i, way_out in enumerate(spec.egress):
        _peers(faults, f"spec.egress[{i}].to", way_out.peers)
        _ports(faults, f"spec.egress[{i}].ports", way_out.ports)


def label_selector(faults: Faults, field: str, selector: LabelSelector | None) -> None:
    """A selector of Kubernetes', where there is one."""
    if selector is None:
        return
    labels(faults, f"{field}.matchLabels", selector.match_labels)
    for i, term in enumerate(selector.match_expressions):
        _requirement(faults, f"{field}.matchExpressions[{i}]", term)


def _requirement(faults: Faults, field: str, term: Requirement) -> None:
    qualified_name(faults, f"{field}.key", term.key)
    faults.choice(f"{field}.operator", term.operator, _WITH_VALUES + _WITHOUT_VALUES)
    if term.operator in _WITH_VALUES and not term.values:
        faults.add(f"{field}.values", None, f"is missing, {term.operator} needs some")
    if term.operator in _WITHOUT_VALUES and term.values:
        faults.add(f"{field}.values", None, f"must be empty with {term.operator}")
    for i, value in enumerate(term.values):
        label_value(faults, f"{field}.values[{i}]", value)


def _peers(faults: Faults, field: str, peers: tuple[Peer, ...]) -> None:
    for i, peer in enumerate(peers):
        here = f"{field}[{i}]"
        if peer == Peer():
            faults.add(here, None, "needs a podSelector, a namespaceSelector or an ipBlock")
        if peer.ip_block is not None:
            if peer.pod_selector or peer.namespace_selector:
                faults.add(f"{here}.ipBlock", None, "may not be given with a selector")
            _block(faults, f"{here}.ipBlock", peer.ip_block)
        label_selector(faults, f"{here}.podSelector", peer.pod_selector)
        label_selector(faults, f"{here}.namespaceSelector", peer.namespace_selector)


def _block(faults: Faults, field: str, block: IpBlock) -> None:
    whole = cidr(faults, f"{field}.cidr", block.cidr)
    for i, text in enumerate(block.excepted):
        here = f"{field}.except[{i}]"
        part = cidr(faults, here, text)
        if part and whole and (part == whole or not whole.covers(part)):
            faults.add(here, text, f"must be a part of {block.cidr}, and smaller")


def cidr(faults: Faults, field: str, text: str) -> Prefix | None:
    """A CIDR; host bits are allowed here, a bare address is not."""
    if "/" not in text:
        faults.add(field, text, "is not a CIDR")
        return None
    return faults.net(field, text)


def _ports(faults: Faults, field: str, ports: tuple[PolicyPort, ...]) -> None:
    for i, port in enumerate(ports):
        here = f"{field}[{i}]"
        faults.choice(f"{here}.protocol", port.protocol, NAMES_WITH_PORTS)
        if isinstance(port.port, str):
            faults.matches(f"{here}.port", port.port, PORT_NAME, PORT_NAME_RULE)
        elif port.port is not None and not 1 <= port.port <= PORT_LAST:
            faults.add(f"{here}.port", port.port, f"must be 1 to {PORT_LAST}")
        if port.end_port is not None:
            _end_port(faults, f"{here}.endPort", port, port.end_port)


def _end_port(faults: Faults, field: str, port: PolicyPort, end: int) -> None:
    if not isinstance(port.port, int):
        faults.add(field, end, "needs a port that is a number")
    elif not port.port <= end <= PORT_LAST:
        faults.add(field, end, f"must be {port.port} to {PORT_LAST}")
