"""The node's loop: drain what changed, compute once, apply once, as fast as changes come.

A watch event only adds to what is pending; the loop takes all of it at its own pace, so a thousand
changes cost one computation. Nothing is written before the store was read completely. If the kernel
refuses a transaction it keeps the last good state, and the loop loads everything anew after a pause
that grows.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from korat.agent.feed import Batch
from korat.agent.intent import Intent, NodeState
from korat.agent.overlay import Plans
from korat.agent.precedence import Precedence
from korat.core.errors import Invalid, KoratError, Problem
from korat.core.model import codec
from korat.core.model.felix import FelixSettings
from korat.core.model.resource import Resource
from korat.core.net.address import Addr
from korat.core.policy.host import HostInterface
from korat.core.render.nft.diff import stages
from korat.core.render.nft.node import OwnPolicy
from korat.core.render.nft.ruleset import Ruleset
from korat.core.route.vxlan import Link
from korat.core.table.value import NodePolicy
from korat.ports import Record

log = structlog.get_logger(__name__)

_RETRY_FIRST_S = 0.1
_RETRY_LAST_S = 10.0


class Kernel(Protocol):
    """What the loop does to the node's kernel."""

    def apply(self, transaction: str) -> None:
        """Run one atomic nftables transaction."""

    def sync_routes(self, routes: Mapping[Addr, str]) -> frozenset[Addr]:
        """Make these the routes to local workloads; returns the addresses of those it removed."""

    def forget(self, addresses: frozenset[Addr]) -> None:
        """Delete the tracked connections of addresses that left this node."""

    def rejudge(
        self, policy: NodePolicy | None, felix: FelixSettings, own: OwnPolicy | None
    ) -> None:
        """Bring live connections under the policy that was just applied; returns at once."""

    def interfaces(self) -> tuple[HostInterface, ...]:
        """The node's interfaces and their addresses, as they are now."""

    def links(self) -> tuple[Link, ...]:
        """The same, as tunnels need to know them."""

    def sync_tunnels(self, plans: Plans, felix: FelixSettings) -> None:
        """Make these the tunnels; what cannot be done now is tried again without the loop."""


