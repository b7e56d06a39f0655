"""What Calico fills in when an object is written: defaults, and values in their canonical form.

A value that is wrong is left as it is, for ``validate`` to name. Applying twice changes nothing.
Source: libcalico-go/lib/clientv3 and the defaults of the CRDs.
"""

from typing import TypeVar

from msgspec.structs import replace

from korat.core.model import label, number
from korat.core.model.config import IPPool
from korat.core.model.endpoint import Node, WorkloadEndpoint
from korat.core.model.host import HostEndpoint
from korat.core.model.ipam import CONFIRMED, BlockAffinity, IPAMHandle
from korat.core.model.policy import (
    DEFAULT_TIER,
    EntityRule,
    GlobalNetworkPolicy,
    NetworkPolicy,
    Port,
    Profile,
    Rule,
    Tier,
)
from korat.core.model.resource import Resource
from korat.core.model.staged import (
    DELETE,
    SET,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
)
from korat.core.net.address import Family, Prefix
from korat.core.net.port import canonical_protocol

P = TypeVar("P", NetworkPolicy, GlobalNetworkPolicy, StagedNetworkPolicy, StagedGlobalNetworkPolicy)
Q = TypeVar("Q", StagedNetworkPolicy, StagedGlobalNetworkPolicy)
R = TypeVar("R", bound=Resource)

#: The order of a tier that has none.
TIER_ORDER = 1_000_000
#: The block size of a pool that has none.
BLOCK_SIZE = {Family.V4: 26, Family.V6: 122}


def apply(resource: Resource) -> Resource:
    """The object as Calico would store it."""
    match resource:
        case Tier():
            return _tier(resource)
        case Profile():
            return _profile(resource)
        case IPPool():
            return _pool(resource)
        case WorkloadEndpoint() | HostEndpoint() | Node():
            return _owner(resource)
        case BlockAffinity() | IPAMHandle():
            return _ipam(resource)
        case _:
            return _any_policy(resource)


def _owner(owner: WorkloadEndpoint | HostEndpoint | Node) -> Resource:
    """Whatever has addresses of its own."""
    match owner:
        case WorkloadEndpoint():
            return _endpoint(owner)
        case HostEndpoint():
            return _host(owner)
        case Node():
            return _node(owner)


def _ipam(own: BlockAffinity | IPAMHandle) -> Resource:
    """What the name says, too: in etcd it is nowhere else."""
    name = own.metadata.name
    if isinstance(own, IPAMHandle):
        return replace(own, spec=replace(own.spec, handle_id=own.spec.handle_id or name))
    kind, _, rest = name.partition(":")
    node, _, block = rest.rpartition("/")
    spec = replace(
        own.spec,
        state=own.spec.state or CONFIRMED,
        node=own.spec.node or node,
        type=own.spec.type or kind,
        cidr=own.spec.cidr or "/".join(block.rsplit("-", 1)),
    )
    return replace(own, spec=spec)


def _any_policy(resource: Resource) -> Resource:
    match resource:
        case NetworkPolicy():
            return _policy(resource)
        case GlobalNetworkPolicy():
            return _policy(resource)
        case StagedNetworkPolicy():
            return _staged(_policy(resource))
        case StagedGlobalNetworkPolicy():
            return _staged(_policy(resource))
        case StagedKubernetesNetworkPolicy():
            action = resource.spec.staged_action or SET
            return replace(resource, spec=replace(resource.spec, staged_action=action))
        case _:
            return resource


def types_of(ingress: bool, egress: bool) -> tuple[str, ...]:  # noqa: FBT001 - two like facts
    """The directions a policy governs when it does not say: those that it has rules for."""
    if not egress:
        return ("Ingress",)
    return ("Ingress", "Egress") if ingress else ("Egress",)


def _policy(policy: P) -> P:
    tier = policy.spec.tier or DEFAULT_TIER
    spec = replace(
        policy.spec,
        tier=tier,
        order=_whole(policy.spec.order),
        ingress=_rules(policy.spec.ingress),
        egress=_rules(policy.spec.egress),
        types=policy.spec.types or types_of(bool(policy.spec.ingress), bool(policy.spec.egress)),
    )
    return replace(_with_labels(policy, {label.TIER: tier}), spec=spec)


