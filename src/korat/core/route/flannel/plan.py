"""flannel's VXLAN on one node: its device, and three entries for every other node's lease.

For each lease there is a neighbour (the subnet's first address has the other tunnel's MAC), a
forwarding entry (that MAC is at the other node's address) and a route (the subnet, by that
neighbour). The device has the own subnet's first address, by which nodes reach other nodes' pods.

Source: flannel's pkg/backend/vxlan (device.go, vxlan_network.go).
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from korat.core.errors import Problem
from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.flannel.lease import Lease, TunnelEnd
from korat.core.route.flannel.network import VXLAN, FlannelNetwork, Vxlan
from korat.core.route.mtu import FABRIC_BYTES, UNKNOWN_BYTES, Mtu
from korat.core.route.tunnel import (
    Device,
    RouteKind,
    TunnelName,
    TunnelNames,
    TunnelRoute,
    TunnelState,
)
from korat.core.route.vtep import Vtep
from korat.core.route.vxlan import Link, TunnelPlan

#: What flannel takes off for its own header, with IPv6 outside too.
OVERHEAD_BYTES = 50

#: The number that routes have whose maker gave none, as flannel's.
_ROUTE_PROTOCOL = 3

_NAMES = {Family.V4: "flannel", Family.V6: "flannel-v6"}
_FIRST_BYTE = 0x6A  # locally administered, no multicast, and not the one of Calico's tunnels
_NAME_BYTES = 5


@dataclass(frozen=True, slots=True)
class FlannelOverlay:
    """What decides about the tunnels of the node whose lease is ``own``."""

    network: FlannelNetwork
    own: Lease
    leases: Collection[Lease]
    links: Collection[Link]


def device_name(family: Family, vni: int) -> str:
    """What the tunnel's device is called."""
    return f"{_NAMES[family]}.{vni}"


def tunnel_names(network: FlannelNetwork) -> TunnelNames:
    """By what the tunnels of a configuration are known in the kernel; none with alloc."""
    vxlan = network.vxlan
    if vxlan is None:
        return {}
    return {
        family: TunnelName(device_name(family, vxlan.vni), _ROUTE_PROTOCOL, everywhere=False)
        for family in Family
    }


def device_mac(node: Addr) -> str:
    """The MAC of the tunnel of the node with this address.

    flannel draws one when it makes the device. One that follows from the address is the same after
    a reboot, so that no other node has to learn it anew, and no two nodes have the same.
    """
    text = f"{_NAMES[node.family]} {node}".encode()
    digest = hashlib.sha1(text, usedforsecurity=False).digest()
    return ":".join(f"{byte:02x}" for byte in (_FIRST_BYTE, *digest[:_NAME_BYTES]))


def tunnel_mtu(vxlan: Vxlan, parent: Link | None) -> Mtu:
    """The MTU of the tunnel, and of the pods' links."""
    if vxlan.mtu_bytes:
        size = vxlan.mtu_bytes
        return Mtu(size - OVERHEAD_BYTES, f"Backend.MTU is {size}, less VXLAN's {OVERHEAD_BYTES}")
    size = parent.mtu_bytes if parent is not None else UNKNOWN_BYTES
    name = parent.name if parent is not None else "the interface, as nobody tells,"
    if size <= FABRIC_BYTES:
        return Mtu(size - OVERHEAD_BYTES, f"{name} has {size}, less VXLAN's {OVERHEAD_BYTES}")
    why = f"{name} has {size}, but Azure's fabric fragments packets above {FABRIC_BYTES}"
    less = f"{FABRIC_BYTES} less VXLAN's {OVERHEAD_BYTES}"
    return Mtu(FABRIC_BYTES - OVERHEAD_BYTES, f"{why}: {less}; Backend.MTU sets another")


