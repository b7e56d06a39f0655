"""Connection tracking: find tracked connections by an end's address, and delete some.

For: cutting what policy does not allow any more, and forgetting the connections of an address that
has left this node, whose next pod would inherit them. Not for deciding which.
Source: net/netfilter/nf_conntrack_netlink.c; Calico felix/conntrack.
"""

import errno
import os
import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice, product
from typing import Self

from korat.core.errors import Unavailable, Unsupported
from korat.core.net.address import Addr, Family
from korat.core.table.rejudge import Connection
from korat.drivers.kernel import ctnetlink
from korat.drivers.kernel.ctnetlink import LAYOUTS, Entry, Message
from korat.drivers.kernel.nfnetlink import open_socket

_NETLINK = 270  # SOL_NETLINK
_EXT_ACK_OFF = 10  # NETLINK_CAP_ACK: an error comes without the request that it answers
_BUFFER = 1 << 16
_QUEUE_BYTES = 1 << 22
_DELETED_AT_ONCE = 64

#: Each is two walks of the kernel through its whole table; reading the table out costs many such.
_FILTERED_MAX = 4
# While a pod's link comes down, packets on their way may still make entries.
_ROUNDS = 3


class Conntrack:
    """Connection tracking of the network namespace of the thread that makes it.

    Keeps one socket: the kernel holds up every nftables transaction of the namespace for some 20 ms
    when a netfilter socket is closed (``nft_rcv_nl_event`` waits for what earlier transactions left
    to be freed). Threads may share it and take turns; a reading is one turn.
    """

    def __init__(self) -> None:
        self._socket = _Socket()
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the netlink socket back."""
        self._socket.close()

    def forget(self, addresses: Iterable[Addr]) -> int:
        """Delete every entry whose original or reply source is one of these; returns how many.

        Raises:
            Unsupported: not root, or the kernel has no connection tracking.
            Unavailable: the kernel refuses.
        """
        wanted = frozenset(addresses)
        gone = 0
        for _ in range(_ROUNDS):
            found = list(self.entries(wanted))
            gone += self.delete(found)
            if not found:
                break
        return gone

    def entries(self, addresses: Collection[Addr] | None) -> Iterator[Entry]:
        """Every tracked connection with one of these as original or reply source, once; None: all.

        Complexity: one reading of the table for each IP version, or a few walks within the kernel.

        Raises:
            Unsupported: not root, or the kernel has no connection tracking.
            Unavailable: the kernel refuses.
        """
        for family in Family:
            wanted = None
            if addresses is not None:
                wanted = frozenset(addr for addr in addresses if addr.family is family)
            if wanted is None or wanted:
                with self._turn, _errors("read"):
                    yield from _entries(self._socket, family, wanted)

    def delete(self, doomed: Iterable[Entry]) -> int:
        """Delete exactly these connections; returns how many were still there.

        Raises:
            Unsupported: not root, or the kernel has no connection tracking.
            Unavailable: the kernel refuses.
        """
        left = iter(doomed)
        gone = 0
        with self._turn, _errors("deleted"):
            while some := list(islice(left, _DELETED_AT_ONCE)):
                gone += len(some) - self._socket.delete(some)
        return gone


def _entries(sock: "_Socket", family: Family, wanted: frozenset[Addr] | None) -> Iterator[Entry]:
    """The kernel does the searching where it can and where it is worth it.

    Kernels (seen with 6.18) filter IPv6 addresses the wrong way round and leave out exactly what
    was asked for; those before 5.8 do not filter at all. So everything is compared once more.
    """
    if wanted is None:
        yield from filter(None, (ctnetlink.read(each.data, family) for each in _all(sock, family)))
    elif family is Family.V6 or len(wanted) > _FILTERED_MAX:
        yield from _wanted(_all(sock, family), family, wanted)
    else:
        seen: set[bytes] = set()
        for addr, reply in product(wanted, (False, True)):
            asked = ctnetlink.dump(family, addr, reply=reply)
            for entry in _wanted(sock.dump(asked), family, wanted):
                handle = entry.handle
                if handle not in seen:
                    seen.add(handle)
                    yield entry


def _all(sock: "_Socket", family: Family) -> Iterator[Message]:
    return sock.dump(ctnetlink.dump(family))


def _wanted(found: Iterable[Message], family: Family, wanted: frozenset[Addr]) -> Iterator[Entry]:
    """Those with a wanted end; most of the others are told by their octets alone."""
    layout = LAYOUTS[family]
    width = family.bits // 8
    octets = frozenset(addr.value.to_bytes(width) for addr in wanted)
    for _, _, data in found:
        if (
            data[layout.before] == layout.original
            and data[layout.before_reply] == layout.reply
            and data[layout.src] not in octets
            and data[layout.reply_src] not in octets
        ):
            continue
        entry = ctnetlink.read(data, family)
        if entry is not None and not wanted.isdisjoint(_sources(entry.connection)):
            yield entry


def _sources(connection: Connection) -> tuple[Addr, Addr]:
    return connection.original.src, connection.reply.src


class _Socket:
    """A netlink socket of the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._socket = open_socket(_QUEUE_BYTES)
        self._socket.setsockopt(_NETLINK, _EXT_ACK_OFF, 1)

    def close(self) -> None:
        """Give it back."""
        self._socket.close()

    def dump(self, request: bytes) -> Iterator[Message]:
        """The messages that answer a request for many; they are read to their end in any case.

        The kernel begins no other reading for this socket before.
        """
        self._socket.send(request)
        messages = self._until_done()
        try:
            for message in messages:  # noqa: UP028 - yield from would end it, too, when broken off
                yield message
        finally:
            deque(messages, maxlen=0)

    def _until_done(self) -> Iterator[Message]:
        while True:
            for message in ctnetlink.messages(self._socket.recv(_BUFFER)):
                if message.done or message.error is not None:
                    _raise(message.error)
                    return
                yield message

    def delete(self, some: list[Entry]) -> int:
        """Delete in one go; returns how many were gone already."""
        requests = [
            ctnetlink.delete(entry, number, ack=number == len(some))
            for number, entry in enumerate(some, 1)
        ]
        self._socket.send(b"".join(requests))
        errors: list[int] = []
        answered = 0
        while answered < len(some):
            for message in ctnetlink.messages(self._socket.recv(_BUFFER)):
                errors += filter(None, [message.error])
                answered = message.number
        for number in errors:
            _raise(number if number != errno.ENOENT else None)
        return len(errors)


def _raise(number: int | None) -> None:
    if number:
        raise OSError(number, os.strerror(number))


@contextmanager
def _errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        text = f"tracked connections cannot be {what}: {error.strerror or error}"
        if error.errno in (errno.EPERM, errno.EPROTONOSUPPORT):
            raise Unsupported(text, "run as root on a kernel with nf_conntrack") from error
        raise Unavailable(text) from error
