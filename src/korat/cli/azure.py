"""azure plan and apply: what Azure must hold so that pods on different nodes reach each other.

That are routes, and where KORAT_AZURE_ADDRESSES asks for it addresses of the nodes' NICs.

In a lab that is up the lab's own Azure is meant, unless the environment names another.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import typer
from typing_extensions import override

from korat.cli import option
from korat.cli.connect import connect
from korat.cli.screen import emit, one_of, put, say
from korat.controllers.main import cloud_network
from korat.controllers.route import apply_once, plan_once
from korat.controllers.settings import (
    AddressSettings,
    RouteSettings,
    address_settings,
    route_settings,
    wants_routes,
)
from korat.controllers.supply import look_once, supply_once
from korat.core.errors import KoratError, NotFound
from korat.core.route.supply import SupplyPlan
from korat.core.route.udr import UdrPlan
from korat.lab.session import attach
from korat.lab.state import LabPaths
from korat.ports import Store

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
    asked = _Asked.of(_environ())
    _show(asked.plans(connect(config).store), output)


@app.command()
def apply(
    *,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    output: Output = "",
    config: option.Config = "",
) -> None:
    """Make the changes of the plan, after asking."""
    one_of(output, ("", "json", "yaml"))
    asked = _Asked.of(_environ())
    store = connect(config).store
    if not yes:
        wanted = asked.plans(store)
        say(str(wanted))
        if not wanted.count:
            return
        _confirm()
    done = asked.apply(store)
    if output:
        emit(_value(done), output)
    else:
        count = done.count
        put(f"applied {count} change{'s' if count > 1 else ''}" if count else str(done))


@dataclass(frozen=True, slots=True)
class _Plans:
    """What is to be changed, or was; None where nobody asks for it."""

    routes: UdrPlan | None
    addresses: SupplyPlan | None

    @property
    def count(self) -> int:
        """How many changes."""
        return sum(len(plan.steps) for plan in (self.routes, self.addresses) if plan is not None)

    @override
    def __str__(self) -> str:
        plans = (self.routes, self.addresses)
        return "\n".join(str(plan) for plan in plans if plan is not None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the environment asks for: routes, addresses of NICs, or both."""

    routes: RouteSettings | None
    addresses: AddressSettings | None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """As the controllers would; routes are planned also where none are kept and nothing is."""
        addresses = address_settings(environ)
        routed = addresses is None or wants_routes(environ)
        return cls(route_settings(environ) if routed else None, addresses)

    def plans(self, store: Store) -> _Plans:
        """Look; nothing is written."""
        udr = supply = None
        if (routes := self.routes) is not None:
            udr = plan_once(store, cloud_network(routes.cloud), routes.udr)
        if (wanted := self.addresses) is not None:
            supply = look_once(store, cloud_network(wanted.cloud), wanted.supply).plan
        return _Plans(udr, supply)

    def apply(self, store: Store) -> _Plans:
        """Make the changes."""
        udr = supply = None
        if (routes := self.routes) is not None:
            udr = apply_once(store, cloud_network(routes.cloud), routes.udr)
        if (wanted := self.addresses) is not None:
            supply = supply_once(store, cloud_network(wanted.cloud), wanted.supply)
        return _Plans(udr, supply)


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


def _show(found: _Plans, output: str) -> None:
    if output:
        emit(_value(found), output)
    else:
        put(str(found))


def _value(plans: _Plans) -> dict[str, object]:
    """Plans for scripts."""
    value = _routes_value(plans.routes) if plans.routes is not None else {}
    if plans.addresses is not None:
        value["addresses"] = {
            "steps": [str(step) for step in plans.addresses.steps],
            "problems": [str(problem) for problem in plans.addresses.problems],
        }
    return value


def _routes_value(found: UdrPlan) -> dict[str, object]:
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
