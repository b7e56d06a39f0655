"""WorkloadEndpoint, Node, NetworkSet and GlobalNetworkSet.

Source: libcalico-go/lib/validator/v3; libcalico-go/lib/clientv3 for an endpoint's name.
"""

import re

from korat.core.model import label, number
from korat.core.model.endpoint import (
    EndpointPort,
    GlobalNetworkSet,
    IpNat,
    NetworkSet,
    Node,
    NodeBgp,
    NodeSpec,
    WorkloadEndpoint,
    WorkloadEndpointSpec,
)
from korat.core.model.endpoint_name import EndpointIdentity, endpoint_name
from korat.core.model.validate.faults import Faults, each
from korat.core.model.validate.name import name
from korat.core.net.address import Addr, Family
from korat.core.net.port import PORT_LAST

INTERFACE = re.compile(r"\*|[a-zA-Z0-9_.-]{1,15}")
INTERFACE_RULE = "must be at most 15 letters, digits, '_', '.', '-'"
_CONTAINER = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?")
#: Kubernetes' name of a port.
PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")
PORT_NAME_RULE = "must be at most 15 lower case letters, digits and single '-', with a letter"
_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw480]=")
_ADDRESS_TYPES = ("CalicoNodeIP", "InternalIP", "ExternalIP")


def workload_endpoint(faults: Faults, endpoint: WorkloadEndpoint) -> None:
    """An endpoint: its name follows from its parts, its networks are single addresses."""
    spec = endpoint.spec
    _endpoint_name(faults, endpoint)
    faults.matches(
        "spec.interfaceName",
        spec.interface_name,
        INTERFACE,
        INTERFACE_RULE,
    )
    if spec.container_id:
        rule = "must be of letters, digits and '-', which may not be first or last"
        faults.matches("spec.containerID", spec.container_id, _CONTAINER, rule)
    if spec.mac:
        faults.mac("spec.mac", spec.mac)
    for field, text in each("spec.profiles", spec.profiles):
        name(faults, field, text)
    for field, text in each("spec.allowSpoofedSourcePrefixes", spec.allow_spoofed_source_prefixes):
        faults.net(field, text)
    _networks(faults, spec)
    for i, port in enumerate(spec.ports):
        _port(faults, f"spec.ports[{i}]", port)


def node(faults: Faults, own: Node) -> None:
    """A node's addresses, each of its own IP version."""
    spec = own.spec
    if spec.bgp is not None:
        _bgp(faults, spec.bgp)
    _tunnels(faults, spec)
    for i, address in enumerate(spec.addresses):
        faults.net(f"spec.addresses[{i}].address", address.address)
        if address.type:
            faults.choice(f"spec.addresses[{i}].type", address.type, _ADDRESS_TYPES)
    keys = (
        ("status.wireguardPublicKey", own.status.wireguard_public_key),
        ("status.wireguardPublicKeyV6", own.status.wireguard_public_key_v6),
    )
    for field, key in keys:
        if key:
            faults.matches(field, key, _KEY, "is not a WireGuard key")
    for field, text in each("status.podCIDRs", own.status.pod_cidrs):
        faults.cidr(field, text)


def network_set(faults: Faults, own: NetworkSet | GlobalNetworkSet) -> None:
    """A set of addresses and CIDRs, whose host bits may be set."""
    for field, text in each("spec.nets", own.spec.nets):
        faults.net(field, text)
    if label.NAMESPACE in own.metadata.labels:
        field = f"metadata.labels.{label.NAMESPACE}"
        faults.add(field, None, "is Calico's own label and may not be set")


def _endpoint_name(faults: Faults, endpoint: WorkloadEndpoint) -> None:
    spec = endpoint.spec
    identity = EndpointIdentity(
        node=spec.node,
        orchestrator=spec.orchestrator,
        endpoint=spec.endpoint,
        workload=spec.workload,
        pod=spec.pod,
        container_id=spec.container_id,
    )
    try:
        expected = endpoint_name(identity)
    except ValueError as error:
        faults.add("spec", None, str(error))
        return
    if endpoint.metadata.name != expected:
        rule = f"must be {expected}, after the parts in spec"
        faults.add("metadata.name", endpoint.metadata.name, rule)


