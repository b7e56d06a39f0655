"""The file that ``ipam check -o`` writes and ``ipam release --from-report`` reads: calicoctl's.

``findings`` are korat's own and mean nothing to calicoctl.
Source: calicoctl/commands/ipam/check.go (Report, Allocation, HandleInfo).
"""

from pathlib import Path

import msgspec

from korat.core.errors import Invalid, Problem


class ReportedAllocation(msgspec.Struct, rename="camel", omit_defaults=True):
    """One address that somebody was given, and whether he is there."""

    ip: str
    in_use: bool
    handle: str = ""
    sequence_number: int | None = None
    pod: str = ""
    namespace: str = ""
    node: str = ""
    type: str = ""
    creation_timestamp: str = ""
    borrowed: bool = False
    owners: tuple[str, ...] | None = None


class ReportedHandle(msgspec.Struct):
    """A handle of which no address is there."""

    id: str = msgspec.field(name="ID")
    uid: str | None = msgspec.field(name="UID")
    revision: str = msgspec.field(name="Revision")


class ReportedFinding(msgspec.Struct):
    """A fault, why it is one, and what mends it."""

    fault: str
    where: str
    reason: str
    remedy: str


class CheckReport(msgspec.Struct, rename="camel"):
    """Everything that one check has seen."""

    version: str = ""
    cluster_guid: str = msgspec.field(default="", name="clusterGUID")
    datastore_locked: bool = False
    cluster_information_revision: str = ""
    cluster_type: str = ""
    allocations: dict[str, tuple[ReportedAllocation, ...]] = {}
    leaked_handles: tuple[ReportedHandle, ...] = ()
    findings: tuple[ReportedFinding, ...] = ()


def write_report(path: Path, report: CheckReport) -> None:
    """Write the file.

    Raises:
        Invalid: it cannot be written.
    """
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    except OSError as error:
        raise Invalid([_unusable(path, "written", error)]) from error


def read_report(path: Path) -> CheckReport:
    """Read a file of korat's or calicoctl's.

    Raises:
        Invalid: it cannot be read, or is none.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=CheckReport)
    except OSError as error:
        raise Invalid([_unusable(path, "read", error)]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        rule = f"is no report of `korat ipam check -o`: {error}"
        raise Invalid([Problem(str(path), "", None, rule)]) from error


def _unusable(path: Path, what: str, error: OSError) -> Problem:
    return Problem(str(path), "", None, f"cannot be {what}: {(error.strerror or '').lower()}")
