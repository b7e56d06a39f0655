"""The store as the node loop sees it: one complete read, then changes, whatever goes wrong.

A thread reads the store and hands batches over; it never computes. When the store is away the feed
says so once and retries with a growing pause; when a watch can no longer be resumed it lists again,
and the difference to the last state becomes ordinary changes. The loop sees a full state replaced
or some keys changed, nothing else.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from korat.core.errors import KoratError, NotFound
from korat.core.model.key import Key
from korat.ports import Record, Store

log = structlog.get_logger(__name__)

#: How long it takes to notice that somebody wants everything once more.
_POLL_S = 2.0
_RETRY_FIRST_S = 0.2
_RETRY_LAST_S = 10.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What changed up to ``revision``; ``full`` when ``changes`` is everything there is."""

    changes: Mapping[Key, Record | None]
    revision: int
    full: bool = False


class Feed:
    """Runs in its own thread from ``start`` to ``stop``; calls ``deliver`` with each batch."""

    def __init__(
        self, store: Store, deliver: Callable[[Batch], None], again: threading.Event | None = None
    ) -> None:
        """Whoever sets ``again`` has lost what was delivered, and gets all of it once more."""
        self._store = store
        self._deliver = deliver
        self._again = again or threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store-feed", daemon=True)

    def start(self) -> None:
        """Begin reading."""
        self._thread.start()

    def stop(self) -> None:
        """End; the thread is a daemon and may finish its current wait by itself."""
        self._stopping.set()

    def _run(self) -> None:
        pause_s = _RETRY_FIRST_S
        while not self._stopping.is_set():
            try:
                self._follow()
                pause_s = _RETRY_FIRST_S
            except NotFound:
                log.info("the watch is too old to resume; reading everything again")
            except Exception as error:
                known = isinstance(error, KoratError)
                what = "the datastore is away" if known else "a defect in reading the datastore"
                log.warning(what, error=str(error), retry_s=pause_s, exc_info=not known)
                self._stopping.wait(pause_s)
                pause_s = min(pause_s * 2, _RETRY_LAST_S)

    def _follow(self) -> None:
        self._again.clear()
        with self._store.watch(self._read_all()) as watch:
            while not self._stopping.is_set() and not self._again.is_set():
                events = watch.poll(_POLL_S)
                if events:
                    changes = {e.key: e.record for e in events}
                    self._deliver(Batch(changes, events[-1].revision))

    def _read_all(self) -> int:
        """Deliver everything there is, and keep nothing of it; the revision at which it was so."""
        snapshot = self._store.list()
        everything: dict[Key, Record | None] = {r.key: r for r in snapshot.records}
        self._deliver(Batch(everything, snapshot.revision, full=True))
        return snapshot.revision