def _networks(faults: Faults, spec: WorkloadEndpointSpec) -> None:
    owned: set[Addr] = set()
    for field, text in each("spec.ipNetworks", spec.ip_networks):
        prefix = faults.net(field, text)
        if prefix is None:
            continue
        if prefix.length != prefix.family.bits:
            bits = prefix.family.bits
            faults.add(field, text, f"holds more than one address, use a /{bits}")
        owned.add(Addr(prefix.family, prefix.base))
    if spec.ipv4_gateway:
        faults.net("spec.ipv4Gateway", spec.ipv4_gateway, Family.V4)
    if spec.ipv6_gateway:
        faults.net("spec.ipv6Gateway", spec.ipv6_gateway, Family.V6)
    for i, nat in enumerate(spec.ip_nats):
        _nat(faults, f"spec.ipNATs[{i}]", nat, owned)


def _nat(faults: Faults, field: str, nat: IpNat, owned: set[Addr]) -> None:
    internal = faults.address(f"{field}.internalIP", nat.internal_ip)
    external = faults.address(f"{field}.externalIP", nat.external_ip)
    if internal and external and internal.family is not external.family:
        faults.add(f"{field}.externalIP", nat.external_ip, "must be of internalIP's version")
    if internal and internal not in owned:
        rule = "is not one of the endpoint's ipNetworks"
        faults.add(f"{field}.internalIP", nat.internal_ip, rule)


def _port(faults: Faults, field: str, port: EndpointPort) -> None:
    if not number.has_ports(port.protocol):
        faults.add(f"{field}.protocol", port.protocol, "must be TCP, UDP or SCTP")
    if not 1 <= port.port <= PORT_LAST:
        faults.add(f"{field}.port", port.port, f"must be 1 to {PORT_LAST}")
    if not 0 <= port.host_port <= PORT_LAST:
        faults.add(f"{field}.hostPort", port.host_port, f"must be 0 to {PORT_LAST}")
    if port.name:
        faults.matches(f"{field}.name", port.name, PORT_NAME, PORT_NAME_RULE)
    elif not port.host_port:
        faults.add(f"{field}.name", None, "is missing, and there is no hostPort either")
    if port.host_ip:
        faults.address(f"{field}.hostIP", port.host_ip)


def _bgp(faults: Faults, bgp: NodeBgp) -> None:
    if bgp == NodeBgp():
        faults.add("spec.bgp", None, "is empty; leave it out or give an address")
    for field, text, family in (
        ("spec.bgp.ipv4Address", bgp.ipv4_address, Family.V4),
        ("spec.bgp.ipv6Address", bgp.ipv6_address, Family.V6),
    ):
        if text:
            faults.net(field, text, family)
    for field, text in (
        ("spec.bgp.ipv4IPIPTunnelAddr", bgp.ipv4_ipip_tunnel_addr),
        ("spec.bgp.routeReflectorClusterID", bgp.route_reflector_cluster_id),
    ):
        if text:
            faults.address(field, text, Family.V4)
    if bgp.as_number is not None:
        try:
            number.as_number(bgp.as_number)
        except ValueError as error:
            faults.add("spec.bgp.asNumber", bgp.as_number, str(error))


def _tunnels(faults: Faults, spec: NodeSpec) -> None:
    wireguard = spec.wireguard
    for field, text, family in (
        ("spec.ipv4VXLANTunnelAddr", spec.ipv4_vxlan_tunnel_addr, Family.V4),
        ("spec.ipv6VXLANTunnelAddr", spec.ipv6_vxlan_tunnel_addr, Family.V6),
        (
            "spec.wireguard.interfaceIPv4Address",
            wireguard.interface_ipv4_address if wireguard else "",
            Family.V4,
        ),
        (
            "spec.wireguard.interfaceIPv6Address",
            wireguard.interface_ipv6_address if wireguard else "",
            Family.V6,
        ),
    ):
        if text:
            faults.address(field, text, family)
    for field, text in (
        ("spec.vxlanTunnelMACAddr", spec.vxlan_tunnel_mac_addr),
        ("spec.vxlanTunnelMACAddrV6", spec.vxlan_tunnel_mac_addr_v6),
    ):
        if text:
            faults.mac(field, text)
