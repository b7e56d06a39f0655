"""Keeps automatic host endpoints, as AUTO_HOST_ENDPOINTS or KubeControllersConfiguration says.

The environment alone counts where it says anything. Where there are to be none, those that there
are go, as with Calico; what users wrote always stays. An event of a kind concerned only ends the
wait; a turn reads everything anew.
Source: kube-controllers/pkg/controllers/node/hostendpoints.go, pkg/config/runconfig.go.
"""

import threading
from collections.abc import Mapping

import structlog

from korat.core.errors import Conflict, Invalid, KoratError, NotFound, Problem
from korat.core.model.auto_host import AutoHosts, auto_hosts
from korat.core.model.controllers import (
    CONFIGURATION_KEY,
    DISABLED,
    ENABLED,
    AutoHostEndpoint,
    KubeControllersConfiguration,
    NodeController,
    unused,
)
from korat.core.model.endpoint import Node
from korat.core.model.host import HostEndpoint
from korat.drivers.store.client import Client
from korat.ports import Store, Watch

log = structlog.get_logger(__name__)

VARIABLE = "AUTO_HOST_ENDPOINTS"
KINDS = ("Node", "HostEndpoint", "KubeControllersConfiguration")
_WORDS = {"": None, "disabled": False, "enabled": True}
_RETRY_S = 1.0
_PERIOD_S = 300.0


def wants_auto_hosts(environ: Mapping[str, str]) -> bool | None:
    """Whether the environment asks for automatic host endpoints; None when it does not say.

    Raises:
        Invalid: it says neither yes nor no.
    """
    word = environ.get(VARIABLE, "")
    if word.lower() not in _WORDS:
        rule = "must be enabled or disabled"
        raise Invalid([Problem("environment", VARIABLE, word, rule)])
    return _WORDS[word.lower()]


def auto_host_settings(
    enabled: bool | None,  # noqa: FBT001 -- the environment's word, which None lacks
    configuration: KubeControllersConfiguration | None,
) -> AutoHostEndpoint | None:
    """What to make; None to leave all as it is, as the controller of nodes is switched off."""
    node = configuration.spec.controllers.node if configuration is not None else NodeController()
    if node is None:
        return None
    if enabled is not None:
        return AutoHostEndpoint(auto_create=ENABLED if enabled else DISABLED)
    return node.host_endpoint or AutoHostEndpoint()


class HostController:
    """Runs in one thread; ``stop`` may come from another."""

    def __init__(self, store: Store, *, enabled: bool | None) -> None:
        """``enabled`` is what the environment says."""
        self._store = store
        self._client = Client(store)
        self._enabled = enabled
        self._stopping = threading.Event()
        self._watch: Watch | None = None
        self._said: tuple[Problem, ...] = ()
        self._unused: tuple[Problem, ...] = ()

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
        stored = objects.by_key.get(CONFIGURATION_KEY)
        configuration = stored if isinstance(stored, KubeControllersConfiguration) else None
        self._tell_unused(configuration)
        settings = auto_host_settings(self._enabled, configuration)
        if settings is None:
            return AutoHosts()
        plan = auto_hosts(
            (r for r in objects.of("Node") if isinstance(r, Node)),
            (r for r in objects.of("HostEndpoint") if isinstance(r, HostEndpoint)),
            settings,
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

    def _tell_unused(self, configuration: KubeControllersConfiguration | None) -> None:
        found = unused(configuration) if configuration is not None else ()
        for problem in found:
            if problem not in self._unused:
                log.warning("not used", problem=str(problem))
        self._unused = found

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
