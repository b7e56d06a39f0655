"""The load of the first row: connect, one byte each way, close; as many a second as will go.

The client and the server are two processes, each pinned to a processor, that take turns: the client
opens a window of connections and writes to each, the server answers and closes them all, the client
reads and closes. So a wake-up, whose cost is the machine's mood, comes twice a window and not twice
a connection, and the rate is that of the kernel's path. How much of the time is not the kernel's is
measured too (``Slice.user_share``), since that part hides differences.

A server that closes first keeps TIME_WAIT to itself; ``lane`` turns it off.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.lane import SERVER, Lane
from bench.process import BenchError, Turns, Worker, cores, worker
from bench.rounds import Slice, Spent, spent
from korat.drivers.kernel import namespace

PORT = 8080
WINDOW = 64
_TIMEOUT_S = 10


class Load:
    """Drives lanes; the two processes live as long as the block that made it."""

    def __init__(self, client: Worker, server: Worker, lanes: tuple[Lane, ...]) -> None:
        self._client = client
        self._server = server
        self._lanes = lanes

    def drive(self, lane: Lane, windows: int) -> Slice:
        """So many windows of connections through a lane, after one to warm up.

        Raises:
            BenchError: the lane lets no connection through.
        """
        number = self._lanes.index(lane)
        lane.forget_connections()
        self._server.tell(number, windows)
        client = self._client.ask(number, windows)
        server = self._server.answer()
        if not isinstance(client, Spent) or not isinstance(server, Spent):
            raise BenchError(f"not what was spent: {client!r}, {server!r}")
        return Slice(windows * WINDOW, client, server)


@contextmanager
def load(lanes: tuple[Lane, ...]) -> Iterator[Load]:
    """The two ends, ready for these lanes."""
    listeners = [_listener(lane) for lane in lanes]
    turns = Turns()

    def accept(number: int, windows: int) -> Spent:
        _serve(listeners[number], turns)
        return spent(windows, lambda: _serve(listeners[number], turns))

    def connect(number: int, windows: int) -> Spent:
        namespace.enter(lanes[number].client)
        _open_and_close(turns)
        return spent(windows, lambda: _open_and_close(turns))

    first, second = cores()
    try:
        with worker("server", second, accept) as server, worker("client", first, connect) as client:
            yield Load(client, server, lanes)
    finally:
        turns.close()
        for listener in listeners:
            listener.close()


def _listener(lane: Lane) -> socket.socket:
    listener = namespace.socket_in(lane.server)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", PORT))
    listener.listen(4 * WINDOW)
    # The kernel's own timeout: a deadline of Python's would cost one more call a connection.
    timeout = struct.pack("ll", _TIMEOUT_S, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    return listener


def _serve(listener: socket.socket, turns: Turns) -> None:
    """Answer a window of connections with one byte each, and close them."""
    read, write, close = os.read, os.write, os.close
    # The descriptor alone, without an object around it; typeshed does not know it.
    accept: Callable[[], tuple[int, object]] = listener._accept  # type: ignore[attr-defined]  # noqa: SLF001 - as above
    turns.await_client()
    for _ in range(WINDOW):
        descriptor, _ = accept()
        read(descriptor, 1)
        write(descriptor, b"y")
        close(descriptor)
    turns.to_client()


def _open_and_close(turns: Turns) -> None:
    """One window of connections."""
    read, write = os.read, os.write
    target = (str(SERVER), PORT)
    opened = [socket.socket() for _ in range(WINDOW)]
    for each in opened:
        each.connect(target)
        write(each.fileno(), b"x")
    turns.to_server()
    for each in opened:
        if read(each.fileno(), 1) != b"y":
            raise OSError(errno.EPROTO, "the server did not answer")
        each.close()
