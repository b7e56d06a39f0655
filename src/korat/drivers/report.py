"""What a node's agent says of itself, in files: its kernel's revision, tunnels, addresses.

The agent writes them; the lab reads them to wait for a node that is behind, ``korat node status``
to tell a person.
"""

from pathlib import Path

import msgspec

from korat.drivers.file import replace

_NAME = "status.json"
_TUNNELS = "tunnels.json"
_ADDRESSES = "addresses.json"


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


class AddressReport(msgspec.Struct, frozen=True):
    """The NIC's IPv4 addresses for pods, as the agent knew them when it last looked.

    ``stale`` says why it heard nothing newer, ``problems`` which addresses in use are no more good.
    """

    nic: str
    source: str
    total: int
    used: int
    resting: int
    age_s: float = 0.0
    stale: str = ""
    problems: tuple[str, ...] = ()


def publish_addresses(run_dir: Path, report: AddressReport | None) -> None:
    """Replace the report on the NIC's addresses; None where pods have others."""
    replace(run_dir / _ADDRESSES, msgspec.json.encode(report))


def latest_addresses(run_dir: Path) -> AddressReport | None:
    """The NIC's addresses as the agent there knew them; None where pods have others."""
    try:
        data = (run_dir / _ADDRESSES).read_bytes()
        return msgspec.json.decode(data, type=AddressReport | None)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
