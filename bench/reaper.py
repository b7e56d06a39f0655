"""Cleans up after the benchmark, also after one that was killed.

Started beside it with a pipe as standard input. When the pipe ends the benchmark has ended, and
whatever carries its number goes: its labs, processes inside its namespaces, those, its folders.
Normally nothing is left to do. The tests have a twin of it, ``tests/reaper.py``, for theirs.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.lab import take_down
from korat.drivers.kernel import namespace


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Have this process and its folder watched over while the block runs."""
    command = [sys.executable, "-m", "bench.reaper", str(os.getpid()), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as watcher:
        yield
        watcher.communicate()


def sweep(pid: int, folder: Path) -> None:
    """Take away what belongs to the benchmark with this number."""
    take_down(pid)
    mine = namespace.names(f"kt-{pid}-")
    inodes = {namespace.path_of(name).stat().st_ino for name in mine}
    for process in _inside(inodes):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    for name in mine:
        namespace.remove(name)
    for each in (folder, *Path("/run").glob(f"kt-{pid}-*")):
        shutil.rmtree(each, ignore_errors=True)


def _inside(inodes: set[int]) -> Iterator[int]:
    """The processes whose network namespace is one of these."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if (entry / "ns" / "net").stat().st_ino in inodes:
                    yield int(entry.name)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    sweep(int(sys.argv[1]), Path(sys.argv[2]))
