"""The cluster on the lab's virtual machines: its datastore, its agents, its route controller.

Each node's agent is korat's own ``korat node run`` in its VM's namespace with calico/node's
environment; the controller is ``korat controllers run``. A child that ends is started again, as a
cluster would.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import structlog
from msgspec.structs import replace

from korat import __version__
from korat.cni.install import install
from korat.cni.request import SOCKET_NAME
from korat.core.errors import Unavailable
from korat.core.model.config import FelixConfiguration
from korat.core.model.endpoint import Node, NodeStatus
from korat.core.model.resource import Metadata
from korat.drivers.kernel.namespace import path_of
from korat.drivers.store.client import Client, initialize
from korat.drivers.store.open import open_store
from korat.lab.azure import address_with_mask
from korat.lab.blueprint import Blueprint, Vm
from korat.lab.cni_runtime import CniRuntime
from korat.lab.kubelet import Kubelet, LabNode
from korat.lab.process import Child
from korat.lab.responder import Responder
from korat.lab.state import LabPaths, Process, store_environ
from korat.ports import Store

log = structlog.get_logger(__name__)

CONTROLLER = "azure route controller"
_RESTART_S = 1.0
_HANDED_ON = ("FELIX_", "KORAT_LOG_FORMAT", "ROUTE_RECONCILIATION_PERIOD")
#: As Calico's manifests set it: pods reach their own node as they reach other nodes. It is stored,
#: as calico/node stores it at its start, so that ``explain`` knows it too.
_FELIX = {"defaultEndpointToHostAction": "Accept"}
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def cluster_environ(plan: Blueprint, paths: LabPaths, azure: Mapping[str, str]) -> dict[str, str]:
    """What the programs of the control plane are told."""
    return {
        **store_environ(paths),
        "KORAT_AZURE_CONFIG": str(paths.azure_config),
        "KORAT_CLUSTER_CIDR": str(plan.cluster),
        **azure,
    }


class LabCluster:
    """Everything of the lab that is not Azure. Start children from the main thread only.

    The kernel ends a child when the *thread* that started it ends.
    """

    def __init__(self, plan: Blueprint, paths: LabPaths, azure: Mapping[str, str]) -> None:
        self._plan = plan
        self._paths = paths
        self._azure = azure
        self._children: dict[str, Child] = {}
        self._ended: dict[str, float] = {}
        paths.store.parent.mkdir(parents=True, exist_ok=True)
        self.store: Store = open_store(store_environ(paths))
        self._responder = Responder()
        nodes = [self._node(vm) for vm in plan.vms]
        self._kubelet = Kubelet(self.store, paths, nodes, self._responder)

    @property
    def processes(self) -> tuple[Process, ...]:
        """The children that run now."""
        return tuple(child.identity for child in self._children.values())

    def announce_nodes(self) -> None:
        """Give the nodes their pod subnets, as kube-controller-manager does, and their settings."""
        client = Client(self.store)
        initialize(client, __version__)
        for vm in self._plan.vms:
            status = NodeStatus(pod_cidrs=(str(vm.pod_cidr),))
            client.create(replace(Node(metadata=Metadata(name=vm.name)), status=status))
            own = Metadata(name=f"node.{vm.name}")
            client.create(FelixConfiguration(metadata=own, spec=dict(_FELIX)))

    def start(self) -> None:
        """Start the controller, the agents and the kubelet role."""
        self._start_child(CONTROLLER)
        for vm in self._plan.vms:
            options = {"agent_socket": str(self._paths.node(vm.name) / SOCKET_NAME)}
            install(*self._cni_dirs(vm.name), self._cni_options(vm, options), version="1.1.0")
            self._start_child(vm.name)
        self._kubelet.start()

    def waiting_for(self) -> list[str]:
        """Who has not reported ready yet."""
        roles = [CONTROLLER, *(vm.name for vm in self._plan.vms)]
        return [role for role in roles if not self._ready_file(role).exists()]

    def tend(self) -> bool:
        """Start again what ended; True when the children changed.

        Raises:
            Unavailable: a child ended before it was ever ready, with its last words.
        """
        changed = False
        for role, child in list(self._children.items()):
            if child.exit_code is None:
                continue
            if not self._ready_file(role).exists():
                raise Unavailable(f"{role} ended: {child.last_words()}")
            since = self._ended.setdefault(role, time.monotonic())
            if time.monotonic() - since >= _RESTART_S:
                log.warning("starting again", role=role, exit_code=child.exit_code)
                self._start_child(role)
                changed = True
        return changed

    def stop(self) -> None:
        """End pods, then processes, then the store."""
        self._kubelet.stop()
        self._responder.stop()
        for child in self._children.values():
            child.ask_to_stop()
        for child in self._children.values():
            child.stop()

    def _node(self, vm: Vm) -> LabNode:
        bin_dir, net_dir = self._cni_dirs(vm.name)
        netns = self._paths.namespace(vm.name)
        return LabNode(vm.name, netns, str(vm.address), CniRuntime(net_dir, bin_dir))

    def _cni_dirs(self, vm: str) -> tuple[Path, Path]:
        root = self._paths.node(vm) / "cni"
        return root / "bin", root / "net.d"

    def _cni_options(self, vm: Vm, options: Mapping[str, object]) -> dict[str, object]:
        data = str(self._paths.node(vm.name) / "cni" / "networks")
        ipam = {"type": "host-local", "subnet": "usePodCidr", "dataDir": data}
        return {**options, "ipam": ipam}

    def _ready_file(self, role: str) -> Path:
        return self._paths.root / "ready" / role.replace(" ", "-")

    def _start_child(self, role: str) -> None:
        self._ended.pop(role, None)
        ready = self._ready_file(role)
        ready.parent.mkdir(parents=True, exist_ok=True)
        environ = {"PATH": _PATH, "KORAT_READY_FILE": str(ready), **dict(self._environ(role))}
        command = [sys.executable, "-m", "korat"]
        netns = None
        if role == CONTROLLER:
            command += ["controllers", "run"]
        else:
            command += ["node", "run"]
            netns = path_of(self._paths.namespace(role))
        log_file = self._paths.log / f"{role.replace(' ', '-')}.log"
        self._children[role] = Child(role, command, environ, log_file, netns)

    def _environ(self, role: str) -> Iterator[tuple[str, str]]:
        """What one child is told; the settings that ``lab up`` was given go on to it."""
        yield from ((k, v) for k, v in os.environ.items() if k.startswith(_HANDED_ON))
        if role == CONTROLLER:
            yield from cluster_environ(self._plan, self._paths, self._azure).items()
            return
        vm = next(vm for vm in self._plan.vms if vm.name == role)
        yield from store_environ(self._paths).items()
        yield "NODENAME", vm.name
        yield "IP", address_with_mask(self._plan, vm.address)
        yield "CALICO_NETWORKING_BACKEND", "none"
        yield "CALICO_IPV4POOL_CIDR", str(self._plan.cluster)
        yield "KORAT_RUN_DIR", str(self._paths.node(vm.name))
