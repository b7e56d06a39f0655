"""A thread that looks when it is rung, and now and then all the same.

Not for what it looks at, nor for what is wrong there; a look says itself what it finds.
"""

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class Lookout:
    """From ``start`` to ``close``; both, and ``ring``, return at once."""

    def __init__(
        self, name: str, look: Callable[[], bool], period_s: float, settle_s: float
    ) -> None:
        """``look`` says whether it is done; if not, it is called again after ``settle_s``.

        That is also how long is waited after a ring, as changes come in swarms.
        """
        self._name, self._look = name, look
        self._period_s, self._settle_s = period_s, settle_s
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ring(self) -> None:
        """Something has changed."""
        self._bell.set()

    def close(self) -> None:
        """End; the thread may finish its present look by itself."""
        self._stopping.set()
        self._bell.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._bell.wait(self._period_s):
                self._stopping.wait(self._settle_s)
            self._bell.clear()
            if self._stopping.is_set():
                return
            try:
                if not self._look():
                    self._bell.set()
            except Exception as error:
                log.exception("a defect in a lookout", lookout=self._name, error=str(error))
