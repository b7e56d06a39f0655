"""The cluster on the lab's virtual machines: its datastore, its agents, its route controller.

Each node's agent is korat's own ``korat node run`` in its VM's namespace with calico/node's
environment; the controller is ``korat controllers run``. A child that ends is started again, as a
cluster would. Nodes come, go and reboot while it runs.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import structlog

from korat import __version__
from korat.cni.install import IPAM, install
from korat.cni.request import SOCKET_NAME
from korat.core.errors import Unavailable
from korat.drivers.kernel.namespace import path_of
from korat.drivers.store.client import Client, initialize
from korat.drivers.store.open import open_store
from korat.lab.azure import address_with_mask
from korat.lab.blueprint import UDR, VXLAN, Blueprint, Vm
from korat.lab.cni_runtime import CniRuntime
from korat.lab.kubelet import Kubelet
from korat.lab.node_object import announce, withdraw
from korat.lab.process import Child
from korat.lab.responder import Responder
from korat.lab.sandbox import LabNode
from korat.lab.state import LabPaths, Process, store_environ
from korat.ports import Store

log = structlog.get_logger(__name__)

CONTROLLER = "controllers"
_RESTART_S = 1.0
_HANDED_ON = ("FELIX_", "KORAT_LOG_FORMAT", "ROUTE_RECONCILIATION_PERIOD")
#: What of a node's directory is on its disk: /opt/cni, /etc/cni, /var/lib/cni. The rest is /run's.
_ON_DISK = "cni"
#: CALICO_NETWORKING_BACKEND of each mode.
_BACKENDS = {UDR: "none", VXLAN: "vxlan"}
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
        self._vms: dict[str, Vm] = {}
        self._joined: set[str] = set()
        self._children: dict[str, Child] = {}
        self._ended: dict[str, float] = {}
        paths.store.parent.mkdir(parents=True, exist_ok=True)
        self.store: Store = open_store(store_environ(paths))
        self._responder = Responder()
        self._client = Client(self.store)
        self._kubelet = Kubelet(self.store, paths, self._responder)

    @property
    def processes(self) -> tuple[Process, ...]:
        """The children that run now."""
        return tuple(child.identity for child in self._children.values())

    def start(self) -> None:
        """Start the controller, the agents and the kubelet role."""
        initialize(self._client, __version__)
        for vm in self._plan.vms:
            self.announce(vm)
        self._start_child(CONTROLLER)
        for vm in self._plan.vms:
            self.set_up(vm)
        self._kubelet.start()

    def announce(self, vm: Vm) -> None:
        """Let the cluster know of a new node.

        Raises:
            Conflict: the store has such a node already.
        """
        announce(self._client, vm)
        self._vms[vm.name] = vm

    def set_up(self, vm: Vm) -> None:
        """Install the CNI plugin on a new node, and start it."""
        options = {"agent_socket": str(self._paths.node(vm.name) / SOCKET_NAME)}
        install(*self._cni_dirs(vm.name), self._cni_options(vm, options), version="1.1.0")
        self.power_on(vm)

    def power_off(self, vm: Vm) -> None:
        """Cut a node's power: its agent and its pods die at once, and nobody tells CNI.

        What is on its disk stays, what was under /run does not.
        """
        self._joined.discard(vm.name)
        child = self._children.pop(vm.name, None)
        if child is not None:
            child.kill()
        self._ready_file(vm.name).unlink(missing_ok=True)
        self._kubelet.lose(vm.name)
        for path in self._paths.node(vm.name).glob("*"):
            if path.is_dir() and path.name != _ON_DISK:
                shutil.rmtree(path)
            elif not path.is_dir():
                path.unlink()

    def power_on(self, vm: Vm) -> None:
        """Start a node that is off: its agent."""
        self._start_child(vm.name)

    def remove(self, vm: Vm) -> tuple[str, ...]:
        """Forget a node that is off, its disk and its objects; the names of the pods it had."""
        self._vms.pop(vm.name, None)
        pods = withdraw(self._client, vm.name)
        self._kubelet.forget(vm.name)
        shutil.rmtree(self._paths.node(vm.name), ignore_errors=True)
        return pods

    def waiting_for(self, *nodes: str) -> list[str]:
        """Who has not reported ready yet: of these nodes, or of all the lab's programs.

        Raises:
            Unavailable: one of them ended before it was ready, with its last words.
        """
        roles = nodes or (CONTROLLER, *self._vms)
        waiting = [role for role in roles if not self._is_ready(role)]
        for role in waiting:
            child = self._children.get(role)
            if child is not None and child.exit_code is not None:
                raise Unavailable(f"{role} ended: {child.last_words()}")
        return waiting

    def tend(self) -> None:
        """Start again what ended, and tell the kubelet role of nodes that have become ready."""
        for role, child in list(self._children.items()):
            if child.exit_code is None:
                continue
            since = self._ended.setdefault(role, time.monotonic())
            if time.monotonic() - since >= _RESTART_S:
                log.warning("starting again", role=role, exit_code=child.exit_code)
                self._start_child(role)
        for vm in self._vms.values():
            if vm.name not in self._joined and self._ready_file(vm.name).exists():
                self._join(vm)

    def stop(self) -> None:
        """End pods, then processes, then the store."""
        self._kubelet.stop()
        self._responder.stop()
        for child in self._children.values():
            child.ask_to_stop()
        for child in self._children.values():
            child.stop()

    def _join(self, vm: Vm) -> None:
        try:
            self._kubelet.join(self._node(vm))
        except Unavailable as error:
            log.warning("a node cannot join yet", node=vm.name, error=str(error))
        else:
            self._joined.add(vm.name)

    def _is_ready(self, role: str) -> bool:
        """Whether it has said so; and of a node, whether pods may run there."""
        return role in self._joined if role in self._vms else self._ready_file(role).exists()

    def _node(self, vm: Vm) -> LabNode:
        bin_dir, net_dir = self._cni_dirs(vm.name)
        netns = self._paths.namespace(vm.name)
        return LabNode(vm.name, netns, str(vm.address), CniRuntime(net_dir, bin_dir))

    def _cni_dirs(self, vm: str) -> tuple[Path, Path]:
        root = self._paths.node(vm) / _ON_DISK
        return root / "bin", root / "net.d"

    def _cni_options(self, vm: Vm, options: Mapping[str, object]) -> dict[str, object]:
        if vm.pod_cidr is None:
            return {**options, "ipam": IPAM["calico-ipam"]}
        data = str(self._paths.node(vm.name) / _ON_DISK / "networks")
        return {**options, "ipam": {**IPAM["host-local"], "dataDir": data}}

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
            yield "KORAT_AZURE_ROUTES", "Enabled" if self._plan.mode == UDR else "Disabled"
            return
        vm = self._vms[role]
        yield from store_environ(self._paths).items()
        yield "NODENAME", vm.name
        yield "IP", address_with_mask(self._plan, vm.address)
        yield "CALICO_NETWORKING_BACKEND", _BACKENDS[self._plan.mode]
        yield "CALICO_IPV4POOL_CIDR", str(self._plan.cluster)
        yield "KORAT_RUN_DIR", str(self._paths.node(vm.name))
