"""The lab's Azure: ARM's objects, the endpoints that serve them, and the fabric they steer."""

import os
import threading
from collections.abc import Sequence

import msgspec

from korat.core.errors import Conflict, KoratError
from korat.core.net.address import Addr
from korat.core.route.effective import select
from korat.lab.arm.error import ArmError
from korat.lab.arm.model import Model
from korat.lab.arm.serve import ArmServer
from korat.lab.arm.view import network_view
from korat.lab.azure import add_nic, cloud_config, furnish, remove_nic
from korat.lab.blueprint import LOCATION, RESOURCE_GROUP, SUBSCRIPTION, Blueprint, Vm
from korat.lab.fabric.apply import Fabric
from korat.lab.fabric.switch import Switches
from korat.lab.metadata.serve import MetadataServer
from korat.lab.state import LabPaths


class Cloud:
    """One lab's Azure. What a client changes in ARM steers packets before ARM answers."""

    def __init__(self, plan: Blueprint, paths: LabPaths) -> None:
        self._plan = plan
        self._paths = paths
        self._model = Model(SUBSCRIPTION, {RESOURCE_GROUP: LOCATION}, kept=plan.kept)
        self._fabric = Fabric(paths.name, Switches(largest_packet=plan.options.largest_packet))
        self._applying = threading.Lock()
        self._server = ArmServer(self._model, paths.tls)
        self._metadata = MetadataServer(self._model, self._server.token, self._fabric.names.fabric)

    def open(self) -> None:
        """Build the fabric, furnish ARM, serve it and what VMs are told of themselves.

        Raises:
            Unsupported: this kernel lacks something.
            Unavailable: the endpoint cannot be served.
        """
        self._fabric.build()
        furnish(self._model, self._plan)
        self._apply()
        self._model.on_change(self._apply)
        self._paths.tls.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._server.start()
        self._metadata.start()
        config = msgspec.json.format(msgspec.json.encode(cloud_config(self._server.url)))
        descriptor = os.open(self._paths.azure_config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(config + b"\n")

    @property
    def url(self) -> str:
        """ARM's endpoint."""
        return self._server.url

    @property
    def environ(self) -> dict[str, str]:
        """What an unmodified Azure SDK needs in its environment."""
        return self._server.environment

    def add(self, vms: Sequence[Vm]) -> None:
        """New virtual machines with their NICs, all of them or none.

        Raises:
            Conflict: a name or an address is taken in ARM.
        """
        made: list[Vm] = []
        try:
            with self._model.lock:
                for vm in vms:
                    add_nic(self._model, vm)
                    made.append(vm)
            self._model.changed()
        except ArmError as error:
            self.remove(made)
            remedy = "delete that network interface first"
            raise Conflict(f"ARM refuses the new node: {error.message}", remedy) from error
        except KoratError:
            self.remove(made)
            raise

    def remove(self, vms: Sequence[Vm]) -> None:
        """Delete virtual machines with their NICs; their routes are the controller's."""
        with self._model.lock:
            for vm in vms:
                remove_nic(self._model, vm)
        self._model.changed()

    def reboot(self, vm: Vm) -> None:
        """Give a virtual machine a new kernel: an empty namespace at the same NIC."""
        with self._applying:
            self._fabric.power_off(vm.name)
            self._fabric.apply(network_view(self._model))

    def leads_to(self, vm: Vm) -> bool:
        """Whether a route sends packets for the VM's pods to it."""
        if vm.pod_cidr is None:
            return False
        view = network_view(self._model)
        first = Addr(vm.pod_cidr.family, vm.pod_cidr.first)
        found = (select(nic.routes, first) for nic in view.nics)
        return any(route is not None and route.next_hop_ip == vm.address for route in found)

    def lets_pods_through(self, vm: Vm) -> bool:
        """Whether the VM's NIC takes and sends packets of other addresses than its own."""
        return any(
            nic.vm == vm.name and nic.ip_forwarding for nic in network_view(self._model).nics
        )

    def close(self) -> None:
        """End the endpoints, then the fabric and its virtual machines."""
        self._metadata.stop()
        self._server.stop()
        self._fabric.close()

    def _apply(self) -> None:
        with self._applying:
            self._fabric.apply(network_view(self._model))
