"""Pod: the part of a Kubernetes Pod that networking needs.

Manifests carry much more; what is not listed here is accepted and dropped. Not a workload
endpoint: ``kubernetes.workload.endpoint_of`` makes one of a pod that runs.
Source: Kubernetes core/v1 PodSpec and PodStatus.
"""

import msgspec

from korat.core.model.resource import Open, Resource, written

#: Whom a pod runs as that names no service account; every namespace has one.
DEFAULT_ACCOUNT = "default"


class ContainerPort(Open, frozen=True):
    """A port that a container listens on."""

    name: str = ""
    container_port: int = 0
    protocol: str = written("TCP")
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")


class Container(Open, frozen=True):
    """One container of a pod."""

    name: str = ""
    image: str = ""
    ports: tuple[ContainerPort, ...] = ()


class PodSpec(Open, frozen=True):
    """Where the pod runs, as whom, and what it listens on."""

    node_name: str = ""
    service_account_name: str = ""
    host_network: bool = False
    init_containers: tuple[Container, ...] = ()
    containers: tuple[Container, ...] = ()


class PodIp(Open, frozen=True):
    """One address of a pod."""

    ip: str = ""


class PodStatus(Open, frozen=True):
    """What the kubelet reports."""

    phase: str = ""
    host_ip: str = msgspec.field(default="", name="hostIP")
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIp, ...] = msgspec.field(default=(), name="podIPs")
    message: str = ""
    reason: str = ""


class Pod(Resource, frozen=True):
    """A pod, as a manifest or the lab's kubelet role has it."""

    kind: str = written("Pod")
    api_version: str = written("v1")
    spec: PodSpec = written(PodSpec())
    status: PodStatus = written(PodStatus())

    @property
    def account(self) -> str:
        """The service account it runs as; Kubernetes' admission gives ``default`` to the others."""
        return self.spec.service_account_name or DEFAULT_ACCOUNT
