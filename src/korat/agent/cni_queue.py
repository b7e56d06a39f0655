"""Deletions that wait on disk until they can be carried out.

The plugin leaves them there while the agent is away, and the agent while the store is. One file
``<container id>@<interface>.json`` each, for another program
than korat ``<program>@`` before it, holding the request as it comes over the socket.
Not for carrying them out.
"""

import os
from pathlib import Path

import structlog

from korat.agent.workload_request import Request, decode
from korat.cni.request import PLUGIN
from korat.core.errors import Invalid

log = structlog.get_logger(__name__)

#: The folder's name, beside the agent's socket; the plugin writes there too.
FOLDER = "cni-del"

_MAX_BYTES = 1 << 20


class DeletionQueue:
    """The folder with the deletions that are still to be done."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / FOLDER

    def put(self, request: Request, line: bytes) -> None:
        """Keep a request; the same interface's earlier one is replaced."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = request.owner
        program = "" if request.program == PLUGIN else f"{request.program}@"
        path = self._folder / f"{program}{owner.container_id}@{owner.ifname}.json"
        unfinished = path.with_name(f"{path.name}.new")
        with unfinished.open("wb") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)

    def waiting(self) -> tuple[tuple[Path, Request], ...]:
        """All of them, oldest first; what is not a deletion is put aside and named in the log."""
        if not self._folder.is_dir():
            return ()
        found = ((path, self._read(path)) for path in sorted(self._folder.glob("*.json"), key=_age))
        return tuple((path, request) for path, request in found if request is not None)

    def drop(self, path: Path) -> None:
        """Forget one that is done."""
        path.unlink(missing_ok=True)

    def put_aside(self, path: Path, reason: str) -> None:
        """Keep one that can never be done for a person to look at."""
        log.warning("a queued deletion cannot be carried out", path=str(path), reason=reason)
        path.replace(path.with_suffix(".bad"))

    def _read(self, path: Path) -> Request | None:
        try:
            with path.open("rb") as file:
                request = decode(file.read(_MAX_BYTES))
        except FileNotFoundError:
            return None  # the plugin took it back: the agent answered it after all
        except Invalid as error:
            self.put_aside(path, str(error))
            return None
        if request.command == "DEL":
            return request
        self.put_aside(path, f"it is {request.command}")
        return None


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
