"""What the tables of each kind show: titles, and cells of an object.

Source: calicoctl's resource manager.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from korat.core.model.cluster_policy import ClusterNetworkPolicy
from korat.core.model.config import ClusterInformation, IPPool
from korat.core.model.endpoint import Node, WorkloadEndpoint
from korat.core.model.host import HostEndpoint
from korat.core.model.ipam import (
    BlockAffinity,
    IPAMBlock,
    IPAMConfig,
    IPAMConfiguration,
    IPAMHandle,
    IPReservation,
)
from korat.core.model.kubernetes_policy import LabelSelector
from korat.core.model.pod import Pod
from korat.core.model.policy import GlobalNetworkPolicy, NetworkPolicy, Profile, Tier
from korat.core.model.resource import Resource
from korat.core.model.service import EndpointSlice, Service
from korat.core.model.staged import (
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
)

R = TypeVar("R", bound=Resource)

#: A column of a table: its title, and its cell of one object.
Column = tuple[str, Callable[[Resource], str]]


def column(title: str, struct: type[R], cell: Callable[[R], object]) -> Column:
    """A column of a kind's table."""

    def of(resource: Resource) -> str:
        if not isinstance(resource, struct):
            raise TypeError(f"{resource.title} is not a {struct.__name__}")
        return _text(cell(resource))

    return title, of


def _text(value: object) -> str:
    """A cell as Go prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels))


def nets(nets: tuple[str, ...]) -> str:
    """A set's NETS, cut as calicoctl cuts them."""
    text = ",".join(nets)
    return text if len(text) <= _NETS_WIDTH else f"{text[: _NETS_WIDTH - 3]}..."


def _label_selector(selector: LabelSelector) -> str:
    """A selector of Kubernetes' in kubectl's words."""
    terms = [_pairs(selector.match_labels)] if selector.match_labels else []
    for term in selector.match_expressions:
        values = f" ({','.join(term.values)})" if term.values else ""
        terms.append(f"{term.key} {term.operator}{values}")
    return ",".join(terms) or "<all>"


def _container_ports(pod: Pod) -> str:
    ports = (port for container in pod.spec.containers for port in container.ports)
    return ",".join(f"{port.container_port}/{port.protocol}" for port in ports)


def _service_ports(service: Service) -> str:
    return ",".join(f"{port.port}/{port.protocol}" for port in service.spec.ports)


def _slice_ports(own: EndpointSlice) -> str:
    return ",".join(str(port.port) for port in own.ports if port.port is not None)


def _slice_addresses(own: EndpointSlice) -> str:
    return nets(tuple(addr for endpoint in own.endpoints for addr in endpoint.addresses))


#: Where a set's NETS column is cut, as calicoctl cuts it.
_NETS_WIDTH = 80

