"""How a verb asks the lab's daemon for something: one line of JSON each way, over a unix socket.

Only root may open it. The daemon reads whatever comes without ever waiting for a client, and takes
whole requests when it has time for the next, one after the other. A client that is gone before its
turn is passed over: nothing is done for nobody.
"""

import selectors
import socket
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from korat.core.errors import KoratError, Unavailable
from korat.lab.state import LabPaths

_MAX_LINE_BYTES = 4096
_BACKLOG = 64
#: How long the daemon waits for a client that does not read its answer.
_ANSWER_S = 1.0


class AddNodes(msgspec.Struct, frozen=True, tag="add", forbid_unknown_fields=True):
    """Make so many more nodes."""

    count: int


class RemoveNode(msgspec.Struct, frozen=True, tag="remove", forbid_unknown_fields=True):
    """Delete a node's VM."""

    name: str


class RebootNode(msgspec.Struct, frozen=True, tag="reboot", forbid_unknown_fields=True):
    """Reboot a node's VM."""

    name: str


Request = AddNodes | RemoveNode | RebootNode


class Answer(msgspec.Struct, frozen=True):
    """What was done: to which nodes, and which pods went; or the sentence that says why not."""

    nodes: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came whole, and the client that waits for its answer."""

    request: Request
    client: socket.socket

    def answer(self, answer: Answer) -> None:
        """Answer and hang up; a client that has gone has no need of it."""
        _reply(self.client, answer)


class Desk:
    """The daemon's side: its ``selector`` holds the callbacks that do the reading."""

    def __init__(self, path: Path, selector: selectors.BaseSelector) -> None:
        self._path = path
        self._selector = selector
        self._reading: dict[socket.socket, bytes] = {}
        self._asked: deque[Asked] = deque()
        self._listener = _listen(path)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def next(self) -> Asked | None:
        """The request whose turn it is, if there is one."""
        while self._asked:
            asked = self._asked.popleft()
            if not _has_gone(asked.client):
                return asked
            asked.client.close()
        return None

    def close(self) -> None:
        """Hang up on everybody."""
        self._selector.unregister(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)
        for client in self._reading:
            self._selector.unregister(client)
            client.close()
        for asked in self._asked:
            asked.client.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setblocking(False)
        self._reading[client] = b""
        self._selector.register(client, selectors.EVENT_READ, partial(self._read, client))

    def _read(self, client: socket.socket) -> None:
        try:
            piece = client.recv(_MAX_LINE_BYTES)
        except OSError:
            piece = b""
        line = self._reading[client] = self._reading[client] + piece
        if piece and b"\n" not in piece and len(line) < _MAX_LINE_BYTES:
            return
        del self._reading[client]
        self._selector.unregister(client)
        if not piece:
            client.close()
            return
        try:
            self._asked.append(Asked(msgspec.json.decode(line, type=Request), client))
        except msgspec.MsgspecError as error:
            _reply(client, Answer(refusal=f"that is no request to a lab: {error}"))


def ask(paths: LabPaths, request: Request) -> Answer:
    """Have the daemon do something; waits for its turn and its end.

    Raises:
        Unavailable: the daemon does not take requests, or ended before its answer.
        KoratError: it refused, or could not; in its words.
    """
    line = b""
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(paths.control))
            link.sendall(msgspec.json.encode(request) + b"\n")
            while piece := link.recv(_MAX_LINE_BYTES):
                line += piece
    except (FileNotFoundError, ConnectionRefusedError) as error:
        remedy = "wait until korat lab up is done"
        raise Unavailable(f"lab {paths.name} takes no requests yet", remedy) from error
    except OSError as error:
        raise Unavailable(f"lab {paths.name} does not answer: {error.strerror}") from error
    if not line.endswith(b"\n"):
        raise Unavailable(f"lab {paths.name} ended before its answer", f"see {paths.log}")
    answer = msgspec.json.decode(line, type=Answer)
    if answer.refusal:
        raise KoratError(answer.refusal)
    return answer


def _listen(path: Path) -> socket.socket:
    """The socket, at ``path`` only once it is root's alone."""
    unfinished = path.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(unfinished))
    unfinished.chmod(0o600)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    unfinished.replace(path)
    return listener


def _has_gone(client: socket.socket) -> bool:
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _reply(client: socket.socket, answer: Answer) -> None:
    with client:
        client.settimeout(_ANSWER_S)
        try:
            client.sendall(msgspec.json.encode(answer) + b"\n")
        except OSError:
            return
