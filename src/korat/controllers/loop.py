"""The Azure route controller's loop: a turn at every Node change, and now and then against drift.

A Node event only ends the wait; the turn reads everything anew. So nothing depends on the order of
events, and a burst of them is one turn. After an error the waits grow up to the period.
"""

import time
from collections.abc import Callable
from pathlib import Path

import structlog
from typing_extensions import override

from korat.controllers.announce import announce_vnet
from korat.controllers.following import FollowingController
from korat.controllers.node import udr_nodes
from korat.controllers.route import Look, look_once, not_effective
from korat.controllers.settings import RouteSettings
from korat.core.errors import Conflict, KoratError
from korat.core.route.podcidr import UdrNode
from korat.core.route.udr import UdrPlan
from korat.drivers.file import replace
from korat.ports import CloudNetwork, Store, Watch

log = structlog.get_logger(__name__)

FIRST_RETRY_S = 0.5
EFFECT_POLL_S = 1.0


class RouteController(FollowingController):
    """Runs in one thread; ``stop`` may come from another."""

    def __init__(
        self,
        store: Store,
        cloud: CloudNetwork,
        settings: RouteSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(store, FIRST_RETRY_S, settings.period_s)
        self._cloud = cloud
        self._settings = settings
        self._clock = clock
        self._nodes: tuple[UdrNode, ...] | None = None
        self._said: object = None
        self._confirmed: UdrPlan | None = None

    def turn(self) -> float:
        """Look, plan, apply, check; how long to wait before the next turn."""
        try:
            delay_s = self._turn()
        except Conflict as error:
            log.info("someone else wrote first", error=str(error))
            return self._retry_s()
        except KoratError as error:
            log.warning("routes cannot be brought up to date", error=str(error))
            return self._retry_s()
        self._failures = 0
        return delay_s

    @override
    def _follow(self, watch: Watch) -> None:
        """Turns from one watch; a Node event that changes nothing for routes is none."""
        due = self._clock() + self.turn()
        while not self._stopping.is_set():
            events = watch.poll(max(0.0, due - self._clock()))
            if any(event.key.kind == "Node" for event in events):
                self._settle(watch)
                if not self._nodes_changed():
                    continue
            elif self._clock() < due:
                continue
            due = self._clock() + self.turn()

    def _nodes_changed(self) -> bool:
        try:
            return udr_nodes(self._store.list(["Node"]).records) != self._nodes
        except KoratError:
            return True

    def _turn(self) -> float:
        self._nodes = udr_nodes(self._store.list(["Node"]).records)
        look = look_once(self._store, self._cloud, self._settings.udr)
        self._report(look.plan)
        if not look.plan.empty:
            self._confirmed = None
            self._cloud.apply(look.plan.steps)
            for step in look.plan.steps:
                log.info("applied", step=str(step))
        if announce_vnet(self._store, look.network):
            log.info("announced the VNet", prefixes=[str(p) for p in look.network.prefixes])
        return self._settings.period_s if self._confirm(look) else EFFECT_POLL_S

    def _report(self, plan: UdrPlan) -> None:
        """Say what is wrong once, not every turn."""
        said = (plan.problems, plan.warnings)
        if said == self._said:
            return
        self._said = said
        for problem in plan.problems:
            log.error("left as it is", problem=str(problem))
        for warning in plan.warnings:
            log.warning("look at this", warning=str(warning))

    def _confirm(self, look: Look) -> bool:
        """Whether the routes are effective; the ready file says so once all nodes have theirs."""
        wanted = look.plan
        if self._confirmed is not None and _same_effect(self._confirmed, wanted):
            return True
        if missing := not_effective(self._cloud, wanted):
            log.info("waiting for Azure", missing=list(missing))
            return False
        self._confirmed = wanted
        if wanted.routes and not wanted.problems:
            log.info("all routes are effective", routes=[str(route) for route in wanted.routes])
            if self._settings.ready_file is not None:
                _write_ready(self._settings.ready_file, wanted)
        return True


def _same_effect(one: UdrPlan, other: UdrPlan) -> bool:
    effect = (one.routes, one.vantages, one.problems)
    return effect == (other.routes, other.vantages, other.problems)


def _write_ready(path: Path, plan: UdrPlan) -> None:
    """One line per effective route."""
    text = "".join(f"{route.prefix} {route.next_hop_ip}\n" for route in plan.routes)
    replace(path, text.encode())
