"""What the agent tells of its tunnels: what they are, what is wrong with them, what was tested."""

import threading
from collections.abc import Mapping
from pathlib import Path

from korat.agent.overlay import NOTHING, Plans
from korat.core.net.address import Family
from korat.core.route.vxlan import TunnelPlan
from korat.drivers.report import TunnelReport, publish_tunnels


class TunnelReporter:
    """Writes the report when something in it has changed; any thread may tell."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._lock = threading.Lock()
        self._plans: Plans = NOTHING
        self._faults: Mapping[Family, str] = {}
        self._offloads: dict[Family, tuple[str, str]] = {}
        self._written: tuple[TunnelReport, ...] | None = None

    def planned(self, plans: Plans, faults: Mapping[Family, str]) -> None:
        """These tunnels were tried, and this failed of them."""
        with self._lock:
            self._plans, self._faults = plans, faults
            self._write()

    def tested(self, family: Family, result: str, reason: str) -> None:
        """The checksum test of a tunnel has come out so."""
        with self._lock:
            self._offloads[family] = (result, reason)
            self._write()

    def _write(self) -> None:
        reports = tuple(
            self._report(family, plan)
            for family, plan in self._plans.items()
            if plan.mtu is not None or plan.problems or family in self._faults
        )
        if reports != self._written:
            publish_tunnels(self._run_dir, reports)
            self._written = reports

    def _report(self, family: Family, plan: TunnelPlan) -> TunnelReport:
        device = plan.state.device
        offload, reason = self._offloads.get(family, ("", "")) if device else ("", "")
        return TunnelReport(
            family=int(family),
            device=device.name if device else "",
            address=str(next(iter(device.addresses))) if device else "",
            node_address=str(device.local) if device else "",
            mtu=plan.mtu.size_bytes if plan.mtu else 0,
            mtu_reason=plan.mtu.reason if plan.mtu else "",
            peers=len(plan.peers),
            routes=len(plan.state.routes),
            fault=self._faults.get(family, ""),
            problems=tuple(map(str, plan.problems)),
            offload=offload,
            offload_reason=reason,
        )
