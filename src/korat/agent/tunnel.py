"""Keeps the node's tunnels as the plans say, whatever happens to them.

The node loop hands plans over, which are carried out at once, as the difference to what was there:
the kernel is read only at first, after a failure, when somebody else changed something, and now and
then to be sure. A tunnel that cannot be made never holds up policy: it is tried again by a thread
of its own, and told.

Not for what should be there; that is ``core.route.vxlan``'s.
"""

import threading
import time
from collections.abc import Callable

import structlog

from korat.agent.overlay import Plans
from korat.core.errors import KoratError
from korat.core.net.address import Family
from korat.core.route.tunnel import TunnelNames, TunnelState
from korat.core.route.tunnel_step import TunnelStep, steps
from korat.core.route.vxlan import TunnelPlan
from korat.drivers.kernel.tunnel_monitor import (
    AddressFact,
    Fact,
    ForwardingFact,
    LinkFact,
    NeighbourFact,
    RouteFact,
    TunnelMonitor,
)
from korat.drivers.kernel.vxlan import Tunnel

log = structlog.get_logger(__name__)

_RETRY_FIRST_S = 0.1
_RETRY_LAST_S = 10.0
#: What others change comes in swarms, and is mended once they are done. Who breaks it again and
#: again must not keep the node busy: within so long after the last time, the pause grows.
_SETTLE_S, _SETTLE_LAST_S, _AGAIN_S = 0.05, 5.0, 10.0
_NEVER_S = 1e9


class Tunnels:
    """Both families' tunnels of this node, from ``start`` to ``close``."""

    def __init__(
        self,
        names: TunnelNames,
        on_change: Callable[[Plans, dict[Family, str]], None] = lambda _plans, _faults: None,
    ) -> None:
        """``names`` are by what the tunnels are known.

        ``on_change`` hears the plans each time they were tried, and what failed, by family.
        """
        self._names = names
        self._on_change = on_change
        self._lock = threading.RLock()
        self._bell = threading.Condition(self._lock)
        self._plans: Plans | None = None
        self._there: dict[Family, TunnelState | None] = dict.fromkeys(Family)
        self._faults: dict[Family, str] = {}
        self._due_s = _NEVER_S  # when to look again, by the monotonic clock
        self._refresh_s = 90.0
        self._read_s = 0.0
        self._pause_s = _RETRY_FIRST_S
        self._settle_s = _SETTLE_S
        self._broken_s = -_AGAIN_S  # when something was last heard to be wrong
        self._stopping = False
        self._monitor: TunnelMonitor | None = None
        self._thread = threading.Thread(target=self._tend, name="tunnels", daemon=True)

    def start(self) -> None:
        """Begin to listen and to mend."""
        self._monitor = TunnelMonitor(self._names, self._hear)
        self._thread.start()

    def close(self) -> None:
        """End; the kernel keeps the tunnels."""
        with self._lock:
            self._stopping = True
            self._bell.notify_all()
        if self._monitor is not None:
            self._monitor.close()
            self._thread.join()

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do or to be looked at, as far as is known."""
        with self._lock:
            return (
                self._plans is not None
                and not self._faults
                and None not in (self._there[family] for family in self._plans)
            )

    def want(self, plans: Plans, refresh_s: float) -> None:
        """Carry these plans out now; never raises for what the kernel refuses."""
        with self._lock:
            self._refresh_s = refresh_s
            if plans is not self._plans:
                self._plans = plans
                self._sync()

    def _tend(self) -> None:
        with self._lock:
            while not self._stopping:
                now_s = time.monotonic()
                if now_s < self._due_s:
                    self._bell.wait(min(self._due_s - now_s, _NEVER_S))
                    continue
                if now_s - self._read_s >= self._refresh_s > 0:
                    self._there = dict.fromkeys(Family)
                self._sync()

    def _sync(self) -> None:
        plans = self._plans
        if plans is None:
            return
        for family, plan in plans.items():
            try:
                self._carry_out(family, plan)
                self._faults.pop(family, None)
            except Exception as error:  # noqa: BLE001 - a defect here must not stop policy
                self._there[family] = None
                self._tell_fault(family, error)
        if self._faults:
            self._due_s = time.monotonic() + self._pause_s
            self._pause_s = min(self._pause_s * 2, _RETRY_LAST_S)
        else:
            self._pause_s = _RETRY_FIRST_S
            wait_s = self._refresh_s or _NEVER_S
            self._due_s = max(self._read_s + wait_s, time.monotonic() + _SETTLE_S)
        self._bell.notify_all()
        self._on_change(plans, dict(self._faults))

    def _carry_out(self, family: Family, plan: TunnelPlan) -> None:
        there = self._there[family]
        if there == plan.state:
            return
        with Tunnel(family, self._names[family]) as tunnel:
            if there is None:
                there = tunnel.read()
                self._read_s = time.monotonic()
            doing: list[TunnelStep] = list(steps(there, plan.state))
            # From here on the monitor compares what it hears with this.
            self._there[family] = plan.state
            tunnel.carry_out(doing)
        if doing:
            log.info("tunnel", family=int(family), steps=len(doing))

    def _tell_fault(self, family: Family, error: Exception) -> None:
        text = str(error)
        if self._faults.get(family) != text:
            known = isinstance(error, KoratError)
            what = "the tunnel cannot be made" if known else "a defect; the tunnel is not made"
            log.error(what, family=int(family), error=text, exc_info=not known)
        self._faults[family] = text

    def _hear(self, family: Family | None, fact: Fact | None) -> None:
        """Something is different; mend it unless it is as it should be."""
        with self._lock:
            for each in Family if family is None else (family,):
                wanted = self._there[each]
                if wanted is None or (fact is not None and _is_wanted(wanted, fact)):
                    continue
                self._there[each] = None
                self._due_s = min(self._due_s, time.monotonic() + self._settled_in())
                self._bell.notify_all()

    def _settled_in(self) -> float:
        """How long to wait before what is broken is mended."""
        now_s, before_s = time.monotonic(), self._broken_s
        again = now_s - before_s < _AGAIN_S
        self._settle_s = min(self._settle_s * 2, _SETTLE_LAST_S) if again else _SETTLE_S
        self._broken_s = now_s
        return self._settle_s


def _is_wanted(state: TunnelState, fact: Fact) -> bool:
    device = state.device
    match fact:
        case LinkFact(mac, mtu_bytes, up):
            if device is None:
                return not mac
            return (mac, mtu_bytes, up) == (device.mac, device.mtu_bytes, True)
        case AddressFact(address, present):
            return present is (device is not None and address in device.addresses)
        case NeighbourFact(address, mac):
            return state.neighbours.get(address, "") == mac
        case ForwardingFact(mac, node):
            return state.forwarding.get(mac) == node
        case RouteFact(prefix, present, via):
            route = state.routes.get(prefix)
            return present is (route is not None) and (route is None or route.via == via)


def leave_tunnels(names: TunnelNames) -> None:
    """Take away the tunnels of a networking option on a node that runs another one now.

    As Felix does: routes into a tunnel that nobody keeps would send packets nowhere.
    """
    for family, name in names.items():
        try:
            with Tunnel(family, name) as tunnel:
                doing = list(steps(tunnel.read(), TunnelState()))
                tunnel.carry_out(doing)
        except KoratError as error:
            log.warning("an old tunnel stays", family=int(family), error=str(error))
            continue
        if doing:
            log.info("an old tunnel is taken away", family=int(family), steps=len(doing))
