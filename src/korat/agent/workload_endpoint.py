"""The WorkloadEndpoint of a CNI request: a Kubernetes pod's, or a plain container's.

A container that no orchestrator names gets the profile of its network, made at the first use:
members of one network may talk to each other, as Calico's plugin has it.
Source: Calico cni-plugin/pkg/plugin (the way without Kubernetes) and pkg/k8s.
"""

from collections.abc import Iterable
from typing import NamedTuple

from korat.agent.workload_request import Request
from korat.core.errors import Conflict, Invalid, NotFound, Problem, Unsupported
from korat.core.model.codec import resource_of
from korat.core.model.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from korat.core.model.endpoint_name import EndpointIdentity, endpoint_name
from korat.core.model.key import DEFAULT_NAMESPACE, Key
from korat.core.model.kubernetes.workload import POD_ENDPOINT, endpoint_of
from korat.core.model.label import KUBERNETES, NAMESPACE, ORCHESTRATOR
from korat.core.model.pod import Pod
from korat.core.model.policy import EntityRule, Profile, ProfileSpec, Rule
from korat.core.model.resource import Metadata, Resource
from korat.drivers.store.client import Client
from korat.ports import Store

_PLAIN = "cni"


class LinkEnds(NamedTuple):
    """What an endpoint says of its link."""

    host_name: str
    pod_mac: str


def key_of(request: Request, node_name: str) -> Key:
    """Which endpoint the request is about.

    Raises:
        Invalid: a part of its name begins or ends with a dash.
    """
    namespace, pod = request.pod
    if pod:
        identity = EndpointIdentity(node_name, KUBERNETES, POD_ENDPOINT, pod=pod)
    else:
        container_id, ifname = request.owner
        identity = EndpointIdentity(node_name, _PLAIN, ifname, container_id=container_id)
    try:
        name = endpoint_name(identity)
    except ValueError as error:
        raise Invalid([Problem("CNI request", "", None, str(error))]) from error
    return Key("WorkloadEndpoint", namespace or DEFAULT_NAMESPACE, name)


def stored(store: Store, key: Key) -> Resource | None:
    """One object.

    Raises:
        Unavailable: the store is away.
    """
    records = store.list([key]).records
    return resource_of(records[0]) if records else None


def pod_of(request: Request, client: Client) -> Pod | None:
    """The pod that Kubernetes wants networked; None for a plain container.

    Raises:
        NotFound: Kubernetes' pod is not in the store.
        Unsupported: the pod lives in the node's own network.
    """
    namespace, name = request.pod
    if not name:
        return None
    found = stored(client.store, Key("Pod", namespace, name))
    if not isinstance(found, Pod):
        raise NotFound(
            f"pod {namespace}/{name} is not in the datastore", "create it before its sandbox"
        )
    if found.spec.host_network:
        raise Unsupported(f"pod {namespace}/{name} has hostNetwork and no network of its own")
    return found


def endpoint(
    request: Request, node_name: str, pod: Pod | None, ip_networks: Iterable[str], link: LinkEnds
) -> WorkloadEndpoint:
    """The endpoint as it is to be stored."""
    if pod is not None:
        return endpoint_of(
            pod, node_name, request.owner.container_id, ip_networks, link.host_name, link.pod_mac
        )
    key = key_of(request, node_name)
    labels = {NAMESPACE: key.namespace, ORCHESTRATOR: _PLAIN}
    spec = WorkloadEndpointSpec(
        orchestrator=_PLAIN,
        node=node_name,
        container_id=request.owner.container_id,
        endpoint=request.owner.ifname,
        ip_networks=tuple(ip_networks),
        profiles=(request.config.name,),
        interface_name=link.host_name,
        mac=link.pod_mac,
    )
    metadata = Metadata(name=key.name, namespace=key.namespace, labels=labels)
    return WorkloadEndpoint(metadata=metadata, spec=spec)


def provide_profile(request: Request, client: Client) -> None:
    """Make the network's own profile if a plain container needs it and it is not there."""
    network = request.config.name
    key = Key("Profile", "", network)
    if request.pod[1] or stored(client.store, key):
        return
    members = EntityRule(selector=f"has({network})")
    spec = ProfileSpec(
        ingress=(Rule(action="Allow", source=members),),
        egress=(Rule(action="Allow"),),
        labels_to_apply={network: ""},
    )
    try:
        client.create(Profile(metadata=Metadata(name=network), spec=spec))
    except Conflict:
        return
