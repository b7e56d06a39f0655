"""node run, node status, controllers run, cni install: korat's long-running programs."""

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from korat.cli.node_status import status as node_status
from korat.cni.install import IPAM, install, install_policy
from korat.core.errors import Invalid, KoratError, Problem, Unsupported
from korat.drivers.log import configure

node = typer.Typer(add_completion=False, help="The program of each node.")
controllers = typer.Typer(add_completion=False, help="The cluster's program.")
cni = typer.Typer(add_completion=False, help="The CNI plugins.")


@node.callback()
def _node() -> None:
    """The program of each node."""


@controllers.callback()
def _controllers() -> None:
    """The cluster's program."""


@cni.callback()
def _cni() -> None:
    """The CNI plugins."""


@node.command("run")
def node_run() -> None:
    """Run the node agent; calico/node's environment variables configure it."""
    configure(os.environ)
    raise typer.Exit(_call("korat.agent.main", "run", dict(os.environ)) or 0)


node.command("status")(node_status)


@controllers.command("run")
def controllers_run() -> None:
    """Keep Azure's routes and the cluster's addresses in order; the environment configures it."""
    configure(os.environ)
    raise typer.Exit(_call("korat.controllers", "run", dict(os.environ)) or 0)


@cni.command("install")
def cni_install(
    *,
    bin_dir: Annotated[str, typer.Option(help="Where the plugins go.")] = "/opt/cni/bin",
    conf_dir: Annotated[str, typer.Option(help="Where their list goes.")] = "/etc/cni/net.d",
    ipam: Annotated[
        str,
        typer.Option(
            help="host-local: the node's podCIDR, or flannel's subnet. calico-ipam: Calico's pools."
            " korat-azure-ipam: the secondary addresses of the VM's NIC. azure-vnet-ipam: Azure's"
            " plugin, which must be in the same folder."
        ),
    ] = "host-local",
    policy_only: Annotated[
        bool,
        typer.Option(help="Put policy after the plugin that makes the network, into its list."),
    ] = False,
    conflist: Annotated[
        str, typer.Option(help="That list; without it the first of the configurations.")
    ] = "",
) -> None:
    """Install the CNI plugins and their configuration on this machine."""
    if ipam not in IPAM:
        raise Invalid([Problem("", "--ipam", ipam, f"must be one of: {', '.join(IPAM)}")])
    if conflist and not policy_only:
        raise Invalid([Problem("", "--conflist", conflist, "goes with --policy-only")])
    folders = Path(bin_dir), Path(conf_dir)
    try:
        if policy_only:
            install_policy(*folders, Path(conflist) if conflist else None)
        else:
            install(*folders, {"ipam": IPAM[ipam]})
    except ValueError as error:
        raise KoratError(str(error)) from error
    except OSError as error:
        raise KoratError(f"{error.filename or bin_dir}: {error.strerror}") from error


def _call(module: str, function: str, *arguments: object) -> Any:  # noqa: ANN401  # programs differ
    """Call a program's entry.

    Raises:
        Unsupported: this korat was built without it.
    """
    try:
        entry = getattr(import_module(module), function)
    except (ModuleNotFoundError, AttributeError) as error:
        raise Unsupported(f"this korat was built without {module}.{function}") from error
    return entry(*arguments)
