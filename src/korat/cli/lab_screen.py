"""The lab's screens: what runs, which routes Azure has, who talks to whom."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from korat.cli.screen import ALLOWED, DENIED, DIM, UNLIMITED, err, matrix, out, table
from korat.core.net.address import Addr
from korat.lab.arm_client import AzureStatus
from korat.lab.mode import MODES, Addressing
from korat.lab.overlay import NodeOverlay
from korat.lab.probe import ALLOWED as GOT_THROUGH
from korat.lab.probe import REFUSED, Probe
from korat.lab.roster import LabPod
from korat.lab.state import LabState

ALL, SOME, NONE, CLOSED, SELF = "●", "◐", "✕", "○", "·"
LEGEND = (
    f"[{ALLOWED}]{ALL}[/] every port answers   [yellow]{SOME}[/] some do   "
    f"[{DENIED}]{NONE}[/] none: dropped   [{DIM}]{SELF}[/] itself or no port"
)
_SHORTEST_NAME = 20

#: Said only where it is seen: it takes a port that a pod does not declare.
CLOSED_LEGEND = f"[yellow]{CLOSED}[/] refused: let through, but nobody listens"

Pair = tuple[str, str]
Overlay = Mapping[str, NodeOverlay]


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line that says what is being done: on a terminal it stays one line."""
    console = err()
    if not console.is_terminal:
        yield console.print
        return
    with console.status("…") as spinner:
        yield spinner.update


def status_object(
    state: LabState, azure: AzureStatus, pods: Sequence[LabPod], overlay: Overlay
) -> dict[str, Any]:
    """The lab as scripts read it."""
    return {
        "name": state.name,
        "mode": state.mode,
        "phase": state.phase,
        "vnet": state.vnet_cidr,
        "subnet": state.subnet_cidr,
        "clusterCIDR": state.cluster_cidr,
        "nodes": [
            {
                "name": vm.name,
                "address": vm.address,
                "podCIDR": vm.pod_cidr,
                "nic": vm.nic,
                "nicAddresses": list(azure.secondary.get(vm.nic, ())),
                "ipForwarding": azure.forwarding.get(vm.nic, False),
                "netns": vm.netns,
                **_overlay_object(overlay.get(vm.name)),
            }
            for vm in state.vms
        ],
        "routeTable": {
            "name": azure.table,
            "subnets": list(azure.subnets),
            "routes": [
                {"name": r.name, "addressPrefix": r.prefix, "nextHop": r.next_hop}
                for r in azure.routes
            ],
        },
        "pods": [_pod_object(pod) for pod in pods],
        "processes": [msgspec.to_builtins(p) for p in (state.daemon, *state.processes)],
        "notes": list(state.notes),
    }


def _overlay_object(own: NodeOverlay | None) -> dict[str, Any]:
    if own is None:
        return {}
    tunnel = msgspec.to_builtins(own.tunnel) if own.tunnel else None
    return {"tunnel": tunnel, "blocks": list(own.blocks)}


def _pod_object(pod: LabPod) -> dict[str, Any]:
    return {
        "name": pod.name,
        "node": pod.node,
        "address": pod.address,
        "phase": pod.phase,
        "message": pod.message,
        "netns": pod.netns,
        "ports": [
            {"name": name, "protocol": port.protocol, "port": port.port} for name, port in pod.ports
        ],
    }


def show_status(
    state: LabState, azure: AzureStatus, pods: Sequence[LabPod], overlay: Overlay
) -> None:
    """The lab for a person."""
    console = out()
    console.print(Text.assemble(("Mode   ", DIM), MODES[state.mode].title))
    vnet = f"{state.vnet_cidr}, VMs in {state.subnet_cidr}, pods in {state.cluster_cidr}"
    console.print(Text.assemble(("VNet   ", DIM), vnet))
    show_machines(state, azure, pods, overlay)
    if pods:
        _section("Pods", _pod_table(pods))
    for note in state.notes:
        console.print(f"[{DIM}]note: {note}[/]")


