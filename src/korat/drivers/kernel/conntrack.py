"""Connection tracking: find tracked connections by an end's address, and delete some.

For: cutting what policy does not allow any more, and forgetting the connections of an address that
has left this node, whose next pod would inherit them. Works in the network namespace of the calling
thread. Not for deciding which.
Source: net/netfilter/nf_conntrack_netlink.c; Calico felix/conntrack.
"""

import errno
import os
import socket
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice, product
from typing import Self

from korat.core.errors import Unavailable, Unsupported
from korat.core.net.address import Addr, Family
from korat.core.table.rejudge import Connection
from korat.drivers.kernel import ctnetlink
from korat.drivers.kernel.ctnetlink import LAYOUTS, Entry, Message

_NETFILTER = 12
_NETLINK = 270  # SOL_NETLINK
_EXT_ACK_OFF = 10  # NETLINK_CAP_ACK: an error comes without the request that it answers
_BUFFER = 1 << 16
_SOCKET_BUFFER = 1 << 22
_DELETED_AT_ONCE = 64

#: Each is two walks of the kernel through its whole table; reading the table out costs many such.
_FILTERED_MAX = 4
# While a pod's link comes down, packets on their way may still make entries.
_ROUNDS = 3


def forget(addresses: Iterable[Addr]) -> int:
    """Delete every entry whose original or reply source is one of these; returns how many.

    Raises:
        Unsupported: not root, or the kernel has no connection tracking.
        Unavailable: the kernel refuses.
    """
    wanted = frozenset(addresses)
    gone = 0
    for _ in range(_ROUNDS):
        found = list(entries(wanted))
        gone += delete(found)
        if not found:
            break
    return gone


def entries(addresses: Collection[Addr] | None) -> Iterator[Entry]:
    """Every tracked connection whose original or reply source is one of these, once; None for all.

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
            with _errors("read"), _Socket() as sock:
                yield from _entries(sock, family, wanted)


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


def delete(doomed: Iterable[Entry]) -> int:
    """Delete exactly these connections; returns how many were still there.

    Raises:
        Unsupported: not root, or the kernel has no connection tracking.
        Unavailable: the kernel refuses.
    """
    left = iter(doomed)
    gone = 0
    with _errors("deleted"), _Socket() as sock:
        while some := list(islice(left, _DELETED_AT_ONCE)):
            gone += len(some) - sock.delete(some)
    return gone


class _Socket:
    """A netlink socket of this thread's network namespace."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER
        )
        self._socket.setsockopt(_NETLINK, _EXT_ACK_OFF, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER)
        self._socket.bind((0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def dump(self, request: bytes) -> Iterator[Message]:
        """The messages that answer a request for many."""
        self._socket.send(request)
        while True:
            for message in ctnetlink.messages(self._socket.recv(_BUFFER)):
                _raise(message.error)
                if message.done:
                    return
                yield message

    def delete(self, some: list[Entry]) -> int:
        """Delete in one go; returns how many were gone already."""
        requests = [
            ctnetlink.delete(entry, number, ack=number == len(some))
            for number, entry in enumerate(some, 1)
        ]
        self._socket.send(b"".join(requests))
        missing = 0
        while True:
            for message in ctnetlink.messages(self._socket.recv(_BUFFER)):
                if message.error == errno.ENOENT:
                    missing += 1
                else:
                    _raise(message.error)
                if message.number == len(some):
                    return missing


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
