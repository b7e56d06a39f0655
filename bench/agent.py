"""The real agent, ``korat node run``, in a lane's node namespace on a store of its own.

What it says of itself (``korat.drivers.report``) tells when a revision is in the kernel; its peak
memory is the kernel's own figure, VmHWM. Not for judging its work: ``probe`` does that, by packets.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cluster import NODE
from bench.lane import NODE_ADDRESS, Lane
from bench.process import BenchError
from korat.core.errors import KoratError
from korat.drivers.kernel import namespace
from korat.drivers.kernel.nft import Nft
from korat.drivers.report import latest
from korat.drivers.store.schema import connect

_POLL_S = 0.001
_STOP_S = 30.0
#: What the agent says when its tables would be too large (``korat.agent.intent``).
_BY_RULES = "is enforced rule by rule"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent."""

    process: "subprocess.Popen[bytes]"
    run_dir: Path
    store: Path
    begun: float  # time.monotonic() just before the process was made
    profiled: bool = False

    def wait(self, revision: int, timeout_s: float) -> float:
        """Seconds since its start until this revision was in the kernel.

        Raises:
            BenchError: the agent ended or took too long; with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            report = latest(self.run_dir)
            if report and report.pid == self.process.pid and report.revision >= revision:
                return time.monotonic() - self.begun
            if self.process.poll() is not None:
                raise BenchError(f"the agent ended: {self.log()[-600:]}")
            time.sleep(_POLL_S)
        raise BenchError(f"the agent needs more than {timeout_s:.0f} s: {self.log()[-600:]}")

    def begin_profile(self) -> None:
        """What is profiled begins now."""
        if self.profiled:
            self.process.send_signal(signal.SIGUSR1)

    def catch_up(self, timeout_s: float = 600.0) -> None:
        """Wait until all that is in the store now is in the kernel."""
        self.wait(head(self.store), timeout_s)

    def peak_mib(self) -> float:
        """The most memory that it ever had resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        if found is None:
            raise BenchError("the kernel does not say the agent's peak memory")
        return int(found[1]) / 1024

    def log(self) -> str:
        """What it has said so far."""
        return (self.run_dir / "log").read_text("utf-8", errors="replace")


@contextmanager
def agent(lane: Lane, store: Path, core: int, profile: Path | None = None) -> Iterator[Agent]:
    """An agent on this store, pinned to a processor, until the block ends.

    ``profile``: where to write what its threads did, see ``sampler``.
    """
    # Below /run, since the path of a socket is short; the reaper takes it away.
    run_dir = Path("/run") / f"kt-{os.getpid()}-{store.parent.name}"
    run_dir.mkdir(mode=0o700, exist_ok=True)
    program = ["-m", "bench.sampler", str(profile)] if profile else ["-m", "korat"]
    command = [sys.executable, *program, "node", "run"]
    environ = {
        "PATH": _PATH,
        "DATASTORE_TYPE": "sqlite",
        "KORAT_SQLITE_PATH": str(store),
        "KORAT_RUN_DIR": str(run_dir),
        "NODENAME": NODE,
        "IP": NODE_ADDRESS,
        **{k: v for k, v in os.environ.items() if k.startswith("FELIX_")},
    }

    def start() -> "subprocess.Popen[bytes]":
        os.sched_setaffinity(0, {core})  # this thread's, which the process inherits
        with (run_dir / "log").open("ab") as log:
            return subprocess.Popen(command, env=environ, cwd=_ROOT, stdout=log, stderr=log)

    (run_dir / "status.json").unlink(missing_ok=True)
    begun = time.monotonic()
    process = namespace.run_in(lane.node, start)
    try:
        yield Agent(process, run_dir, store, begun, profiled=profile is not None)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_ROOT = Path(__file__).resolve().parents[1]


def head(store: Path) -> int:
    """The revision that the store is at."""
    connection = connect(store, 10.0)
    try:
        (revision,) = connection.execute("SELECT revision FROM head").fetchone()
    finally:
        connection.close()
    return int(revision)


def program(lane: Lane, store: Path, core: int, timeout_s: float) -> None:
    """Let an agent put the cluster into the lane's kernel, and end it: the kernel keeps it.

    Raises:
        BenchError: it does not get there in time, or not with verdict tables.
    """
    with agent(lane, store, core) as running:
        running.wait(head(store), timeout_s)
        running.catch_up(timeout_s)  # the agent itself has written who it is
        if _BY_RULES in running.log():
            raise BenchError(f"the policy of the node {_BY_RULES}, not with verdict tables")


def unload(lane: Lane) -> None:
    """Take korat's table out of the lane's kernel."""

    def act() -> None:
        with Nft() as nft:
            try:
                nft.list_json()
            except KoratError:
                return
            nft.apply("delete table inet korat\n")

    namespace.run_in(lane.node, act)
