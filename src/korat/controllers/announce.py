"""Tells the cluster the VNet's address space and its subnets, through the store.

Agents masquerade what leaves the VNet and nothing else, and a pool over a subnet is refused; only
Azure knows where they are.
"""

import threading
from collections.abc import Iterable, Mapping

import msgspec
import structlog

from korat import __version__
from korat.core.errors import Conflict, KoratError, NotFound
from korat.core.model.builtin import INFORMATION
from korat.core.model.label import AZURE_SUBNETS, AZURE_VNET
from korat.core.net.address import Prefix
from korat.core.route.network import Network
from korat.drivers.store.client import Client, initialize
from korat.ports import CloudNetwork, Record, Store

log = structlog.get_logger(__name__)

_TRIES = 5
#: A VNet seldom gets another prefix, and whoever cannot be asked now is asked soon again.
PERIOD_S, RETRY_S = 300.0, 10.0


def announce_vnet(store: Store, network: Network) -> bool:
    """Write the prefixes where the cluster reads them; whether that changed anything.

    Raises:
        Conflict: others wrote the object at the same time, again and again.
    """
    subnets = (prefix for subnet in network.subnets for prefix in subnet.prefixes)
    wanted = {AZURE_VNET: _text(network.prefixes), AZURE_SUBNETS: _text(subnets)}
    for _ in range(_TRIES):
        record = _information(store)
        if record is None:
            initialize(Client(store), __version__)
            continue
        value = _annotated(record.value, wanted)
        if value is None:
            return False
        try:
            store.update(INFORMATION, value, record.revision)
        except (Conflict, NotFound):
            continue
        return True
    raise Conflict(f"{INFORMATION}: others keep writing it", "try again")


class VnetAnnouncer:
    """Announces it where no route controller does, until ``stop``, which any thread may call."""

    def __init__(self, store: Store, cloud: CloudNetwork) -> None:
        self._store = store
        self._cloud = cloud
        self._stopping = threading.Event()

    def run(self) -> None:
        """Look now and then, and write what is new."""
        while not self._stopping.is_set():
            self._stopping.wait(self.turn())

    def stop(self) -> None:
        """End ``run`` after the turn at hand."""
        self._stopping.set()

    def turn(self) -> float:
        """Look and write once; how long to wait before the next turn."""
        try:
            network = self._cloud.read()
            if announce_vnet(self._store, network):
                log.info("announced the VNet", prefixes=[str(p) for p in network.prefixes])
        except KoratError as error:
            log.warning("the VNet cannot be announced", error=str(error))
            return RETRY_S
        return PERIOD_S


def _information(store: Store) -> Record | None:
    records = store.list([INFORMATION.kind]).records
    return next((record for record in records if record.key == INFORMATION), None)


def _text(prefixes: Iterable[Prefix]) -> str:
    return ",".join(map(str, prefixes))


def _annotated(value: bytes, wanted: Mapping[str, str]) -> bytes | None:
    """The object with the annotations, everything else as it was; None when it has them already."""
    raw = msgspec.json.decode(value, type=dict[str, object])
    metadata = msgspec.convert(raw.get("metadata") or {}, dict[str, object])
    annotations = msgspec.convert(metadata.get("annotations") or {}, dict[str, str])
    if wanted.items() <= annotations.items():
        return None
    metadata["annotations"] = {**annotations, **wanted}
    return msgspec.json.encode({**raw, "metadata": metadata})
