"""Hears what others do to this node's links, host routes and to korat's nftables table.

Two netlink sockets and one thread, which calls back and never acts itself. What korat itself writes
to its table is told apart by the thread number that the kernel reports with each generation, so
the thread that writes must be one that lives on, as the node's loop does.
Source: linux/rtnetlink.h, linux/netfilter/nf_tables.h (NFT_MSG_*, NFTA_*), nfnetlink.h.
"""

import selectors
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from korat.drivers.kernel.nfnetlink import (
    GENERIC,
    NETLINK_NETFILTER,
    Message,
    attributes,
    messages,
    open_socket,
    received,
)
from korat.drivers.kernel.rtnetlink import DELROUTE, route_of
from korat.drivers.kernel.veth import ROUTE_PROTOCOL

_NETLINK_ROUTE = 0
_RTNLGRP_LINK, _RTNLGRP_IPV4_IFADDR, _RTNLGRP_IPV6_IFADDR, _NFNLGRP_NFTABLES = 1, 5, 9, 7
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_RTNLGRP_IPV4_ROUTE, _RTNLGRP_IPV6_ROUTE = 7, 11
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_DELADDR = 16, 20, 21
_TOLD = frozenset({_RTM_NEWLINK, _RTM_NEWADDR, _RTM_DELADDR})
_NFNL_SUBSYS_NFTABLES = 10
_NFT_MSG_NEWGEN = 15
_NFTA_TABLE, _NFTA_GEN_PROC_PID = 1, 2
#: Room for what a large load or flush tells at once; used up only while nobody listens.
_QUEUE_BYTES = 32 << 20
#: A load of our own that overran the queue must not make us load for ever.
_OVERRUN_PAUSE_S = 60.0


class Monitor:
    """Calls ``on_link`` when an interface comes or it or an address of it changes.

    So it does when a host route of another's goes: it may have led to a workload, and korat's own
    is needed then. ``on_table`` is called when our table was changed.
    """

    def __init__(
        self, table: str, on_link: Callable[[], None], on_table: Callable[[], None]
    ) -> None:
        """Listens in the calling thread's network namespace from now on."""
        self._table = table.encode()
        self._on_link = on_link
        self._on_table = on_table
        self._touched = False
        self._quiet_until_s = 0.0
        self._links = _subscribe(
            _NETLINK_ROUTE,
            _RTNLGRP_LINK,
            _RTNLGRP_IPV4_IFADDR,
            _RTNLGRP_IPV6_IFADDR,
            _RTNLGRP_IPV4_ROUTE,
            _RTNLGRP_IPV6_ROUTE,
        )
        self._tables = _subscribe(NETLINK_NETFILTER, _NFNLGRP_NFTABLES)
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
        data = received(self._links)
        if data is None or any(_is_news(each) for each in messages(data)):
            self._on_link()

    def _hear_tables(self) -> None:
        data = received(self._tables)
        if data is None:
            self._overrun()
            return
        for kind, _, body, _ in messages(data):
            if kind >> 8 != _NFNL_SUBSYS_NFTABLES:
                continue
            parts = dict(attributes(body, GENERIC.size))
            if kind & 0xFF != _NFT_MSG_NEWGEN:
                self._touched |= parts.get(_NFTA_TABLE, b"").rstrip(b"\0") == self._table
                continue
            writer = int.from_bytes(parts.get(_NFTA_GEN_PROC_PID, b""), "big")
            if self._touched and not _is_ours(writer):
                self._on_table()
            self._touched = False

    def _overrun(self) -> None:
        """Who wrote, and what, is lost: take it for another's change of ours."""
        self._touched = True  # at the latest, the next that another writes is heard as one
        if time.monotonic() >= self._quiet_until_s:
            self._quiet_until_s = time.monotonic() + _OVERRUN_PAUSE_S
            self._on_table()


def _is_news(told: Message) -> bool:
    if told.kind in _TOLD:
        return True
    if told.kind != DELROUTE:
        return False
    gone = route_of(told.body)
    return (
        gone is not None
        and gone.prefix.length == gone.prefix.family.bits
        and gone.protocol != ROUTE_PROTOCOL
    )


def _is_ours(writer: int) -> bool:
    """Whether a task is a thread of this process; the kernel reports threads, not processes."""
    return Path(f"/proc/self/task/{writer}").exists()


def _subscribe(protocol: int, *groups: int) -> socket.socket:
    sock = open_socket(_QUEUE_BYTES, protocol)
    for group in groups:
        sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
    return sock
