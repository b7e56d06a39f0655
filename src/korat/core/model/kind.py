"""The kinds that korat stores: their names, aliases, scope, struct and the columns they print.

Source: calicoctl's resource manager (aliases; the columns are in ``column``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from korat.core.model import column
from korat.core.model.cluster_policy import ClusterNetworkPolicy
from korat.core.model.config import ClusterInformation, FelixConfiguration, IPPool
from korat.core.model.controllers import KubeControllersConfiguration
from korat.core.model.endpoint import GlobalNetworkSet, NetworkSet, Node, WorkloadEndpoint
from korat.core.model.host import HostEndpoint
from korat.core.model.ipam import (
    BlockAffinity,
    IPAMBlock,
    IPAMConfig,
    IPAMConfiguration,
    IPAMHandle,
    IPAMHost,
    IPReservation,
)
from korat.core.model.pod import Pod
from korat.core.model.policy import GlobalNetworkPolicy, NetworkPolicy, Profile, Tier
from korat.core.model.resource import Resource
from korat.core.model.service import EndpointSlice, Service
from korat.core.model.staged import (
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What korat knows of one kind."""

    name: str
    plural: str
    namespaced: bool
    struct: type[Resource]
    aliases: tuple[str, ...]
    columns: tuple[column.Column, ...]
    wide: tuple[column.Column, ...]

    @property
    def api_version(self) -> str:
        """The apiVersion its objects carry."""
        return self.struct().api_version


def kind_of(word: str) -> Kind | None:
    """The kind that a user means by ``word``: its name, plural or an alias, in any case."""
    return _BY_WORD.get(word.lower())


def _kind(
    struct: type[Resource],
    plural: str,
    aliases: str,
    columns: tuple[column.Column, ...],
    wide: tuple[column.Column, ...],
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
    _kind(
        NetworkPolicy,
        "networkpolicies",
        "policy np policies pol pols",
        column.POLICY,
        column.POLICY_WIDE,
    ),
    _kind(
        GlobalNetworkPolicy,
        "globalnetworkpolicies",
        "gnp gnps",
        column.GLOBAL_POLICY,
        column.GLOBAL_POLICY_WIDE,
    ),
    _kind(
        StagedNetworkPolicy,
        "stagednetworkpolicies",
        "stagedpolicy snp stagedpolicies spol spols",
        column.STAGED,
        column.STAGED_WIDE,
    ),
    _kind(
        StagedGlobalNetworkPolicy,
        "stagedglobalnetworkpolicies",
        "sgnp sgnps",
        column.STAGED_GLOBAL,
        column.STAGED_GLOBAL_WIDE,
    ),
    _kind(
        StagedKubernetesNetworkPolicy,
        "stagedkubernetesnetworkpolicies",
        "stagedkubernetespolicy sknp stagedkubernetespolicies skpol skpols",
        (column.NAME,),
        column.STAGED_KUBERNETES_WIDE,
    ),
    _kind(
        ClusterNetworkPolicy,
        "clusternetworkpolicies",
        "cnp cnps",
        column.CLUSTER_POLICY,
        column.CLUSTER_POLICY,
    ),
    _kind(Tier, "tiers", "", column.TIER, column.TIER),
    _kind(Profile, "profiles", "pro pros", (column.NAME,), column.PROFILE_WIDE),
    _kind(
        NetworkSet,
        "networksets",
        "netsets netset",
        (column.NAME,),
        (column.NAME, column.column("NETS", NetworkSet, lambda s: column.nets(s.spec.nets))),
    ),
    _kind(
        GlobalNetworkSet,
        "globalnetworksets",
        "gnetsets gnetset",
        (column.NAME,),
        (column.NAME, column.column("NETS", GlobalNetworkSet, lambda s: column.nets(s.spec.nets))),
    ),
    _kind(WorkloadEndpoint, "workloadendpoints", "wep weps", column.ENDPOINT, column.ENDPOINT_WIDE),
    _kind(HostEndpoint, "hostendpoints", "hep heps", column.HOST, column.HOST_WIDE),
    _kind(Node, "nodes", "no nos", (column.NAME,), column.NODE_WIDE),
    _kind(IPPool, "ippools", "ipp ipps pool pools", column.POOL, column.POOL_WIDE),
    _kind(
        IPReservation,
        "ipreservations",
        "reservation reservations",
        (column.NAME,),
        column.RESERVATION_WIDE,
    ),
    _kind(
        IPAMConfiguration,
        "ipamconfigurations",
        "ipamconfig ipamconfigs",
        column.IPAM_CONFIGURATION,
        column.IPAM_CONFIGURATION_WIDE,
    ),
    _kind(IPAMConfig, "ipamconfigs", "", column.IPAM_CONFIG, column.IPAM_CONFIG),
    _kind(IPAMBlock, "ipamblocks", "", column.IPAM_BLOCK, column.IPAM_BLOCK),
    _kind(BlockAffinity, "blockaffinities", "", column.AFFINITY, column.AFFINITY),
    _kind(IPAMHandle, "ipamhandles", "", column.HANDLE, column.HANDLE),
    _kind(IPAMHost, "ipamhosts", "", (column.NAME,), (column.NAME,)),
    _kind(
        FelixConfiguration,
        "felixconfigurations",
        "felixconfig felixconfigs",
        (column.NAME,),
        (column.NAME,),
    ),
    _kind(
        ClusterInformation,
        "clusterinformations",
        "clusterinfo clusterinfos",
        column.CLUSTER,
        column.CLUSTER,
    ),
    _kind(
        KubeControllersConfiguration,
        "kubecontrollersconfigurations",
        "kubecontrollersconfig kubecontrollersconfigs",
        (column.NAME,),
        (column.NAME,),
    ),
    _kind(Pod, "pods", "po", column.POD, column.POD_WIDE),
    _kind(Service, "services", "svc", column.SERVICE, column.SERVICE_WIDE),
    _kind(EndpointSlice, "endpointslices", "", column.SLICE, column.SLICE),
)

#: Every kind of the store by its name.
KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _ALL})

#: The internal IPAMConfig has no word: whoever says ``ipamconfig`` means the resource.
_BY_WORD = {
    word: kind
    for kind in _ALL
    if kind.struct is not IPAMConfig
    for word in (kind.name.lower(), kind.plural, *kind.aliases)
}
