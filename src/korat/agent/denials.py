"""The deny log: one line for each denied packet that the kernel tells of, with who denied it.

The kernel tells no more than the settings koratDenyLogRateLimit and Burst let through, of each
rule; here no more than ``_LINES_PER_S`` lines are written. What was lost on the way or not written
is said with its number. A thread of its own reads and writes, so that nobody waits for it.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from korat.agent.counters import words_of
from korat.core.net.header import Header, read_header
from korat.core.net.port import ICMP_PROTOCOLS, protocol_name
from korat.core.policy.outcome import Direction, RuleRef
from korat.drivers.kernel.nflog import Logged, Nflog

log = structlog.get_logger(__name__)

_LINES_PER_S = 100
_WAIT_S = 0.2
_AFTER_DEFECT_S = 1.0
_TELL_S = 10.0


class Denials:
    """Listens to one group until it is closed."""

    def __init__(
        self,
        group: int,
        who: Callable[[str], RuleRef | None],
        endpoint: Callable[[Header, Direction], str],
    ) -> None:
        """``who`` knows the owner of a counter, ``endpoint`` whose policy denied a packet.

        Raises:
            Conflict: somebody else listens to the group.
            Unavailable: the kernel refuses it.
        """
        self._who = who
        self._endpoint = endpoint
        self._listener = Nflog(group)
        self._stopping = threading.Event()
        self._missed = Missed()
        self._thread = threading.Thread(target=self._run, name="denials", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._stopping.set()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                for each in self._listener.read(_WAIT_S):
                    if self._missed.may_write(time.monotonic()):
                        log.info("denied", **self._line(each))
                missed = self._missed.take(self._listener.lost, time.monotonic())
            except Exception as error:
                log.exception("a defect in the deny log", error=str(error))
                self._stopping.wait(_AFTER_DEFECT_S)
                continue
            if missed:
                log.warning("denied packets that were not written", **missed)

    def _line(self, each: Logged) -> dict[str, Any]:
        header, ref = read_header(each.packet), self._who(each.prefix)
        fields: dict[str, Any] = _packet(header) if header else {}
        if ref is None:
            return {**fields, "rule": f"not known any more ({each.prefix})"}
        if header:
            fields["endpoint"] = self._endpoint(header, ref.direction)
        return {**fields, **words_of(ref)}


def _packet(header: Header) -> dict[str, Any]:
    first, second = "src_port", "dst_port"
    if header.protocol in ICMP_PROTOCOLS:
        first, second = "icmp_type", "icmp_code"
    numbers = {} if header.a is None else {first: header.a, second: header.b}
    protocol = protocol_name(header.protocol)
    return {"src": str(header.src), "dst": str(header.dst), "protocol": protocol, **numbers}


class Missed:
    """Counts what is written in a second, and tells from time to time what was not."""

    def __init__(self) -> None:
        self._second = 0
        self._written = 0
        self._suppressed = 0
        self._told = (0, 0)
        self._told_at_s = 0.0

    def may_write(self, now_s: float) -> bool:
        """Whether one more line may be written in this second."""
        if int(now_s) != self._second:
            self._second, self._written = int(now_s), 0
        self._written += 1
        may = self._written <= _LINES_PER_S
        self._suppressed += not may
        return may

    def take(self, lost: int, now_s: float) -> dict[str, int]:
        """What is new since it was last told; nothing as long as that is not long ago.

        ``lost`` is how many the kernel could not send in all.
        """
        if now_s - self._told_at_s < _TELL_S:
            return {}
        new = {"lost": lost - self._told[0], "suppressed": self._suppressed - self._told[1]}
        if not any(new.values()):
            return {}
        self._told, self._told_at_s = (lost, self._suppressed), now_s
        return new
