"""The stand-ins' state: one JSON file, read and written while a lock file beside it is held.

A whole command is done under the lock, as Azure's plugins do theirs.

Source: the names ``<plugin>.json`` and ``<plugin>.json.lock`` are those of Azure's plugins.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from korat.lab.azure_cni.protocol import Call, Json, PluginError, serve


@contextlib.contextmanager
def held(folder: str, name: str) -> Iterator[Json]:
    """The state, to be changed in place; written back when the block ends, whatever came of it."""
    path = Path(folder) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state: Json = json.loads(path.read_text()) if path.exists() else {}
        before = json.dumps(state)
        try:
            yield state
        finally:
            if json.dumps(state) != before:
                unfinished = path.with_suffix(f".json.{os.getpid()}")
                unfinished.write_text(json.dumps(state, indent=1))
                unfinished.replace(path)


def serve_with_state(
    folder: str,
    name: str,
    add: Callable[[Call, Json], Json],
    delete: Callable[[Call, Json], None],
) -> int:
    """Run as the plugin of this name, which keeps its state in this folder; the exit code."""

    def do(call: Call) -> Json | None:
        with held(folder, name) as state:
            match call.command:
                case "ADD":
                    return add(call, state)
                case "DEL":
                    delete(call, state)
                case "CHECK":
                    pass
                case other:
                    raise PluginError(4, f"CNI_COMMAND {other!r} is not known")
        return None

    return serve(do)
