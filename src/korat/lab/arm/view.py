"""What the packet fabric sees of ARM's resources: plain frozen values.

The fabric forwards by exactly this view, so that what an SDK client changes in ARM steers packets,
and ``effectiveRouteTable`` answers from the same routes. The values know nothing of ARM's JSON.
"""

from dataclasses import dataclass

from korat.core.net.address import Addr, Prefix
from korat.core.route.effective import EffectiveRoute
from korat.lab.arm.model import Json, Model, child_of
from korat.lab.arm.path import parse_id
from korat.lab.arm.resource import interface, rule
from korat.lab.arm.resource.virtual_network import vnet_prefixes


@dataclass(frozen=True, slots=True)
class NicView:
    """One network interface that is attached to a VM.

    ``addresses`` has the primary address first; ``mac`` is written ``00:0d:3a:00:00:01``;
    ``ip_forwarding`` False means that Azure checks source and destination of its packets;
    ``routes`` are the effective routes of the NIC's subnet, ``subnet`` is its prefix.
    """

    name: str
    vm: str
    addresses: tuple[Addr, ...]
    ip_forwarding: bool
    mac: str
    routes: tuple[EffectiveRoute, ...]
    subnet: Prefix


@dataclass(frozen=True, slots=True)
class NetworkView:
    """The whole virtual network: its space, the silent gateways of its subnets, its NICs."""

    vnet_prefixes: tuple[Prefix, ...]
    subnet_gateways: tuple[Addr, ...]
    nics: tuple[NicView, ...]


@dataclass(frozen=True, slots=True)
class MachineView:
    """A virtual machine as its NICs tell of it; ``id`` is its resource id, its first NIC first."""

    id: str
    location: str
    nics: tuple[NicView, ...]

    @property
    def name(self) -> str:
        """The VM's name."""
        return self.id.rpartition("/")[2]


def network_view(model: Model) -> NetworkView:
    """The virtual network as it is now; take it again when ``Model.on_change`` calls."""
    with model.lock:
        networks = tuple(model.all("virtualNetworks"))
        return NetworkView(
            tuple(prefix for network in networks for prefix in vnet_prefixes(network)),
            tuple(
                rule.gateway(prefix)
                for network in networks
                for subnet in network["properties"]["subnets"]
                for prefix in rule.subnet_prefixes(subnet["properties"])
            ),
            tuple(
                _nic(model, stored)
                for stored in model.all("networkInterfaces")
                if "virtualMachine" in stored["properties"]
            ),
        )


def machine_at(model: Model, address: Addr) -> MachineView | None:
    """The virtual machine that has a NIC with this primary address, if any."""
    with model.lock:
        attached = [
            (stored["properties"]["virtualMachine"]["id"], stored)
            for stored in model.all("networkInterfaces")
            if "virtualMachine" in stored["properties"]
        ]
        for vm_id, stored in attached:
            if interface.addresses(stored)[0] == address:
                nics = tuple(_nic(model, nic) for owner, nic in attached if owner == vm_id)
                return MachineView(vm_id, stored["location"], nics)
    return None


def _nic(model: Model, stored: Json) -> NicView:
    properties = stored["properties"]
    return NicView(
        name=stored["name"],
        vm=properties["virtualMachine"]["id"].rpartition("/")[2],
        addresses=interface.addresses(stored),
        ip_forwarding=properties["enableIPForwarding"],
        mac=properties["macAddress"].replace("-", ":").lower(),
        routes=interface.routes(model, stored),
        subnet=_subnet(model, stored),
    )


def _subnet(model: Model, stored: Json) -> Prefix:
    config = stored["properties"]["ipConfigurations"][0]
    target = parse_id(config["properties"]["subnet"]["id"])
    subnet = child_of(model.find(target), "subnets", target.child)
    return min(rule.subnet_prefixes((subnet or {})["properties"]))  # IPv4 sorts first
