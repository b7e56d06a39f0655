"""What is installed and set on a lab's node: its environment, its CNI, whose programs run there.

This is what an engineer does on each machine by the guide of a networking option. Where another
program does a part of the networking, that one is set up here too.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from korat.cni.install import IPAM, install
from korat.cni.request import SOCKET_NAME
from korat.lab import etcd
from korat.lab.azure import address_with_mask
from korat.lab.azure_cni import install as azure_cni
from korat.lab.blueprint import Blueprint, Vm
from korat.lab.flanneld.launch import command
from korat.lab.mode import AZURE_VNET, AZURE_VNET_IPAM, FLANNELD, MIXED, Addressing
from korat.lab.state import LabPaths, store_environ

#: What of a node's directory is on its disk: /opt/cni, /etc/cni, /var/lib/cni. The rest is /run's.
ON_DISK = "cni"

_CNI_VERSION = "1.1.0"
_AZURE_CNI_VERSION = "1.0.0"  # the newest that azure-vnet-ipam speaks
_PER_OTHER = 2


def subnet_file(paths: LabPaths, vm: str) -> Path:
    """Where flannel tells a node its subnet: below /run, as everywhere."""
    return paths.node(vm) / "flannel" / "subnet.env"


class NodeSetup:
    """How the nodes of one lab are set up; ``plan`` may grow and shrink."""

    def __init__(self, plan: Blueprint, paths: LabPaths) -> None:
        self.plan = plan
        self._paths = paths

    def cni_dirs(self, vm: str) -> tuple[Path, Path]:
        """Where a node has its plugins, and their configuration."""
        root = self._paths.node(vm) / ON_DISK
        return root / "bin", root / "net.d"

    def install_cni(self, vm: Vm) -> None:
        """Put the plugin and its configuration where the node's container runtime looks."""
        socket = str(self._paths.node(vm.name) / SOCKET_NAME)
        if self.plan.options.beside == AZURE_VNET:
            azure_cni.install(*self.cni_dirs(vm.name), self._azure_state(vm), socket)
            return
        version = _CNI_VERSION
        if self.plan.options.beside == AZURE_VNET_IPAM:
            azure_cni.install_programs(self.cni_dirs(vm.name)[0], self._azure_state(vm))
            version = _AZURE_CNI_VERSION
        options = {"agent_socket": socket, "ipam": self._ipam(vm)}
        install(*self.cni_dirs(vm.name), options, version=version)

    def _ipam(self, vm: Vm) -> Mapping[str, object]:
        disk = self._paths.node(vm.name) / ON_DISK
        match self.plan.mode.addressing:
            case Addressing.BLOCKS:
                return IPAM["calico-ipam"]
            case Addressing.NIC if self.plan.options.beside == AZURE_VNET_IPAM:
                return IPAM[AZURE_VNET_IPAM]
            case Addressing.NIC:
                return {**IPAM["korat-azure-ipam"], "dataDir": str(disk / "azure-ipam")}
            case Addressing.SUBNET | Addressing.LEASE:
                return {**IPAM["host-local"], "dataDir": str(disk / "networks")}

    def environ(self, vm: Vm) -> Iterator[tuple[str, str]]:
        """What the node's agent is told."""
        plan = self.plan
        yield from store_environ(self._paths).items()
        yield from plan.mode.environ.items()
        yield "NODENAME", vm.name
        yield "IP", address_with_mask(plan, vm.address)
        yield "KORAT_RUN_DIR", str(self._paths.node(vm.name))
        if plan.etcd is not None:
            yield "FLANNELD_SUBNET_FILE", str(subnet_file(self._paths, vm.name))
            if not self._beside_flanneld(vm):
                yield "FLANNELD_ETCD_ENDPOINTS", etcd.endpoint(plan.etcd)
        elif plan.in_subnet:
            yield "KORAT_AZURE_STATE_DIR", str(self._azure_state(vm) / "calico")
        else:
            yield "CALICO_IPV4POOL_CIDR", str(plan.cluster)

    def flanneld(self, vm: Vm, environ: dict[str, str]) -> list[str] | None:
        """What starts the node's flanneld; None where korat is in its place.

        Raises:
            Invalid: the environment names one that is none.
        """
        if self.plan.etcd is None or not self._beside_flanneld(vm):
            return None
        return command(
            environ,
            etcd_endpoints=etcd.endpoint(self.plan.etcd),
            interface="eth0",
            subnet_file=subnet_file(self._paths, vm.name),
            ip_masq=True,
        )

    def networked(self, vm: Vm) -> bool:
        """Whether the node's pods can have addresses already."""
        return self.plan.etcd is None or subnet_file(self._paths, vm.name).exists()

    def lose_run(self, vm: str) -> None:
        """A node's power was cut: what is on its disk stays, what was under /run does not."""
        for path in self._paths.node(vm).glob("*"):
            if path.is_dir() and path.name != ON_DISK:
                shutil.rmtree(path)
            elif not path.is_dir():
                path.unlink()

    def _azure_state(self, vm: Vm) -> Path:
        """Where Azure's programs keep their state: below /run, as on Azure."""
        return self._paths.node(vm.name) / "azure"

    def _beside_flanneld(self, vm: Vm) -> bool:
        """With ``mixed`` every second node has one."""
        beside = self.plan.options.beside
        number = (vm.address.value - self.plan.subnet.base) % _PER_OTHER
        return beside == FLANNELD or (beside == MIXED and number == 1)
