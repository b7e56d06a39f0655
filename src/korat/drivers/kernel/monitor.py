"""Hears what others do to this node's links and to korat's nftables table.

Two netlink sockets and one thread, which calls back and never acts itself. What korat itself writes
to its table is told apart by the thread number that the kernel reports with each generation, so
the thread that writes must be one that lives on, as the node's loop does.
Source: linux/rtnetlink.h, linux/netfilter/nf_tables.h (NFT_MSG_*, NFTA_*), nfnetlink.h.
"""

import errno
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_RTNLGRP_LINK, _NFNLGRP_NFTABLES = 1, 7
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_RTM_NEWLINK = 16
_NFNL_SUBSYS_NFTABLES = 10
_NFT_MSG_NEWGEN = 15
_NFTA_TABLE, _NFTA_GEN_PROC_PID = 1, 2
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NFGEN_BYTES = 4
_READ_BYTES = 1 << 20
#: Room for what a large load or flush tells at once; used up only while nobody listens.
_QUEUE_BYTES = 32 << 20
#: Not in Python's socket module; unlike SO_RCVBUF it is not held to net.core.rmem_max.
_SO_RCVBUFFORCE = 33
#: A load of our own that overran the queue must not make us load for ever.
_OVERRUN_PAUSE_S = 60.0


class Monitor:
    """Calls ``on_link`` when an interface comes or changes, ``on_table`` when ours was changed."""

    def __init__(
        self, table: str, on_link: Callable[[], None], on_table: Callable[[], None]
    ) -> None:
        """Listens in the calling thread's network namespace from now on."""
        self._table = table.encode()
        self._on_link = on_link
        self._on_table = on_table
        self._touched = False
        self._quiet_until_s = 0.0
        self._links = _subscribe(_NETLINK_ROUTE, _RTNLGRP_LINK)
        self._tables = _subscribe(_NETLINK_NETFILTER, _NFNLGRP_NFTABLES)
        self._bell, self._ring = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="kernel-monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ring.close()
        self._thread.join()
        for each in (self._links, self._tables, self._bell):
            each.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._links, selectors.EVENT_READ, self._hear_links)
            selector.register(self._tables, selectors.EVENT_READ, self._hear_tables)
            selector.register(self._bell, selectors.EVENT_READ, None)
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    key.data()

    def _hear_links(self) -> None:
        data = _received(self._links)
        if data is None or any(kind == _RTM_NEWLINK for kind, _ in _messages(data)):
            self._on_link()

    def _hear_tables(self) -> None:
        data = _received(self._tables)
        if data is None:
            self._overrun()
            return
        for kind, body in _messages(data):
            if kind >> 8 != _NFNL_SUBSYS_NFTABLES:
                continue
            attributes = dict(_attributes(body[_NFGEN_BYTES:]))
            if kind & 0xFF != _NFT_MSG_NEWGEN:
                self._touched |= attributes.get(_NFTA_TABLE, b"").rstrip(b"\0") == self._table
                continue
            writer = int.from_bytes(attributes.get(_NFTA_GEN_PROC_PID, b""), "big")
            if self._touched and not _is_ours(writer):
                self._on_table()
            self._touched = False

    def _overrun(self) -> None:
        """Who wrote, and what, is lost: take it for another's change of ours."""
        self._touched = True  # at the latest, the next that another writes is heard as one
        if time.monotonic() >= self._quiet_until_s:
            self._quiet_until_s = time.monotonic() + _OVERRUN_PAUSE_S
            self._on_table()


def _is_ours(writer: int) -> bool:
    """Whether a task is a thread of this process; the kernel reports threads, not processes."""
    return Path(f"/proc/self/task/{writer}").exists()


def _subscribe(protocol: int, group: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _QUEUE_BYTES)
    sock.bind((0, 0))
    sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
    return sock


def _received(sock: socket.socket) -> bytes | None:
    """One datagram; None when the kernel had to drop some."""
    try:
        return sock.recv(_READ_BYTES)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        return None


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The type and body of each message of one datagram."""
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if length < _HEADER.size:
            return
        yield kind, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
