"""Hears the packets that rules give to an NFLOG group, each with the rule's prefix.

For: a thread of its own that waits here. Not for: what a prefix means. A group has one listener per
network namespace. The kernel numbers what it sends, so what was lost on the way is known.
Source: linux/netfilter/nfnetlink_log.h (NFULNL_*, NFULA_*); net/netfilter/nfnetlink_log.c.
"""

import errno
import select
import socket
import struct
from typing import NamedTuple

from korat.core.errors import Conflict, Unavailable
from korat.drivers.kernel.nfnetlink import (
    ACK,
    ERROR,
    GENERIC,
    attribute,
    attributes,
    fault,
    message,
    messages,
    open_socket,
    received,
)

_SUBSYSTEM = 4 << 8
_PACKET, _CONFIG = _SUBSYSTEM | 0, _SUBSYSTEM | 1
_CFG_CMD, _CFG_MODE, _CFG_TIMEOUT, _CFG_FLAGS = 1, 2, 4, 6
_BIND = 1
_COPY_PACKET = 2
_FLAG_SEQ = 1
_PREFIX, _PAYLOAD, _SEQ = 10, 9, 12
#: Enough for the headers of any packet that is told of.
_COPY_BYTES = 256
#: How long the kernel gathers packets before it sends them, in its unit of 10 ms.
_GATHER = 10
_QUEUE_BYTES = 4 << 20
_SEQ_SIZE = 1 << 32


class Logged(NamedTuple):
    """The prefix of the rule, and the packet from its network header on, cut."""

    prefix: str
    packet: bytes


class Nflog:
    """A listener to one group in the calling thread's network namespace."""

    def __init__(self, group: int, queue_bytes: int = _QUEUE_BYTES) -> None:
        """Listens from now on; what does not fit into the queue is lost.

        Raises:
            Conflict: somebody else listens to this group.
            Unavailable: the kernel refuses it.
        """
        self.lost = 0
        self._group = group
        self._next = 0
        self._socket = open_socket(queue_bytes)
        try:
            self._configure(attribute(_CFG_CMD, bytes([_BIND])))
            self._configure(
                attribute(_CFG_MODE, struct.pack("!IBB", _COPY_BYTES, _COPY_PACKET, 0))
                + attribute(_CFG_TIMEOUT, _GATHER.to_bytes(4))
                + attribute(_CFG_FLAGS, _FLAG_SEQ.to_bytes(2))
            )
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    def read(self, timeout_s: float) -> list[Logged]:
        """What has come, as soon as anything has; nothing when the time is over.

        ``lost`` grows by what the kernel could not send.
        """
        while select.select([self._socket], [], [], timeout_s)[0]:
            data = received(self._socket)
            if data is not None:
                packets = (each for each in messages(data) if each.kind == _PACKET)
                return [self._logged(each.body) for each in packets]
            timeout_s = 0  # The queue was full; what it holds comes after this was said.
        return []

    def _logged(self, body: bytes) -> Logged:
        parts = dict(attributes(body, GENERIC.size))
        if _SEQ in parts:
            number = int.from_bytes(parts[_SEQ])
            self.lost += (number - self._next) % _SEQ_SIZE
            self._next = (number + 1) % _SEQ_SIZE
        prefix = parts.get(_PREFIX, b"").rstrip(b"\0").decode(errors="replace")
        return Logged(prefix, parts.get(_PAYLOAD, b""))

    def _configure(self, options: bytes) -> None:
        head = GENERIC.pack(socket.AF_UNSPEC, 0, self._group)
        self._socket.send(message(_CONFIG, ACK, head + options))
        for each in messages(received(self._socket) or b""):
            wrong = fault(each.body) if each.kind == ERROR else None
            if wrong is not None:
                raise self._refused(wrong)

    def _refused(self, error: OSError) -> Conflict | Unavailable:
        if isinstance(error, PermissionError) or error.errno == errno.EBUSY:
            what = f"somebody else listens to NFLOG group {self._group}"
            return Conflict(what, "set koratDenyLogGroup to another one")
        return Unavailable(f"NFLOG group {self._group} cannot be listened to: {error.strerror}")