class NodeLoop:
    """One node's state and the thread that keeps the kernel in step with it."""

    def __init__(
        self,
        fresh: Callable[[], NodeState],
        kernel: Kernel,
        on_applied: Callable[[int], None] = lambda _revision: None,
        on_lost: Callable[[], None] = lambda: None,
        precedence: Precedence | None = None,
    ) -> None:
        """``fresh`` makes a state that knows nothing yet.

        ``on_applied`` hears each revision that the kernel has come to enforce.
        ``on_lost`` is told when a defect broke the state: everything must be delivered once more.
        """
        self._fresh = fresh
        self._kernel = kernel
        self._on_applied = on_applied
        self._on_lost = on_lost
        self._precedence = precedence or Precedence()
        self._changed = threading.Condition()
        self._pending: list[Batch] = []
        self._taken: list[Batch] = []
        self._wanted: Intent | None = None
        self._refresh = False
        self._reload = False
        self._stopping = False
        self._revision = -1
        self._applied_revision = -1
        self._state = fresh()
        self._read = False
        self._seen = False
        self._routes: Mapping[Addr, str] | None = None  # None: to be looked at
        self._in_kernel: Ruleset | None = None  # None: unknown, so that all is loaded
        self._addresses: frozenset[Addr] = frozenset()
        self._problems: tuple[Problem, ...] = ()
        self._enforced: Intent | None = None

    def deliver(self, batch: Batch) -> None:
        """Take a batch from the feed; returns at once."""
        self._precedence.take()
        with self._changed:
            self._pending.append(batch)
            self._changed.notify_all()

    def refresh(self, *, reload: bool) -> None:
        """Look again: an interface came, or (``reload``) somebody else changed our table."""
        with self._changed:
            self._refresh = True
            self._reload |= reload
            self._changed.notify_all()

    def stop(self) -> None:
        """End ``run``; the kernel keeps what it has, so traffic goes on under policy."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def wait_applied(self, revision: int, timeout_s: float) -> bool:
        """Whether the kernel comes to enforce this revision, or a later one, in time."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._applied_revision >= revision or self._stopping, timeout_s
            )
            return self._applied_revision >= revision

    @property
    def ready(self) -> bool:
        """Whether the first complete state is in the kernel."""
        return self._applied_revision >= 0

    @property
    def enforced(self) -> Intent | None:
        """What the kernel was last made to enforce; for whoever watches, in any thread."""
        return self._enforced

    def run(self) -> None:
        """Loop until ``stop``."""
        pause_s = 0.0
        while self._wait(pause_s):
            try:
                self._work_out()
                if self._wanted is not None:
                    self._apply(self._wanted)
                    pause_s = 0.0
            except Exception as error:
                self._in_kernel = self._routes = None
                pause_s = min(max(pause_s * 2, _RETRY_FIRST_S), _RETRY_LAST_S)
                known = isinstance(error, KoratError)
                what = "cannot program the kernel" if known else "a defect; the last policy stays"
                log.error(what, error=str(error), retry_s=pause_s, exc_info=not known)

    def _work_out(self) -> None:
        """Bring the state up to what was taken, and say what follows.

        A defect in the middle leaves half a state, from which nothing right would ever follow: it
        is thrown away, and begun anew with a complete read.
        """
        interfaces = None if self._seen else self._kernel.interfaces()
        links = self._kernel.links() if interfaces is not None and self._state.tunnelled else ()
        batches, self._taken = self._taken, []
        try:
            while (
                batches
            ):  # A whole cluster as it is stored need not be there while it is compiled.
                self._merge(batches.pop(0))
            if interfaces is not None:
                self._state.see(interfaces, links)
                self._seen = True
            self._wanted = self._state.intent() if self._read else None
        except Exception:
            self._state = self._fresh()
            self._read = self._seen = False
            self._on_lost()
            raise

    def _wait(self, pause_s: float) -> bool:
        """Wait for something to do and take it; False to end."""
        with self._changed:
            if pause_s:
                self._changed.wait_for(lambda: self._stopping, pause_s)
                self._refresh = True
            if not self._pending:
                self._precedence.release()
            self._changed.wait_for(self._has_work)
            self._taken += self._pending
            self._pending = []
            if self._refresh:
                self._routes = None
                self._seen = False
            if self._reload:
                self._in_kernel = None
            self._refresh = self._reload = False
        return not self._stopping

    def _has_work(self) -> bool:
        return self._stopping or bool(self._pending) or (self._refresh and self._read)

    def _merge(self, batch: Batch) -> None:
        if not batch.full and not self._read:
            return  # It tells of changes of a state that was lost.
        if batch.full:
            for key in self._state.known - batch.changes.keys():
                self._state.set(key, None)
        for key, record in batch.changes.items():
            self._state.set(key, _load(record) if record else None)
        self._read = True
        self._revision = batch.revision

    def _apply(self, wanted: Intent) -> None:
        begun = time.perf_counter()
        transactions = stages(self._in_kernel, wanted.ruleset)
        for transaction in transactions:
            self._kernel.apply(transaction)
        self._in_kernel, self._enforced = wanted.ruleset, wanted
        self._route(wanted.routes)
        if wanted.tunnels is not None:
            self._kernel.sync_tunnels(wanted.tunnels, wanted.felix)
        self._kernel.rejudge(wanted.policy, wanted.felix, wanted.own)
        self._tell_problems(wanted)
        took_ms = round((time.perf_counter() - begun) * 1000, 1)
        log.debug("applied", revision=self._revision, ms=took_ms, bytes=sum(map(len, transactions)))
        with self._changed:
            self._applied_revision = self._revision
            self._changed.notify_all()
        self._on_applied(self._revision)

    def _route(self, routes: Mapping[Addr, str]) -> None:
        if routes is self._routes:
            return
        # Routes of workloads that went while the agent was away are found in the kernel alone.
        gone = self._kernel.sync_routes(routes) | (self._addresses - routes.keys())
        if gone:
            self._kernel.forget(gone)
        self._addresses = frozenset(routes)
        self._routes = routes

    def _tell_problems(self, wanted: Intent) -> None:
        """Settings and objects that could not be honoured, once each."""
        for problem in wanted.problems:
            if problem not in self._problems:
                log.warning("not honoured", problem=str(problem))
        self._problems = wanted.problems


def _load(record: Record) -> Resource | None:
    """One stored object; one that cannot be read is left out, and said so.

    Leaving out a policy could open what it closed, but a broken object tells nothing of what it
    meant; the last good value is not kept, so that a restart arrives at the same state.
    """
    try:
        return codec.load(record.key, record.value)
    except Invalid as error:
        log.error("an object in the store cannot be read", object=str(record.key), error=str(error))
        return None
