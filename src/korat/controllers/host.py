"""Keeps one automatic host endpoint per node, where AUTO_HOST_ENDPOINTS is ``enabled``.

Where it is not, those that there are go, as with Calico; what users wrote always stays.
A Node or HostEndpoint event only ends the wait; a turn reads everything anew.
Source: kube-controllers/pkg/controllers/node/hostendpoints.go.
"""

import threading
from collections.abc import Mapping

import structlog

from korat.core.errors import Conflict, Invalid, KoratError, NotFound, Problem
from korat.core.model.auto_host import AutoHosts, auto_hosts
from korat.core.model.endpoint import Node
from korat.core.model.host import HostEndpoint
from korat.drivers.store.client import Client
from korat.ports import Store, Watch

log = structlog.get_logger(__name__)

VARIABLE = "AUTO_HOST_ENDPOINTS"
KINDS = ("Node", "HostEndpoint")
_WORDS = {"": False, "disabled": False, "enabled": True}
_RETRY_S = 1.0
_PERIOD_S = 300.0


def wants_auto_hosts(environ: Mapping[str, str]) -> bool:
    """Whether the environment asks for automatic host endpoints.

    Raises:
        Invalid: it says neither yes nor no.
    """
    word = environ.get(VARIABLE, "")
    if word.lower() not in _WORDS:
        rule = "must be enabled or disabled"
        raise Invalid([Problem("environment", VARIABLE, word, rule)])
    return _WORDS[word.lower()]


class HostController:
    """Runs in one thread; ``stop`` may come from another."""

    def __init__(self, store: Store, *, enabled: bool) -> None:
        self._store = store
        self._client = Client(store)
        self._enabled = enabled
        self._stopping = threading.Event()
        self._watch: Watch | None = None
        self._said: tuple[Problem, ...] = ()

    def run(self) -> None:
        """Keep the host endpoints right until ``stop``."""
        while not self._stopping.is_set():
            try:
                with self._store.watch(self._store.list(KINDS).revision) as self._watch:
                    self._follow(self._watch)
            except NotFound:
                continue  # the watch fell behind: look at everything anew
            except KoratError as error:
                log.warning("automatic host endpoints wait", error=str(error), retry_s=_RETRY_S)
                self._stopping.wait(_RETRY_S)

    def stop(self) -> None:
        """End ``run`` after the turn at hand."""
        self._stopping.set()
        if self._watch is not None:
            self._watch.close()

    def turn(self) -> AutoHosts:
        """Look and write once; what was to be done."""
        objects = self._client.read(KINDS)
        plan = auto_hosts(
            (r for r in objects.of("Node") if isinstance(r, Node)),
            (r for r in objects.of("HostEndpoint") if isinstance(r, HostEndpoint)),
            enabled=self._enabled,
        )
        for host in plan.create:
            self._client.create(host)
            log.info("created", object=host.title)
        for host in plan.update:
            self._client.update(host)
            log.info("updated", object=host.title)
        for host in plan.delete:
            self._client.delete(host.key)
            log.info("deleted", object=host.title)
        for problem in plan.problems:
            if problem not in self._said:
                log.warning("left as it is", problem=str(problem))
        self._said = plan.problems
        return plan

    def _follow(self, watch: Watch) -> None:
        self._settled()
        while not self._stopping.is_set():
            events = watch.poll(_PERIOD_S)
            if not events or any(event.key.kind in KINDS for event in events):
                self._settled()

    def _settled(self) -> None:
        """Turns until one has nothing to do, as far as others do not write at the same time."""
        try:
            self.turn()
        except (Conflict, NotFound) as error:
            log.info("someone else wrote first", error=str(error))
            self._stopping.wait(_RETRY_S)
            self.turn()
