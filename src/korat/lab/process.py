"""The lab's child processes: started inside a namespace, ended with their parent, never leaked.

Each child asks the kernel to be killed when its parent dies, so a lab whose daemon is killed with
-9 leaves no process behind. ``python -m korat.lab.process`` is the small launcher that does so.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from korat.lab.state import Process, alive, this_process

_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x40000000
_STOP_S = 5.0


def open_files_room() -> int:
    """How many more files this process may open, once it has asked for all that it may have.

    Login shells give 1024 of them, and each port of each pod is one.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most - len(list(Path("/proc/self/fd").iterdir()))


class Child:
    """One running child; its output goes to ``log``."""

    def __init__(
        self,
        role: str,
        command: Sequence[str],
        environ: Mapping[str, str],
        log: Path,
        netns: Path | None = None,
    ) -> None:
        launcher = [sys.executable, "-m", "korat.lab.process", str(os.getpid()), str(netns or "-")]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [*launcher, *command],
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.role = role
        self.log = log
        self.identity: Process = this_process(role, self._popen.pid)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._popen.poll()

    def last_words(self) -> str:
        """The last line it printed: why it ended."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once."""
        if self._popen.poll() is None:
            self._popen.terminate()

    def kill(self) -> None:
        """End it as a power cut does."""
        self._popen.kill()
        self._popen.wait()

    def stop(self) -> None:
        """End it, kindly first."""
        self.ask_to_stop()
        try:
            self._popen.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()


def end(process: Process) -> None:
    """Kill a process that a dead lab left behind; nothing when it is gone or is another one."""
    if alive(process):
        os.kill(process.pid, signal.SIGKILL)


def _launch(arguments: Sequence[str]) -> None:
    """PARENT-PID NETNS|- COMMAND...: die with the parent, enter the namespace, become COMMAND."""
    parent, netns, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent ended before its child began")
    if netns != "-":
        descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        if libc.setns(descriptor, _CLONE_NEWNET):
            sys.exit(f"cannot enter {netns}: {os.strerror(ctypes.get_errno())}")
    os.execv(command[0], command)  # noqa: S606 - an argument list, and the launcher's whole purpose


if __name__ == "__main__":
    _launch(sys.argv[1:])
