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
from korat.core.errors import Unavailable
from korat.core.model.config import IPPool, IPPoolSpec
from korat.core.model.default import apply as with_defaults
from korat.core.model.resource import Metadata, Resource
from korat.core.net.address import Prefix
from korat.drivers.kernel.namespace import path_of
from korat.drivers.store.client import Client, initialize
from korat.drivers.store.open import open_store
from korat.lab import etcd
from korat.lab.blueprint import ETCD, Blueprint, Vm
from korat.lab.cni_runtime import CniRuntime
from korat.lab.kubelet import Kubelet
from korat.lab.node_object import announce, withdraw
from korat.lab.node_setup import NodeSetup
from korat.lab.process import Child
from korat.lab.responder import Responder
from korat.lab.sandbox import LabNode
from korat.lab.state import LabPaths, Process, store_environ
from korat.ports import Store

log = structlog.get_logger(__name__)

CONTROLLER = "controllers"
_RESTART_S = 1.0
_HANDED_ON = (
    "FELIX_",
    "KORAT_AZURE_ADDRESS",
    "KORAT_LOG_FORMAT",
    "ROUTE_RECONCILIATION_PERIOD",
)
_FLANNELD = "flanneld"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def cluster_environ(plan: Blueprint, paths: LabPaths, azure: Mapping[str, str]) -> dict[str, str]:
    """What the programs of the control plane are told."""
    return {
        **store_environ(paths),
        "KORAT_AZURE_CONFIG": str(paths.azure_config),
        "KORAT_CLUSTER_CIDR": str(plan.cluster),
        **azure,
    }


def _nic_pool(subnet: Prefix) -> Resource:
    """What lets pods with addresses of NICs out of the virtual network, as their node.

    Azure translates only primary addresses. The pool is disabled: Calico gives none of it out.
    """
    spec = IPPoolSpec(cidr=str(subnet), nat_outgoing=True, disabled=True)
    return with_defaults(IPPool(metadata=Metadata(name="azure-vnet"), spec=spec))


class LabCluster:
    """Everything of the lab that is not Azure. Start children from the main thread only.

    The kernel ends a child when the *thread* that started it ends.
    """

    def __init__(self, plan: Blueprint, paths: LabPaths, azure: Mapping[str, str]) -> None:
        self._plan = plan
        self._paths = paths
        self._azure = azure
        self._setup = NodeSetup(plan, paths)
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
        """Start the controller, the agents and the kubelet role.

        Raises:
            Unavailable: flannel's etcd does not start.
        """
        initialize(self._client, __version__)
        if self._plan.in_subnet:
            self._client.create(_nic_pool(self._plan.cluster))
        if self._plan.etcd is not None:
            self._start_child(ETCD)
            netns = self._paths.namespace(ETCD)
            etcd.furnish(self._plan.etcd, netns, self._plan.cluster, self._children[ETCD])
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
        self._setup.install_cni(vm)
        self.power_on(vm)

    def power_off(self, vm: Vm) -> None:
        """Cut a node's power: its programs and its pods die at once, and nobody tells CNI."""
        self._joined.discard(vm.name)
        for role in (vm.name, f"{vm.name} {_FLANNELD}"):
            child = self._children.pop(role, None)
            if child is not None:
                child.kill()
        self._ready_file(vm.name).unlink(missing_ok=True)
        self._kubelet.lose(vm.name)
        self._setup.lose_run(vm.name)

    def power_on(self, vm: Vm) -> None:
        """Start a node that is off: its agent, and a flanneld where the networking is its part."""
        if self._flanneld(vm.name) is not None:
            self._start_child(f"{vm.name} {_FLANNELD}")
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
            if vm.name not in self._joined and self._may_join(vm):
                self._join(vm)

    def stop(self) -> None:
        """End pods, then processes, then the store."""
        self._kubelet.stop()
        self._responder.stop()
        for child in self._children.values():
            child.ask_to_stop()
        for child in self._children.values():
            child.stop()

    def _may_join(self, vm: Vm) -> bool:
        return self._ready_file(vm.name).exists() and self._setup.networked(vm)

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
        bin_dir, net_dir = self._setup.cni_dirs(vm.name)
        netns = self._paths.namespace(vm.name)
        return LabNode(vm.name, netns, str(vm.address), CniRuntime(net_dir, bin_dir, netns))

    def _ready_file(self, role: str) -> Path:
        return self._paths.root / "ready" / role.replace(" ", "-")

    def _start_child(self, role: str) -> None:
        self._ended.pop(role, None)
        ready = self._ready_file(role)
        ready.parent.mkdir(parents=True, exist_ok=True)
        environ = {"PATH": _PATH, "KORAT_READY_FILE": str(ready), **dict(self._environ(role))}
        machine = role.partition(" ")[0]
        netns = None if role == CONTROLLER else path_of(self._paths.namespace(machine))
        log_file = self._paths.log / f"{role.replace(' ', '-')}.log"
        self._children[role] = Child(role, self._command(role), environ, log_file, netns)

    def _command(self, role: str) -> list[str]:
        korat = [sys.executable, "-m", "korat"]
        if role == CONTROLLER:
            return [*korat, "controllers", "run"]
        if role == ETCD and self._plan.etcd is not None:
            return etcd.command(self._plan.etcd, self._paths.root / ETCD)
        machine, _, program = role.partition(" ")
        return (self._flanneld(machine) or []) if program else [*korat, "node", "run"]

    def _flanneld(self, machine: str) -> list[str] | None:
        return self._setup.flanneld(self._vms[machine], dict(os.environ))

    def _environ(self, role: str) -> Iterator[tuple[str, str]]:
        """What one child is told; the settings that ``lab up`` was given go on to it."""
        yield from ((k, v) for k, v in os.environ.items() if k.startswith(_HANDED_ON))
        if role == CONTROLLER:
            yield from cluster_environ(self._plan, self._paths, self._azure).items()
            yield "KORAT_AZURE_ROUTES", "Enabled" if self._plan.routed else "Disabled"
        elif role in self._vms:
            yield from self._setup.environ(self._vms[role])
