"""What the lab gives ARM: what an engineer has before korat comes, and what comes with each VM.

A virtual network, one subnet, one virtual machine's NIC per node; no route table, no IP forwarding:
those are korat's own work. Also the cloud-provider file (azure.json) that points korat at this ARM.
"""

from typing import Any

from korat.core.net.address import Addr
from korat.lab.arm.error import bad_request
from korat.lab.arm.model import Model
from korat.lab.arm.path import Target, parse_id
from korat.lab.arm.resource import interface, virtual_network
from korat.lab.blueprint import (
    LOCATION,
    RESOURCE_GROUP,
    ROUTE_TABLE,
    SUBNET,
    SUBSCRIPTION,
    VNET,
    Blueprint,
    Vm,
)

_GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
_NETWORK = f"{_GROUP}/providers/Microsoft.Network"

Json = dict[str, Any]


def furnish(model: Model, plan: Blueprint) -> None:
    """Put the virtual network and the VMs' NICs into an empty ARM."""
    virtual_network.put(model, parse_id(f"{_NETWORK}/virtualNetworks/{VNET}"), _vnet(plan))
    for vm in (*plan.vms, *((plan.etcd,) if plan.etcd else ())):
        add_nic(model, vm)


def add_nic(model: Model, vm: Vm) -> None:
    """Give a new VM its NIC.

    Raises:
        ArmError: its name or its address is another's.
    """
    target = _nic_of(vm)
    if model.lookup(target) is not None:
        raise bad_request("NicExists", f"There is a network interface {vm.nic} already.")
    interface.put(model, target, _nic(vm))
    interface.attach(model, target, vm.name)


def remove_nic(model: Model, vm: Vm) -> None:
    """Remove a VM's NIC, as Azure does with a VM whose NIC has the delete option; none is fine."""
    target = _nic_of(vm)
    if model.lookup(target) is not None:
        interface.detach(model, target)
        interface.delete(model, target)


def _nic_of(vm: Vm) -> Target:
    return parse_id(f"{_NETWORK}/networkInterfaces/{vm.nic}")


def _vnet(plan: Blueprint) -> Json:
    subnet = {"name": SUBNET, "properties": {"addressPrefix": str(plan.subnet)}}
    space = {"addressPrefixes": [str(plan.vnet)]}
    return {"location": LOCATION, "properties": {"addressSpace": space, "subnets": [subnet]}}


def _nic(vm: Vm) -> Json:
    addresses = (vm.address, *vm.pod_addresses)
    configurations = [_configuration(number, address) for number, address in enumerate(addresses)]
    properties = {"enableIPForwarding": False, "ipConfigurations": configurations}
    return {"location": LOCATION, "properties": properties}


def _configuration(number: int, address: Addr) -> Json:
    properties = {
        "privateIPAddress": str(address),
        "privateIPAllocationMethod": "Static",
        "primary": number == 0,
        "subnet": {"id": f"{_NETWORK}/virtualNetworks/{VNET}/subnets/{SUBNET}"},
    }
    return {"name": f"ipconfig{number + 1}", "properties": properties}


def cloud_config(arm_url: str) -> Json:
    """The cluster's azure.json, in the cloud provider's own keys."""
    return {
        "cloud": "AzurePublicCloud",
        "resourceManagerEndpoint": arm_url,
        "tenantId": "00000000-0000-0000-0000-000000000000",
        "subscriptionId": SUBSCRIPTION,
        "resourceGroup": RESOURCE_GROUP,
        "location": LOCATION,
        "vnetName": VNET,
        "vnetResourceGroup": RESOURCE_GROUP,
        "subnetName": SUBNET,
        "routeTableName": ROUTE_TABLE,
        "routeTableResourceGroup": RESOURCE_GROUP,
        "useManagedIdentityExtension": True,
    }


def address_with_mask(plan: Blueprint, address: Addr) -> str:
    """A VM's address as its guest has it, ``10.10.0.4/24``."""
    return f"{address}/{plan.subnet.length}"
