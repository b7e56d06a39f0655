"""The networking options that a lab can have, and what differs between them, as data.

The environment is what calico/node is given with each of them; it is how users choose one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

UDR, VXLAN, FLANNEL, AZURE_CNI = "udr", "vxlan", "flannel", "azure-cni"

#: Whose programs do a part of the networking: flannel's on every node or on every second one,
#: Azure's whole CNI, or only its address management.
FLANNELD, MIXED = "flanneld", "mixed"
AZURE_VNET, AZURE_VNET_IPAM = "azure-vnet", "azure-vnet-ipam"


class Addressing(Enum):
    """Where the addresses of a node's pods come from."""

    SUBNET = "a subnet of the virtual network for each node"
    BLOCKS = "blocks that Calico's address management gives out"
    LEASE = "the subnet that flannel leases to the node"
    NIC = "secondary addresses of the node's network interface"


@dataclass(frozen=True, slots=True)
class Mode:
    """One networking option.

    ``way`` says in a few words how packets between nodes look, and ``unrouted`` why no route table
    is needed, where none is. ``cluster_cidr`` is where pods' addresses come from, unless they are
    the nodes' subnet's. ``beside`` are the programs that can take a part of korat's.
    """

    title: str
    way: str
    addressing: Addressing
    environ: Mapping[str, str]
    cluster_cidr: str = ""
    unrouted: str = ""
    beside: tuple[str, ...] = ()


MODES: Mapping[str, Mode] = {
    UDR: Mode(
        "Azure user-defined routes, policy only (CALICO_NETWORKING_BACKEND=none)",
        "no overlay: Azure routes pods",
        Addressing.SUBNET,
        {"CALICO_NETWORKING_BACKEND": "none"},
        "10.10.128.0/17",
    ),
    VXLAN: Mode(
        "Calico's VXLAN and Calico's IPAM (CALICO_NETWORKING_BACKEND=vxlan)",
        "pods in VXLAN between VMs",
        Addressing.BLOCKS,
        {"CALICO_NETWORKING_BACKEND": "vxlan"},
        "192.168.0.0/16",  # Calico's default
        "the fabric sees VXLAN between VMs only",
    ),
    FLANNEL: Mode(
        "flannel's VXLAN, policy by korat (CLUSTER_TYPE=k8s,canal)",
        "pods in flannel's VXLAN between VMs",
        Addressing.LEASE,
        {
            "CALICO_NETWORKING_BACKEND": "none",
            "CLUSTER_TYPE": "k8s,canal",
            "USE_POD_CIDR": "true",
            "FLANNELD_IP_MASQ": "true",
        },
        "10.244.0.0/16",  # canal's default
        "the fabric sees flannel's VXLAN between VMs only",
        (FLANNELD, MIXED),
    ),
    AZURE_CNI: Mode(
        "Azure CNI, policy by korat (FELIX_INTERFACEPREFIX=azv)",
        "no overlay: pods have addresses of their node's NIC",
        Addressing.NIC,
        {
            "CALICO_NETWORKING_BACKEND": "none",
            "FELIX_INTERFACEPREFIX": "azv",
            "FELIX_ROUTESOURCE": "WorkloadIPs",
        },
        unrouted="the fabric delivers a NIC's own addresses without one",
        beside=(AZURE_VNET, AZURE_VNET_IPAM),
    ),
}

#: What Azure cannot carry, with the reason.
REFUSED: Mapping[str, str] = {"ipip": "Azure's fabric drops IP protocol 4 (IPIP)"}
