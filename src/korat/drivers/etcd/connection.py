"""Connections to etcd's members: one is in use, and another one when that fails.

A member counts as up once it has answered a question and knows a leader; before that nothing is
sent to it. Whoever starts, starts with a member drawn at random, so that a cluster's nodes spread.
The certificate's files are read for each new connection, for they are renewed.

Here and in what imports this is gRPC, which takes a while to import: whoever may never talk to
etcd imports it late.

Source: grpc's channel arguments; etcd's server refuses pings within 5 s of the last one.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from korat.core.errors import Unavailable
from korat.drivers.etcd.error import Failure, Said, judge
from korat.drivers.etcd.etcd_pb2 import RangeRequest
from korat.drivers.etcd.quiet import grpc
from korat.drivers.etcd.settings import Endpoint, EtcdSettings

#: With it a member that has lost its leader refuses at once, and ends its watches.
REQUIRE_LEADER = ("hasleader", "true")

_CONNECT_S = 2.0
_PAUSE_S = 0.1
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    # A peer that vanished without a word is found out within 15 s, on a silent watch too.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # What grpc 1.85 really goes by; its own is a minute.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Otherwise a new channel would inherit the pause that an old one to the same member keeps.
    ("grpc.use_local_subchannel_pool", 1),
    # Members are reached directly, whatever a proxy's variable says.
    ("grpc.enable_http_proxy", 0),
)


@dataclass(eq=False, slots=True)
class Connection:
    """A member that is up, and how many calls and watches use it now."""

    endpoint: Endpoint
    channel: grpc.Channel
    users: int = 0
    left: bool = False


class Connections:
    """All members; safe for many threads."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._endpoints = settings.endpoints
        self._at = secrets.randbelow(len(self._endpoints))
        self._current: Connection | None = None
        #: The current one, and those that were left and still have a watch or a call.
        self._open: set[Connection] = set()
        #: Why each member was left last; told when none is up.
        self._why: dict[Endpoint, str] = {}
        self._connecting = threading.Lock()
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @contextmanager
    def use(self, deadline: float) -> Iterator[Connection]:
        """A member that is up, connected to if need be; ``deadline`` is monotonic.

        Raises:
            Unavailable: none is up until then.
        """
        connection = self._up(deadline)
        try:
            yield connection
        except ValueError as error:
            # So gRPC answers on a channel that was closed.
            if self.closed:
                raise self._unavailable() from error
            raise
        finally:
            with self._lock:
                connection.users -= 1
                self._drop(connection)

    def leave(self, connection: Connection, why: str) -> None:
        """Use another member from now on; what still runs with this one goes on."""
        with self._lock:
            self._why[connection.endpoint] = why
            if self._current is connection:
                self._current = None
                self._at += 1
            connection.left = True
            self._drop(connection)

    def pause(self, deadline: float) -> None:
        """Wait a moment before all members are asked once more, but not past the deadline."""
        self._closed.wait(min(_PAUSE_S, max(0.0, deadline - monotonic())))

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed.is_set()

    def close(self) -> None:
        """End all calls and watches."""
        self._closed.set()
        with self._lock:
            self._current = None
            for connection in self._open:
                connection.channel.close()
            self._open.clear()

    def _drop(self, connection: Connection) -> None:
        if connection.left and not connection.users:
            connection.channel.close()
            self._open.discard(connection)

    def _up(self, deadline: float) -> Connection:
        while True:
            with self._lock:
                if self._current is not None:
                    self._current.users += 1
                    return self._current
            # One thread connects, the others wait for what comes of it.
            if not self._connecting.acquire(timeout=max(0.0, deadline - monotonic())):
                raise self._unavailable()
            try:
                if self._current is None:
                    self._connect(deadline)
            finally:
                self._connecting.release()

    def _connect(self, deadline: float) -> None:
        tried = 0
        while True:
            left_s = deadline - monotonic()
            if left_s <= 0 or self._closed.is_set():
                raise self._unavailable()
            endpoint = self._endpoints[self._at % len(self._endpoints)]
            channel = open_channel(endpoint, self._settings)
            why = _fault(channel, min(_CONNECT_S, left_s))
            with self._lock:
                if why is None and not self._closed.is_set():
                    self._current = Connection(endpoint, channel)
                    self._open.add(self._current)
                    return
                self._why[endpoint] = why or "closed"
                self._at += 1
            channel.close()
            tried += 1
            if tried % len(self._endpoints) == 0:
                self.pause(deadline)

    def _unavailable(self) -> Unavailable:
        if self._closed.is_set():
            return Unavailable("the connection to etcd was closed")
        with self._lock:
            told = "; ".join(
                f"{each.target}: {self._why.get(each, 'not asked yet')}" for each in self._endpoints
            )
        remedy = f"check that etcd runs, and {self._settings.prefix}ENDPOINTS"
        if any(endpoint.secure for endpoint in self._endpoints):
            remedy += ", and the files of certificates"
        return Unavailable(f"no member of etcd's can be used ({told})", remedy)


def _fault(channel: grpc.Channel, timeout_s: float) -> str | None:
    """Why a member cannot be used; None when it can.

    It is asked for the key without a name. A member that works refuses that, at once and without
    asking any other member.
    """
    ask = channel.unary_unary(
        "/etcdserverpb.KV/Range",
        request_serializer=RangeRequest.SerializeToString,
        response_deserializer=bytes,
    )
    try:
        ask(RangeRequest(), timeout=timeout_s, metadata=(REQUIRE_LEADER,))
    except grpc.RpcError as error:
        said = Said(error)
        if judge(said) in (Failure.REFUSED, Failure.STALE_LOGIN):
            return None
        return str(said)
    return None


def open_channel(endpoint: Endpoint, settings: EtcdSettings) -> grpc.Channel:
    """A channel to one member; nothing is sent yet.

    Raises:
        Unavailable: a file of the certificate's cannot be read.
    """
    target = f"dns:///{endpoint.target}"  # otherwise a host might be taken for a scheme
    if not endpoint.secure:
        return grpc.insecure_channel(target, options=_OPTIONS)
    files = (settings.ca_file, settings.key_file, settings.cert_file)
    credentials = grpc.ssl_channel_credentials(*(_read(path) for path in files))
    return grpc.secure_channel(target, credentials, options=_OPTIONS)


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unavailable(f"etcd: {path} cannot be read: {error.strerror}") from error
