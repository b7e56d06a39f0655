"""One call of etcd's, asked of another member where that can do no harm.

Three things may be wrong with a call that failed. etcd has said no: that is the answer. It was
surely not done: another member is asked. It may have been done: a call that may be repeated is,
any other one ends in ``OutcomeUnknown``, for only its caller can find out.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from google.protobuf.message import Message

from korat.core.errors import Unavailable
from korat.drivers.etcd.connection import REQUIRE_LEADER, Connection, Connections
from korat.drivers.etcd.error import (
    AUTHENTICATION_OFF,
    Failure,
    OutcomeUnknown,
    Said,
    judge,
    refusal,
)
from korat.drivers.etcd.etcd_pb2 import AuthenticateRequest, AuthenticateResponse
from korat.drivers.etcd.quiet import grpc
from korat.drivers.etcd.settings import EtcdSettings

Answer = TypeVar("Answer")
Metadata = tuple[tuple[str, str], ...]

_TOKENS_MAX = 3


@dataclass(frozen=True, slots=True)
class Method(Generic[Answer]):
    """A method of etcd's: what it does, in words; its name; how its answer is read.

    ``repeatable`` says that doing it twice is as good as once, ``stream`` that it takes a stream
    of requests, of which korat sends one.
    """

    what: str
    name: str
    read: Callable[[bytes], Answer]
    repeatable: bool = True
    stream: bool = False


_AUTHENTICATE = Method(
    "authenticate", "/etcdserverpb.Auth/Authenticate", AuthenticateResponse.FromString
)


class Caller:
    """Calls etcd's methods, as the user that the settings name; safe for many threads."""

    def __init__(self, settings: EtcdSettings) -> None:
        self.settings = settings
        self._connections = Connections(settings)
        # A member that hangs must leave time to ask all others.
        self._attempt_s = settings.timeout_s / len(settings.endpoints)
        # Without a user there is no token that could be renewed.
        self._tokens_max = _TOKENS_MAX if settings.username else 1
        self._lock = threading.Lock()
        #: What etcd has given the user; empty where it asks nobody who they are.
        self._token: str | None = None

    def call(self, method: Method[Answer], request: Message) -> Answer:
        """Ask, until the settings' time is over.

        Raises:
            OutcomeUnknown: it may have been done or not, and must not be repeated.
            Unavailable: no member answers.
            KoratError: etcd refuses, as ``error.refusal`` says.
        """
        deadline = monotonic() + self.settings.timeout_s
        tokens = failures = 0
        while True:
            with self.use(deadline) as connection:
                sent = False
                try:
                    metadata = self.metadata(connection, deadline)
                    sent = True
                    return _send(connection, method, request, self._left_s(deadline), metadata)
                except grpc.RpcError as error:
                    said = Said(error)
                    failure = judge(said)
                    tokens += failure is Failure.STALE_LOGIN
                    if failure is Failure.REFUSED or tokens == self._tokens_max:
                        raise refusal(said, method.what, self.settings.prefix) from error
                    self.failed(connection, said)
                    if sent and failure is Failure.UNCERTAIN and not method.repeatable:
                        raise _unknown(method, connection, said) from error
                    if monotonic() >= deadline:
                        raise Unavailable(f"etcd: {method.what}: {said}") from error
                    failures += failure is not Failure.STALE_LOGIN
            if failures and failures % len(self.settings.endpoints) == 0:
                self._connections.pause(deadline)  # all of them have failed

    def use(self, deadline: float) -> AbstractContextManager[Connection]:
        """A member that is up, as ``Connections.use`` gives it."""
        return self._connections.use(deadline)

    def metadata(self, connection: Connection, deadline: float) -> Metadata:
        """What goes with a request on this connection."""
        with self._lock:
            token = self._token
            if token is None and self.settings.username:
                token = self._token = self._authenticate(connection, self._left_s(deadline))
        return (REQUIRE_LEADER, ("token", token)) if token else (REQUIRE_LEADER,)

    def failed(self, connection: Connection, said: Said) -> None:
        """Take to another token or to another member after a call that failed."""
        if judge(said) is Failure.STALE_LOGIN:
            self.forget_token()
        else:
            self._connections.leave(connection, str(said))

    def forget_token(self) -> None:
        """Ask for another token before the next call."""
        with self._lock:
            self._token = None

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._connections.closed

    def close(self) -> None:
        """End everything."""
        self._connections.close()

    def _left_s(self, deadline: float) -> float:
        return min(self._attempt_s, max(0.0, deadline - monotonic()))

    def _authenticate(self, connection: Connection, timeout_s: float) -> str:
        request = AuthenticateRequest(name=self.settings.username, password=self.settings.password)
        try:
            sent = _send(connection, _AUTHENTICATE, request, timeout_s, (REQUIRE_LEADER,))
        except grpc.RpcError as error:
            if Said(error).words.startswith(AUTHENTICATION_OFF):
                return ""
            raise
        return sent.token


def _send(
    connection: Connection,
    method: Method[Answer],
    request: Message,
    timeout_s: float,
    metadata: Metadata,
) -> Answer:
    if not method.stream:
        unary = connection.channel.unary_unary(
            method.name, request_serializer=serialize, response_deserializer=method.read
        )
        return unary(request, timeout=timeout_s, metadata=metadata)
    stream = connection.channel.stream_stream(
        method.name, request_serializer=serialize, response_deserializer=method.read
    )
    answers = stream(iter((request,)), timeout=timeout_s, metadata=metadata)
    for answer in answers:
        answers.cancel()
        return answer
    raise Unavailable(f"etcd: {method.what}: {connection.endpoint.target} ended without an answer")


def serialize(message: Message) -> bytes:
    """A message as gRPC sends it."""
    return message.SerializeToString()


def _unknown(method: Method[Answer], connection: Connection, said: Said) -> OutcomeUnknown:
    member = connection.endpoint.target
    return OutcomeUnknown(
        f"etcd: {method.what}: {member} did not say whether it was done: {said}",
        "read before it is tried again",
    )
