"""The kinds that korat stores: their names, aliases, scope, struct and the columns they print.

Source: calicoctl's resource manager (aliases and columns).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from korat.core.model.cluster_policy import ClusterNetworkPolicy
from korat.core.model.config import ClusterInformation, FelixConfiguration, IPPool
from korat.core.model.controllers import KubeControllersConfiguration
from korat.core.model.endpoint import GlobalNetworkSet, NetworkSet, Node, WorkloadEndpoint
from korat.core.model.host import HostEndpoint
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


@dataclass(frozen=True, slots=True)
class Kind:
    """What korat knows of one kind."""

    name: str
    plural: str
    namespaced: bool
    struct: type[Resource]
    aliases: tuple[str, ...]
    columns: tuple[Column, ...]
    wide: tuple[Column, ...]

    @property
    def api_version(self) -> str:
        """The apiVersion its objects carry."""
        return self.struct().api_version


def kind_of(word: str) -> Kind | None:
    """The kind that a user means by ``word``: its name, plural or an alias, in any case."""
    return _BY_WORD.get(word.lower())


def _column(title: str, struct: type[R], cell: Callable[[R], object]) -> Column:
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


def _nets(nets: tuple[str, ...]) -> str:
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
    return _nets(tuple(addr for endpoint in own.endpoints for addr in endpoint.addresses))


#: Where a set's NETS column is cut, as calicoctl cuts it.
_NETS_WIDTH = 80

_NAME = _column("NAME", Resource, lambda r: r.metadata.name)
_POLICY = (_NAME, _column("TIER", NetworkPolicy, lambda p: p.spec.tier))
_POLICY_WIDE = (
    *_POLICY,
    _column("ORDER", NetworkPolicy, lambda p: p.spec.order),
    _column("SELECTOR", NetworkPolicy, lambda p: p.spec.selector),
)
_GLOBAL_POLICY = (_NAME, _column("TIER", GlobalNetworkPolicy, lambda p: p.spec.tier))
_GLOBAL_POLICY_WIDE = (
    *_GLOBAL_POLICY,
    _column("ORDER", GlobalNetworkPolicy, lambda p: p.spec.order),
    _column("SELECTOR", GlobalNetworkPolicy, lambda p: p.spec.selector),
)
_STAGED = (_NAME, _column("TIER", StagedNetworkPolicy, lambda p: p.spec.tier))
_STAGED_WIDE = (
    *_STAGED,
    _column("ORDER", StagedNetworkPolicy, lambda p: p.spec.order),
    _column("SELECTOR", StagedNetworkPolicy, lambda p: p.spec.selector),
)
_STAGED_GLOBAL = (_NAME, _column("TIER", StagedGlobalNetworkPolicy, lambda p: p.spec.tier))
_STAGED_GLOBAL_WIDE = (
    *_STAGED_GLOBAL,
    _column("ORDER", StagedGlobalNetworkPolicy, lambda p: p.spec.order),
    _column("SELECTOR", StagedGlobalNetworkPolicy, lambda p: p.spec.selector),
)
_STAGED_KUBERNETES_WIDE = (
    _NAME,
    _column(
        "PODSELECTOR", StagedKubernetesNetworkPolicy, lambda p: _label_selector(p.spec.pod_selector)
    ),
)
_CLUSTER_POLICY = (
    _NAME,
    _column("TIER", ClusterNetworkPolicy, lambda p: p.spec.tier),
    _column("PRIORITY", ClusterNetworkPolicy, lambda p: p.spec.priority),
)
_TIER = (_NAME, _column("ORDER", Tier, lambda t: t.spec.order))
_PROFILE_WIDE = (
    _NAME,
    _column("LABELS", Profile, lambda p: _pairs(p.spec.labels_to_apply)),
)
_ENDPOINT = (
    _column("WORKLOAD", WorkloadEndpoint, lambda w: w.spec.workload or w.spec.pod),
    _column("NODE", WorkloadEndpoint, lambda w: w.spec.node),
    _column("NETWORKS", WorkloadEndpoint, lambda w: ",".join(w.spec.ip_networks)),
    _column("INTERFACE", WorkloadEndpoint, lambda w: w.spec.interface_name),
)
_ENDPOINT_WIDE = (
    _NAME,
    *_ENDPOINT,
    _column("PROFILES", WorkloadEndpoint, lambda w: ",".join(w.spec.profiles)),
    _column(
        "NATS",
        WorkloadEndpoint,
        lambda w: ",".join(f"{{{n.internal_ip} {n.external_ip}}}" for n in w.spec.ip_nats),
    ),
)
_HOST = (_NAME, _column("NODE", HostEndpoint, lambda h: h.spec.node))
_HOST_WIDE = (
    *_HOST,
    _column("INTERFACE", HostEndpoint, lambda h: h.spec.interface_name),
    _column("IPS", HostEndpoint, lambda h: ",".join(h.spec.expected_ips)),
    _column("PROFILES", HostEndpoint, lambda h: ",".join(h.spec.profiles)),
)
_NODE_WIDE = (
    _NAME,
    _column("ASN", Node, lambda n: n.spec.bgp and n.spec.bgp.as_number),
    _column("IPV4", Node, lambda n: n.spec.bgp and n.spec.bgp.ipv4_address),
    _column("IPV6", Node, lambda n: n.spec.bgp and n.spec.bgp.ipv6_address),
)
_CIDR = _column("CIDR", IPPool, lambda p: p.spec.cidr)
_POOL_SELECTOR = _column("SELECTOR", IPPool, lambda p: p.spec.node_selector)
_POOL = (_NAME, _CIDR, _POOL_SELECTOR)
_POOL_WIDE = (
    _NAME,
    _CIDR,
    _column("NAT", IPPool, lambda p: p.spec.nat_outgoing),
    _column("IPIPMODE", IPPool, lambda p: p.spec.ipip_mode or "Never"),
    _column("VXLANMODE", IPPool, lambda p: p.spec.vxlan_mode or "Never"),
    _column("DISABLED", IPPool, lambda p: p.spec.disabled),
    _column("DISABLEBGPEXPORT", IPPool, lambda p: p.spec.disable_bgp_export),
    _POOL_SELECTOR,
    _column("ASSIGNMENTMODE", IPPool, lambda p: p.spec.assignment_mode),
)
_CLUSTER = (
    _NAME,
    _column("CLUSTERGUID", ClusterInformation, lambda c: c.spec.cluster_guid),
    _column("CLUSTERTYPE", ClusterInformation, lambda c: c.spec.cluster_type),
    _column("CALICOVERSION", ClusterInformation, lambda c: c.spec.calico_version),
    _column("DATASTOREREADY", ClusterInformation, lambda c: c.spec.datastore_ready),
)
_POD = (
    _NAME,
    _column("STATUS", Pod, lambda p: p.status.phase),
    _column("IP", Pod, lambda p: p.status.pod_ip),
    _column("NODE", Pod, lambda p: p.spec.node_name),
)
_POD_WIDE = (
    *_POD,
    _column("ACCOUNT", Pod, lambda p: p.account),
    _column("PORTS", Pod, _container_ports),
)

_SERVICE = (
    _NAME,
    _column("TYPE", Service, lambda s: s.spec.type),
    _column("CLUSTER-IP", Service, lambda s: s.spec.cluster_ip),
    _column("PORTS", Service, _service_ports),
)
_SERVICE_WIDE = (*_SERVICE, _column("SELECTOR", Service, lambda s: _pairs(s.spec.selector)))
_SLICE = (
    _NAME,
    _column("ADDRESSTYPE", EndpointSlice, lambda s: s.address_type),
    _column("PORTS", EndpointSlice, _slice_ports),
    _column("ENDPOINTS", EndpointSlice, _slice_addresses),
)


def _kind(
    struct: type[Resource],
    plural: str,
    aliases: str,
    columns: tuple[Column, ...],
    wide: tuple[Column, ...],
) -> Kind:
    namespaced = struct in _NAMESPACED
    words = tuple(aliases.split())
    return Kind(struct.__name__, plural, namespaced, struct, words, columns, wide)


_NAMESPACED = {
    EndpointSlice,
    NetworkPolicy,
    NetworkSet,
    Pod,
    Service,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
    WorkloadEndpoint,
}
_ALL = (
    _kind(NetworkPolicy, "networkpolicies", "policy np policies pol pols", _POLICY, _POLICY_WIDE),
    _kind(
        GlobalNetworkPolicy,
        "globalnetworkpolicies",
        "gnp gnps",
        _GLOBAL_POLICY,
        _GLOBAL_POLICY_WIDE,
    ),
    _kind(
        StagedNetworkPolicy,
        "stagednetworkpolicies",
        "stagedpolicy snp stagedpolicies spol spols",
        _STAGED,
        _STAGED_WIDE,
    ),
    _kind(
        StagedGlobalNetworkPolicy,
        "stagedglobalnetworkpolicies",
        "sgnp sgnps",
        _STAGED_GLOBAL,
        _STAGED_GLOBAL_WIDE,
    ),
    _kind(
        StagedKubernetesNetworkPolicy,
        "stagedkubernetesnetworkpolicies",
        "stagedkubernetespolicy sknp stagedkubernetespolicies skpol skpols",
        (_NAME,),
        _STAGED_KUBERNETES_WIDE,
    ),
    _kind(
        ClusterNetworkPolicy, "clusternetworkpolicies", "cnp cnps", _CLUSTER_POLICY, _CLUSTER_POLICY
    ),
    _kind(Tier, "tiers", "", _TIER, _TIER),
    _kind(Profile, "profiles", "pro pros", (_NAME,), _PROFILE_WIDE),
    _kind(
        NetworkSet,
        "networksets",
        "netsets netset",
        (_NAME,),
        (_NAME, _column("NETS", NetworkSet, lambda s: _nets(s.spec.nets))),
    ),
    _kind(
        GlobalNetworkSet,
        "globalnetworksets",
        "gnetsets gnetset",
        (_NAME,),
        (_NAME, _column("NETS", GlobalNetworkSet, lambda s: _nets(s.spec.nets))),
    ),
    _kind(WorkloadEndpoint, "workloadendpoints", "wep weps", _ENDPOINT, _ENDPOINT_WIDE),
    _kind(HostEndpoint, "hostendpoints", "hep heps", _HOST, _HOST_WIDE),
    _kind(Node, "nodes", "no nos", (_NAME,), _NODE_WIDE),
    _kind(IPPool, "ippools", "ipp ipps pool pools", _POOL, _POOL_WIDE),
    _kind(
        FelixConfiguration,
        "felixconfigurations",
        "felixconfig felixconfigs",
        (_NAME,),
        (_NAME,),
    ),
    _kind(
        ClusterInformation, "clusterinformations", "clusterinfo clusterinfos", _CLUSTER, _CLUSTER
    ),
    _kind(
        KubeControllersConfiguration,
        "kubecontrollersconfigurations",
        "kubecontrollersconfig kubecontrollersconfigs",
        (_NAME,),
        (_NAME,),
    ),
    _kind(Pod, "pods", "po", _POD, _POD_WIDE),
    _kind(Service, "services", "svc", _SERVICE, _SERVICE_WIDE),
    _kind(EndpointSlice, "endpointslices", "", _SLICE, _SLICE),
)

#: Every kind of the store by its name.
KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _ALL})

_BY_WORD = {word: kind for kind in _ALL for word in (kind.name.lower(), kind.plural, *kind.aliases)}
