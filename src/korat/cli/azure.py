"""azure plan and apply: what Azure must hold so that pods on different nodes reach each other.

In a lab that is up the lab's own Azure is meant, unless the environment names another.
"""

import os
import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from korat.cli import option
from korat.cli.connect import connect
from korat.cli.screen import emit, one_of, put, say
from korat.controllers.main import cloud_network
from korat.controllers.route import apply_once, plan_once
from korat.controllers.settings import route_settings
from korat.core.errors import KoratError, NotFound
from korat.core.route.udr import UdrPlan
from korat.lab.session import attach
from korat.lab.state import LabPaths

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="What Azure must hold for pods to talk."
)

Output = Annotated[str, typer.Option("-o", "--output", metavar="FORMAT", help="json or yaml")]


@app.callback()
def _azure() -> None:
    """What Azure must hold for pods to talk."""


@app.command()
def plan(*, output: Output = "", config: option.Config = "") -> None:
    """Print what has to change in Azure; change nothing."""
    one_of(output, ("", "json", "yaml"))
    settings = route_settings(_environ())
    found = plan_once(connect(config).store, cloud_network(settings), settings.udr)
    _show(found, output)


@app.command()
def apply(
    *,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    output: Output = "",
    config: option.Config = "",
) -> None:
    """Make the changes of the plan, after asking."""
    one_of(output, ("", "json", "yaml"))
    settings = route_settings(_environ())
    store, cloud = connect(config).store, cloud_network(settings)
    if not yes:
        wanted = plan_once(store, cloud, settings.udr)
        say(str(wanted))
        if wanted.empty:
            return
        _confirm()
    done = apply_once(store, cloud, settings.udr)
    if output:
        emit(_value(done), output)
    else:
        count = len(done.steps)
        put(f"applied {count} change{'s' if count > 1 else ''}" if count else str(done))


def _confirm() -> None:
    """Ask; nobody to ask means no."""
    if not sys.stdin.isatty():
        raise KoratError("nothing was changed: there is nobody to ask", "confirm with --yes")
    if not typer.confirm("Make these changes?", err=True):
        raise KoratError("nothing was changed")


def _environ() -> Mapping[str, str]:
    """The environment, and where it names no Azure that of a lab that is up.

    The SDK looks for its certificates in the process's own environment, so they go there too.
    """
    if os.environ.get("KORAT_AZURE_CONFIG"):
        return os.environ
    try:
        lab = attach(LabPaths.named_by(os.environ))
    except NotFound:
        return os.environ
    for name, value in lab.environ().items():
        os.environ.setdefault(name, value)
    os.environ.update(lab.state.sdk_environ)  # the machine's own CA bundle lacks the lab's
    return os.environ


def _show(found: UdrPlan, output: str) -> None:
    if output:
        emit(_value(found), output)
    else:
        put(str(found))


def _value(found: UdrPlan) -> dict[str, object]:
    """A plan for scripts."""
    return {
        "table": found.table_id,
        "steps": [str(step) for step in found.steps],
        "problems": [str(problem) for problem in found.problems],
        "warnings": [str(warning) for warning in found.warnings],
        "routes": [
            {"name": route.name, "prefix": str(route.prefix), "nextHop": str(route.next_hop_ip)}
            for route in found.routes
        ],
    }
