"""``korat lab node``: virtual machines that come to a running lab, go from it and reboot."""

import os
from typing import Annotated

import msgspec
import typer

from korat.cli import screen
from korat.lab.control import AddNodes, RebootNode, RemoveNode, Request
from korat.lab.preflight import require_root
from korat.lab.session import Change, Session, attach
from korat.lab.state import LabPaths

app = typer.Typer(add_completion=False, no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A node, for instance vm2.")]
Output = Annotated[str, typer.Option("-o", "--output", metavar="FORMAT", help="json or yaml.")]


@app.callback()
def _node() -> None:
    """Add, remove and reboot nodes while the lab runs.

    Each verb is done when every node enforces what is in the store and Azure's routes are as they
    must be, and it says how long that took.
    """


@app.command("add")
def add(
    count: Annotated[int, typer.Option("--count", metavar="N", help="How many.")] = 1,
    output: Output = "",
) -> None:
    """Make new VMs, of the lowest numbers that are free.

    Each gets its NIC, its Node and its settings, the CNI plugin and an agent; pods that wait for
    it start there.
    """
    lab, done = _changed(AddNodes(count), output)
    if output:
        return
    came = [vm for vm in lab.state.vms if vm.name in done.nodes]
    if len(came) == 1:
        screen.say(f"{came[0].name} is up at {came[0].address}, {done.seconds:.1f} s")
        return
    for vm in came:
        screen.say(f"{vm.name} is up at {vm.address}")
    screen.say(f"{len(came)} nodes came, {done.seconds:.1f} s")


@app.command("remove")
def remove(name: Name, output: Output = "") -> None:
    """Delete a VM, its NIC and all that ran on it.

    The agent and the pods die at once, without CNI DEL. What the store holds of them goes too, as
    Kubernetes' controllers do it; the route is taken away by korat's.
    """
    _, done = _changed(RemoveNode(name), output)
    if output:
        return
    screen.say(f"{name} is gone, {done.seconds:.1f} s")
    if done.pods:
        screen.say(f"its pods went with it: {', '.join(done.pods)}")


@app.command("reboot")
def reboot(name: Name, output: Output = "") -> None:
    """Cut a VM's power and start it again.

    What the kernel knew and what was under /run is lost. Its pods get new containers, by CNI ADD,
    once the agent is ready.
    """
    lab, done = _changed(RebootNode(name), output)
    if output:
        return
    pods = [pod.name for pod in lab.pods() if pod.node == name]
    screen.say(f"{name} is up again, {done.seconds:.1f} s")
    if pods:
        screen.say(f"its pods run anew: {', '.join(pods)}")


def _changed(request: Request, output: str) -> tuple[Session, Change]:
    """The lab as it is after the change; for scripts, the change is printed."""
    screen.one_of(output, ("", "json", "yaml"))
    require_root()
    paths = LabPaths.named_by(os.environ)
    done = attach(paths).change(request)
    if output:
        screen.emit(msgspec.to_builtins(done), output)
    return attach(paths), done
