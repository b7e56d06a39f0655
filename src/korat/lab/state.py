"""Where a lab keeps itself: one directory under /run, one file that says what runs.

The state file is written whole and renamed, so a reader never sees half of it. It is what makes the
verbs find the lab's store, and what lets ``korat lab down`` clean up after a lab that was killed.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from korat.core.errors import Invalid, NotFound, Problem, Unavailable
from korat.drivers.file import replace

ROOT = Path("/run/korat/lab")
DEFAULT_NAME = "lab"

STARTING, FILLING, READY, FAILED = "starting", "filling", "ready", "failed"
#: What ``lab up`` writes when it is content; a pipe that ends without it ends the lab.
CONTENT = b"content"

#: No dash, so that one lab's namespaces never begin with another lab's name.
_NAME = re.compile(r"[a-z0-9]{1,16}")


class Process(msgspec.Struct, frozen=True):
    """A process of the lab.

    ``started`` is its start time in clock ticks since boot, so that a process number that was used
    again is never mistaken for ours.
    """

    role: str
    pid: int
    started: int


class VmState(msgspec.Struct, frozen=True):
    """One virtual machine, as its user thinks of it."""

    name: str
    address: str
    nic: str
    pod_cidr: str
    netns: str


class LabState(msgspec.Struct, frozen=True):
    """What is known of a running lab.

    ``phase`` is starting; filling, while ``lab up`` waits for the pods; ready; or failed.
    """

    name: str
    mode: str
    phase: str
    daemon: Process
    store_path: str
    vms: tuple[VmState, ...] = ()
    vnet_cidr: str = ""
    subnet_cidr: str = ""
    cluster_cidr: str = ""
    arm_url: str = ""
    sdk_environ: dict[str, str] = {}
    azure_config: str = ""
    processes: tuple[Process, ...] = ()
    notes: tuple[str, ...] = ()
    step: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True)
class LabPaths:
    """The files of one lab. ``name`` is checked, so every path stays below ``ROOT``."""

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            rule = "a lab's name is 1 to 16 lower-case letters and digits"
            raise Invalid([Problem("", "KORAT_LAB", self.name, rule)])

    @classmethod
    def named_by(cls, environ: Mapping[str, str]) -> Self:
        """The lab that ``KORAT_LAB`` names, ``lab`` when it is not set.

        Raises:
            Invalid: that is no name.
        """
        return cls(environ.get("KORAT_LAB") or DEFAULT_NAME)

    @property
    def root(self) -> Path:
        """The lab's directory."""
        return ROOT / self.name

    @property
    def state(self) -> Path:
        """The state file, which ``korat.cli.connect`` reads too."""
        return self.root / "lab.json"

    @property
    def control(self) -> Path:
        """The socket where the daemon takes requests."""
        return self.root / "control.sock"

    @property
    def store(self) -> Path:
        """The sqlite store."""
        return self.root / "store" / "korat.db"

    @property
    def log(self) -> Path:
        """What the lab's processes say."""
        return self.root / "log"

    @property
    def azure_config(self) -> Path:
        """The cloud-provider file of the lab's cluster."""
        return self.root / "azure.json"

    @property
    def tls(self) -> Path:
        """The certificate of the lab's ARM endpoint."""
        return self.root / "tls"

    def node(self, vm: str) -> Path:
        """One node's run directory: the agent's socket, CNI files, host-local addresses."""
        return self.root / "nodes" / vm

    @property
    def kubelet(self) -> Path:
        """Where the kubelet role reports how far it is, as a node's agent does in its own."""
        return self.root / "kubelet"

    def namespace(self, what: str) -> str:
        """The name of one of the lab's network namespaces."""
        return f"korat-{self.name}-{what}"


def store_environ(paths: LabPaths) -> dict[str, str]:
    """How a program finds the lab's datastore, in Calico's words."""
    return {"DATASTORE_TYPE": "sqlite", "KORAT_SQLITE_PATH": str(paths.store)}


def read_state(paths: LabPaths) -> LabState:
    """The lab's state.

    Raises:
        NotFound: no lab of this name is up.
    """
    try:
        return msgspec.json.decode(paths.state.read_bytes(), type=LabState)
    except (FileNotFoundError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise NotFound(
            f"no lab named {paths.name} is up", "start one with: korat lab up"
        ) from error


def living_state(paths: LabPaths) -> LabState:
    """The state of a lab that runs.

    Raises:
        NotFound: no lab of this name is up.
        Unavailable: what is left is a dead lab's: nothing would carry out what is written to it.
    """
    state = read_state(paths)
    if not alive(state.daemon):
        raise Unavailable(
            f"lab {paths.name} is dead: its daemon ended",
            "start it anew with: korat lab up; or clear it away with: korat lab down",
        )
    return state


def write_state(paths: LabPaths, state: LabState) -> None:
    """Replace the state file."""
    replace(paths.state, msgspec.json.format(msgspec.json.encode(state)))


def alive(process: Process) -> bool:
    """Whether this very process still runs (a zombie does not)."""
    stat = _stat(process.pid)
    return stat is not None and stat[1] == process.started and stat[0] not in "ZX"


def this_process(role: str, pid: int | None = None) -> Process:
    """The identity of a running process, this one by default.

    Raises:
        NotFound: there is no such process.
    """
    number = os.getpid() if pid is None else pid
    stat = _stat(number)
    if stat is None:
        raise NotFound(f"process {number} ({role}) is gone")
    return Process(role, number, stat[1])


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time. Source: proc(5), /proc/PID/stat fields 3 and 22."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])