def plan(overlay: FlannelOverlay, family: Family) -> TunnelPlan:
    """One family's tunnel; an empty one where the configuration has none."""
    vxlan, subnet = overlay.network.vxlan, overlay.own.subnet_of(family)
    end = overlay.own.end_of(family)
    if vxlan is None or subnet is None or end is None:
        return TunnelPlan()
    parent = next((link for link in overlay.links if end.node in link.addresses), None)
    mtu = tunnel_mtu(vxlan, parent)
    if parent is None:
        rule = "is on no interface of this node, so there is no tunnel"
        problem = Problem("this node's flannel lease", "PublicIP", str(end.node), rule)
        return TunnelPlan(TunnelState(), mtu, (), (problem,))
    device = Device(
        name=device_name(family, vxlan.vni),
        vni=vxlan.vni,
        port=vxlan.port,
        local=end.node,
        parent=parent.name,
        mac=end.mac,
        mtu_bytes=mtu.size_bytes,
        addresses=frozenset({_first(subnet)}),
        learning=vxlan.learning,
    )
    problems: list[Problem] = []
    peers = dict(_peers(overlay, family, problems))
    state = TunnelState(
        device,
        {_first(there): end.mac for there, end in peers.items()},
        {end.mac: end.node for end in peers.values()},
        {there: _route(there, end, device.name) for there, end in peers.items()},
    )
    vteps = (Vtep(str(e.node), _first(there), e.mac, e.node) for there, e in peers.items())
    return TunnelPlan(state, mtu, tuple(vteps), tuple(problems))


def _peers(
    overlay: FlannelOverlay, family: Family, problems: list[Problem]
) -> Iterator[tuple[Prefix, TunnelEnd]]:
    """The other nodes' subnets, each with the end of its tunnel.

    Two leases with one node's address or one MAC would take each other's packets, so the first by
    its subnet keeps it, and this node keeps its own.
    """
    own = overlay.own
    taken = dict.fromkeys(_marks(own.end_of(family)), own.key)
    for lease in sorted(overlay.leases, key=lambda lease: lease.subnet):
        subnet, end = lease.subnet_of(family), lease.end_of(family)
        if subnet is None or lease.key == own.key:
            continue
        fault = _fault(overlay.network.vxlan, lease, family)
        clash = next((mark for mark in _marks(end) if mark in taken), None)
        if fault is not None or end is None:
            problems += [fault] if fault is not None else []
        elif clash is not None:
            rule = f"lease {taken[clash]} has it too, so this one is not reached"
            problems.append(Problem(f"flannel lease {lease.key}", clash[0], str(clash[1]), rule))
        else:
            taken |= dict.fromkeys(_marks(end), lease.key)
            yield subnet, end


def _fault(vxlan: Vxlan | None, lease: Lease, family: Family) -> Problem | None:
    """Why no packets can go through the tunnel to a lease; None where they can, or need not."""
    where = f"flannel lease {lease.key}"
    if lease.backend != VXLAN:
        rule = "its node has no VXLAN tunnel, so it is not reached from this one"
        return Problem(where, "BackendType", lease.backend, rule)
    end = lease.end_of(family)
    if end is None:
        # A node without IPv6 is no fault of its lease; one without IPv4 is.
        rule = "is missing, so its node is not reached"
        return Problem(where, "BackendData", None, rule) if family is Family.V4 else None
    if vxlan is not None and end.vni != vxlan.vni:
        rule = f"this node's is {vxlan.vni}, so its packets would not be taken"
        return Problem(where, "BackendData.VNI", end.vni, rule)
    return None


def _marks(end: TunnelEnd | None) -> Iterable[tuple[str, object]]:
    """What no two leases may share."""
    return () if end is None else (("PublicIP", end.node), ("VtepMAC", end.mac))


def _route(subnet: Prefix, end: TunnelEnd, device: str) -> TunnelRoute:
    reason = f"flannel lease of {end.node}"
    return TunnelRoute(subnet, RouteKind.TUNNEL, device, _first(subnet), reason=reason)


def _first(subnet: Prefix) -> Addr:
    return Addr(subnet.family, subnet.base)
