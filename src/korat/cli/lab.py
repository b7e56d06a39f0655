"""``korat lab``: an Azure in a box, its pods, and who can talk to whom in it.

Screens are ``korat.cli.lab_screen``'s, the lab itself is ``korat.lab``'s. The lab's name is
``KORAT_LAB``, ``lab`` when that is not set.
"""

import os
import shlex
from typing import Annotated

import msgspec
import typer

from korat.cli import lab_screen, manifest, screen
from korat.cli.demo import demo as run_demo
from korat.cli.lab_node import app as node_verbs
from korat.core.errors import Invalid, Problem
from korat.drivers.kernel import namespace
from korat.lab import roster, sweep
from korat.lab.blueprint import VNET_CIDR, Options
from korat.lab.mode import MODES
from korat.lab.preflight import require_root
from korat.lab.session import attach
from korat.lab.state import LabPaths
from korat.lab.up import up as bring_up

app = typer.Typer(
    add_completion=False, help="An Azure with VMs and pods on this machine.", no_args_is_help=True
)

app.add_typer(node_verbs, name="node")

Output = Annotated[str, typer.Option("-o", "--output", metavar="FORMAT", help="json or yaml.")]
Mode = Annotated[str, typer.Option(help=f"The networking option: {', '.join(MODES)}.")]
Beside = Annotated[
    str,
    typer.Option(
        metavar="PROGRAM",
        help="Let this program do its part of the networking: flanneld, mixed (on every second "
        "node), azure-vnet, azure-vnet-ipam.",
    ),
]
Nodes = Annotated[int, typer.Option(help="How many virtual machines.")]
Files = Annotated[
    list[str],
    typer.Option(
        "-f", "--filename", metavar="FILE", help="Namespaces, Pods, policies; may be repeated."
    ),
]


@app.command("up")
def up(  # noqa: PLR0913, PLR0917 - one parameter per option
    mode: Mode = "udr",
    nodes: Nodes = 3,
    store: Annotated[str, typer.Option(help="The datastore: sqlite.")] = "sqlite",
    filename: Files = [],  # noqa: B006 - typer copies it
    vnet: Annotated[str, typer.Option(metavar="CIDR")] = VNET_CIDR,
    subnet: Annotated[
        str, typer.Option(metavar="CIDR", help="The nodes' subnet; each mode has its own.")
    ] = "",
    cluster_cidr: Annotated[
        str, typer.Option(metavar="CIDR", help="The pods' range; each mode has its own.")
    ] = "",
    beside: Beside = "",
    nic_addresses: Annotated[
        int, typer.Option(metavar="N", help="azure-cni: addresses for pods that each NIC has.")
    ] = 16,
    largest_packet: Annotated[
        int, typer.Option(metavar="BYTES", help="What the fabric carries in one piece; 0: all.")
    ] = 0,
) -> None:
    """Bring the lab up: VMs on an Azure fabric, korat on each, pods from the files."""
    paths = LabPaths.named_by(os.environ)
    resources = [r for item in manifest.read(filename) for r in item.resources]
    options = Options(
        mode, nodes, store, vnet, subnet, cluster_cidr, largest_packet, nic_addresses, beside
    )
    with lab_screen.progress() as step:
        done = bring_up(paths, options, resources, step)
    for note in done.notes:
        screen.say(note)
    size = f"{_count(nodes, 'node')}, {_count(len(attach(paths).pods()), 'pod')}"
    screen.say(f"lab {paths.name} is up: {size}, {done.seconds:.1f} s")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@app.command("status")
def status(output: Output = "") -> None:
    """Show the lab: its VMs, its route table, its pods."""
    screen.one_of(output, ("", "json", "yaml"))
    lab = attach(LabPaths.named_by(os.environ))
    if output:
        screen.emit(
            lab_screen.status_object(lab.state, lab.azure(), lab.pods(), lab.overlay()), output
        )
    else:
        lab_screen.show_status(lab.state, lab.azure(), lab.pods(), lab.overlay())


@app.command("probe")
def probe(
    sender: Annotated[str, typer.Option("--from", metavar="NS/POD")] = "",
    receiver: Annotated[str, typer.Option("--to", metavar="NS/POD|IP")] = "",
    protocol: Annotated[str, typer.Option(help="TCP, UDP or SCTP.")] = "",
    port: Annotated[str, typer.Option(metavar="N|NAME", help="A port or its name.")] = "",
    output: Output = "",
) -> None:
    """Try who can talk to whom, with real packets, all pairs at once."""
    screen.one_of(output, ("", "json", "yaml"))
    require_root()
    results = attach(LabPaths.named_by(os.environ)).probe(
        roster.Wanted(sender, receiver, protocol.upper(), port)
    )
    if output:
        screen.emit(msgspec.to_builtins(results), output)
    else:
        lab_screen.show_probes(results, one=bool(sender or receiver))


@app.command(
    "exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def exec_(
    pod: Annotated[str, typer.Argument(metavar="NS/POD")],
    command: Annotated[list[str], typer.Argument(metavar="-- CMD...")],
) -> None:
    """Run a command in a pod's network."""
    require_root()
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise Invalid([Problem("", "CMD", None, "is missing: give the command to run after --")])
    found = roster.pod_named(attach(LabPaths.named_by(os.environ)).pods(), pod)
    namespace.enter(found.netns)
    try:
        os.execvp(words[0], words)  # noqa: S606 - the user's own command, as an argument list
    except OSError as error:
        rule = (error.strerror or "cannot be run").lower()
        raise Invalid([Problem("", "CMD", words[0], rule)]) from error


@app.command("env")
def env(output: Output = "") -> None:
    """Print the environment that points korat and the Azure SDKs at the lab."""
    screen.one_of(output, ("", "json", "yaml"))
    environ = attach(LabPaths.named_by(os.environ)).environ()
    if output:
        screen.emit(environ, output)
        return
    for name, value in environ.items():
        screen.put(f"export {name}={shlex.quote(value)}")


@app.command("down")
def down() -> None:
    """Take the lab down; leaves no namespace, process or file behind."""
    require_root()
    paths = LabPaths.named_by(os.environ)
    gone = sweep.down(paths)
    screen.say(f"lab {paths.name} is down" if gone else f"lab {paths.name} was not up")


@app.command("demo")
def demo(
    mode: Mode = "udr",
    beside: Beside = "",
    nodes: Nodes = 3,
    filename: Files = [],  # noqa: B006 - typer copies it
    policies: Annotated[
        list[str], typer.Option("--policies", metavar="FILE", help="Applied after a first look.")
    ] = [],  # noqa: B006 - typer copies it
) -> None:
    """Bring the lab up anew and show it working: before and after the policies, and why."""
    options = Options(mode=mode, nodes=nodes, beside=beside)
    run_demo(LabPaths.named_by(os.environ), options, filename, policies)
