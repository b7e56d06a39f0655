"""ipam show, check, release, configure and split: Calico's address management, in its verbs.

Source: calicoctl/commands/ipam.
"""

from pathlib import Path
from typing import Annotated

import typer

from korat.cli import option
from korat.cli.connect import connect
from korat.cli.ipam_check import check_ipam
from korat.cli.ipam_configure import Wanted, change_settings
from korat.cli.ipam_release import release_from_reports, release_ip
from korat.cli.ipam_show import show_borrowed, show_configuration, show_ip, show_usage
from korat.cli.ipam_split import split_pool
from korat.cli.screen import one_of

_HELP = "Who has which address, and what leaked."
app = typer.Typer(add_completion=False, no_args_is_help=True, help=_HELP)


@app.callback()
def _ipam() -> None:
    """Who has which address, and what leaked."""


@app.command()
def show(
    ip: Annotated[str, typer.Option("--ip", metavar="IP", help="Whose is this address?")] = "",
    *,
    show_blocks: Annotated[
        bool, typer.Option("--show-blocks", help="Each block of the pools, too.")
    ] = False,
    borrowed: Annotated[
        bool, typer.Option("--show-borrowed", help="Addresses from other nodes' blocks.")
    ] = False,
    configuration: Annotated[
        bool, typer.Option("--show-configuration", help="The settings that hold.")
    ] = False,
    output: option.Output = "",
    config: option.Config = "",
) -> None:
    """Show how much of each pool is in use, or who has an address."""
    one_of(output, ("", "json", "yaml"))
    store = connect(config).store
    if ip:
        show_ip(store, ip, output)
    elif borrowed:
        show_borrowed(store, output)
    elif configuration:
        show_configuration(store, output)
    else:
        show_usage(store, output, blocks=show_blocks)


@app.command()
def check(
    *,
    show_all_ips: Annotated[
        bool, typer.Option("--show-all-ips", help="Every address that is looked at, too.")
    ] = False,
    show_problem_ips: Annotated[
        bool, typer.Option("--show-problem-ips", help="Explain each fault.")
    ] = False,
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="FILE", help="A report for `ipam release`."),
    ] = "",
    config: option.Config = "",
) -> None:
    """Look for addresses that leaked, and for whatever else is wrong."""
    check_ipam(
        connect(config).store,
        every=show_all_ips,
        problems=show_problem_ips or show_all_ips,
        report_file=Path(output) if output else None,
    )


@app.command()
def release(
    ip: Annotated[str, typer.Option("--ip", metavar="IP", help="The address to release.")] = "",
    reports: Annotated[
        list[str],
        typer.Option(
            "--from-report",
            metavar="FILE",
            help="Release what `ipam check -o` found leaked; of several files what all found.",
        ),
    ] = [],  # noqa: B006  # typer copies it
    *,
    force: Annotated[bool, typer.Option("--force", help="Though the store is not locked.")] = False,
    config: option.Config = "",
) -> None:
    """Give addresses back that nobody uses any more."""
    if bool(ip) == bool(reports):
        raise typer.BadParameter("give either --ip IP or --from-report FILE")
    client = connect(config)
    if ip:
        release_ip(client.store, ip)
    else:
        release_from_reports(client, [Path(report) for report in reports], force=force)


@app.command()
def configure(
    *,
    strict_affinity: Annotated[
        str,
        typer.Option(
            "--strictaffinity", metavar="true|false", help="Whether nodes may not borrow."
        ),
    ] = "",
    max_blocks: Annotated[
        str, typer.Option("--max-blocks-per-host", metavar="N", help="0 is no limit of yours.")
    ] = "",
    persistence: Annotated[
        str,
        typer.Option(
            "--kubevirt-ip-persistence", metavar="Enabled|Disabled", help="Stored, not used."
        ),
    ] = "",
    cooldown: Annotated[
        str,
        typer.Option(
            "--ip-cooldown-seconds", metavar="N", help="How long a released address rests."
        ),
    ] = "",
    config: option.Config = "",
) -> None:
    """Change the settings of address management."""
    wanted = Wanted(strict_affinity, max_blocks, persistence, cooldown)
    change_settings(connect(config).store, wanted)


@app.command()
def split(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="How many; a power of 2.")],
    *,
    cidr: Annotated[str, typer.Option("--cidr", metavar="CIDR", help="The pool, by range.")] = "",
    name: Annotated[str, typer.Option("--name", metavar="POOL", help="The pool, by name.")] = "",
    config: option.Config = "",
) -> None:
    """Split a pool into smaller ones of one size; the store must be locked."""
    split_pool(connect(config), number, name=name, cidr=cidr)
