"""Pod: the part of a Kubernetes Pod that networking needs.

Manifests carry much more; what is not listed here is accepted and dropped. Not a workload
endpoint: ``kubernetes.workload.endpoint_of`` makes one of a pod that runs.
Source: Kubernetes core/v1 PodSpec and PodStatus; the annotations of Calico's CNI
(libcalico-go/lib/backend/k8s/conversion).
"""

import msgspec

from korat.core.model.label import ALLOWED_SOURCE_PREFIXES, POD_IP, POD_IPS
from korat.core.model.resource import Open, Resource, written
from korat.core.net.address import Prefix

#: Whom a pod runs as that names no service account; every namespace has one.
DEFAULT_ACCOUNT = "default"

_ENDED = ("Succeeded", "Failed", "Completed")


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

    @property
    def is_finished(self) -> bool:
        """Whether it has given its addresses back, though it is still there to be looked at.

        While a pod is being deleted it keeps them until CNI says that they are gone.
        """
        taken_back = self.metadata.annotations.get(POD_IP) == ""
        leaving = self.metadata.deletion_timestamp is not None
        return self.status.phase in _ENDED or (leaving and taken_back)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses, as its status has them, or else as CNI wrote them beside it, as CIDRs."""
        own = self.metadata.annotations
        plural = tuple(filter(None, own.get(POD_IPS, "").split(",")))
        single = tuple(filter(None, (own.get(POD_IP, ""),)))
        told = tuple(each.ip for each in self.status.pod_ips)
        first = tuple(filter(None, (self.status.pod_ip,)))
        return () if self.is_finished else told or first or plural or single

    @property
    def allowed_source_prefixes(self) -> tuple[str, ...]:
        """The sources that it may use beside its own, as its annotation asks for.

        Raises:
            ValueError: the annotation is no JSON list of CIDRs.
        """
        text = self.metadata.annotations.get(ALLOWED_SOURCE_PREFIXES, "")
        if not text:
            return ()
        try:
            listed = msgspec.json.decode(text, type=tuple[str, ...])
        except msgspec.DecodeError as error:
            raise ValueError("is not a JSON list of CIDRs") from error
        bare = next((each for each in listed if "/" not in each), None)
        if bare is not None:
            raise ValueError(f"holds {bare!r}, which is not a CIDR")
        return tuple(str(Prefix.parse(each)) for each in listed)
