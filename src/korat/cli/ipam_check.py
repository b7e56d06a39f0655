"""ipam check: what leaked and what is wrong with addresses, explained, and as a file.

The faults are the pure core's (``korat.core.ipam.report``); what becomes of each leak is what the
collector's own plan says of it (``korat.core.ipam.collect``).
Source: calicoctl/commands/ipam/check.go.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from korat import __version__
from korat.cli.ipam_report import (
    CheckReport,
    ReportedAllocation,
    ReportedFinding,
    ReportedHandle,
    write_report,
)
from korat.cli.screen import put, say
from korat.core.ipam.collect import Ledger, Rules, plan
from korat.core.ipam.instant import Moment
from korat.core.ipam.living import Allocation, allocations_in
from korat.core.ipam.report import Fault, Finding, Report, report
from korat.core.ipam.survey import Survey, sound, survey
from korat.core.model.controllers import leak_grace_s
from korat.core.model.ipam import IPAMBlock, IPAMHandle
from korat.core.net.address import Addr
from korat.drivers.store.ipam import now, run
from korat.ports import Store


@dataclass(frozen=True, slots=True)
class Checked:
    """What was looked at, what was found, and what the collector would do."""

    survey: Survey
    #: By their addresses as text, which is how findings name them.
    allocations: Mapping[str, Allocation]
    found: Report
    findings: tuple[Finding, ...]
    #: Addresses that nobody has, as text.
    leaked: frozenset[str]
    #: Addresses that the collector takes back in its next turn, and those that it waits with.
    due: frozenset[Addr]
    suspects: frozenset[Addr]


def check_ipam(store: Store, *, every: bool, problems: bool, report_file: Path | None) -> None:
    """Look, tell, and write the file.

    Raises:
        Invalid: a node, pod or endpoint cannot be read, or the file cannot be written.
    """
    checked = look(run(store, survey()), now())
    put("\n".join(lines(checked, every=every, problems=problems)))
    if report_file is not None:
        write_report(report_file, report_of(checked))
    if checked.findings and not problems:
        say("korat ipam check --show-problem-ips explains each of them")


def look(found: Survey, moment: Moment) -> Checked:
    """What there is to be told of a survey."""
    told = report(found.resources, found.there)
    broken = tuple(
        Finding(Fault.BROKEN, str(key), "it cannot be read", "mend it by hand, or delete it")
        for key in found.unreadable
    )
    findings = (*broken, *told.findings)
    usable = sound(found.resources)
    rules = Rules(leak_grace_s(found.configuration) or 0, found.settings.cooldown_s)
    planned = plan(usable, found.there, Ledger(), moment, rules)
    blocks = [r for r in usable if isinstance(r, IPAMBlock)]
    return Checked(
        survey=found,
        allocations={str(a.addr): a for block in blocks for a in allocations_in(block)},
        found=told,
        findings=findings,
        leaked=frozenset(f.where for f in findings if f.fault is Fault.LEAKED),
        due=frozenset(leak.allocation.addr for leak in planned.due),
        suspects=frozenset(leak.allocation.addr for leak in planned.suspects),
    )


def lines(checked: Checked, *, every: bool, problems: bool) -> Iterator[str]:
    """The screen."""
    found = checked.found
    yield "Checking IPAM for inconsistencies..."
    yield ""
    yield f"Found {found.blocks} IPAM blocks with {found.allocations} allocations."
    yield f"Found {found.handles} handles."
    yield f"Workloads and nodes are using {found.users} IPs."
    if every:
        yield ""
        yield from _everything(checked)
    counts = Counter(finding.fault for finding in checked.findings)
    yield ""
    for fault in Fault:
        yield f"Found {counts[fault]} {fault.value}."
        if problems:
            yield from _explained(checked, fault)
    yield ""
    yield f"Check complete; found {len(checked.findings)} problems."


def report_of(checked: Checked) -> CheckReport:
    """The file."""
    information = checked.survey.information
    known = {a.handle_id for a in checked.allocations.values()}
    handles = [r for r in checked.survey.resources if isinstance(r, IPAMHandle)]
    allocations = [_reported(checked, each) for each in checked.allocations.values()]
    return CheckReport(
        version=__version__,
        cluster_guid=information.spec.cluster_guid if information else "",
        datastore_locked=checked.survey.is_locked,
        cluster_information_revision=information.metadata.resource_version if information else "",
        cluster_type=information.spec.cluster_type if information else "",
        allocations={each.ip: (each,) for each in allocations},
        leaked_handles=tuple(
            ReportedHandle(
                handle.spec.handle_id, handle.metadata.uid or None, handle.metadata.resource_version
            )
            for handle in handles
            if handle.spec.handle_id not in known
        ),
        findings=tuple(
            ReportedFinding(f.fault.value, f.where, f.reason, _remedy(checked, f))
            for f in checked.findings
        ),
    )


def _everything(checked: Checked) -> Iterator[str]:
    for own in checked.allocations.values():
        yield f"  {own.addr} allocated to {_whose(own)}"
    for addr, titles in sorted(checked.survey.there.users.items()):
        yield f"  {addr} belongs to {', '.join(titles)}"


def _explained(checked: Checked, fault: Fault) -> Iterator[str]:
    for finding in checked.findings:
        if finding.fault is not fault:
            continue
        yield f"  {finding.where}"
        if fault is Fault.LEAKED:
            yield f"    given to  {_whose(checked.allocations[finding.where])}"
        yield f"    why       {finding.reason}"
        if fault is Fault.LEAKED:
            yield f"    then      {_fate(checked, checked.allocations[finding.where])}"
            yield f"    or now    korat ipam release --ip {finding.where}"
        else:
            yield f"    remedy    {finding.remedy}"


def _remedy(checked: Checked, finding: Finding) -> str:
    if finding.fault is not Fault.LEAKED:
        return finding.remedy
    fate = _fate(checked, checked.allocations[finding.where])
    return f"{fate}; or now: korat ipam release --ip {finding.where}"


def _whose(own: Allocation) -> str:
    """Everything that the block says of an allocation."""
    namespace, name = own.pod
    who = f"pod {namespace}/{name}" if name else own.attributes.get("type", "") or "nobody it names"
    node = f" on {own.node}" if own.node else ""
    since = own.attributes.get("timestamp", "")
    when = f" at {since}" if since else ""
    handle = f", handle {own.handle_id}" if own.handle_id else ", no handle"
    return f"{who}{node}{when}{handle}"


def _fate(checked: Checked, own: Allocation) -> str:
    """What takes a leaked address back, and when."""
    grace_s = leak_grace_s(checked.survey.configuration)
    if grace_s is None:
        return "nothing takes it back: KubeControllersConfiguration has no node controller"
    if own.addr in checked.due:
        fate = f"the collector takes it back in its next turn, as node {own.node} is gone"
    elif own.addr not in checked.suspects:
        return f"the collector leaves it: {_why_left(checked, own)}"
    elif not grace_s:
        return "the collector leaves it: leakGracePeriod is 0"
    else:
        fate = f"the collector takes it back {_duration(grace_s)} after it has first seen this"
    return f"{fate}, and not while the datastore is locked" if checked.survey.is_locked else fate


def _why_left(checked: Checked, own: Allocation) -> str:
    for addr, other in checked.allocations.items():
        if other.handle_id == own.handle_id is not None and addr not in checked.leaked:
            return f"{addr}, which has the same handle, is in use"
    return "nobody can tell that whom it was given to is gone"


def _duration(seconds: int) -> str:
    """As Go writes it, ``15m`` without its zero seconds."""
    minutes, rest = divmod(seconds, 60)
    parts = ((minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def _reported(checked: Checked, own: Allocation) -> ReportedAllocation:
    namespace, name = own.pod
    attributes: Mapping[str, str] = own.attributes
    return ReportedAllocation(
        ip=str(own.addr),
        in_use=str(own.addr) not in checked.leaked,
        handle=own.handle_id or "",
        sequence_number=own.sequence,
        pod=name,
        namespace=namespace,
        node=own.node,
        type=attributes.get("type", ""),
        creation_timestamp=attributes.get("timestamp", ""),
        borrowed=own.is_borrowed,
        owners=checked.survey.there.users.get(own.addr),
    )
