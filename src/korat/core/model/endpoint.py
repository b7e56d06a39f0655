"""WorkloadEndpoint, Node, NetworkSet and GlobalNetworkSet: who has which address.

Source: libcalico-go/lib/apis/internalapi (WorkloadEndpoint, Node), projectcalico.org/v3 (sets).
"""

from typing import Any

import msgspec

from korat.core.model.resource import Frozen, Resource, written


class EndpointPort(Frozen, frozen=True):
    """A named port of an endpoint."""

    name: str = written("")
    protocol: int | str = written("TCP")
    port: int = written(0)
    host_port: int = written(0)
    host_ip: str = written("", name="hostIP")


class IpNat(Frozen, frozen=True):
    """A floating address (stored, not enforced)."""

    internal_ip: str = written("", name="internalIP")
    external_ip: str = written("", name="externalIP")


class WorkloadEndpointSpec(Frozen, frozen=True):
    """One interface of one workload on one node; ``ip_networks`` are /32 or /128."""

    orchestrator: str = ""
    workload: str = ""
    node: str = ""
    container_id: str = msgspec.field(default="", name="containerID")
    pod: str = ""
    endpoint: str = ""
    service_account_name: str = ""
    ip_networks: tuple[str, ...] = ()
    ip_nats: tuple[IpNat, ...] = msgspec.field(default=(), name="ipNATs")
    ipv4_gateway: str = ""
    ipv6_gateway: str = ""
    profiles: tuple[str, ...] = ()
    interface_name: str = ""
    mac: str = ""
    ports: tuple[EndpointPort, ...] = ()
    allow_spoofed_source_prefixes: tuple[str, ...] = ()
    qos_controls: dict[str, Any] | None = None


class WorkloadEndpoint(Resource, frozen=True):
    """A pod's or VM workload's interface."""

    kind: str = written("WorkloadEndpoint")
    spec: WorkloadEndpointSpec = written(WorkloadEndpointSpec())


class NodeBgp(Frozen, frozen=True):
    """The node's addresses, in Calico's place for them; ``ipv4_address`` is a CIDR."""

    as_number: int | str | None = None
    ipv4_address: str = ""
    ipv6_address: str = ""
    ipv4_ipip_tunnel_addr: str = msgspec.field(default="", name="ipv4IPIPTunnelAddr")
    route_reflector_cluster_id: str = msgspec.field(default="", name="routeReflectorClusterID")


class NodeAddress(Frozen, frozen=True):
    """One address; ``type`` is CalicoNodeIP, InternalIP or ExternalIP."""

    address: str = ""
    type: str = ""


class OrchRef(Frozen, frozen=True):
    """The orchestrator's own name of the node."""

    node_name: str = ""
    orchestrator: str = ""


class NodeWireguard(Frozen, frozen=True):
    """The node's WireGuard addresses (stored, not used)."""

    interface_ipv4_address: str = msgspec.field(default="", name="interfaceIPv4Address")
    interface_ipv6_address: str = msgspec.field(default="", name="interfaceIPv6Address")


class NodeInterface(Frozen, frozen=True):
    """One of the node's links with its addresses."""

    name: str = ""
    addresses: tuple[str, ...] = ()


class NodeSpec(Frozen, frozen=True):
    """A node's addresses and tunnels."""

    bgp: NodeBgp | None = None
    ipv4_vxlan_tunnel_addr: str = msgspec.field(default="", name="ipv4VXLANTunnelAddr")
    vxlan_tunnel_mac_addr: str = msgspec.field(default="", name="vxlanTunnelMACAddr")
    ipv6_vxlan_tunnel_addr: str = msgspec.field(default="", name="ipv6VXLANTunnelAddr")
    vxlan_tunnel_mac_addr_v6: str = msgspec.field(default="", name="vxlanTunnelMACAddrV6")
    orch_refs: tuple[OrchRef, ...] = ()
    wireguard: NodeWireguard | None = None
    addresses: tuple[NodeAddress, ...] = ()
    interfaces: tuple[NodeInterface, ...] = ()


class NodeStatus(Frozen, frozen=True):
    """What the cluster gave the node."""

    wireguard_public_key: str = ""
    wireguard_public_key_v6: str = ""
    pod_cidrs: tuple[str, ...] = msgspec.field(default=(), name="podCIDRs")


class Node(Resource, frozen=True):
    """A machine that runs workloads."""

    kind: str = written("Node")
    spec: NodeSpec = written(NodeSpec())
    status: NodeStatus = written(NodeStatus())


class NetworkSetSpec(Frozen, frozen=True):
    """CIDRs or bare addresses; host bits are allowed."""

    nets: tuple[str, ...] = ()


class NetworkSet(Resource, frozen=True):
    """Addresses with labels, seen from one namespace."""

    kind: str = written("NetworkSet")
    spec: NetworkSetSpec = written(NetworkSetSpec())


class GlobalNetworkSet(Resource, frozen=True):
    """Addresses with labels, seen from everywhere."""

    kind: str = written("GlobalNetworkSet")
    spec: NetworkSetSpec = written(NetworkSetSpec())
