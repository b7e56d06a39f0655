"""What a node's agent says of itself, in files: which revision is in the kernel, and its tunnels.

The agent writes them; the lab reads them to wait for a node that is behind, ``korat node status``
to tell a person.
"""

from pathlib import Path

import msgspec

from korat.drivers.file import replace

_NAME = "status.json"
_TUNNELS = "tunnels.json"


class NodeReport(msgspec.Struct, frozen=True):
    """The agent's process and the newest revision that its kernel enforces."""

    node: str
    pid: int
    revision: int


def publish(run_dir: Path, report: NodeReport) -> None:
    """Replace the report in the agent's run directory."""
    replace(run_dir / _NAME, msgspec.json.encode(report))


def latest(run_dir: Path) -> NodeReport | None:
    """The report of the agent that runs there; None before its first."""
    try:
        return msgspec.json.decode((run_dir / _NAME).read_bytes(), type=NodeReport)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


class TunnelReport(msgspec.Struct, frozen=True):
    """One IP version's tunnel as the agent keeps it.

    ``fault`` says why the kernel does not have it, ``problems`` what of it could not be planned;
    ``offload`` is what came out of the checksum test, ``offload_reason`` how.
    """

    family: int
    device: str = ""
    address: str = ""
    node_address: str = ""
    mtu: int = 0
    mtu_reason: str = ""
    peers: int = 0
    routes: int = 0
    fault: str = ""
    problems: tuple[str, ...] = ()
    offload: str = ""
    offload_reason: str = ""


def publish_tunnels(run_dir: Path, reports: tuple[TunnelReport, ...]) -> None:
    """Replace the report on the tunnels in the agent's run directory."""
    replace(run_dir / _TUNNELS, msgspec.json.encode(reports))


def latest_tunnels(run_dir: Path) -> tuple[TunnelReport, ...]:
    """The tunnels of the agent that runs there; none where its networking option has none."""
    try:
        data = (run_dir / _TUNNELS).read_bytes()
        return msgspec.json.decode(data, type=tuple[TunnelReport, ...])
    except (FileNotFoundError, msgspec.DecodeError):
        return ()
