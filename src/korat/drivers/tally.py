"""What a node's agent has counted, asked for over a unix socket in its run directory.

For: ``korat get -o wide``, which asks every agent that it can reach. The agent reads its kernel for
each question, so the answer is as fresh as can be. The wire is one JSON list, then the end.
"""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from typing_extensions import override

from korat.core.errors import KoratError

_NAME = "counters.sock"
_WAIT_S = 5.0
_READ_BYTES = 1 << 20


class Tally(msgspec.Struct, frozen=True):
    """Who decided, in words, and how many packets and bytes he has met.

    ``kind``, ``namespace`` and ``name`` are those of the policy, tier or profile; ``rule`` is the
    rule's place in its direction from 0, or ``default``, ``missing`` or ``no profile matched``.
    """

    direction: str
    tier: str
    kind: str
    namespace: str
    name: str
    rule: str
    action: str
    staged: bool
    packets: int
    bytes: int


class TallyServer:
    """Answers whoever may enter the run directory."""

    def __init__(self, run_dir: Path, tallies: Callable[[], Iterable[Tally]]) -> None:
        """Listens from now on; what a dead agent left there is replaced."""
        self._path = run_dir / _NAME
        self._path.unlink(missing_ok=True)

        class Handler(socketserver.StreamRequestHandler):
            @override
            def handle(self) -> None:
                with contextlib.suppress(OSError, KoratError):
                    self.wfile.write(msgspec.json.encode(list(tallies())))

        self._server = socketserver.ThreadingUnixStreamServer(str(self._path), Handler)
        self._server.daemon_threads = True
        self._path.chmod(0o600)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="counters", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._path.unlink(missing_ok=True)


def ask(run_dir: Path) -> tuple[Tally, ...] | None:
    """What the agent that runs there has counted; None when none answers."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_WAIT_S)
        try:
            sock.connect(str(run_dir / _NAME))
            parts = iter(lambda: sock.recv(_READ_BYTES), b"")
            return msgspec.json.decode(b"".join(parts), type=tuple[Tally, ...])
        except (OSError, msgspec.DecodeError):
            return None