def _staged(policy: Q) -> Q:
    """Staged policies are staged to be set, and one that stages a deletion governs nothing."""
    action = policy.spec.staged_action or SET
    types = () if action == DELETE else policy.spec.types
    return replace(policy, spec=replace(policy.spec, staged_action=action, types=types))


def _tier(tier: Tier) -> Tier:
    order = TIER_ORDER if tier.spec.order is None else _whole(tier.spec.order)
    action = tier.spec.default_action or "Deny"
    return replace(tier, spec=replace(tier.spec, order=order, default_action=action))


def _profile(profile: Profile) -> Profile:
    ingress, egress = _rules(profile.spec.ingress), _rules(profile.spec.egress)
    return replace(profile, spec=replace(profile.spec, ingress=ingress, egress=egress))


def _pool(pool: IPPool) -> IPPool:
    spec = pool.spec
    try:
        cidr = Prefix.parse(spec.cidr, strict=True)
    except ValueError:
        cidr = None
    filled = replace(
        spec,
        cidr=str(cidr) if cidr else spec.cidr,
        ipip_mode=spec.ipip_mode or "Never",
        vxlan_mode=spec.vxlan_mode or "Never",
        block_size=spec.block_size or (BLOCK_SIZE[cidr.family] if cidr else 0),
        node_selector=spec.node_selector or "all()",
        allowed_uses=spec.allowed_uses or _uses(spec.namespace_selector),
        assignment_mode="Automatic" if spec.assignment_mode is None else spec.assignment_mode,
    )
    return replace(pool, spec=filled)


def _uses(namespace_selector: str) -> tuple[str, ...]:
    """Tunnel addresses belong to no namespace, so a pool for some namespaces has none."""
    return ("Workload",) if namespace_selector else ("Workload", "Tunnel")


def _endpoint(endpoint: WorkloadEndpoint) -> WorkloadEndpoint:
    ports = tuple(replace(p, protocol=canonical_protocol(p.protocol)) for p in endpoint.spec.ports)
    labels = {
        label.NAMESPACE: endpoint.metadata.namespace,
        label.ORCHESTRATOR: endpoint.spec.orchestrator,
    }
    return replace(_with_labels(endpoint, labels), spec=replace(endpoint.spec, ports=ports))


def _host(host: HostEndpoint) -> HostEndpoint:
    ports = tuple(replace(p, protocol=canonical_protocol(p.protocol)) for p in host.spec.ports)
    return replace(host, spec=replace(host.spec, ports=ports))


def _node(node: Node) -> Node:
    bgp = node.spec.bgp
    if bgp is None or bgp.as_number is None:
        return node
    try:
        own = number.as_number(bgp.as_number)
    except ValueError:
        return node
    return replace(node, spec=replace(node.spec, bgp=replace(bgp, as_number=own)))


def _rules(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return tuple(
        replace(
            rule,
            protocol=_protocol(rule.protocol),
            not_protocol=_protocol(rule.not_protocol),
            source=_entity(rule.source),
            destination=_entity(rule.destination),
        )
        for rule in rules
    )


def _protocol(value: int | str | None) -> int | str | None:
    return None if value is None else canonical_protocol(value)


def _entity(entity: EntityRule) -> EntityRule:
    ports, not_ports = _ports(entity.ports), _ports(entity.not_ports)
    return replace(entity, ports=ports, not_ports=not_ports)


def _ports(ports: tuple[Port, ...]) -> tuple[Port, ...]:
    return tuple(_port(port) for port in ports)


def _port(value: Port) -> Port:
    try:
        return number.port(value)
    except ValueError:
        return value


def _whole(order: float | None) -> int | float | None:
    """An order without a needless fraction, so that 1000 is printed as it was written."""
    return int(order) if isinstance(order, float) and order.is_integer() else order


def _with_labels(resource: R, labels: dict[str, str]) -> R:
    merged = {**resource.metadata.labels, **labels}
    return replace(resource, metadata=replace(resource.metadata, labels=merged))
