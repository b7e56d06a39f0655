"""The store in this process's memory: for tests, and for work that nobody else must see.

It is held to the same contract as the others, so that a test may trust it; nothing survives it.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from time import monotonic
from typing import Self

from typing_extensions import override

from korat.core.model.key import Branch, Key, Selection
from korat.drivers.store.reason import already_exists, changed, gone, too_new, too_old
from korat.ports import Event, Record, Snapshot, Store, Watch

#: How many changes are kept for watches that resume.
LOG_MAX = 10_000


class MemoryStore(Store):
    """A dictionary with revisions; several threads may use it."""

    def __init__(self, log_max: int = LOG_MAX) -> None:
        self._records: dict[Key, Record] = {}
        self._log: deque[Event] = deque(maxlen=log_max)
        self._revision = 0
        #: Held for every read and write; notified after each write.
        self.changed = threading.Condition()

    @override
    def list(self, wanted: Iterable[Selection] = ()) -> Snapshot:
        selections = tuple(wanted)
        with self.changed:
            found = self._found(selections) if selections else self._records
            return Snapshot(tuple(found[key] for key in sorted(found)), self._revision)

    def _found(self, selections: Iterable[Selection]) -> dict[Key, Record]:
        keys = frozenset(s for s in selections if isinstance(s, Key))
        kinds = frozenset(s for s in selections if isinstance(s, str))
        branches = tuple(s for s in selections if isinstance(s, Branch))
        names = keys & self._records.keys()
        if kinds or branches:
            names |= {
                key
                for key in self._records
                if key.kind in kinds or any(_is_below(key, branch) for branch in branches)
            }
        return {key: self._records[key] for key in names}

    @override
    def watch(self, after: int) -> Watch:
        return _MemoryWatch(self, after)

    @override
    def create(self, key: Key, value: bytes) -> Record:
        with self.changed:
            if key in self._records:
                raise already_exists(key)
            return self._write(key, value)

    @override
    def update(self, key: Key, value: bytes, revision: int) -> Record:
        with self.changed:
            present = self._records.get(key)
            if present is None:
                raise gone(key)
            if present.revision != revision:
                raise changed(key, revision, present.revision)
            return self._write(key, value)

    @override
    def delete(self, key: Key, revision: int | None = None) -> Record | None:
        with self.changed:
            present = self._records.get(key)
            if present is None:
                return None
            if revision is not None and present.revision != revision:
                raise changed(key, revision, present.revision)
            del self._records[key]
            self._append(key, None)
            return present

    def close(self) -> None:
        """Nothing to release; here so that every store closes alike."""

    def since(self, after: int) -> Sequence[Event]:
        """The changes after a revision; for watches, which hold ``changed``."""
        oldest = self._revision - len(self._log)
        if after > self._revision:
            raise too_new(after, self._revision)
        if after < oldest:
            raise too_old(after, oldest)
        return list(islice(self._log, after - oldest, None))

    def _write(self, key: Key, value: bytes) -> Record:
        record = Record(key, value, self._revision + 1)
        self._records[key] = record
        self._append(key, record)
        return record

    def _append(self, key: Key, record: Record | None) -> None:
        self._revision += 1
        self._log.append(Event(key, record, self._revision))
        self.changed.notify_all()


def _is_below(key: Key, branch: Branch) -> bool:
    return key.kind == branch.kind and not key.namespace and key.name.startswith(branch.prefix)


class _MemoryWatch(Watch):
    def __init__(self, store: MemoryStore, after: int) -> None:
        self._store = store
        self._after = after
        self._closed = False

    @override
    def poll(self, timeout_s: float) -> Sequence[Event]:
        deadline = monotonic() + timeout_s
        with self._store.changed:
            while not self._closed:
                events = self._store.since(self._after)
                if events:
                    self._after = events[-1].revision
                    return events
                left_s = deadline - monotonic()
                if left_s <= 0 or not self._store.changed.wait(left_s):
                    return ()
            return ()

    @override
    def close(self) -> None:
        with self._store.changed:
            self._closed = True
            self._store.changed.notify_all()

    @override
    def __enter__(self) -> Self:
        return self

    @override
    def __exit__(self, *_: object) -> None:
        self.close()
