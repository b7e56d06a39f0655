"""``korat controllers run``: puts the controllers together, keeps them until told to end."""

import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import structlog

from korat.controllers.address import AddressController
from korat.controllers.announce import VnetAnnouncer
from korat.controllers.host import HostController, wants_auto_hosts
from korat.controllers.ipam import IpamController
from korat.controllers.loop import RouteController
from korat.controllers.settings import address_settings, named_cloud, route_settings, wants_routes
from korat.drivers.azure.client import connect
from korat.drivers.azure.config import CloudConfig
from korat.drivers.azure.network import AzureNetwork
from korat.drivers.metrics import LOOPBACK
from korat.drivers.store.open import open_store
from korat.ports import CloudNetwork, Store

log = structlog.get_logger(__name__)

#: The variable that says on which address metrics are served.
METRICS_HOST = "KORAT_METRICS_HOST"
GRACE_S = 2.0
"""How long a turn may go on after SIGTERM; single writes to ARM are whole or not at all."""


def run(environ: Mapping[str, str]) -> None:
    """Be the cluster's controllers until SIGTERM or SIGINT.

    Raises:
        Invalid: the environment or the cloud configuration is wrong.
        Unsupported: there is no driver for the datastore.
    """
    routed = wants_routes(environ)
    azure = _azure(environ, routed=routed)
    enabled = wants_auto_hosts(environ)
    store = open_store(environ)
    ready = _ready_file(environ)
    addresses = IpamController(store, environ.get(METRICS_HOST) or LOOPBACK)
    controllers: dict[str, _Controller] = {
        "hosts": HostController(store, enabled=enabled),
        "addresses": addresses,
        **{name: make(store) for name, make in azure.items()},
    }
    ended = _Ended()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.event.set())
    # A daemon, because a request to Azure may hang for longer than SIGTERM may take.
    threads = [
        threading.Thread(target=ended.keep, args=(each,), name=name, daemon=True)
        for name, each in controllers.items()
    ]
    for thread in threads:
        thread.start()
    if ready is not None and not routed:
        ready.touch()  # there is no route to wait for
    ended.event.wait()
    for each in controllers.values():
        each.stop()
    for thread in threads:
        thread.join(GRACE_S)
    if ended.error is not None:
        raise ended.error


def _ready_file(environ: Mapping[str, str]) -> Path | None:
    """Where to say that all is ready; what an earlier program said there is void."""
    name = environ.get("KORAT_READY_FILE")
    if not name:
        return None
    Path(name).unlink(missing_ok=True)
    return Path(name)


def cloud_network(cloud: CloudConfig) -> CloudNetwork:
    """The virtual network of the cloud configuration, through the official SDK."""
    return AzureNetwork(connect(cloud), cloud)


class _Controller(Protocol):
    """A loop with a thread of its own."""

    def run(self) -> None: ...

    def stop(self) -> None: ...


def _azure(
    environ: Mapping[str, str], *, routed: bool
) -> dict[str, Callable[[Store], _Controller]]:
    """The controllers of Azure that the environment asks for, each with a client of its own."""
    found: dict[str, Callable[[Store], _Controller]] = {}
    supply = address_settings(environ)
    if routed:
        routes = route_settings(environ)
        found["routes"] = lambda store: RouteController(store, cloud_network(routes.cloud), routes)
    elif (cloud := supply.cloud if supply is not None else named_cloud(environ)) is not None:
        found["vnet"] = lambda store: VnetAnnouncer(store, cloud_network(cloud))
    if supply is not None:
        found["supply"] = lambda store: AddressController(
            store, cloud_network(supply.cloud), supply
        )
    return found


class _Ended:
    """How a controller's thread ended, if one did; the event also stands for a signal."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.error: BaseException | None = None

    def keep(self, controller: _Controller) -> None:
        try:
            controller.run()
        except BaseException as error:  # noqa: BLE001  it is raised again in the main thread
            self.error = error
        finally:
            self.event.set()