NAME = column("NAME", Resource, lambda r: r.metadata.name)
POLICY = (NAME, column("TIER", NetworkPolicy, lambda p: p.spec.tier))
POLICY_WIDE = (
    *POLICY,
    column("ORDER", NetworkPolicy, lambda p: p.spec.order),
    column("SELECTOR", NetworkPolicy, lambda p: p.spec.selector),
)
GLOBAL_POLICY = (NAME, column("TIER", GlobalNetworkPolicy, lambda p: p.spec.tier))
GLOBAL_POLICY_WIDE = (
    *GLOBAL_POLICY,
    column("ORDER", GlobalNetworkPolicy, lambda p: p.spec.order),
    column("SELECTOR", GlobalNetworkPolicy, lambda p: p.spec.selector),
)
STAGED = (NAME, column("TIER", StagedNetworkPolicy, lambda p: p.spec.tier))
STAGED_WIDE = (
    *STAGED,
    column("ORDER", StagedNetworkPolicy, lambda p: p.spec.order),
    column("SELECTOR", StagedNetworkPolicy, lambda p: p.spec.selector),
)
STAGED_GLOBAL = (NAME, column("TIER", StagedGlobalNetworkPolicy, lambda p: p.spec.tier))
STAGED_GLOBAL_WIDE = (
    *STAGED_GLOBAL,
    column("ORDER", StagedGlobalNetworkPolicy, lambda p: p.spec.order),
    column("SELECTOR", StagedGlobalNetworkPolicy, lambda p: p.spec.selector),
)
STAGED_KUBERNETES_WIDE = (
    NAME,
    column(
        "PODSELECTOR", StagedKubernetesNetworkPolicy, lambda p: _label_selector(p.spec.pod_selector)
    ),
)
CLUSTER_POLICY = (
    NAME,
    column("TIER", ClusterNetworkPolicy, lambda p: p.spec.tier),
    column("PRIORITY", ClusterNetworkPolicy, lambda p: p.spec.priority),
)
TIER = (NAME, column("ORDER", Tier, lambda t: t.spec.order))
PROFILE_WIDE = (
    NAME,
    column("LABELS", Profile, lambda p: _pairs(p.spec.labels_to_apply)),
)
ENDPOINT = (
    column("WORKLOAD", WorkloadEndpoint, lambda w: w.spec.workload or w.spec.pod),
    column("NODE", WorkloadEndpoint, lambda w: w.spec.node),
    column("NETWORKS", WorkloadEndpoint, lambda w: ",".join(w.spec.ip_networks)),
    column("INTERFACE", WorkloadEndpoint, lambda w: w.spec.interface_name),
)
ENDPOINT_WIDE = (
    NAME,
    *ENDPOINT,
    column("PROFILES", WorkloadEndpoint, lambda w: ",".join(w.spec.profiles)),
    column(
        "NATS",
        WorkloadEndpoint,
        lambda w: ",".join(f"{{{n.internal_ip} {n.external_ip}}}" for n in w.spec.ip_nats),
    ),
)
HOST = (NAME, column("NODE", HostEndpoint, lambda h: h.spec.node))
HOST_WIDE = (
    *HOST,
    column("INTERFACE", HostEndpoint, lambda h: h.spec.interface_name),
    column("IPS", HostEndpoint, lambda h: ",".join(h.spec.expected_ips)),
    column("PROFILES", HostEndpoint, lambda h: ",".join(h.spec.profiles)),
)
NODE_WIDE = (
    NAME,
    column("ASN", Node, lambda n: n.spec.bgp and n.spec.bgp.as_number),
    column("IPV4", Node, lambda n: n.spec.bgp and n.spec.bgp.ipv4_address),
    column("IPV6", Node, lambda n: n.spec.bgp and n.spec.bgp.ipv6_address),
)
CIDR = column("CIDR", IPPool, lambda p: p.spec.cidr)
POOL_SELECTOR = column("SELECTOR", IPPool, lambda p: p.spec.node_selector)
POOL = (NAME, CIDR, POOL_SELECTOR)
POOL_WIDE = (
    NAME,
    CIDR,
    column("NAT", IPPool, lambda p: p.spec.nat_outgoing),
    column("IPIPMODE", IPPool, lambda p: p.spec.ipip_mode or "Never"),
    column("VXLANMODE", IPPool, lambda p: p.spec.vxlan_mode or "Never"),
    column("DISABLED", IPPool, lambda p: p.spec.disabled),
    column("DISABLEBGPEXPORT", IPPool, lambda p: p.spec.disable_bgp_export),
    POOL_SELECTOR,
    column("ASSIGNMENTMODE", IPPool, lambda p: p.spec.assignment_mode),
)
CLUSTER = (
    NAME,
    column("CLUSTERGUID", ClusterInformation, lambda c: c.spec.cluster_guid),
    column("CLUSTERTYPE", ClusterInformation, lambda c: c.spec.cluster_type),
    column("CALICOVERSION", ClusterInformation, lambda c: c.spec.calico_version),
    column("DATASTOREREADY", ClusterInformation, lambda c: c.spec.datastore_ready),
)
POD = (
    NAME,
    column("STATUS", Pod, lambda p: p.status.phase),
    column("IP", Pod, lambda p: p.status.pod_ip),
    column("NODE", Pod, lambda p: p.spec.node_name),
)
POD_WIDE = (
    *POD,
    column("ACCOUNT", Pod, lambda p: p.account),
    column("PORTS", Pod, _container_ports),
)

SERVICE = (
    NAME,
    column("TYPE", Service, lambda s: s.spec.type),
    column("CLUSTER-IP", Service, lambda s: s.spec.cluster_ip),
    column("PORTS", Service, _service_ports),
)
SERVICE_WIDE = (*SERVICE, column("SELECTOR", Service, lambda s: _pairs(s.spec.selector)))
SLICE = (
    NAME,
    column("ADDRESSTYPE", EndpointSlice, lambda s: s.address_type),
    column("PORTS", EndpointSlice, _slice_ports),
    column("ENDPOINTS", EndpointSlice, _slice_addresses),
)
IPAM_BLOCK = (
    NAME,
    column("AFFINITY", IPAMBlock, lambda b: b.spec.owner),
    column("FREE", IPAMBlock, lambda b: len(b.spec.unallocated)),
)
AFFINITY = (
    NAME,
    column("NODE", BlockAffinity, lambda a: a.spec.node),
    column("CIDR", BlockAffinity, lambda a: a.spec.cidr),
    column("STATE", BlockAffinity, lambda a: a.spec.state),
)
HANDLE = (
    NAME,
    column(
        "BLOCKS",
        IPAMHandle,
        lambda h: ",".join(f"{cidr}={n}" for cidr, n in sorted(h.spec.block.items())),
    ),
)
IPAM_CONFIG = (
    NAME,
    column("STRICTAFFINITY", IPAMConfig, lambda c: c.spec.strict_affinity),
    column("AUTOALLOCATEBLOCKS", IPAMConfig, lambda c: c.spec.auto_allocate_blocks),
    column("MAXBLOCKSPERHOST", IPAMConfig, lambda c: c.spec.max_blocks_per_host),
)
IPAM_CONFIGURATION = (
    NAME,
    column("STRICTAFFINITY", IPAMConfiguration, lambda c: c.spec.strict_affinity),
    column("AUTOALLOCATEBLOCKS", IPAMConfiguration, lambda c: c.spec.auto_allocate_blocks),
)
IPAM_CONFIGURATION_WIDE = (
    *IPAM_CONFIGURATION,
    column("MAXBLOCKSPERHOST", IPAMConfiguration, lambda c: c.spec.max_blocks_per_host),
)
RESERVATION_WIDE = (
    NAME,
    column("CIDRS", IPReservation, lambda r: nets(r.spec.reserved_cidrs)),
)
