"""A controller that follows the store's changes: what all of Azure's have in common.

Each has turns that read everything anew, so a watch that fell behind, or a store that was away, is
only another reason for one. After an error the waits grow up to the period. Not for what a turn
does, nor for which changes bring one forward.
"""

import threading
from abc import ABC, abstractmethod

import structlog

from korat.core.errors import KoratError, NotFound
from korat.ports import Store, Watch

log = structlog.get_logger(__name__)

_DEBOUNCE_S = 0.1
_DEBOUNCE_TURNS = 20
_DOUBLINGS = 10


class FollowingController(ABC):
    """Runs in one thread; ``stop`` may come from another."""

    def __init__(self, store: Store, first_retry_s: float, period_s: float) -> None:
        """``period_s`` is how long a turn waits without a cause."""
        self._store = store
        self._first_retry_s, self._period_s = first_retry_s, period_s
        self._stopping = threading.Event()
        self._watch: Watch | None = None
        self._failures = 0

    def run(self) -> None:
        """Take turns until ``stop``."""
        while not self._stopping.is_set():
            try:
                revision = self._store.list(["Node"]).revision
                with self._store.watch(revision) as self._watch:
                    self._follow(self._watch)
            except NotFound:
                continue  # the watch fell behind: look at everything anew
            except KoratError as error:
                log.warning("the store does not answer", error=str(error))
                self._stopping.wait(self._retry_s())

    def stop(self) -> None:
        """End ``run`` after the turn at hand."""
        self._stopping.set()
        if self._watch is not None:
            self._watch.close()

    @abstractmethod
    def _follow(self, watch: Watch) -> None:
        """Take turns from one watch, as long as nobody has said ``stop``."""

    def _settle(self, watch: Watch) -> None:
        """Wait for the end of a burst of events, but not for long."""
        for _ in range(_DEBOUNCE_TURNS):
            if self._stopping.is_set() or not watch.poll(_DEBOUNCE_S):
                return

    def _retry_s(self) -> float:
        """How long to wait after one more failure."""
        self._failures += 1
        doublings = min(self._failures - 1, _DOUBLINGS)
        return min(self._period_s, self._first_retry_s * float(2**doublings))
