"""Reads the named counters of a table, and nothing else of it.

libnftables reads a whole table, with every element of every set, to list its counters; here the
kernel is asked for the counters alone.
Source: linux/netfilter/nf_tables.h (NFT_MSG_GETOBJ, NFTA_OBJ_*, NFTA_COUNTER_*).
"""

import socket
from collections.abc import Mapping
from typing import NamedTuple, Self

from korat.core.errors import Unavailable
from korat.drivers.kernel.nfnetlink import (
    DONE,
    DUMP,
    DUMP_INTERRUPTED,
    ERROR,
    GENERIC,
    Message,
    attribute,
    attributes,
    fault,
    message,
    messages,
    open_socket,
    received,
)

_GETOBJ = 10 << 8 | 19
_NFPROTO_INET = 1
_OBJ_TABLE, _OBJ_NAME, _OBJ_TYPE, _OBJ_DATA = 1, 2, 3, 4
_OBJECT_COUNTER = 1
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2
_QUEUE_BYTES = 4 << 20
#: A dump during which the table changed is read again, so often.
_TRIES = 5


class Count(NamedTuple):
    """What a counter has counted."""

    packets: int
    bytes: int


class NftCounters:
    """A handle to one network namespace's counters: that of the thread which makes it."""

    def __init__(self, table: str) -> None:
        """``table`` is the name of a table of the family inet."""
        filters = attribute(_OBJ_TABLE, table.encode() + b"\0")
        filters += attribute(_OBJ_TYPE, _OBJECT_COUNTER.to_bytes(4))
        body = GENERIC.pack(_NFPROTO_INET, 0, 0) + filters
        self._question = message(_GETOBJ, DUMP, body)
        self._socket = open_socket(_QUEUE_BYTES)

    def close(self) -> None:
        """Give the netlink socket back."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> Mapping[str, Count]:
        """Every counter of the table by name; none when there is no such table.

        Raises:
            Unavailable: the kernel did not say; ask again.
        """
        for _ in range(_TRIES):
            self._socket.send(self._question)
            found = _dump(self._socket)
            if found is not None:
                return found
        raise Unavailable("the counters of nftables change faster than they can be read")


def _dump(sock: socket.socket) -> dict[str, Count] | None:
    """One answer to its end; None when the table changed meanwhile."""
    found: dict[str, Count] = {}
    whole = True
    while True:
        data = received(sock)
        if data is None:
            raise Unavailable("the kernel had no room to tell the counters of nftables")
        for each in messages(data):
            whole &= not each.flags & DUMP_INTERRUPTED
            if each.kind == DONE:
                return found if whole else None
            if each.kind == ERROR:
                raise Unavailable(f"the counters of nftables cannot be read: {fault(each.body)}")
            found.update([_counter(each)])


def _counter(each: Message) -> tuple[str, Count]:
    parts = dict(attributes(each.body, GENERIC.size))
    data = dict(attributes(parts[_OBJ_DATA]))
    packets, octets = (int.from_bytes(data[kind]) for kind in (_COUNTER_PACKETS, _COUNTER_BYTES))
    return parts[_OBJ_NAME].rstrip(b"\0").decode(), Count(packets, octets)
