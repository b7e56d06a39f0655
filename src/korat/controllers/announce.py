"""Tells the node agents the VNet's address space, through the store.

Agents masquerade what leaves the VNet and nothing else; only Azure knows what the VNet is.
"""

from collections.abc import Iterable

import msgspec

from korat import __version__
from korat.core.errors import Conflict, NotFound
from korat.core.model.builtin import INFORMATION
from korat.core.model.label import AZURE_VNET
from korat.core.net.address import Prefix
from korat.drivers.store.client import Client, initialize
from korat.ports import Record, Store

_TRIES = 5


def announce_vnet(store: Store, prefixes: Iterable[Prefix]) -> bool:
    """Write the prefixes where agents read them; whether that changed anything.

    Raises:
        Conflict: others wrote the object at the same time, again and again.
    """
    text = ",".join(map(str, prefixes))
    for _ in range(_TRIES):
        record = _information(store)
        if record is None:
            initialize(Client(store), __version__)
            continue
        value = _annotated(record.value, text)
        if value is None:
            return False
        try:
            store.update(INFORMATION, value, record.revision)
        except (Conflict, NotFound):
            continue
        return True
    raise Conflict(f"{INFORMATION}: others keep writing it", "try again")


def _information(store: Store) -> Record | None:
    records = store.list([INFORMATION.kind]).records
    return next((record for record in records if record.key == INFORMATION), None)


def _annotated(value: bytes, text: str) -> bytes | None:
    """The object with the annotation, everything else as it was; None when it has it already."""
    raw = msgspec.json.decode(value, type=dict[str, object])
    metadata = msgspec.convert(raw.get("metadata") or {}, dict[str, object])
    annotations = msgspec.convert(metadata.get("annotations") or {}, dict[str, str])
    if annotations.get(AZURE_VNET) == text:
        return None
    metadata["annotations"] = {**annotations, AZURE_VNET: text}
    return msgspec.json.encode({**raw, "metadata": metadata})
