"""Tries each new tunnel for broken checksums, and switches their offload off only where it must.

Some kernels and NICs fill in the checksum of a packet inside a tunnel wrongly, and the other node
drops it: TCP hangs for a minute, or only ping works. Nobody can tell but by trying. So once a
device was made and a peer's agent answers (``tunnel_echo``), a datagram and a connection go through
the tunnel. Where that fails with the offload and works without it, it stays off; where it fails
either way something else is wrong, and it is left as it was and tried again.
Source: the cases of projectcalico/calico issues 3145, 4865, 9433 and 11435; flannel issue 790.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import structlog

from korat.agent.overlay import Plans
from korat.agent.tunnel_echo import TunnelEcho, asks_by_tcp, asks_by_udp
from korat.core.errors import KoratError
from korat.core.net.address import Addr, Family
from korat.core.route.vtep import Vtep
from korat.core.route.vxlan import TunnelPlan
from korat.drivers.kernel.offload import set_transmit_checksum, transmit_checksum

log = structlog.get_logger(__name__)

_RETRY_FIRST_S, _RETRY_LAST_S = 1.0, 60.0
#: How many peers are asked before the others are taken to be silent too.
_ASKED = 3


class Result(Enum):
    """What came of a test; the value is what is told."""

    ON = "on"
    OFF = "off"
    UNTESTED = "untested"


@dataclass(frozen=True, slots=True)
class Finding:
    """A result and how it came about."""

    result: Result
    reason: str


Ask = Callable[[str, Addr, Addr], bool]


def examine(device: str, own: Addr, peers: Sequence[Vtep]) -> Finding:
    """Try the tunnel towards the first peer that answers; leaves the offload as it must be.

    Raises:
        Unavailable: the device is gone.
    """
    finding = Finding(Result.UNTESTED, "there is no other node yet")
    for peer in peers[:_ASKED]:
        finding = _toward(device, own, peer)
        if finding.result is not Result.UNTESTED:
            break
    return finding


def _toward(device: str, own: Addr, peer: Vtep) -> Finding:
    for name, ask in (("UDP", asks_by_udp), ("TCP", asks_by_tcp)):
        found = _compared(device, own, peer, name, ask)
        if found is not None:
            return found
    reason = f"UDP and TCP arrive at {peer.node}"
    if transmit_checksum(device):
        return Finding(Result.ON, reason)
    return Finding(Result.OFF, f"{reason}; it was off before")


def _compared(device: str, own: Addr, peer: Vtep, name: str, ask: Ask) -> Finding | None:
    """One protocol with the offload as it is, then without it; None where nothing is wrong."""
    if ask(device, own, peer.address):
        return None
    if not transmit_checksum(device):
        return Finding(Result.UNTESTED, f"{peer.node} does not answer by {name}")
    set_transmit_checksum(device, on=False)
    try:
        works = ask(device, own, peer.address)
    except BaseException:
        set_transmit_checksum(device, on=True)
        raise
    if works:
        why = f"{name} arrives at {peer.node} only without transmit checksum offload"
        return Finding(Result.OFF, why)
    set_transmit_checksum(device, on=True)
    return Finding(Result.UNTESTED, f"{peer.node} does not answer by {name}")


class OffloadTests:
    """The tests of both tunnels, from ``start`` to ``close``."""

    def __init__(self, node_name: str, on_result: Callable[[Family, str, str], None]) -> None:
        """``on_result`` hears what comes of each test and why."""
        self._node_name = node_name
        self._on_result = on_result
        self._bell = threading.Condition()
        self._plans: Plans = {}
        self._changed = self._stopping = False
        self._echoes: dict[Family, TunnelEcho] = {}
        #: Which device was found to be what, by its number: one that is made anew is another.
        self._found: dict[Family, tuple[int, Result]] = {}
        self._thread = threading.Thread(target=self._run, name="offload-test", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def look(self, plans: Plans) -> None:
        """These are the tunnels now; returns at once."""
        with self._bell:
            self._plans, self._changed = plans, True
            self._bell.notify_all()

    def close(self) -> None:
        """End; a test under way may take some seconds to notice."""
        with self._bell:
            self._stopping = True
            self._bell.notify_all()

    def _run(self) -> None:
        wait_s: float | None = None
        pause_s = _RETRY_FIRST_S
        while True:
            with self._bell:
                self._bell.wait_for(lambda: self._changed or self._stopping, wait_s)
                plans, self._changed = self._plans, False
                if self._stopping:
                    break
            unknown = [family for family, plan in plans.items() if not self._is_known(family, plan)]
            wait_s = pause_s if unknown else None
            pause_s = min(pause_s * 2, _RETRY_LAST_S) if unknown else _RETRY_FIRST_S
        for echo in self._echoes.values():
            echo.close()

    def _is_known(self, family: Family, plan: TunnelPlan) -> bool:
        """Look at one tunnel; whether there is nothing left to find out."""
        try:
            self._listen(family, plan)
            return self._test(family, plan)
        except (KoratError, OSError) as error:
            log.info("the tunnel is not tested yet", family=int(family), reason=str(error))
            return False

    def _listen(self, family: Family, plan: TunnelPlan) -> None:
        """Answer others at this end of the tunnel, wherever that is now."""
        device, echo = plan.state.device, self._echoes.get(family)
        place = (device.name, next(iter(device.addresses))) if device is not None else None
        if echo is not None and (place != echo.place or self._is_another(family)):
            del self._echoes[family]
            echo.close()
            echo = None
        if place is None:
            return
        peers = frozenset(peer.address for peer in plan.peers)
        if echo is None:
            self._echoes[family] = TunnelEcho(*place, peers)
        else:
            echo.peers = peers

    def _is_another(self, family: Family) -> bool:
        """Whether the device is not the one that was looked at before."""
        before = self._found.get(family)
        return before is not None and before[0] != _number(self._echoes[family].place[0])

    def _test(self, family: Family, plan: TunnelPlan) -> bool:
        device = plan.state.device
        if device is None:
            self._found.pop(family, None)
            return True
        number = _number(device.name)
        before = self._found.get(family)
        if before is not None and before[0] == number and before[1] is not Result.UNTESTED:
            return True
        begun = time.monotonic()
        peers = after(self._node_name, plan.peers)
        finding = examine(device.name, next(iter(device.addresses)), peers)
        self._found[family] = (number, finding.result)
        self._on_result(family, finding.result.value, finding.reason)
        log.info(
            "checksum offload",
            device=device.name,
            state=finding.result.value,
            reason=finding.reason,
            ms=round((time.monotonic() - begun) * 1000),
        )
        return finding.result is not Result.UNTESTED or not peers


def after(name: str, peers: Sequence[Vtep]) -> list[Vtep]:
    """The peers in a ring that begins behind this node, so that not all ask the same one."""
    return sorted(peers, key=lambda peer: (peer.node <= name, peer.node))


def _number(device: str) -> int:
    try:
        return socket.if_nametoindex(device)
    except OSError:
        return 0
