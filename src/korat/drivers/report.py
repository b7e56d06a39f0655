"""What a node's agent says of itself, in a file: who it is and which revision is in the kernel.

The agent writes it, the lab reads it to wait for a node that is behind.
"""

from pathlib import Path

import msgspec

from korat.drivers.file import replace

_NAME = "status.json"


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
