"""A lab's overlay as its users see it: each node's tunnel, and the prefixes its pods live in."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from korat.core.model.ipam import IPAMBlock
from korat.core.net.address import Addr, Family
from korat.core.route.flannel.env import read_env
from korat.core.route.holding import holding
from korat.drivers.report import TunnelReport, latest_tunnels
from korat.drivers.store.client import Client
from korat.lab.mode import MODES, Addressing
from korat.lab.node_setup import subnet_file
from korat.lab.state import LabPaths, LabState


@dataclass(frozen=True, slots=True)
class NodeOverlay:
    """One node's part; the tunnel is None until the node has one.

    ``blocks`` are Calico's, or the one subnet that flannel leases.
    """

    tunnel: TunnelReport | None
    blocks: tuple[str, ...]


def overlay_of(state: LabState, paths: LabPaths, client: Client) -> Mapping[str, NodeOverlay]:
    """The nodes' parts by name; none in a mode without an overlay."""
    match MODES[state.mode].addressing:
        case Addressing.BLOCKS:
            blocks = _blocks(client)
            names = (vm.name for vm in state.vms)
            return {
                name: NodeOverlay(_tunnel(paths, name), tuple(blocks.get(name, ())))
                for name in names
            }
        case Addressing.LEASE:
            return {vm.name: _leased(paths, vm.name) for vm in state.vms}
        case Addressing.SUBNET | Addressing.NIC:
            return {}


def _blocks(client: Client) -> Mapping[str, list[str]]:
    """Calico's blocks by their node."""
    blocks: dict[str, list[str]] = {}
    for block in client.read(["IPAMBlock"]).of("IPAMBlock"):
        found = holding(block.spec) if isinstance(block, IPAMBlock) else None
        if found is not None:
            blocks.setdefault(found.node, []).append(str(found.block))
    return blocks


def _tunnel(paths: LabPaths, vm: str) -> TunnelReport | None:
    """What the node's agent tells of its tunnel."""
    return next((t for t in latest_tunnels(paths.node(vm)) if t.family == Family.V4), None)


def _leased(paths: LabPaths, vm: str) -> NodeOverlay:
    """With flannel; where a flanneld has the tunnel, its subnet.env tells the little it tells."""
    with contextlib.suppress(OSError, ValueError):
        env = read_env(subnet_file(paths, vm).read_text("utf-8"))
        first = str(Addr(env.subnet.family, env.subnet.base))
        own = _tunnel(paths, vm)
        beside = TunnelReport(int(Family.V4), "flannel", first, mtu=env.mtu_bytes)
        return NodeOverlay(own or beside, (str(env.subnet),))
    return NodeOverlay(None, ())
