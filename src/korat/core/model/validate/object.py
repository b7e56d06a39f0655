"""One object on its own: the checks of its kind."""

from korat.core.errors import Problem
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
from korat.core.model.validate import (
    cluster_policy,
    config,
    controllers,
    endpoint,
    host,
    ipam,
    name,
    pod,
    policy,
    pool,
    service,
    staged,
)
from korat.core.model.validate.faults import Faults


def validate(resource: Resource) -> list[Problem]:
    """Every fault of an object that has its defaults; empty when it may be stored."""
    faults = Faults(resource.title)
    name.metadata(faults, resource)
    _policies(faults, resource)
    _staged(faults, resource)
    _endpoints(faults, resource)
    _configuration(faults, resource)
    _ipam(faults, resource)
    return faults.found


def _policies(faults: Faults, resource: Resource) -> None:
    match resource:
        case NetworkPolicy():
            policy.network_policy(faults, resource)
        case GlobalNetworkPolicy():
            policy.global_network_policy(faults, resource)
        case Tier():
            policy.tier(faults, resource)
        case Profile():
            policy.profile(faults, resource)
        case ClusterNetworkPolicy():
            cluster_policy.cluster_network_policy(faults, resource)
        case _:
            pass


def _staged(faults: Faults, resource: Resource) -> None:
    match resource:
        case StagedNetworkPolicy() | StagedGlobalNetworkPolicy():
            staged.staged_policy(faults, resource)
        case StagedKubernetesNetworkPolicy():
            staged.staged_kubernetes_policy(faults, resource)
        case _:
            pass


def _endpoints(faults: Faults, resource: Resource) -> None:
    match resource:
        case WorkloadEndpoint():
            endpoint.workload_endpoint(faults, resource)
        case HostEndpoint():
            host.host_endpoint(faults, resource)
        case Node():
            endpoint.node(faults, resource)
        case NetworkSet() | GlobalNetworkSet():
            endpoint.network_set(faults, resource)
        case Pod():
            pod.pod(faults, resource)
        case Service():
            service.service(faults, resource)
        case EndpointSlice():
            service.endpoint_slice(faults, resource)
        case _:
            pass


def _configuration(faults: Faults, resource: Resource) -> None:
    match resource:
        case IPPool():
            pool.pool(faults, resource)
        case FelixConfiguration():
            config.felix_configuration(faults, resource)
        case ClusterInformation():
            config.cluster_information(faults, resource)
        case KubeControllersConfiguration():
            controllers.kube_controllers(faults, resource)
        case _:
            pass


def _ipam(faults: Faults, resource: Resource) -> None:
    match resource:
        case IPAMBlock():
            ipam.block(faults, resource)
        case BlockAffinity():
            ipam.affinity(faults, resource)
        case IPAMHandle():
            ipam.handle(faults, resource)
        case IPAMConfig() | IPAMConfiguration():
            ipam.settings(faults, resource)
        case IPReservation():
            ipam.reservation(faults, resource)
        case _:
            pass
