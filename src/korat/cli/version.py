"""version: of this program, and of the cluster that it talks to."""

from typing import Annotated

import typer

from korat import __version__
from korat.cli import option
from korat.cli.connect import connect
from korat.cli.screen import put
from korat.core.errors import KoratError
from korat.core.model.builtin import INFORMATION
from korat.core.model.config import ClusterInformation


def version(
    *,
    client: Annotated[bool, typer.Option("--client", help="This program's version only.")] = False,
    config: option.Config = "",
) -> None:
    """Show the version of this program and of its cluster."""
    put(f"Client Version:    {__version__}")
    if client:
        return
    try:
        found = connect(config).read([INFORMATION.kind]).by_key.get(INFORMATION)
    except KoratError as error:
        raise KoratError(f"Unable to retrieve Cluster Version or Type: {error}") from error
    if isinstance(found, ClusterInformation):
        put(f"Cluster Version:   {found.spec.calico_version}")
        put(f"Cluster Type:      {found.spec.cluster_type}")
