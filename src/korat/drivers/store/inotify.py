"""Waiting until another process changes a file, and being woken from another thread.

The kernel's inotify through the C library, for Python has no binding of its own. Only what the
sqlite store needs: one directory, some names in it, one waiting thread.

Source: inotify(7), eventfd(2).
"""

import ctypes
import os
import select
import struct
from pathlib import Path

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200

_HEADER = struct.Struct("iIII")
_READ_BYTES = 65536

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


class FileWatch:
    """Wakes when one of ``names`` in ``directory`` is written, touched, made or removed."""

    def __init__(self, directory: Path, names: frozenset[str]) -> None:
        self._names = frozenset(name.encode() for name in names)
        self._inotify = _checked(
            _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC),
            "inotify_init1 (see sysctl fs.inotify.max_user_instances)",
        )
        mask = IN_MODIFY | IN_ATTRIB | IN_MOVED_TO | IN_CREATE | IN_DELETE
        try:
            _checked(
                _libc.inotify_add_watch(self._inotify, os.fsencode(directory), mask),
                f"inotify_add_watch {directory}",
            )
            self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            os.close(self._inotify)
            raise
        self._poll = select.poll()
        self._poll.register(self._inotify, select.POLLIN)
        self._poll.register(self._waker, select.POLLIN)

    def wait(self, timeout_s: float) -> bool:
        """Whether there was a change or a ``wake`` before the time was over."""
        return bool(self._poll.poll(max(0, timeout_s) * 1000))

    def drain(self) -> bool:
        """Forget the changes so far; whether any of them was of the names watched."""
        seen = False
        while True:
            try:
                buffer = os.read(self._inotify, _READ_BYTES)
            except BlockingIOError:
                return seen
            seen |= self._names_in(buffer)

    def _names_in(self, buffer: bytes) -> bool:
        at = 0
        while at < len(buffer):
            watch, _, _, length = _HEADER.unpack_from(buffer, at)
            at += _HEADER.size
            # A queue that overflowed has no watch and no name: anything may have changed.
            if watch == -1 or buffer[at : at + length].rstrip(b"\0") in self._names:
                return True
            at += length
        return False

    def wake(self) -> None:
        """Make the present and every later ``wait`` return at once; from any thread."""
        os.eventfd_write(self._waker, 1)

    def close(self) -> None:
        """Release the descriptors; nobody may be waiting any more."""
        os.close(self._inotify)
        os.close(self._waker)
