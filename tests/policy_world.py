"""Tiny builders for policy tests: a world of few words, and one judgement by all three engines."""

from korat.core.model.endpoint import (
    EndpointPort,
    GlobalNetworkSet,
    NetworkSet,
    NetworkSetSpec,
    WorkloadEndpoint,
    WorkloadEndpointSpec,
)
from korat.core.model.host import HostEndpoint, HostEndpointSpec, HostPort
from korat.core.model.kubernetes import decode_any
from korat.core.model.label import SERVICE_NAME
from korat.core.model.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    GlobalPolicySpec,
    NetworkPolicy,
    PolicySpec,
    Profile,
    ProfileSpec,
    Rule,
    Tier,
    TierSpec,
)
from korat.core.model.resource import Metadata
from korat.core.model.service import EndpointSlice, SliceEndpoint, SlicePort
from korat.core.model.staged import (
    StagedGlobalNetworkPolicy,
    StagedGlobalPolicySpec,
    StagedNetworkPolicy,
    StagedPolicySpec,
)
from korat.core.net.address import Addr
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import judge
from korat.core.policy.match import Packet
from korat.core.policy.outcome import Direction
from korat.core.table.compile import compile_node
from korat.core.table.sequence import Sequences, facts, run

NODE = "here"


def pod(
    name,
    *ips,
    namespace="red",
    account="",
    ports=(),
    profiles=None,
    node=NODE,
    interface=None,
    **labels,
):
    """A workload endpoint; ``ports`` are (name, protocol, number)."""
    return WorkloadEndpoint(
        metadata=Metadata(name=name, namespace=namespace, labels=labels),
        spec=WorkloadEndpointSpec(
            orchestrator="k8s",
            node=node,
            service_account_name=account,
            ip_networks=tuple(ips),
            profiles=(f"kns.{namespace}",) if profiles is None else tuple(profiles),
            interface_name=interface or f"cali-{name}",
            ports=tuple(EndpointPort(name=n, protocol=p, port=number) for n, p, number in ports),
        ),
    )


def host(interface, *ips, name="h", node=NODE, ports=(), profiles=(), **labels):
    """A host endpoint; ``ports`` are (name, protocol, number)."""
    return HostEndpoint(
        metadata=Metadata(name=name, labels=labels),
        spec=HostEndpointSpec(
            node=node,
            interface_name=interface,
            expected_ips=tuple(ips),
            profiles=tuple(profiles),
            ports=tuple(HostPort(name=n, protocol=p, port=number) for n, p, number in ports),
        ),
    )


def profile(name, ingress=(), egress=(), **labels):
    """A profile; its labels' dots are written as double underscores."""
    lent = {key.replace("__", "."): value for key, value in labels.items()}
    return Profile(
        metadata=Metadata(name=name),
        spec=ProfileSpec(ingress=tuple(ingress), egress=tuple(egress), labels_to_apply=lent),
    )


def open_namespace(name, **labels):
    """The profile that Calico gives a namespace."""
    lent = {"projectcalico__org/name": name} | labels
    return profile(
        f"kns.{name}", [allow()], [allow()], **{f"pcns__{key}": v for key, v in lent.items()}
    )


def tier(name, order=None, default="Deny"):
    """A tier."""
    return Tier(metadata=Metadata(name=name), spec=TierSpec(order=order, default_action=default))


def policy(name="p", namespace="red", ingress=(), egress=(), **spec):
    """A NetworkPolicy, or a GlobalNetworkPolicy when the namespace is empty."""
    kind, shape = (
        (NetworkPolicy, PolicySpec) if namespace else (GlobalNetworkPolicy, GlobalPolicySpec)
    )
    return kind(
        metadata=Metadata(name=name, namespace=namespace),
        spec=shape(ingress=tuple(ingress), egress=tuple(egress), **spec),
    )


def address_set(name, *nets, namespace="", **labels):
    """A NetworkSet, or a GlobalNetworkSet when the namespace is empty."""
    kind = NetworkSet if namespace else GlobalNetworkSet
    return kind(
        metadata=Metadata(name=name, namespace=namespace, labels=labels),
        spec=NetworkSetSpec(nets=tuple(nets)),
    )


