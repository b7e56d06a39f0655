"""Keeps the EndpointSlices of Services, as Kubernetes' endpointslice controller does.

It compares what should be with what is and writes the difference, whatever led to it. Slices that
others wrote are left alone. Which ones there should be is ``core.model.kubernetes.endpointslice``'s
matter; when to look is the kubelet role's, since slices follow from its pods.
"""

from collections.abc import Iterable
from functools import partial

import structlog
from msgspec.structs import replace

from korat.core.errors import Conflict, Invalid, KoratError, NotFound
from korat.core.model.codec import resource_of
from korat.core.model.kubernetes.endpointslice import kept, wanted_slices
from korat.core.model.resource import Resource
from korat.core.model.service import EndpointSlice
from korat.drivers.store.client import Client
from korat.ports import Record, Store

log = structlog.get_logger(__name__)

#: What slices are made of, and they themselves.
KINDS = ("Service", "EndpointSlice")


class SliceKeeper:
    """Keeps the slices of one store."""

    def __init__(self, store: Store) -> None:
        self._client = Client(store)
        self._said: set[str] = set()

    def keep(self, records: Iterable[Record]) -> bool:
        """Write what is missing or out of date, and delete what is too much; True when all went.

        ``records`` are the pods, services and slices of the store.
        """
        there = [found for record in records if (found := self._load(record)) is not None]
        wanted = wanted_slices(there)
        present = {r.key: r for r in there if isinstance(r, EndpointSlice) and kept(r)}
        acts = [
            partial(self._client.delete, key, own.metadata.resource_version)
            for key, own in present.items()
            if key not in wanted
        ]
        for key, own in wanted.items():
            before = present.get(key)
            if before is None:
                acts.append(partial(self._client.create, own))
            elif not _alike(own, before):
                acts.append(partial(self._client.update, own, before))
        return all(list(map(self._done, acts)))

    def _load(self, record: Record) -> Resource | None:
        try:
            return resource_of(record)
        except Invalid as error:
            self._say("an object cannot be read", error)
            return None

    def _done(self, act: partial[Resource]) -> bool:
        try:
            act()
        except (Conflict, NotFound) as error:
            # Somebody was faster, which the next pass sees; or has taken a slice's name for good.
            self._say("an EndpointSlice could not be written", error)
            return False
        return True

    def _say(self, what: str, error: KoratError) -> None:
        """Once, so that trying again does not fill the log."""
        if str(error) not in self._said:
            self._said.add(str(error))
            log.warning(what, error=str(error))


def _alike(one: EndpointSlice, other: EndpointSlice) -> bool:
    """Whether they say the same, whatever the store has added."""
    return replace(other, metadata=one.metadata) == one and (
        other.metadata.labels == one.metadata.labels
    )