def show_machines(
    state: LabState, azure: AzureStatus, pods: Sequence[LabPod], overlay: Overlay
) -> None:
    """The VMs and the ways between them, without the pods' own table."""
    mode = MODES[state.mode]
    match mode.addressing:
        case Addressing.SUBNET:
            machines = _vm_table(state, azure, pods)
        case Addressing.NIC:
            machines = _nic_table(state, azure, pods)
        case _:
            machines = _tunnel_table(state, azure, pods, overlay)
    _section("Virtual machines", machines)
    if mode.unrouted and not azure.table:
        out().print(f"\n[{DIM}]No route table: {mode.unrouted}.[/]")
        return
    where = ", ".join(azure.subnets) or "no subnet"
    title = f"Route table {azure.table}, associated with {where}" if azure.table else "Route table"
    _section(title, _route_table(azure))


def _section(title: str, content: Table) -> None:
    """A title that is not cut to the width of what is below it."""
    console = out()
    console.print(f"\n[bold]{title}[/]")
    console.print(content)


def _tunnel_table(
    state: LabState, azure: AzureStatus, pods: Sequence[LabPod], overlay: Overlay
) -> Table:
    rows = []
    for vm in state.vms:
        own = overlay.get(vm.name)
        tunnel = own.tunnel if own else None
        rows.append(
            (
                vm.name,
                vm.address,
                tunnel.address if tunnel and tunnel.device else f"[{DENIED}]none[/]",
                str(tunnel.mtu) if tunnel else "",
                " ".join(own.blocks) if own else "",
                "on" if azure.forwarding.get(vm.nic) else "off",
                _pods_on(vm.name, pods),
            )
        )
    prefixes = "BLOCKS" if MODES[state.mode].addressing is Addressing.BLOCKS else "SUBNET"
    heads = ("VM", "ADDRESS", "TUNNEL", "MTU", prefixes, "IP FORWARDING", "PODS")
    return table("", heads, rows)


def _pods_on(node: str, pods: Sequence[LabPod]) -> str:
    return " ".join(pod.name.partition("/")[2] for pod in pods if pod.node == node)


def _vm_table(state: LabState, azure: AzureStatus, pods: Sequence[LabPod]) -> Table:
    rows = [
        (
            vm.name,
            vm.address,
            vm.pod_cidr,
            f"[{ALLOWED}]on[/]" if azure.forwarding.get(vm.nic) else f"[{DENIED}]off[/]",
            _pods_on(vm.name, pods),
        )
        for vm in state.vms
    ]
    return table("", ("VM", "ADDRESS", "POD SUBNET", "IP FORWARDING", "PODS"), rows)


def _nic_table(state: LabState, azure: AzureStatus, pods: Sequence[LabPod]) -> Table:
    rows = [
        (
            vm.name,
            vm.address,
            ranges(azure.secondary.get(vm.nic, ())),
            "on" if azure.forwarding.get(vm.nic) else "off",
            _pods_on(vm.name, pods),
        )
        for vm in state.vms
    ]
    return table("", ("VM", "ADDRESS", "SECONDARY ADDRESSES", "IP FORWARDING", "PODS"), rows)


def ranges(addresses: Iterable[str]) -> str:
    """Addresses with neighbours drawn together: ``10.10.1.0-10.10.1.15 10.10.2.7``."""
    found: list[tuple[Addr, Addr]] = []
    for addr in sorted(map(Addr.parse, addresses)):
        if found and addr.value == found[-1][1].value + 1 and addr.family is found[-1][1].family:
            found[-1] = (found[-1][0], addr)
        else:
            found.append((addr, addr))
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def _route_table(azure: AzureStatus) -> Table:
    rows = [(route.name, route.prefix, route.next_hop) for route in azure.routes]
    if not rows:
        rows = [(f"[{DENIED}]none[/]", "", "")]
    return table("", ("ROUTE", "PREFIX", "NEXT HOP"), rows)