def staged(name="p", namespace="red", action="Set", **spec):
    """A StagedNetworkPolicy, or a StagedGlobalNetworkPolicy when the namespace is empty."""
    kind, shape = (
        (StagedNetworkPolicy, StagedPolicySpec)
        if namespace
        else (StagedGlobalNetworkPolicy, StagedGlobalPolicySpec)
    )
    spec = {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items()}
    return kind(
        metadata=Metadata(name=name, namespace=namespace), spec=shape(staged_action=action, **spec)
    )


def kubernetes(kind, spec, name="p", namespace="red"):
    """What korat stores for one of Kubernetes' policies, or for a staged one of them."""
    versions = {
        "NetworkPolicy": "networking.k8s.io/v1",
        "ClusterNetworkPolicy": "policy.networking.k8s.io/v1alpha2",
        "StagedKubernetesNetworkPolicy": "projectcalico.org/v3",
    }
    metadata = {"name": name} | ({} if kind.startswith("Cluster") else {"namespace": namespace})
    (own,) = decode_any(
        {"apiVersion": versions[kind], "kind": kind, "metadata": metadata, "spec": spec}
    )
    return own


def cluster_policy(spec, name="p"):
    """A ClusterNetworkPolicy for all pods, of tier Admin and priority 10 unless it says."""
    own = {"tier": "Admin", "priority": 10, "subject": {"namespaces": {}}, **spec}
    return kubernetes("ClusterNetworkPolicy", own, name)


def endpoint_slice(name, service, *ips, namespace="red", ports=()):
    """A slice of a service with one endpoint for each address; ``ports`` are (protocol, number)."""
    return EndpointSlice(
        metadata=Metadata(name=name, namespace=namespace, labels={SERVICE_NAME: service}),
        address_type="IPv6" if ":" in ips[0] else "IPv4",
        endpoints=tuple(SliceEndpoint(addresses=(ip,)) for ip in ips),
        ports=tuple(SlicePort(name=f"p{i}", protocol=p, port=n) for i, (p, n) in enumerate(ports)),
    )


def rule(action, source=None, destination=None, **fields):
    """A rule."""
    return Rule(
        action=action,
        source=source or EntityRule(),
        destination=destination or EntityRule(),
        **fields,
    )


def allow(source=None, destination=None, **fields):
    """An Allow rule."""
    return rule("Allow", source, destination, **fields)


def deny(source=None, destination=None, **fields):
    """A Deny rule."""
    return rule("Deny", source, destination, **fields)


def who(**fields):
    """One side of a rule; lists become tuples."""
    return EntityRule(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


def packet(src, dst, protocol=6, a=40000, b=80):
    """A packet; the two numbers are ports, or type and code for ICMP."""
    icmp = protocol in (1, 58)
    numbers = {"icmp_type": a, "icmp_code": b} if icmp else {"sport": a, "dport": b}
    return Packet(Addr.parse(src), Addr.parse(dst), protocol, **numbers)


def judged(resources, direction, sent, problems=0):
    """The outcome for a local workload, on which evaluator, sequence and table must agree.

    ``problems`` is how many objects or rules are known not to be readable.
    """
    cluster = Cluster.build(resources)
    assert len(cluster.problems) == problems, cluster.problems
    ingress = direction is Direction.INGRESS
    own, peer = (sent.dst, sent.src) if ingress else (sent.src, sent.dst)
    endpoint = cluster.endpoint_at(own)
    assert endpoint is not None
    outcome = judge(cluster, endpoint, direction, sent).outcome
    sequence = Sequences(cluster).of(endpoint, direction, sent.family)
    assert run(sequence, facts(cluster, sequence, sent)) == outcome
    lookups = compile_node(cluster, NODE).directions[sent.family, direction]
    table = lookups.table(lookups.classes.class_of(peer), endpoint.interface)
    assert table is not None
    assert table.lookup(sent.protocol, *sent.numbers) == outcome
    return outcome


def told(outcome):
    """An outcome in one line, without what staged policies would have done."""
    logs = " after " + " ".join(str(ref.index) for ref in outcome.logs) if outcome.logs else ""
    return f"{outcome.action.value}: {outcome.ref}{logs}"
