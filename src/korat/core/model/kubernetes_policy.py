"""Kubernetes' NetworkPolicy and its label selectors, as their authors write them.

What they mean in Calico's words is in ``kubernetes.policy``.
Source: Kubernetes networking.k8s.io/v1 and meta/v1.
"""

import msgspec

from korat.core.model.policy import Port
from korat.core.model.resource import Frozen, Resource, written


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

    protocol: str = written("TCP")
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

    pod_selector: LabelSelector = written(LabelSelector())
    ingress: tuple[IngressRule, ...] = ()
    egress: tuple[EgressRule, ...] = ()
    policy_types: tuple[str, ...] = ()


class KubePolicy(Resource, frozen=True):
    """A Kubernetes NetworkPolicy as it is written."""

    kind: str = written("NetworkPolicy")
    api_version: str = written("networking.k8s.io/v1")
    spec: KubePolicySpec = written(KubePolicySpec())
    #: Kubernetes 1.24 to 1.27 had one, and ``kubectl get -o yaml`` wrote it into people's files.
    status: dict[str, object] = msgspec.field(default_factory=dict)
