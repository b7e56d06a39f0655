"""The end of each node's tunnel (VTEP): its address inside, its MAC, its address on the fabric.

A node has one as soon as its Node tells both addresses. The MAC is never asked for over the wire:
every node derives it from the other's name, unless the Node names one.
Source: felix/calc/vxlan_resolver.go, felix/dataplane/linux/vxlan_mgr.go.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from korat.core.errors import Problem
from korat.core.model.endpoint import Node
from korat.core.net.address import Addr, Family, Prefix

#: Locally administered and no multicast; the rest is the name's.
_FIRST_BYTE = 0x66
_NAME_BYTES = 5
#: What is hashed behind the name, so that a node's two tunnels differ.
_SUFFIX = {Family.V4: "", Family.V6: "-v6"}


@dataclass(frozen=True, slots=True)
class Vtep:
    """One node's end: ``address`` and ``mac`` inside the tunnel, ``node_address`` outside."""

    node: str
    address: Addr
    mac: str
    node_address: Addr


@dataclass(frozen=True, slots=True)
class TunnelNode:
    """What one Node says of one family's tunnel; None where it says nothing yet.

    ``subnet`` is the one that the node's address lies in, by the mask that is written with it.
    """

    name: str
    address: Addr | None
    subnet: Prefix | None
    tunnel: Addr | None
    mac: str

    @property
    def vtep(self) -> Vtep | None:
        """The node's end of the tunnel, once both of its addresses are known."""
        if self.address is None or self.tunnel is None:
            return None
        return Vtep(self.name, self.tunnel, self.mac, self.address)


def derived_mac(node_name: str, family: Family) -> str:
    """The MAC address that every node computes for this one."""
    text = f"{node_name}{_SUFFIX[family]}".encode()
    digest = hashlib.sha1(text, usedforsecurity=False).digest()
    return ":".join(f"{byte:02x}" for byte in (_FIRST_BYTE, *digest[:_NAME_BYTES]))


def tunnel_node(node: Node, family: Family) -> TunnelNode:
    """Read a Node.

    Raises:
        ValueError: one of its addresses is none.
    """
    spec, name = node.spec, node.metadata.name
    if family is Family.V4:
        text = spec.bgp.ipv4_address if spec.bgp else ""
        tunnel, mac = spec.ipv4_vxlan_tunnel_addr, spec.vxlan_tunnel_mac_addr
    else:
        text = spec.bgp.ipv6_address if spec.bgp else ""
        tunnel, mac = spec.ipv6_vxlan_tunnel_addr, spec.vxlan_tunnel_mac_addr_v6
    return TunnelNode(
        name,
        Addr.parse_interface(text) if text else None,
        Prefix.parse(text) if text else None,
        Addr.parse(tunnel) if tunnel else None,
        mac.lower() or derived_mac(name, family),
    )


def remote_vteps(
    nodes: Iterable[TunnelNode], own: TunnelNode
) -> tuple[dict[str, Vtep], tuple[Problem, ...]]:
    """The other nodes' ends by name, and who cannot have one because another has it already.

    Two nodes with one address or one MAC would take each other's packets, so the first by name
    keeps it, and this node keeps its own.
    """
    taken: dict[object, str] = {}
    mine = own.vtep
    if mine is not None:
        taken = dict.fromkeys(_marks(mine), own.name)
    found: dict[str, Vtep] = {}
    problems: list[Problem] = []
    for node in sorted(nodes, key=lambda node: node.name):
        vtep = node.vtep
        if vtep is None or node.name == own.name:
            continue
        clash = next((mark for mark in _marks(vtep) if mark in taken), None)
        if clash is None:
            taken.update(dict.fromkeys(_marks(vtep), node.name))
            found[node.name] = vtep
            continue
        rule = f"node {taken[clash]} has it too, so this node is not reached; give each its own"
        problems.append(Problem(f"Node {node.name}", clash[0], str(clash[1]), rule))
    return found, tuple(problems)


def _marks(vtep: Vtep) -> Iterator[tuple[str, object]]:
    """What no two nodes may share."""
    yield "spec.bgp address", vtep.node_address
    yield "VXLAN tunnel address", vtep.address
    yield "VXLAN tunnel MAC", vtep.mac
