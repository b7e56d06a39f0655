"""A lab's overlay as its users see it: each node's tunnel, and the blocks its pods live in."""

from collections.abc import Mapping
from dataclasses import dataclass

from korat.core.model.ipam import IPAMBlock
from korat.core.net.address import Family
from korat.core.route.holding import holding
from korat.drivers.report import TunnelReport, latest_tunnels
from korat.drivers.store.client import Client
from korat.lab.blueprint import VXLAN
from korat.lab.state import LabPaths, LabState


@dataclass(frozen=True, slots=True)
class NodeOverlay:
    """One node's part; the tunnel is None until the node has one."""

    tunnel: TunnelReport | None
    blocks: tuple[str, ...]


def overlay_of(state: LabState, paths: LabPaths, client: Client) -> Mapping[str, NodeOverlay]:
    """The nodes' parts by name; none in a mode without an overlay."""
    if state.mode != VXLAN:
        return {}
    blocks: dict[str, list[str]] = {}
    for block in client.read(["IPAMBlock"]).of("IPAMBlock"):
        found = holding(block.spec) if isinstance(block, IPAMBlock) else None
        if found is not None:
            blocks.setdefault(found.node, []).append(str(found.block))
    return {
        vm.name: NodeOverlay(
            next((t for t in latest_tunnels(paths.node(vm.name)) if t.family == Family.V4), None),
            tuple(blocks.get(vm.name, ())),
        )
        for vm in state.vms
    }
