"""The collector: takes back addresses that nobody has, and blocks that nobody needs.

Every turn reads everything anew; what it must remember, since when something is so, is in a ledger
of the core's. Turns come when the next address is due, when a node goes, when the settings change,
and every few minutes. What may go is decided by the core (``collect``, ``sweep``), and looked at
once more right before each release.
Source: kube-controllers/pkg/controllers/node (ipam.go).
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

from korat.controllers.ipam_metrics import AddressMetrics, metrics_place
from korat.core.errors import KoratError, NotFound, Unavailable
from korat.core.ipam.affinity import release_affinity
from korat.core.ipam.collect import Ledger, Plan, Rules, plan
from korat.core.ipam.handle import settle
from korat.core.ipam.instant import Moment
from korat.core.ipam.pool import pools_of
from korat.core.ipam.release import free_rested
from korat.core.ipam.request import Steps
from korat.core.ipam.setting import SETTING_KEYS
from korat.core.ipam.survey import Survey, sound, survey
from korat.core.ipam.sweep import Reclaimed, batches, clear_host, next_due_s, reclaim
from korat.core.model.builtin import INFORMATION
from korat.core.model.config import IPPool
from korat.core.model.controllers import CONFIGURATION_KEY, leak_grace_s
from korat.core.model.resource import Resource
from korat.drivers.metrics import MetricsServer
from korat.drivers.store.ipam import now as now_and_dice
from korat.drivers.store.ipam import run
from korat.ports import Event, Store, Watch

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: How often to look at least, and how seldom at most.
PERIOD_S, PAUSE_S = 300.0, 1.0
RETRY_S = 1.0
_SETTINGS = frozenset({CONFIGURATION_KEY, INFORMATION, *SETTING_KEYS})


class IpamController:
    """Runs in one thread; ``stop`` may come from another."""

    def __init__(
        self,
        store: Store,
        metrics_host: str,
        now: Callable[[], Moment] = now_and_dice,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``now`` says what time it is to the store, ``clock`` how long to wait."""
        self._store = store
        self._now = now
        self._clock = clock
        self._metrics_host = metrics_host
        self.metrics = AddressMetrics(store)
        self._server = MetricsServer(self.metrics)
        self._ledger = Ledger()
        self._said: object = None
        self._stopping = threading.Event()
        self._watch: Watch | None = None

    def run(self) -> None:
        """Collect until ``stop``."""
        while not self._stopping.is_set():
            try:
                with self._store.watch(self._store.list([INFORMATION]).revision) as self._watch:
                    self._follow(self._watch)
            except NotFound:
                continue  # the watch fell behind: look at everything anew
            except KoratError as error:
                log.warning("leaked addresses wait", error=str(error), retry_s=RETRY_S)
                self._stopping.wait(RETRY_S)
        self._server.close()

    def stop(self) -> None:
        """End ``run`` after the turn at hand."""
        self._stopping.set()
        if self._watch is not None:
            self._watch.close()

    def turn(self) -> float:
        """Look once, take back what is due; how long to wait before the next turn.

        Raises:
            Invalid: a node, a pod or an endpoint cannot be read, so nobody is taken for gone.
            Unavailable: the store does not answer.
        """
        found = run(self._store, survey())
        self._server.move(metrics_place(found.configuration, self._metrics_host))
        grace_s = leak_grace_s(found.configuration)
        usable = sound(found.resources)
        self._tell(found, usable, grace_s)
        if grace_s is None or found.is_locked:
            return PERIOD_S
        rules = Rules(grace_s, found.settings.cooldown_s)
        moment = self._now()
        due = plan(usable, found.there, self._ledger, moment, rules)
        self._ledger = due.ledger
        self.metrics.suspect(leak.allocation for leak in (*due.due, *due.suspects))
        pools = pools_of(r for r in usable if isinstance(r, IPPool))
        for batch in batches(due.due, due.suspects):
            done = self._done(reclaim(batch, moment, rules), "leaked addresses")
            if done is not None:
                self.metrics.count(pools, (leak.allocation for leak in done.released))
                _tell_reclaimed(done)
        self._clear(due, moment)
        return _pause_s(due, rules, moment)

    def _clear(self, due: Plan, moment: Moment) -> None:
        """Everything that is no leak: hosts, blocks, addresses that have rested, counts."""
        for cidr in due.rested:
            if self._done(free_rested(cidr, moment), f"block {cidr}"):
                log.info("addresses have cooled down", block=str(cidr))
        for host in due.hosts:
            ended = self._done(clear_host(host), f"node {host}")
            if ended is not None:
                self.metrics.forget(host)
                log.info("node is gone, its blocks are free", node=host, blocks=len(ended))
        for each in due.spare:
            ending = release_affinity(
                each.owner, each.cidr, require_empty=True, sequence=each.sequence
            )
            if self._done(ending, f"block {each.cidr}"):
                log.info("empty block given back", block=str(each.cidr), owner=each.owner)
        for count in due.miscounts:
            # Its answer is None, and so is a failure, which has been told.
            self._done(settle(count.handle_id, count.cidr), f"handle {count.handle_id}")

    def _done(self, operation: Steps[T], what: str) -> T | None:
        """Carry out; what one object refuses does not stop the others."""
        try:
            return run(self._store, operation)
        except Unavailable:
            raise
        except KoratError as error:
            log.warning("left for the next turn", what=what, error=str(error))
            return None

    def _tell(self, found: Survey, usable: Iterable[Resource], grace_s: int | None) -> None:
        """Say once what keeps the collector from its work."""
        wrong = {each.key for each in found.resources} - {each.key for each in usable}
        broken = sorted(map(str, wrong.union(found.unreadable)))
        said = (grace_s, found.is_locked, broken)
        if said == self._said:
            return
        self._said = said
        if grace_s is None:
            log.info("no leaked address is taken back", why="there is no controller of nodes")
        elif found.is_locked:
            log.warning("no leaked address is taken back", why="the datastore is locked")
        elif not grace_s:
            log.info("only addresses of nodes that are gone are taken back", leakGracePeriod=0)
        if broken:
            log.error("left as it is, it contradicts itself", objects=broken)

    def _follow(self, watch: Watch) -> None:
        due = self._clock() + self.turn()
        while not self._stopping.is_set():
            events = watch.poll(max(0.0, due - self._clock()))
            if any(map(_wakes, events)):
                due = min(due, self._clock() + PAUSE_S)  # A node seldom goes alone.
            if self._clock() >= due:
                due = self._clock() + self.turn()


def _tell_reclaimed(done: Reclaimed) -> None:
    for leak in done.released:
        own = leak.allocation
        whose = {"node": own.node, "handle": own.handle_id}
        log.info("leaked address taken back", address=str(own.addr), why=leak.reason, **whose)
    for leak in done.alive:
        log.info("leaked address came back to life", address=str(leak.allocation.addr))
    for addr, reason in done.refused.items():
        log.info("address not taken back", address=str(addr), why=reason)


def _wakes(event: Event) -> bool:
    is_gone = event.key.kind == "Node" and event.record is None
    return is_gone or event.key in _SETTINGS


def _pause_s(due: Plan, rules: Rules, moment: Moment) -> float:
    """Until the next address is due, and no longer than half of the grace period."""
    half_s = rules.grace_s / 2 if rules.grace_s else PERIOD_S
    next_s = next_due_s(due, rules, moment)
    waits = [PERIOD_S, half_s, *([next_s] if next_s is not None else [])]
    return max(PAUSE_S, min(waits))
