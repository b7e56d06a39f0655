"""The load of the first row: connect, one byte each way, close; as many a second as will go.

The client and the server are two processes, each pinned to a processor, that take turns: the client
opens a window of connections and writes to each, the server answers and closes them all, the client
reads and closes. So a wake-up, whose cost is the machine's mood, comes twice a window and not twice
a connection, and the rate is that of the kernel's path. How much of the time is not the kernel's is
measured too (``Slice.user_share``), since that part hides differences.

A server that closes first keeps TIME_WAIT to itself; ``ends.SETTINGS`` turn it off.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.ends import End, Ends
from bench.process import BenchError, Turns, Worker, cores, worker
from bench.rounds import Slice, Spent, spent
from korat.drivers.kernel import namespace

PORT = 8080
WINDOW = 64
_TIMEOUT_S = 10


class Load:
    """Drives ways; the two processes live as long as the block that made it."""

    def __init__(self, client: Worker, server: Worker, ways: tuple[Ends, ...]) -> None:
        self._client = client
        self._server = server
        self._ways = ways

    def drive(self, way: Ends, windows: int) -> Slice:
        """So many windows of connections through a way, after one to warm up.

        Raises:
            BenchError: the way lets no connection through.
        """
        number = self._ways.index(way)
        way.forget_connections()
        self._server.tell(number, windows)
        client = self._client.ask(number, windows)
        server = self._server.answer()
        if not isinstance(client, Spent) or not isinstance(server, Spent):
            raise BenchError(f"not what was spent: {client!r}, {server!r}")
        return Slice(windows * WINDOW, client, server)


@contextmanager
def load(ways: tuple[Ends, ...]) -> Iterator[Load]:
    """The two processes, ready for these ways."""
    listeners = [_listener(way.server) for way in ways]
    turns = Turns()

    def accept(number: int, windows: int) -> Spent:
        _serve(listeners[number], turns)
        return spent(windows, lambda: _serve(listeners[number], turns))

    def connect(number: int, windows: int) -> Spent:
        way = ways[number]
        namespace.enter(way.client.netns)
        target = str(way.server.addr), PORT
        _open_and_close(target, turns)
        return spent(windows, lambda: _open_and_close(target, turns))

    first, second = cores()
    try:
        with worker("server", second, accept) as server, worker("client", first, connect) as client:
            yield Load(client, server, ways)
    finally:
        turns.close()
        for listener in listeners:
            listener.close()


def _listener(end: End) -> socket.socket:
    listener = namespace.socket_in(end.netns)
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


def _open_and_close(target: tuple[str, int], turns: Turns) -> None:
    """One window of connections."""
    read, write = os.read, os.write
    opened = [socket.socket() for _ in range(WINDOW)]
    for each in opened:
        each.connect(target)
        write(each.fileno(), b"x")
    turns.to_server()
    for each in opened:
        if read(each.fileno(), 1) != b"y":
            raise OSError(errno.EPROTO, "the server did not answer")
        each.close()
