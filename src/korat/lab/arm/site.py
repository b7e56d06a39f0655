"""What stands in Azure before korat comes: a virtual network, a subnet, VMs with their NICs.

No route table, no association, no IP forwarding: those are korat's own work, in the lab as on Azure.
"""

from dataclasses import dataclass

from korat.core.net.address import Addr, Prefix
from korat.lab.arm.model import Json, Model
from korat.lab.arm.path import Target
from korat.lab.arm.resource import interface, virtual_network


@dataclass(frozen=True, slots=True)
class Vm:
    """A VM with one NIC, ``<name>-nic``."""

    name: str
    address: Addr


@dataclass(frozen=True, slots=True)
class Site:
    """The lab's part of a subscription."""

    subscription: str
    group: str
    location: str
    vnet: str
    vnet_prefix: Prefix
    subnet: str
    subnet_prefix: Prefix
    vms: tuple[Vm, ...]


def build(site: Site) -> Model:
    """The site as ARM's state.

    Raises:
        ArmError: the site breaks one of Azure's rules.
    """
    model = Model(site.subscription, {site.group: site.location})
    network = Target(site.subscription, site.group, "virtualNetworks", site.vnet)
    subnet = {"name": site.subnet, "properties": {"addressPrefix": str(site.subnet_prefix)}}
    space = {"addressPrefixes": [str(site.vnet_prefix)]}
    properties = {"addressSpace": space, "subnets": [subnet]}
    virtual_network.put(model, network, {"location": site.location, "properties": properties})
    for vm in site.vms:
        nic = Target(site.subscription, site.group, "networkInterfaces", f"{vm.name}-nic")
        interface.put(model, nic, _nic_body(site, vm, f"{network.id}/subnets/{site.subnet}"))
        interface.attach(model, nic, vm.name)
    return model


def cloud_config(site: Site, route_table: str, endpoint: str) -> dict[str, object]:
    """The site's ``azure.json``, as a node of a cluster on Azure has it."""
    return {
        "cloud": "AzurePublicCloud",
        "subscriptionId": site.subscription,
        "resourceGroup": site.group,
        "location": site.location,
        "vnetName": site.vnet,
        "subnetName": site.subnet,
        "routeTableName": route_table,
        "useManagedIdentityExtension": True,
        "resourceManagerEndpoint": endpoint,
    }


def _nic_body(site: Site, vm: Vm, subnet_id: str) -> Json:
    configuration = {
        "name": "primary",
        "properties": {
            "primary": True,
            "privateIPAllocationMethod": "Static",
            "privateIPAddress": str(vm.address),
            "subnet": {"id": subnet_id},
        },
    }
    return {"location": site.location, "properties": {"ipConfigurations": [configuration]}}
