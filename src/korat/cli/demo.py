"""``korat lab demo``, what ``make lab`` runs: the lab from nothing to an explained verdict.

Every number on the screen is measured while it runs; the lab stays up afterwards.
"""

from collections.abc import Sequence

from rich.console import Console

from korat.cli import explain_screen, lab_screen, manifest
from korat.cli.policy_source import Snapshot
from korat.cli.question import Words, ask
from korat.cli.screen import DIM, out
from korat.cli.surroundings import surroundings
from korat.core.model.resource import Resource
from korat.drivers.store.batch import apply
from korat.lab import sweep
from korat.lab.blueprint import Options
from korat.lab.mode import MODES
from korat.lab.probe import DENIED, Probe
from korat.lab.roster import Wanted
from korat.lab.session import Session, attach
from korat.lab.state import LabPaths
from korat.lab.up import up

_LINE = 90


def demo(
    paths: LabPaths, options: Options, files: Sequence[str], policy_files: Sequence[str]
) -> None:
    """Take an earlier lab down, bring this one up, and show it."""
    console = out()
    shop, policies = _resources(files), _resources(policy_files)
    with lab_screen.progress() as step:
        if sweep.down(paths):
            step("the lab of before is down")
        done = up(paths, options, shop, step)
    lab = attach(paths)
    _heading(console, f"The lab is up, in {done.seconds:.1f} s")
    console.print(f"[{DIM}]Networking[/]  {MODES[options.mode].title}")
    way = MODES[options.mode].way
    console.print(f"[{DIM}]Fabric[/]      VNet {lab.state.vnet_cidr}, {way}")
    for note in done.notes:
        console.print(f"[{DIM}]Note[/]        {note}")
    console.print()
    lab_screen.show_machines(lab.state, lab.azure(), lab.pods(), lab.overlay())
    before = lab.probe(Wanted())
    _heading(console, "Without a policy")
    lab_screen.show_matrix(f"{len(before)} real connections", before)
    outcome = apply(lab.client, policies)
    if outcome.error:
        raise outcome.error
    after = lab.probe(Wanted())
    _heading(console, f"With {', '.join(str(r.key) for r in outcome.done)}")
    lab_screen.show_matrix("What changed is marked", after, before)
    _explain(console, lab, after)
    _next_steps(console, policy_files)


def _resources(files: Sequence[str]) -> list[Resource]:
    return [resource for item in manifest.read(files) for resource in item.resources]


def _heading(console: Console, words: str) -> None:
    console.print(f"\n[bold]{words}[/]\n[{DIM}]{'─' * min(console.width, _LINE)}[/]")


def _explain(console: Console, lab: Session, probes: Sequence[Probe]) -> None:
    """Why a denied connection was denied; of neighbours, when there are such."""
    found = [p for p in probes if p.result == DENIED]
    near = [p for p in found if _namespace(p.sender) == _namespace(p.receiver)]
    if not found:
        return
    denied = (near or found)[-1]
    question = _words(denied)
    _heading(console, f"korat policy explain {' '.join(question)}")
    snapshot = Snapshot.of(lab.client.read())
    words = Words(denied.sender, denied.receiver, denied.protocol, str(denied.port))
    asked = ask(snapshot.objects, snapshot.cluster, words)
    around = surroundings(snapshot.objects, snapshot.cluster)
    answers = [around.between(each.packet) for each in asked]
    console.print(explain_screen.drawn(asked, answers, snapshot))


def _namespace(pod: str) -> str:
    return pod.partition("/")[0]


def _words(probe: Probe) -> list[str]:
    ends = ["--from", probe.sender, "--to", probe.receiver]
    return [*ends, "--protocol", probe.protocol, "--port", str(probe.port)]


def _next_steps(console: Console, policy_files: Sequence[str]) -> None:
    _heading(console, "Try next")
    commands = [
        ("korat lab status", "the VMs, the route table, the pods"),
        (
            f"korat delete -f {policy_files[0]}" if policy_files else "korat get pods -A",
            "back to before",
        ),
        ("korat lab probe", "who talks to whom now"),
    ]
    for command, what in commands:
        console.print(f"  [bold].venv/bin/{command}[/]   [{DIM}]{what}[/]")
    console.print(f"\n[{DIM}]Take the lab down with .venv/bin/korat lab down[/]")
