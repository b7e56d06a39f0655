"""ipam release: one address, or what reports of ``ipam check`` have found to be leaked.

Calico's conditions and words. Beside them: each release says which allocation it means, so that an
address that was given out again since stays; and one that somebody uses by now stays, too.
Source: calicoctl/commands/ipam/release.go.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from korat import __version__
from korat.cli.datastore import information_of, is_locked
from korat.cli.ipam_report import CheckReport, ReportedHandle, read_report
from korat.cli.ipam_show import address
from korat.cli.screen import put, say
from korat.core.errors import Invalid, KoratError, Problem
from korat.core.ipam.handle import settle
from korat.core.ipam.release import Return, release_ips
from korat.core.ipam.request import Steps, delete, read, revision_of
from korat.core.ipam.survey import who_is_there
from korat.core.model.config import ClusterInformation
from korat.core.model.ipam import IPAMHandle, handle_key
from korat.core.net.address import Addr, Prefix
from korat.drivers.store.client import Client
from korat.drivers.store.ipam import now, run
from korat.ports import Store


def release_ip(store: Store, text: str) -> None:
    """Give one address back, whoever has it.

    Raises:
        KoratError: nobody has it.
    """
    addr = address(text)
    done = run(store, release_ips([Return(addr)], now()))
    if not done.released:
        raise KoratError(f"IP address {addr} is not assigned")
    put(f"Successfully released IP address {addr}")
    users: tuple[str, ...] = ()
    with suppress(Invalid):  # A broken object has nothing to do with this address.
        users = run(store, who_is_there()).users.get(addr, ())
    if users:
        say(f"{addr} is still used by {', '.join(users)}, and may be given to somebody else now")


def release_from_reports(client: Client, paths: Sequence[Path], *, force: bool) -> None:
    """Give back what leaked in every report.

    Raises:
        KoratError: the reports are not of this cluster and this time, or the store is not locked.
    """
    information = information_of(client)
    reports = [(path, read_report(path)) for path in paths]
    for path, report in reports:
        _refuse_foreign(path, report, information, force=force)
    current = information.metadata.resource_version
    if all(report.cluster_information_revision != current for _, report in reports):
        what = "the provided reports are all stale - at least one should be up-to-date"
        remedy = "Please generate a new report while the data store is locked and try again"
        raise KoratError(f"{what}. {remedy}")
    if not is_locked(information):
        if not force:
            remedy = "Either lock the data store, or re-run with --force"
            raise KoratError(f"data store is not locked. {remedy}")
        say("WARNING: Data store is not locked. Ignoring due to --force option")
    contents = [report for _, report in reports]
    _release_addresses(client.store, leaked_in_all(contents))
    _release_handles(client.store, handles_in_all(contents))
    put("You may now unlock the data store.")


def leaked_in_all(reports: Iterable[CheckReport]) -> list[Return]:
    """The allocations that every report has found to be nobody's.

    Raises:
        Invalid: what a report says is no address.
    """
    each = [
        {
            (a.ip, a.handle, a.sequence_number)
            for allocations in report.allocations.values()
            for a in allocations
            if not a.in_use
        }
        for report in reports
    ]
    common = set[tuple[str, str, int | None]].intersection(*each)
    try:
        return sorted(
            (
                Return(Addr.parse(ip), handle or None, number or None)
                for ip, handle, number in common
            ),
            key=lambda wanted: wanted.addr,
        )
    except ValueError as error:
        raise Invalid([Problem("report", "allocations", None, str(error))]) from error


def handles_in_all(reports: Iterable[CheckReport]) -> list[ReportedHandle]:
    """The handles without addresses that nobody has written between the reports."""
    each: list[Mapping[tuple[str, str], ReportedHandle]] = [
        {(handle.id, handle.revision): handle for handle in report.leaked_handles}
        for report in reports
    ]
    common = set(each[0]).intersection(*each)
    return [each[0][key] for key in sorted(common)]


def _refuse_foreign(
    path: Path, report: CheckReport, information: ClusterInformation, *, force: bool
) -> None:
    if report.cluster_guid != information.spec.cluster_guid:
        what = f"cluster does not match the provided report ({path}): mismatched cluster GUID"
        raise KoratError(f"{what}. Refusing to release")
    if report.version == __version__:
        return
    if not force:
        what = f"the provided report ({path}) was produced using a different version"
        raise KoratError(f"{what} ({report.version}) of korat. Refusing to release")
    what = "WARNING: Report was produced using a different version of korat"
    say(f"{what}. Ignoring due to --force option")


def _release_addresses(store: Store, wanted: Sequence[Return]) -> None:
    if not wanted:
        put("Report didn't contain any leaked IPs to clean up.")
        return
    users = run(store, who_is_there()).users
    for each in wanted:
        if each.addr in users:
            say(f"{each.addr} stays: {', '.join(users[each.addr])} uses it now")
    unused = [each for each in wanted if each.addr not in users]
    put(f"Releasing {len(unused)} old IPs...")
    done = run(store, release_ips(unused, now()))
    put(f"Released {len(done.released)} IPs successfully")
    if done.unallocated:
        count = len(done.unallocated)
        put(f"{count} addresses marked as leaked in the report had already been cleaned up.")
    for addr, reason in done.refused.items():
        say(f"{addr} stays: {reason}")


def _release_handles(store: Store, wanted: Sequence[ReportedHandle]) -> None:
    if not wanted:
        put("Report didn't contain any handles to clean up.")
        return
    put(f"Deleting {len(wanted)} handles...")
    released = skipped = errors = 0
    for each in wanted:
        try:
            if run(store, _clear(each)):
                released += 1
            else:
                skipped += 1
        except KoratError as error:
            errors += 1
            say(f"Deleting handle {each.id} failed: {error}")
    put(f"Released {released} handles; {skipped} skipped; {errors} errors.")


def _clear(reported: ReportedHandle) -> Steps[bool]:
    """Count a handle anew, which deletes it if nothing is there; not if it was written since."""
    seen = yield from read(handle_key(reported.id))
    handle = seen.get(handle_key(reported.id), IPAMHandle)
    if handle is None or str(revision_of(handle)) != reported.revision:
        return False
    if not handle.spec.block:
        yield from delete(handle)
    for text in handle.spec.block:
        yield from settle(reported.id, Prefix.parse(text))
    return True
