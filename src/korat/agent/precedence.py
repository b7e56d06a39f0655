"""Lets the node loop go first: Python runs one thread at a time, and a change should not wait.

Whoever has long work of its own gives way between two pieces of it. Not a lock: nothing goes wrong
if somebody does not, or if the loop takes long; then the others go on after a while.
"""

import threading

#: However busy the loop is, the others get a turn this often.
_LONGEST_S = 0.1


class Precedence:
    """One for a process; any thread may use it."""

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()

    def take(self) -> None:
        """A change has come."""
        self._free.clear()

    def release(self) -> None:
        """It is worked off."""
        self._free.set()

    def give_way(self) -> None:
        """Wait while the loop works; returns at once when it does not."""
        self._free.wait(_LONGEST_S)