def _pod_table(pods: Sequence[LabPod]) -> Table:
    rows = [
        (
            pod.name,
            pod.node,
            pod.address or f"[{DENIED}]{pod.phase}: {pod.message}[/]",
            " ".join(f"{port.port}/{port.protocol.lower()}" for _, port in pod.ports),
        )
        for pod in pods
    ]
    return table("", ("POD", "NODE", "ADDRESS", "PORTS"), rows)


def show_probes(probes: Sequence[Probe], *, one: bool) -> None:
    """Probes for a person: a line each when few were asked for, else the matrix."""
    console = out()
    if not probes:
        console.print("no pod declares a port that fits: nothing was probed")
    elif one:
        rows = [
            (p.sender, p.receiver, f"{p.port}/{p.protocol.lower()}", _coloured(p.result), f"{p.ms}")
            for p in probes
        ]
        console.print(table("", ("FROM", "TO", "PORT", "RESULT", "MS"), rows))
    else:
        show_matrix("Who talks to whom", probes)


def _coloured(result: str) -> str:
    colour = {GOT_THROUGH: ALLOWED, REFUSED: "yellow"}.get(result, DENIED)
    return f"[{colour}]{result}[/]"


def show_matrix(title: str, probes: Sequence[Probe], before: Sequence[Probe] = ()) -> None:
    """The matrix of all pairs; what changed since ``before`` is bold on a grey ground."""
    now, then = marks(probes), marks(before)

    def cell(sender: str, receiver: str) -> str:
        mark = now.get((sender, receiver), SELF)
        colour = {ALL: ALLOWED, SOME: "yellow", CLOSED: "yellow", NONE: DENIED}.get(mark, DIM)
        changed = bool(then) and then.get((sender, receiver), SELF) != mark
        return f"[bold {colour} on grey23] {mark} [/]" if changed else f"[{colour}]{mark}[/]"

    console = out()
    senders = sorted({p.sender for p in probes})
    receivers = sorted({p.receiver for p in probes})
    console.print(f"\n[bold]{title}[/]")
    for part in matrices(senders, receivers, cell, console.width):
        console.print(part)
    console.print(LEGEND)
    if CLOSED in now.values():
        console.print(CLOSED_LEGEND)


def matrices(
    senders: Sequence[str],
    receivers: Sequence[str],
    cell: Callable[[str, str], str],
    width: int,
) -> list[Table]:
    """The matrix as it fits the width: with names, else with numbers for them, else in parts."""
    heads = {name: name.replace("/", "/\n") for name in receivers}
    whole = matrix(dict(zip(senders, senders, strict=True)), heads, cell)
    if _width_of(whole) <= width:
        return [whole]
    names = sorted({*senders, *receivers})
    digits = len(str(len(names)))
    number = {name: str(i) for i, name in enumerate(names, start=1)}
    rows = {name: f"{number[name]:>{digits}} {_cut(name, width // 2)}" for name in names}
    for count in range(len(receivers), 1, -1):
        parts = [
            matrix(rows, {name: number[name] for name in receivers[at : at + count]}, cell)
            for at in range(0, len(receivers), count)
        ]
        if max(map(_width_of, parts)) <= width:
            return parts
    return [matrix(rows, {name: number[name]}, cell) for name in receivers]


def _cut(name: str, length: int) -> str:
    """A name that would leave no room for the marks, without its middle."""
    if len(name) <= max(length, _SHORTEST_NAME):
        return name
    half = max(length, _SHORTEST_NAME) // 2
    return f"{name[:half]}…{name[-half:]}"


def _width_of(drawn: Table) -> int:
    """How wide a table is when it has all the room it wants."""
    return Console(width=UNLIMITED).measure(drawn).maximum


def marks(probes: Sequence[Probe]) -> Mapping[Pair, str]:
    """For each pair, whether all, some or none of its ports answered."""
    answers: dict[Pair, set[str]] = {}
    for p in probes:
        answers.setdefault((p.sender, p.receiver), set()).add(p.result)
    return {pair: _mark(results) for pair, results in answers.items()}


def _mark(results: set[str]) -> str:
    if GOT_THROUGH in results:
        return ALL if results == {GOT_THROUGH} else SOME
    return CLOSED if REFUSED in results else NONE
