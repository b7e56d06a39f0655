"""Removes what a lab left behind, also one that was killed: nothing of it survives.

Works from names and recorded processes alone, so it needs no live daemon. Removing a namespace
removes its interfaces, addresses, routes and tables with it.
"""

import contextlib
import os
import shutil
import signal
import time

from korat.core.errors import NotFound, Unavailable
from korat.drivers.kernel import namespace
from korat.lab.state import LabPaths, Process, alive, read_state

_STOP_S = 10.0
_LOOK_AGAIN_S = 0.02


def down(paths: LabPaths) -> bool:
    """Take a lab down, running or dead; False when there was nothing to take down.

    Raises:
        Unavailable: a process of the lab does not end.
    """
    found = paths.root.exists() or bool(_namespaces(paths))
    with contextlib.suppress(NotFound):
        state = read_state(paths)
        _end(state.daemon, signal.SIGTERM)
        for process in state.processes:
            _end(process, signal.SIGKILL)
    for name in _namespaces(paths):
        namespace.remove(name)
    forget(paths)
    return found


def forget(paths: LabPaths) -> None:
    """Remove a lab's files."""
    shutil.rmtree(paths.root, ignore_errors=True)
    with contextlib.suppress(OSError):  # other labs may live beside this one
        paths.root.parent.rmdir()
        paths.root.parent.parent.rmdir()


def _namespaces(paths: LabPaths) -> tuple[str, ...]:
    return namespace.names(paths.namespace(""))


def _end(process: Process, kindly: signal.Signals) -> None:
    """Ask, wait, then insist."""
    for number in (kindly, signal.SIGKILL):
        if not alive(process):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        deadline = time.monotonic() + _STOP_S
        while alive(process) and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN_S)
    if alive(process):
        raise Unavailable(f"the lab's {process.role} (process {process.pid}) does not end")
