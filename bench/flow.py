"""The load of the second row: one long TCP flow a way, open all the time.

The ends take turns on one processor, and what the client sends in its turn is acknowledged before
the server's begins: a wait for the other end, or a packet that passes another between two
processors, would make TCP slow down for reasons that are not the firewall's.

With the links' default offloads a packet carries 64 KiB. Beside the flow that carries data as
programs do, there are two stricter ones, of which the way between is most of the cost: of one the
bytes are never copied, and of the other besides each segment is a packet of its own.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from pyroute2 import IPRoute

from bench.ends import Ends
from bench.process import BenchError, Turns, Worker, cores, worker
from bench.rounds import Slice, Spent, spent
from korat.core.net.address import Addr
from korat.drivers.kernel import namespace

PORT = 8081
_BUFFER = 1 << 23
_SEGMENT_BYTES = 1448
_ANY_SEGMENTS = 65535  # what the kernel begins with
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to carry data; ``size`` is that of a turn, in bytes."""

    name: str
    size: int
    copied: bool
    segment_by_segment: bool = False


DATA = Kind("data", 1 << 19, copied=True)
BARE = Kind("bare", 1 << 19, copied=False)
SINGLE = Kind("single", 1 << 16, copied=False, segment_by_segment=True)


class Flows:
    """One open connection a way, and the two processes at their ends."""

    def __init__(self, client: Worker, server: Worker, size: int) -> None:
        self._size = size
        self._client = client
        self._server = server

    def drive(self, number: int, turns: int) -> Slice:
        """So many turns of the flow of this number; the amount is in bytes."""
        self._server.tell(number, turns)
        client = self._client.ask(number, turns)
        server = self._server.answer()
        if not isinstance(client, Spent) or not isinstance(server, Spent):
            raise BenchError(f"not what was spent: {client!r}, {server!r}")
        return Slice(turns * self._size, client, server)


@contextmanager
def flows(ways: tuple[Ends, ...], kind: Kind) -> Iterator[Flows]:
    """The connections, made; they stay open while the block runs."""
    for way in ways:
        for end, peer in ((way.client, way.server), (way.server, way.client)):
            namespace.run_in(end.netns, partial(_furnish, kind, peer.addr))
    pairs = [_connected(way) for way in ways]
    pages = os.memfd_create("bench-flow")
    os.ftruncate(pages, kind.size)
    turns, buffer = Turns(), bytearray(kind.size)

    # What is truncated is thrown away without being copied.
    flags = 0 if kind.copied else socket.MSG_TRUNC

    def send(number: int, count: int) -> Spent:
        flow = pairs[number][0]
        if kind.copied:
            return spent(count, lambda: _send_copied(flow, buffer, turns))
        return spent(count, lambda: _send(flow, pages, kind.size, turns))

    def receive(number: int, count: int) -> Spent:
        return spent(count, lambda: _receive(pairs[number][1], buffer, flags, turns))

    _, core = cores()
    try:
        with worker("receiver", core, receive) as server, worker("sender", core, send) as client:
            yield Flows(client, server, kind.size)
    finally:
        turns.close()
        os.close(pages)
        for pair in pairs:
            for flow in pair:
                flow.close()


def _send(flow: socket.socket, pages: int, size: int, turns: Turns) -> None:
    """The client's turn."""
    left = size
    while left:
        left -= os.sendfile(flow.fileno(), pages, 0, left)
    turns.to_server()


def _send_copied(flow: socket.socket, buffer: bytearray, turns: Turns) -> None:
    """The client's turn, from its own memory."""
    flow.sendall(buffer)
    turns.to_server()


def _receive(flow: socket.socket, buffer: bytearray, flags: int, turns: Turns) -> None:
    """The server's turn."""
    turns.await_client()
    left = len(buffer)
    while left:
        found = flow.recv_into(buffer, left, flags)
        if not found:
            raise BenchError("the flow ended")
        left -= found
    turns.to_client()


def _connected(way: Ends) -> tuple[socket.socket, socket.socket]:
    """The client's and the server's end of one connection."""
    with namespace.socket_in(way.server.netns) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", PORT))
        listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        listener.listen()
        listener.settimeout(_TIMEOUT_S)
        client = namespace.socket_in(way.client.netns)
        client.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
        client.settimeout(_TIMEOUT_S)
        client.connect((str(way.server.addr), PORT))
        server, _ = listener.accept()
    for each in (client, server):
        each.setblocking(True)
    return client, server


def _furnish(kind: Kind, peer: Addr) -> None:
    """In an end's namespace: let a turn go to its peer at once, and acknowledge it at once.

    The way is the one that the peer's packets take anyhow, as a route for the peer alone.
    """
    segments = 2 * kind.size // _SEGMENT_BYTES
    with IPRoute() as ip:
        (way,) = ip.route("get", dst=str(peer))
        index, gateway = way.get_attr("RTA_OIF"), way.get_attr("RTA_GATEWAY")
        whither = {"gateway": gateway} if gateway else {"scope": "link"}
        most = 1 if kind.segment_by_segment else _ANY_SEGMENTS
        ip.link("set", index=index, gso_max_segs=most)
        ip.route(
            "replace",
            dst=f"{peer}/32",
            oif=index,
            metrics={"initcwnd": segments, "initrwnd": segments, "quickack": 1},
            **whither,
        )
