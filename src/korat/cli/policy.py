"""policy explain, diff and test: would a packet pass, who says so, what would change it."""

from typing import Annotated

import typer

from korat.cli import option
from korat.cli.explain import as_dict
from korat.cli.manifest import read_items
from korat.cli.policy_case import read_cases
from korat.cli.policy_check import check, outcome
from korat.cli.policy_diff import Wanted, difference, rows
from korat.cli.policy_junit import write_junit
from korat.cli.policy_select import show_pod, show_policy
from korat.cli.policy_source import Snapshot, read_snapshot
from korat.cli.question import Words, ask
from korat.cli.screen import emit, one_of, out, say
from korat.cli.surroundings import surroundings

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Who may talk to whom, and why.")

_OUTPUTS = ("", "json", "yaml")
#: The exit code of a diff that found something.
CHANGED = 3


@app.callback()
def _policy() -> None:
    """Who may talk to whom, and why."""


@app.command()
def explain(  # noqa: PLR0913  # three questions, and a packet has five fields
    source: Annotated[
        str, typer.Option("--from", metavar="NS/POD|IP|NODE", help="Who sends.")
    ] = "",
    destination: Annotated[
        str, typer.Option("--to", metavar="NS/POD|IP|NODE", help="Who receives.")
    ] = "",
    protocol: Annotated[str, typer.Option("--protocol", help="TCP, UDP, SCTP, ICMP...")] = "TCP",
    port: Annotated[
        str, typer.Option("--port", metavar="N|NAME", help="The destination's port.")
    ] = "",
    *,
    source_port: Annotated[
        str,
        typer.Option("--source-port", metavar="N|NAME", help="The source's; else any client's."),
    ] = "",
    icmp_type: Annotated[
        str,
        typer.Option("--icmp-type", metavar="N", help="For ICMP and ICMPv6; a ping's if unsaid."),
    ] = "",
    icmp_code: Annotated[str, typer.Option("--icmp-code", metavar="N", help="Likewise.")] = "",
    ip_version: Annotated[
        str, typer.Option("--ip-version", metavar="4|6", help="For ends that speak both.")
    ] = "",
    pod: Annotated[
        str, typer.Option("--pod", metavar="NS/POD", help="Which policies select this pod?")
    ] = "",
    policy: Annotated[
        str,
        typer.Option(
            "--policy", metavar="[KIND/][NS/]NAME", help="Which pods does this policy select?"
        ),
    ] = "",
    files: option.PolicyFiles = [],  # noqa: B006  # typer copies it
    recursive: option.Recursive = False,
    namespace: option.Namespace = "",
    output: option.Output = "",
    config: option.Config = "",
) -> None:
    """Say whether policy lets a packet through, and which rule decided.

    With --from and --to: both ends' tiers, policies and rules as they are asked. With --pod: the
    policies of a pod, in order. With --policy: the pods and host endpoints of a policy.
    With -f nothing else is read: no datastore is needed.
    """
    one_of(output, _OUTPUTS)
    asked = [bool(source or destination), bool(pod), bool(policy)]
    if sum(asked) != 1 or bool(source) is not bool(destination):
        raise typer.BadParameter("give --from and --to, or --pod, or --policy")
    snapshot = read_snapshot(files, namespace, recursive=recursive, config=config)
    for note in snapshot.notes:
        say(note)
    if pod:
        show_pod(snapshot, pod, output)
    elif policy:
        show_policy(snapshot, policy, output)
    else:
        packet = protocol, port, source_port, icmp_type, icmp_code, ip_version
        _explain(snapshot, Words(source, destination, *packet), output)


@app.command()
def diff(  # noqa: PLR0913  # what to compare with what, and how to show it
    files: option.Files = [],  # noqa: B006  # typer copies it
    *,
    recursive: option.Recursive = False,
    base: Annotated[
        list[str],
        typer.Option(
            "--base", metavar="FILE", help="Compare with these files instead of the datastore."
        ),
    ] = [],  # noqa: B006  # as above
    delete: Annotated[
        bool, typer.Option("--delete", help="What if the objects of the files were deleted?")
    ] = False,
    staged: Annotated[
        bool, typer.Option("--staged", help="What if all staged policies were enforced?")
    ] = False,
    namespace: option.Namespace = "",
    output: option.Output = "",
    config: option.Config = "",
) -> None:
    """Show whose traffic would be allowed or denied anew if files were applied.

    Of pods, and of nodes where host endpoints govern or would govern their interfaces.

    Staged policies in the files are taken as enforced: in the place of the policy of their name,
    or, staged to delete, taking it away. With --staged all those that there are; -f is not needed.

    The exit code is 0 when no verdict changes and 3 when some do, so that a pipeline can ask.
    """
    one_of(output, _OUTPUTS)
    if not files and (delete or not staged):
        raise typer.BadParameter("give -f FILE" if delete else "give -f FILE or --staged")
    items = read_items(files, namespace, recursive=recursive, skip_empty=False) if files else []
    before = read_items(base, namespace, recursive=recursive, skip_empty=False) if base else []
    found = difference(Wanted(items, before, bool(base), delete, staged, config))
    for note in found.notes:
        say(note)
    if output:
        emit(list(rows(found)), output)
    else:
        from korat.cli.policy_diff_screen import drawn  # noqa: PLC0415  # rich is for people only

        out().print(drawn(found))
    if found:
        raise typer.Exit(CHANGED)


@app.command("test")
def check_tests(  # noqa: PLR0913  # what to check, against what, and how to show it
    tests: Annotated[list[str], typer.Argument(metavar="FILE...", help="YAML lists of tests.")],
    *,
    files: option.PolicyFiles = [],  # noqa: B006  # typer copies it
    recursive: option.Recursive = False,
    namespace: option.Namespace = "",
    junit: Annotated[
        str, typer.Option("--junit", metavar="FILE", help="Write JUnit XML too, for CI systems.")
    ] = "",
    output: option.Output = "",
    config: option.Config = "",
) -> None:
    """Check who reaches whom against files of tests, for your own CI.

    A test is {from: NS/POD|IP, to: NS/POD|IP, protocol: TCP, port: N|NAME, expect: allow|deny},
    with a name if you like. The exit code is 0 when all is as expected and 1 when something is not.
    """
    one_of(output, _OUTPUTS)
    if [*tests, *files].count("-") > 1:
        raise typer.BadParameter("standard input can be read only once")
    cases = read_cases(tests)
    snapshot = read_snapshot(files, namespace, recursive=recursive, config=config)
    for note in snapshot.notes:
        say(note)
    answers = check(cases, snapshot)
    if junit:
        write_junit(junit, answers, snapshot)
    if output:
        emit(outcome(answers, snapshot), output)
    else:
        from korat.cli.policy_check_screen import drawn  # noqa: PLC0415  # rich is for people only

        out().print(drawn(answers, snapshot))
    if not all(answer.passed for answer in answers):
        raise typer.Exit(1)


def _explain(snapshot: Snapshot, words: Words, output: str) -> None:
    """The way of one packet, over each IP version that both ends speak."""
    questions = ask(snapshot.objects, snapshot.cluster, words)
    around = surroundings(snapshot.objects, snapshot.cluster)
    answers = [around.between(question.packet) for question in questions]
    if output:
        emit(as_dict(questions, answers, snapshot.places, snapshot.invented), output)
        return
    from korat.cli.explain_screen import drawn  # noqa: PLC0415  # rich is for people only

    out().print(drawn(questions, answers, snapshot))
