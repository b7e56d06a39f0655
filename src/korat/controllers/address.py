"""The loop that keeps addresses ready on nodes' NICs, ahead of the pods that will need them.

Every change of a node, a pod or an endpoint is held against what Azure said last, which costs Azure
nothing; only when that is too little is Azure asked, at most once in ``REST_S``. Now and then it is
asked in any case, for others give and take addresses too. One NIC's trouble, a full subnet above
all, does not stop the others.
"""

import time
from collections.abc import Callable

import structlog
from typing_extensions import override

from korat.controllers.following import FollowingController
from korat.controllers.settings import AddressSettings
from korat.controllers.supply import KINDS, look_once, read_demand
from korat.core.errors import Conflict, Invalid, KoratError, NotFound
from korat.core.route.network import Network, name_of
from korat.core.route.step import AddAddresses
from korat.core.route.supply import SupplyPlan
from korat.ports import CloudNetwork, Store, Watch

log = structlog.get_logger(__name__)

FIRST_RETRY_S = 1.0
#: Between two looks at Azure that pods give cause to.
REST_S = 5.0


class AddressController(FollowingController):
    """Runs in one thread; ``stop`` may come from another."""

    def __init__(
        self,
        store: Store,
        cloud: CloudNetwork,
        settings: AddressSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(store, FIRST_RETRY_S, settings.period_s)
        self._cloud = cloud
        self._settings = settings
        self._clock = clock
        self._network: Network | None = None  # as Azure said last; None when that is void
        self._said: object = None
        self._refused: dict[str, str] = {}

    def turn(self) -> float:
        """Look, plan, ask; how long to wait before the next turn without a cause."""
        self._network = None
        try:
            whole = self._turn()
        except KoratError as error:
            log.warning("no addresses can be asked for", error=str(error))
            whole = False
        if not whole:
            return self._retry_s()
        self._failures = 0
        return self._settings.period_s

    def wants_more(self) -> bool:
        """Whether pods need more than Azure has given, as far as is known here."""
        if self._network is None:
            return True
        try:
            wanted = read_demand(self._store)
        except KoratError:
            return True
        return not wanted.plan(self._network, self._settings.supply).empty

    @override
    def _follow(self, watch: Watch) -> None:
        """Turns from one watch; while Azure refuses, pods' changes bring none forward."""
        due, earliest = self._next(self.turn())
        while not self._stopping.is_set():
            events = watch.poll(max(0.0, due - self._clock()))
            if any(event.key.kind in KINDS for event in events):
                self._settle(watch)
                if self.wants_more():
                    due = min(due, earliest)
            if self._clock() >= due:
                due, earliest = self._next(self.turn())

    def _next(self, delay_s: float) -> tuple[float, float]:
        """When the next turn is due, and when it may come at the earliest."""
        now = self._clock()
        due = now + delay_s
        return due, due if self._failures else min(due, now + REST_S)

    def _turn(self) -> bool:
        look = look_once(self._store, self._cloud, self._settings.supply)
        self._report(look.plan)
        if look.plan.empty:
            self._refused.clear()
            self._network = look.network
            return True
        whole = True
        for step in look.plan.steps:
            whole &= self._add(step)
        return whole

    def _add(self, step: AddAddresses) -> bool:
        """Ask for one NIC's; of what Azure refuses for half as many, as a subnet may have some."""
        wanted, said = step.total, ""
        while step.count > 0 and not self._stopping.is_set():
            try:
                self._cloud.apply([step])
            except Invalid as error:
                said, step = str(error), step.halved
                continue
            except (Conflict, NotFound) as error:
                log.info("the NIC is another one by now", error=str(error))
                return False
            log.info("applied", step=str(step))
            break
        nic = name_of(step.interface_id)
        if said and self._refused.get(nic) != said:
            log.error(
                "not all addresses can be had", nic=nic, error=said, missing=wanted - step.total
            )
        self._refused[nic] = said
        return step.total == wanted

    def _report(self, plan: SupplyPlan) -> None:
        """Say what is wrong once, not every turn."""
        if plan.problems != self._said:
            self._said = plan.problems
            for problem in plan.problems:
                log.error("left as it is", problem=str(problem))
