"""Instance metadata as a tree: what IMDS knows of one virtual machine, and the way to its parts.

Every leaf is a string, and what there is none of is the empty string. Pure: a view of a VM in,
plain JSON values out.

Source: Microsoft's "Azure Instance Metadata Service for virtual machines".
"""

import uuid
from collections.abc import Iterable
from typing import TypeAlias

from korat.core.net.address import Addr, Family
from korat.lab.arm.view import MachineView, NicView

Tree: TypeAlias = str | dict[str, "Tree"] | list["Tree"]

_ENVIRONMENT = "AzurePublicCloud"


def instance(machine: MachineView) -> Tree:
    """All that IMDS tells a VM: what it is, and its network."""
    return {
        "compute": _compute(machine),
        "network": {"interface": [_interface(nic) for nic in machine.nics]},
    }


def part(tree: Tree, steps: Iterable[str]) -> Tree | None:
    """What these keys and indexes lead to; None when there is no such part."""
    for step in steps:
        if isinstance(tree, dict) and step in tree:
            tree = tree[step]
        elif isinstance(tree, list) and step.isdecimal() and int(step) < len(tree):
            tree = tree[int(step)]
        else:
            return None
    return tree


def _compute(machine: MachineView) -> Tree:
    _, _, subscription, _, group, *_ = machine.id.split("/")
    return {
        "azEnvironment": _ENVIRONMENT,
        "location": machine.location,
        "name": machine.name,
        "osProfile": {"computerName": machine.name},
        "osType": "Linux",
        "resourceGroupName": group,
        "resourceId": machine.id,
        "subscriptionId": subscription,
        "tags": "",
        "tagsList": [],
        "vmId": str(uuid.uuid5(uuid.NAMESPACE_URL, machine.id)),
        "vmScaleSetName": "",
    }


def _interface(nic: NicView) -> Tree:
    v4, v6 = ([a for a in nic.addresses if a.family is family] for family in Family)
    base = Addr(nic.subnet.family, nic.subnet.base)
    subnet: Tree = {"address": str(base), "prefix": str(nic.subnet.length)}
    return {
        "ipv4": {
            "ipAddress": [{"privateIpAddress": str(a), "publicIpAddress": ""} for a in v4],
            "subnet": [subnet],
        },
        "ipv6": {"ipAddress": [{"privateIpAddress": str(a)} for a in v6]},
        "macAddress": mac(nic),
    }


def mac(nic: NicView) -> str:
    """The hardware address as Azure's services write it: ``000D3A000001``."""
    return nic.mac.replace(":", "").upper()
