"""Who can talk to whom, found out with real packets, all pairs at the same time.

The sockets of one source pod are opened in its namespace by one short-lived thread and then waited
for together, so a thousand probes take about as long as the slowest one. A packet that a policy
drops gives no answer, so ``denied`` means silence until the deadline, after retransmissions.
"""

import contextlib
import errno
import os
import selectors
import socket
import time
from collections.abc import Sequence
from functools import partial

import msgspec

from korat.core.errors import Unavailable
from korat.drivers.kernel.namespace import run_in
from korat.lab.process import open_files_room
from korat.lab.responder import SOCKETS

ALLOWED, DENIED, REFUSED = "allowed", "denied", "refused"

#: TCP repeats a lost SYN after one second; the deadline lets one repetition through.
_DEADLINE_S = 1.6
#: More SYNs than this take so long to send that the first would be late.
_MOST_AT_ONCE = 8000
#: What else a probe opens: the namespaces, the selector.
_OTHER_FILES = 64
_REPEAT_UDP_S = 0.3
_REQUEST = b"?"
_SILENCE = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPERM, errno.EACCES}


class Target(msgspec.Struct, frozen=True):
    """One thing to try: ``source`` is the namespace's path, ``address`` an IP."""

    source: str
    sender: str
    receiver: str
    address: str
    protocol: str
    port: int


class Probe(msgspec.Struct, frozen=True, rename={"sender": "from", "receiver": "to"}):
    """One answer; ``ms`` is the time to it, or the deadline when there was none."""

    sender: str
    receiver: str
    protocol: str
    port: int
    result: str
    ms: float


class _Attempt:
    """One target's socket, and the answer once there is one."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.begun = time.monotonic()
        self.answer: Probe | None = None
        self.repeat_at: float | None = None
        self.socket = _socket_for(target)
        error = self.socket.connect_ex((target.address, target.port))
        if error not in (0, errno.EINPROGRESS):
            self.finish(_named(error))
        self.repeat()

    @property
    def events(self) -> int:
        """What to wait for."""
        udp = self.target.protocol == "UDP"
        return selectors.EVENT_READ if udp else selectors.EVENT_WRITE

    def repeat(self) -> None:
        """Send a datagram again: UDP has nobody else to do it."""
        if self.target.protocol == "UDP" and self.answer is None:
            self.repeat_at = time.monotonic() + _REPEAT_UDP_S
            with contextlib.suppress(ConnectionRefusedError, PermissionError):
                self.socket.send(_REQUEST)

    def look(self) -> None:
        """Something happened on the socket: take it as the answer."""
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error and self.target.protocol == "UDP":
            try:
                self.socket.recv(64)
            except OSError as failed:
                error = failed.errno or errno.EIO
        self.finish(_named(error) if error else ALLOWED)

    def finish(self, result: str) -> None:
        """Write the answer down."""
        took_ms = (time.monotonic() - self.begun) * 1000
        self.socket.close()
        t = self.target
        self.answer = Probe(t.sender, t.receiver, t.protocol, t.port, result, round(took_ms, 1))


def run(targets: Sequence[Target]) -> list[Probe]:
    """Try all targets at once, or as many as this process may have sockets.

    The answers come in the order of the targets.
    """
    distinct = list(dict.fromkeys(targets))
    at_once = max(min(open_files_room() - _OTHER_FILES, _MOST_AT_ONCE), 1)
    parts = (distinct[i : i + at_once] for i in range(0, len(distinct), at_once))
    answers = {target: answer for part in parts for target, answer in _together(part)}
    return [answers[target] for target in targets]


def _together(targets: Sequence[Target]) -> list[tuple[Target, Probe]]:
    by_source: dict[str, list[Target]] = {}
    for target in targets:
        by_source.setdefault(target.source, []).append(target)
    attempts: dict[Target, _Attempt] = {}
    for source, theirs in by_source.items():
        begun = run_in(source, partial(_begin, theirs))
        attempts |= {attempt.target: attempt for attempt in begun}
    _wait([a for a in attempts.values() if a.answer is None])
    return [(target, a.answer) for target, a in attempts.items() if a.answer is not None]


def _begin(targets: Sequence[Target]) -> list[_Attempt]:
    return [_Attempt(target) for target in targets]


def _wait(attempts: Sequence[_Attempt]) -> None:
    with selectors.DefaultSelector() as selector:
        for attempt in attempts:
            selector.register(attempt.socket, attempt.events, attempt)
        waiting = set(attempts)
        while waiting:
            for key, _ in selector.select(_REPEAT_UDP_S / 3):
                selector.unregister(key.fileobj)
                waiting.discard(key.data)
                key.data.look()
            now = time.monotonic()
            for attempt in [a for a in waiting if now - a.begun > _DEADLINE_S]:
                selector.unregister(attempt.socket)
                waiting.discard(attempt)
                attempt.finish(DENIED)
            for attempt in waiting:
                if attempt.repeat_at is not None and now > attempt.repeat_at:
                    attempt.repeat()


def _socket_for(target: Target) -> socket.socket:
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    kind, number = SOCKETS[target.protocol]
    sock = socket.socket(family, kind, number)
    sock.setblocking(False)
    return sock


def _named(error: int) -> str:
    """A silent drop and an unreachable network are both a denial to the one who asks."""
    if error == errno.ECONNREFUSED:
        return REFUSED
    if error in _SILENCE:
        return DENIED
    raise Unavailable(f"a probe failed: {os.strerror(error)}")
