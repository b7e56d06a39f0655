"""One pod as the lab's container runtime has it: a namespace, and what CNI made of it.

Not for when a pod is to run, which is the kubelet role's, nor for what answers in it.
"""

import dataclasses
import uuid
from dataclasses import dataclass

from korat.core.errors import KoratError
from korat.core.model.pod import Pod
from korat.drivers.kernel import namespace
from korat.lab.cni_runtime import Attachment, CniRuntime, Json
from korat.lab.roster import netns_of
from korat.lab.state import LabPaths


@dataclass(frozen=True, slots=True)
class LabNode:
    """A node that pods may run on: its namespace, its address and its CNI."""

    name: str
    netns: str
    address: str
    cni: CniRuntime


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod that runs: what it was started from, and what CNI said."""

    pod: Pod
    node: LabNode
    netns: str
    attachment: Attachment | None  # None for a pod in its node's own namespace
    result: Json

    @property
    def addresses(self) -> list[str]:
        """The pod's addresses, the main one first."""
        if self.attachment is None:
            return [self.node.address]
        return [ip["address"].partition("/")[0] for ip in self.result["ips"]]

    def stop(self) -> None:
        """CNI DEL, then the namespace goes.

        Raises:
            KoratError: the plugin could not; try again.
        """
        if self.attachment is not None:
            self.node.cni.delete(self.attachment, self.result)
            namespace.remove(self.netns)

    def lose(self) -> None:
        """The node's power was cut: the namespace goes, and nobody asks CNI."""
        if self.attachment is not None:
            namespace.remove(self.netns)

    def clear(self) -> None:
        """CNI DEL for a container that is no more, or never came to be.

        The namespace is not named: another pod may have it by now.

        Raises:
            KoratError: the plugin could not; try again.
        """
        if self.attachment is not None:
            self.node.cni.delete(dataclasses.replace(self.attachment, netns=""), self.result)


class NoNetworkError(KoratError):
    """CNI ADD failed; what it has left of ``sandbox`` is for CNI DEL to take away."""

    def __init__(self, error: KoratError, sandbox: Sandbox) -> None:
        super().__init__(str(error))
        self.sandbox = sandbox


def start(paths: LabPaths, pod: Pod, node: LabNode) -> Sandbox:
    """Give a pod a namespace and, by CNI ADD, its network.

    Raises:
        NoNetworkError: the plugin could not.
    """
    if pod.spec.host_network:
        return Sandbox(pod, node, node.netns, None, {})
    meta = pod.metadata
    name = netns_of(paths, pod)
    namespace.remove(name)  # what a killed lab left under this name
    namespace.create(name)
    attachment = Attachment(
        container_id=uuid.uuid4().hex,
        netns=str(namespace.path_of(name)),
        ifname="eth0",
        args=(
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", meta.namespace),
            ("K8S_POD_NAME", meta.name),
        ),
    )
    try:
        result = node.cni.add(attachment)
    except KoratError as error:
        namespace.remove(name)
        raise NoNetworkError(error, Sandbox(pod, node, name, attachment, {})) from error
    return Sandbox(pod, node, name, attachment, result)
