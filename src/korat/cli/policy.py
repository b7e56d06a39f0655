"""policy explain: would this packet pass, and who says so."""

from typing import Annotated

import typer

from korat.cli import option
from korat.cli.connect import connect
from korat.cli.explain import as_dict
from korat.cli.question import ask
from korat.cli.screen import emit, one_of, out
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import verdict

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Who may talk to whom, and why.")

#: What explain reads: everything that policy depends on, and pods, to name those without address.
_KINDS = (
    "GlobalNetworkPolicy",
    "GlobalNetworkSet",
    "NetworkPolicy",
    "NetworkSet",
    "Pod",
    "Profile",
    "Tier",
    "WorkloadEndpoint",
)


@app.callback()
def _policy() -> None:
    """Who may talk to whom, and why."""


@app.command()
def explain(  # a packet has five fields
    source: Annotated[str, typer.Option("--from", metavar="NS/POD|IP", help="Who sends.")],
    destination: Annotated[str, typer.Option("--to", metavar="NS/POD|IP", help="Who receives.")],
    protocol: Annotated[str, typer.Option("--protocol", help="TCP, UDP, SCTP, ICMP...")] = "TCP",
    port: Annotated[
        str, typer.Option("--port", metavar="N|NAME", help="The destination's port.")
    ] = "",
    output: Annotated[str, typer.Option("-o", "--output", help="json or yaml")] = "",
    config: option.Config = "",
) -> None:
    """Say whether policy lets a packet through, and which rule decided."""
    one_of(output, ("", "json", "yaml"))
    objects = connect(config).read(_KINDS)
    cluster = Cluster.build(objects.by_key.values())
    question = ask(objects, cluster, source, destination, protocol, port)
    answer = verdict(cluster, question.packet)
    if output:
        emit(as_dict(question, answer), output)
        return
    from korat.cli.explain_screen import drawn  # noqa: PLC0415  # rich is for people only

    out().print(drawn(question, answer, objects))
