"""Kubernetes' ClusterNetworkPolicy: an administrator's rules before or after everyone else's.

What one means in Calico's words is in ``kubernetes.cluster_policy``.
Source: policy.networking.k8s.io/v1alpha2 (sigs.k8s.io/network-policy-api), the experimental peers
``nodes`` and ``domainNames`` among its fields, which Calico's dataplane does not know.
"""

from typing import Any

from korat.core.model.kubernetes_policy import LabelSelector
from korat.core.model.resource import Frozen, Resource, written

#: The group and version of the kind.
API_VERSION = "policy.networking.k8s.io/v1alpha2"


class PortRange(Frozen, frozen=True):
    """Ports from ``start`` to ``end``, both among them."""

    start: int = written(0)
    end: int = written(0)


class ClusterPort(Frozen, frozen=True):
    """A port's number, or a range of them."""

    number: int = 0
    range: PortRange | None = None


class Transport(Frozen, frozen=True):
    """What of one transport protocol; without a port all of it."""

    destination_port: ClusterPort | None = None


class ClusterProtocol(Frozen, frozen=True):
    """One of these: a protocol, or a port's name, whichever protocol has it."""

    tcp: Transport | None = None
    udp: Transport | None = None
    sctp: Transport | None = None
    destination_named_port: str = ""


class NamespacedPods(Frozen, frozen=True):
    """Pods by their labels, in namespaces by theirs."""

    namespace_selector: LabelSelector = written(LabelSelector())
    pod_selector: LabelSelector | None = None


class Subject(Frozen, frozen=True):
    """Whom the policy is for: one of these."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None


class IngressPeer(Frozen, frozen=True):
    """Who sends: one of these."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None


class EgressPeer(Frozen, frozen=True):
    """Who receives: one of these."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None
    nodes: LabelSelector | None = None
    networks: tuple[str, ...] = ()
    domain_names: tuple[str, ...] = ()


class ClusterIngressRule(Frozen, frozen=True):
    """What becomes of what comes in from these."""

    name: str = ""
    action: str = written("")
    peers: tuple[IngressPeer, ...] = written((), name="from")
    protocols: tuple[ClusterProtocol, ...] = ()


class ClusterEgressRule(Frozen, frozen=True):
    """What becomes of what goes out to these."""

    name: str = ""
    action: str = written("")
    peers: tuple[EgressPeer, ...] = written((), name="to")
    protocols: tuple[ClusterProtocol, ...] = ()


class ClusterPolicySpec(Frozen, frozen=True):
    """The tier, the place in it, whom it is for, and the rules, tried in their order."""

    tier: str = written("")
    priority: int | None = None
    subject: Subject = written(Subject())
    ingress: tuple[ClusterIngressRule, ...] = ()
    egress: tuple[ClusterEgressRule, ...] = ()


class ClusterNetworkPolicy(Resource, frozen=True):
    """A policy of the cluster's administrator."""

    kind: str = written("ClusterNetworkPolicy")
    api_version: str = written(API_VERSION)
    spec: ClusterPolicySpec = written(ClusterPolicySpec())
    status: dict[str, Any] | None = None
