"""datastore migrate lock and unlock: whether the cluster may use its store just now.

Source: calicoctl/commands/datastore/migrate (lock.go, unlock.go).
"""

import typer
from msgspec.structs import replace

from korat import __version__
from korat.cli import option
from korat.cli.connect import connect
from korat.cli.screen import put
from korat.core.errors import Conflict
from korat.core.model.builtin import INFORMATION
from korat.core.model.config import ClusterInformation
from korat.drivers.store.client import APPLY_TRIES, Client, conflict, initialize

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Lock and unlock the store.")
migrate = typer.Typer(no_args_is_help=True, help="Before and after a change to the whole store.")
app.add_typer(migrate, name="migrate")


@app.callback()
def _datastore() -> None:
    """Lock and unlock the store."""


@migrate.callback()
def _migrate() -> None:
    """Before and after a change to the whole store."""


@migrate.command()
def lock(*, config: option.Config = "") -> None:
    """Tell the cluster to leave the store alone, so that pools can be split, leaks released."""
    client = connect(config)
    initialize(client, __version__)
    _set(client, ready=False)
    put("Datastore locked.")


@migrate.command()
def unlock(*, config: option.Config = "") -> None:
    """Tell the cluster that it may use the store again."""
    _set(connect(config), ready=True)
    put("Datastore unlocked.")


def is_locked(information: ClusterInformation) -> bool:
    """Whether somebody has locked the store."""
    return information.spec.datastore_ready is False


def information_of(client: Client) -> ClusterInformation:
    """Which cluster this is.

    Raises:
        NotFound: nothing has been written into the store yet.
    """
    found = client.get(INFORMATION)
    return found if isinstance(found, ClusterInformation) else ClusterInformation()


def _set(client: Client, *, ready: bool) -> None:
    for _ in range(APPLY_TRIES):
        found = information_of(client)
        try:
            client.update(replace(found, spec=replace(found.spec, datastore_ready=ready)))
        except Conflict:
            continue  # The controllers write the object, too.
        return
    raise conflict(INFORMATION)
