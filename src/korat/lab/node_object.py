"""What the store holds of a node: written when the node comes, deleted when it has gone.

In a cluster that is Kubernetes' work: the kubelet registers its node with its address,
kube-controller-manager gives it a pod subnet, and takes the Node of a deleted VM away with its
pods. Calico's kube-controllers do so with endpoints.
"""

import contextlib
from collections.abc import Iterable

from korat.core.errors import Conflict, NotFound
from korat.core.model.config import FelixConfiguration
from korat.core.model.endpoint import (
    Node,
    NodeAddress,
    NodeSpec,
    NodeStatus,
    WorkloadEndpoint,
)
from korat.core.model.key import Key
from korat.core.model.pod import Pod
from korat.core.model.resource import Metadata, Resource
from korat.drivers.store.client import Client
from korat.lab.blueprint import Vm

#: As Calico's manifests set it: pods reach their own node as they reach other nodes. It is stored,
#: as calico/node stores it at its start, so that ``explain`` knows it too.
_FELIX = {"defaultEndpointToHostAction": "Accept"}


def announce(client: Client, vm: Vm) -> None:
    """Write a node's object, with its address and pod subnet, and its settings unless it has some.

    Raises:
        Conflict: there is such a node already.
    """
    node = Node(
        metadata=Metadata(name=vm.name),
        spec=NodeSpec(addresses=(NodeAddress(address=str(vm.address), type="InternalIP"),)),
        status=NodeStatus(pod_cidrs=(str(vm.pod_cidr),) if vm.pod_cidr else ()),
    )
    try:
        client.create(node)
    except Conflict as error:
        remedy = f"delete it with: korat delete node {vm.name}"
        raise Conflict(f"the store has a Node {vm.name} already", remedy) from error
    with contextlib.suppress(Conflict):
        client.create(FelixConfiguration(metadata=_settings(vm.name), spec=dict(_FELIX)))


def withdraw(client: Client, name: str) -> tuple[str, ...]:
    """Delete a node's object, its settings, its pods and their endpoints; the pods' names."""
    found = client.read(["Pod", "WorkloadEndpoint"])
    pods = [r for r in found.of("Pod") if isinstance(r, Pod) and r.spec.node_name == name]
    ends = [r for r in found.of("WorkloadEndpoint") if _is_on(r, name)]
    _delete(client, (r.key for r in (*pods, *ends)))
    settings = FelixConfiguration(metadata=_settings(name))
    _delete(client, (settings.key, Key("Node", "", name)))
    return tuple(f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in pods)


def _settings(name: str) -> Metadata:
    return Metadata(name=f"node.{name}")


def _is_on(resource: Resource, name: str) -> bool:
    return isinstance(resource, WorkloadEndpoint) and resource.spec.node == name


def _delete(client: Client, keys: Iterable[Key]) -> None:
    for key in keys:
        with contextlib.suppress(NotFound):
            client.delete(key)
