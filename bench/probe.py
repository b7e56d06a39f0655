"""Real packets that ask a node for its verdict, many thousand times a second, one at a time.

UDP packets of pods elsewhere go onto the node's wire; the server pod's end of its link is listened
to. The kernel works a packet off while it is being sent, so a probe knows its verdict when it has
been sent; each has a number, so one that comes late is counted for the time it was sent. Every
probe has another source port and thus is a new connection to the node.

A verdict has changed with the first packet that meets the new one; ``_STEADY`` more of the same
must follow, or it was a loss.
"""

import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.lane import NODE_MAC, SERVER, WIRE_MAC, Lane
from bench.process import BenchError, Worker, worker
from korat.core.net.address import Addr
from korat.drivers.kernel import namespace, sysctl
from korat.drivers.kernel.nft import Nft

_ETH_IP = 0x0800
_OUTGOING = 4
_STEADY = 5
_PAUSE_S = 0.00005
_PORTS = (1024, 60000)
#: The pod stays silent, so that only what is asked is measured.
_SILENT = """
add table inet silent
add chain inet silent mute { type filter hook prerouting priority -400; policy drop; }
"""
#: New connections only; the ones before are not to fill the table.
_TRACKING = {"net/netfilter/nf_conntrack_udp_timeout": 1}


@dataclass(frozen=True, slots=True)
class Target:
    """Packets from an address to a port of the server pod, and what is to become of them."""

    source: Addr
    port: int
    allowed: bool


@dataclass(slots=True)
class _Sight:
    """What a target's probes have met so far."""

    frame: bytes
    target: Target
    old_seen: bool = False
    changed_ns: int = 0
    steady: int = 0

    def saw(self, allowed: bool, at_ns: int) -> None:  # noqa: FBT001 - the verdict itself
        if allowed != self.target.allowed:
            self.old_seen, self.changed_ns, self.steady = True, 0, 0
            return
        self.changed_ns = self.changed_ns or at_ns
        self.steady += 1


class _Prober:
    """The two sockets; lives in the worker process."""

    def __init__(self, lane: Lane) -> None:
        self._wire = namespace.socket_in(lane.wire, socket.AF_PACKET, socket.SOCK_RAW)
        self._wire.bind(("eth0", 0))
        self._pod = namespace.socket_in(lane.server, socket.AF_PACKET, socket.SOCK_RAW)
        self._pod.bind(("eth0", _ETH_IP))
        self._pod.setblocking(False)
        self._number = 0

    def serve(self, act: str, *words: object) -> object:
        """What the worker is told."""
        acts: dict[str, Callable[..., object]] = {"watch": self.watch, "sweep": self.sweep}
        return acts[act](*words)

    def watch(
        self, targets: Sequence[Target], timeout_s: float, pause_s: float
    ) -> list[tuple[int, bool]]:
        """For each target when its verdict had changed (0: never), and whether the old was seen."""
        sights = [_Sight(_packet(t), t) for t in targets]
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and any(s.steady <= _STEADY for s in sights):
            for sight in sights:
                begun_ns = time.monotonic_ns()
                allowed = self._passes(sight.frame)
                # A packet that comes through shows it on arrival, a lost one when it was sent.
                sight.saw(allowed, time.monotonic_ns() if allowed else begun_ns)
            time.sleep(pause_s)
        return [(s.changed_ns if s.steady > _STEADY else 0, s.old_seen) for s in sights]

    def sweep(self, targets: Sequence[Target]) -> list[bool]:
        """One packet for each target: whether its verdict is the one expected."""
        return [self._passes(_packet(t)) == t.allowed for t in targets]

    def _passes(self, frame: bytes) -> bool:
        """Whether a packet of this shape comes through now."""
        self._number += 1
        low, high = _PORTS
        port = low + self._number % (high - low)
        mark = self._number.to_bytes(8)
        self._wire.send(frame[:34] + port.to_bytes(2) + frame[36:42] + mark)
        while True:
            try:
                found, (_, _, kind, *_) = self._pod.recvfrom(256)
            except BlockingIOError:
                return False
            if kind != _OUTGOING and found[42:50] == mark:
                return True


def _packet(target: Target) -> bytes:
    """The frame without source port and number."""
    udp = struct.pack("!HHHH", 0, target.port, 16, 0)
    addresses = target.source.value.to_bytes(4) + SERVER.value.to_bytes(4)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + 16, 0, 0, 64, 17, 0) + addresses
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    macs = bytes.fromhex((NODE_MAC + WIRE_MAC).replace(":", ""))
    return macs + struct.pack("!H", _ETH_IP) + head + udp


class Probe:
    """Asks from the main process; the packets are sent by a worker."""

    def __init__(self, asked: Worker) -> None:
        self._worker = asked

    def begin(
        self, targets: Sequence[Target], timeout_s: float, *, pause_s: float = _PAUSE_S
    ) -> None:
        """Start to watch until every target has its verdict, looking again after each pause."""
        self._worker.tell("watch", list(targets), timeout_s, pause_s)
        self._timeout_s = timeout_s
        self._count = len(targets)

    def changes_ns(self) -> list[int]:
        """When each verdict changed, on the clock of ``time.monotonic_ns``.

        Raises:
            BenchError: one did not, or had before.
        """
        found = self._worker.answer(self._timeout_s + 30)
        if not isinstance(found, list):
            raise BenchError(f"not a list of changes: {found!r}")
        for at_ns, old_seen in found:
            if not at_ns:
                raise BenchError(f"no packet met the new verdict within {self._timeout_s:.0f} s")
            if not old_seen:
                raise BenchError("the verdict had changed before anything was written")
        return [at_ns for at_ns, _ in found]

    def missing(self, targets: Sequence[Target]) -> int:
        """How many of the targets do not have their verdict."""
        found = self._worker.ask("sweep", list(targets), timeout_s=300)
        if not isinstance(found, list):
            raise BenchError(f"not a list of verdicts: {found!r}")
        return found.count(False)


@contextmanager
def probe(lane: Lane, core: int) -> Iterator[Probe]:
    """A prober for the lane, on a processor; its server pod answers nothing any more."""
    namespace.run_in(lane.server, lambda: Nft().apply(_SILENT))
    sysctl.write(_TRACKING, lane.node)
    prober = _Prober(lane)
    with worker("prober", core, prober.serve) as asked:
        yield Probe(asked)
