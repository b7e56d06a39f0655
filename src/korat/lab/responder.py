"""What the lab's pods run: every container port answers with the pod's name.

One thread serves all pods. A socket keeps the namespace it was made in, so no process is needed in
a pod. Over TCP a client that speaks first is answered at once (in HTTP when it asked in HTTP); one
that waits is answered after a moment, so that plain ``nc`` prints the name too.
"""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from korat.core.net.port import Protocol
from korat.drivers.kernel.namespace import run_in

#: The socket of each protocol, as kind and number.
SOCKETS = {
    "TCP": (socket.SOCK_STREAM, Protocol.TCP),
    "UDP": (socket.SOCK_DGRAM, Protocol.UDP),
    "SCTP": (socket.SOCK_STREAM, Protocol.SCTP),
}

_SILENT_CLIENT_S = 0.1
_MAX_REQUEST_BYTES = 4096
_BACKLOG = 64
_HTTP_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ")


@dataclass(frozen=True, slots=True)
class PodPort:
    """A port to answer on: TCP, UDP or SCTP, and its number."""

    protocol: str
    port: int


@dataclass(slots=True)
class _Waiting:
    """A TCP client that has not spoken yet, and when to answer it anyhow."""

    connection: socket.socket
    answer: bytes
    due: float


@dataclass(slots=True)
class _Pod:
    answer: bytes
    sockets: list[socket.socket] = field(default_factory=list)


def sctp_works() -> bool:
    """Whether this kernel has SCTP sockets."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, Protocol.SCTP).close()
    except OSError:
        return False
    return True


class Responder:
    """Answers for all pods of a lab; ``open`` and ``close`` may be called from any thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._pods: dict[str, _Pod] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._orders: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._bell, self._ring = socket.socketpair()
        self._bell.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, self._heard)
        self._running = True
        self._thread = threading.Thread(target=self._serve, name="pod-responder", daemon=True)
        self._thread.start()

    def open(self, pod: str, netns: str, ports: Iterable[PodPort]) -> None:
        """Listen on these ports in the pod's namespace; listening when this returns.

        Raises:
            OSError: a port is taken, or the kernel lacks the protocol.
        """
        wanted = tuple(dict.fromkeys(ports))
        sockets = run_in(netns, lambda: [_listen(port) for port in wanted])
        answer = f"{pod}\n".encode()
        self._order(lambda: self._add(pod, answer, sockets))

    def close(self, pod: str) -> None:
        """Stop answering for a pod; an unknown one is fine."""
        self._order(lambda: self._remove(pod))

    def stop(self) -> None:
        """End the thread and close every socket."""
        self._running = False
        self._ring.send(b"!")
        self._thread.join()

    def _order(self, order: Callable[[], None]) -> None:
        with self._lock:
            self._orders.append(order)
        self._ring.send(b"!")

    def _add(self, pod: str, answer: bytes, sockets: list[socket.socket]) -> None:
        self._remove(pod)
        self._pods[pod] = _Pod(answer, sockets)
        for each in sockets:
            accept = each.type == socket.SOCK_STREAM
            react = self._accept if accept else self._reply
            self._selector.register(each, selectors.EVENT_READ, (react, each, answer))

    def _remove(self, pod: str) -> None:
        for each in self._pods.pop(pod, _Pod(b"")).sockets:
            self._selector.unregister(each)
            each.close()

    def _serve(self) -> None:
        while self._running:
            for key, _ in self._selector.select(self._patience()):
                if key.fileobj is self._bell:
                    self._heard()
                else:
                    react, each, answer = key.data
                    with contextlib.suppress(OSError):  # a client that left is no fault of ours
                        react(each, answer)
            self._answer_silent()
        for pod in list(self._pods):
            self._remove(pod)
        for waiting in list(self._waiting.values()):
            self._finish(waiting, b"")
        self._selector.close()
        self._bell.close()
        self._ring.close()

    def _patience(self) -> float | None:
        if not self._waiting:
            return None
        return max(0.0, min(w.due for w in self._waiting.values()) - time.monotonic())

    def _heard(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._bell.recv(_MAX_REQUEST_BYTES)
        with self._lock:
            orders, self._orders = self._orders, []
        for order in orders:
            order()

    def _accept(self, listener: socket.socket, answer: bytes) -> None:
        connection, _ = listener.accept()
        connection.setblocking(False)
        due = time.monotonic() + _SILENT_CLIENT_S
        self._waiting[connection.fileno()] = _Waiting(connection, answer, due)
        self._selector.register(
            connection, selectors.EVENT_READ, (self._spoken, connection, answer)
        )

    def _spoken(self, connection: socket.socket, answer: bytes) -> None:
        request = b""
        with contextlib.suppress(OSError):
            request = connection.recv(_MAX_REQUEST_BYTES)
        if request.startswith(_HTTP_METHODS):
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\nConnection: close\r\n\r\n"
            answer = head.encode() + answer
        self._finish(self._waiting[connection.fileno()], answer)

    def _answer_silent(self) -> None:
        now = time.monotonic()
        for waiting in [w for w in self._waiting.values() if w.due <= now]:
            self._finish(waiting, waiting.answer)

    def _finish(self, waiting: _Waiting, answer: bytes) -> None:
        connection = waiting.connection
        del self._waiting[connection.fileno()]
        self._selector.unregister(connection)
        with contextlib.suppress(OSError):
            connection.send(answer)
            connection.shutdown(socket.SHUT_WR)
        connection.close()

    @staticmethod
    def _reply(server: socket.socket, answer: bytes) -> None:
        _, sender = server.recvfrom(_MAX_REQUEST_BYTES)
        server.sendto(answer, sender)


def _listen(port: PodPort) -> socket.socket:
    kind, number = SOCKETS[port.protocol]
    server = socket.socket(socket.AF_INET6, kind, number)
    try:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if kind == socket.SOCK_STREAM:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("::", port.port))
        if kind == socket.SOCK_STREAM:
            server.listen(_BACKLOG)
    except OSError:
        server.close()
        raise
    server.setblocking(False)
    return server
