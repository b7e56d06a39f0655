"""``korat node status``: what the agent of this node, or of each node of the lab, says of itself.

The agents write it down (``korat.drivers.report``); nothing is asked over a network. Which revision
of the datastore the kernel enforces, the tunnels with their MTU and how it came about, whether
checksum offload was found to work, how many of the NIC's addresses are left, and what of all that
is wrong.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from korat.cli import screen
from korat.cli.option import Output
from korat.cni.request import RUN_DIR
from korat.core.errors import NotFound
from korat.drivers.report import (
    AddressReport,
    NodeReport,
    TunnelReport,
    latest,
    latest_addresses,
    latest_tunnels,
)
from korat.lab.state import DEFAULT_NAME, LabPaths, living_state


def status(
    node: Annotated[
        list[str] | None, typer.Argument(metavar="[NODE]...", help="Nodes of the lab; all if none.")
    ] = None,
    output: Output = "",
) -> None:
    """Show what the node's agent says of itself: policy, tunnels, MTU, the NIC's addresses."""
    screen.one_of(output, ("", "json", "yaml"))
    reports = {name: _read(name, place) for name, place in _places(node or []).items()}
    if output:
        screen.emit([_object(found) for found in reports.values()], output)
        return
    screen.put("\n\n".join(map(_text, reports.values())))


@dataclass(frozen=True, slots=True)
class _Said:
    """All that one node's agent says."""

    name: str
    report: NodeReport | None
    tunnels: tuple[TunnelReport, ...]
    addresses: AddressReport | None


def _read(name: str, place: Path) -> _Said:
    return _Said(name, latest(place), latest_tunnels(place), latest_addresses(place))


def _places(wanted: list[str]) -> Mapping[str, Path]:
    """Where the agents keep their run directories, by node.

    Raises:
        NotFound: there is no agent here and no lab, or no such node.
    """
    own = Path(os.environ.get("KORAT_RUN_DIR") or RUN_DIR)
    report = latest(own)
    if report is not None:
        places = {report.node: own}
    else:
        paths = LabPaths(os.environ.get("KORAT_LAB") or DEFAULT_NAME)
        try:
            places = {vm.name: paths.node(vm.name) for vm in living_state(paths).vms}
        except NotFound as error:
            raise NotFound(
                f"no agent keeps its files in {own}, and no lab is up",
                "start one with: korat node run; or name its folder as KORAT_RUN_DIR",
            ) from error
    missing = [name for name in wanted if name not in places]
    if missing:
        raise NotFound(f"there is no node {missing[0]} here", f"there are {', '.join(places)}")
    return {name: places[name] for name in wanted or places}


def _alive(report: NodeReport | None) -> bool:
    return report is not None and Path(f"/proc/{report.pid}").exists()


def _object(said: _Said) -> dict[str, Any]:
    report = said.report
    return {
        "node": said.name,
        "running": _alive(report),
        "pid": report.pid if report else None,
        "revision": report.revision if report else None,
        "tunnels": msgspec.to_builtins(said.tunnels),
        "addresses": msgspec.to_builtins(said.addresses),
    }


def _text(said: _Said) -> str:
    report = said.report
    if report is None:
        return f"{said.name}: its agent has not reported yet"
    state = f"runs (process {report.pid})" if _alive(report) else "does not run"
    lines = [f"{said.name}: the agent {state}; its kernel enforces revision {report.revision}"]
    lines += [line for tunnel in said.tunnels for line in _tunnel_lines(tunnel)]
    lines += _address_lines(said.addresses) if said.addresses is not None else []
    return "\n".join(lines)


def _address_lines(found: AddressReport) -> list[str]:
    counts = f"{found.used} of {found.total} are in use, {found.resting} cool down"
    lines = [f"  IPv4 addresses of the NIC {found.nic}: {counts}; {found.source} says so"]
    lines += [f"    {found.age_s:.0f} s old: {found.stale}"] if found.stale else []
    return [*lines, *(f"    problem: {problem}" for problem in found.problems)]


def _tunnel_lines(tunnel: TunnelReport) -> list[str]:
    title = f"IPv{tunnel.family} tunnel"
    if not tunnel.device:
        lines = [f"  {title}: none"]
    else:
        ends = f"{tunnel.address} on {tunnel.node_address}"
        peers = f"{tunnel.peers} other node{'' if tunnel.peers == 1 else 's'}"
        lines = [
            f"  {title} {tunnel.device}: {ends}, to {peers} by {tunnel.routes} routes",
            f"    MTU {tunnel.mtu}: {tunnel.mtu_reason}",
            f"    checksum offload {tunnel.offload or 'untested'}{_because(tunnel)}",
        ]
    lines += [f"    fault: {tunnel.fault}"] if tunnel.fault else []
    return [*lines, *(f"    problem: {problem}" for problem in tunnel.problems)]


def _because(tunnel: TunnelReport) -> str:
    return f": {tunnel.offload_reason}" if tunnel.offload_reason else ""
