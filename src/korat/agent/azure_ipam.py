"""The korat-azure-ipam plugin, in process: the secondary addresses of this VM's NIC.

What is given out is on disk (``nic_book``); a killed agent and a node that starts again go on with
it. Which address is next, and what Azure's rules are, ``korat.core.ipam.nic`` says. Not for what
becomes of the NIC while workloads have its addresses; ``nic_watch`` tells of that.
"""

import time
from collections.abc import Callable, Mapping

from korat.agent.address_source import AddressRequest
from korat.agent.nic_book import NicBook, book_of
from korat.core.errors import Unavailable
from korat.core.ipam.hostlocal import Owner
from korat.core.ipam.nic import (
    Attachment,
    Demand,
    Nic,
    Rest,
    assign,
    cool_down_of,
    rest_of,
)
from korat.core.net.address import Addr, Family
from korat.drivers.azure.metadata import Reading


def _to_nobody(_ipam: Mapping[str, object]) -> None:
    """What is told of a use that nobody watches."""


class AzureIpam:
    """Addresses of the NIC for the workloads of one node."""

    def __init__(
        self,
        read: Callable[[], Reading],
        used: Callable[[Mapping[str, object]], None] = _to_nobody,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``read`` gives the NIC, never older than it must be; ``clock`` is the wall's.

        ``used`` is told of each use, with the configuration; it must return at once.
        """
        self._read, self._used, self._clock = read, used, clock

    def assign(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Addresses for one interface; the same again when it asks again.

        Raises:
            Invalid: the configuration or a requested address is wrong.
            Unavailable: no address is free, or the NIC is not known.
            Conflict: a requested address is another's.
        """
        cool_down_s, book = cool_down_of(request.ipam), book_of(request.ipam)
        self._used(request.ipam)
        reading = self._read()
        try:
            with book.locked():
                return self._assign(request, book, reading.nic, cool_down_s)
        except Unavailable as error:
            raise _with_age(error, reading) from error

    def release(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Free an interface's addresses and return them; needs nothing of Azure."""
        book = book_of(request.ipam)
        with book.locked():
            addrs = book.of(request.network, request.owner)
            written, now_s = book.released(), self._clock()
            # Where the times are lost, the next assignment lets all of them rest.
            if addrs and written is not None:
                times = Rest(written).settled(now_s).released_s
                # First the time: a crash between the two leaves the address with its owner.
                book.write_released(written, {**times, **dict.fromkeys(addrs, now_s)})
            book.remove(addrs)
        if addrs:
            self._used(request.ipam)
        return addrs

    def of(self, network: str, ipam: Mapping[str, object], owner: Owner) -> tuple[Addr, ...]:
        """An interface's addresses."""
        book = book_of(ipam)
        with book.locked():
            return book.of(network, owner)

    def owners(self, network: str, ipam: Mapping[str, object]) -> frozenset[Owner]:
        """Everybody who has an address of the network, and whoever a damaged file stands for."""
        book = book_of(ipam)
        with book.locked():
            holders = book.held().values()
        return frozenset(each.owner for each in holders if each.network in (network, ""))

    def check(self, ipam: Mapping[str, object]) -> None:
        """Raise what an ``assign`` would for the configuration's, the node's or the NIC's sake.

        That all addresses are in use is not among it: a runtime whose network is not ready makes
        Kubernetes take the node's pods away.

        Raises:
            Invalid: the configuration is wrong.
            Unavailable: the NIC is not known, or has no address for pods at all.
        """
        cool_down_of(ipam)
        book = book_of(ipam)
        self._used(ipam)
        nic = self._read().nic
        with book.locked():
            book.held()  # so that a folder that cannot be used is known now
        if not any(addr.family is Family.V4 for addr in nic.for_pods):
            raise Unavailable(
                f"the NIC {nic.mac} has no secondary IPv4 address for pods",
                "give it IP configurations besides its primary one",
            )

    def _assign(
        self, request: AddressRequest, book: NicBook, nic: Nic, cool_down_s: float
    ) -> tuple[Addr, ...]:
        held, written, now_s = book.held(), book.released(), self._clock()
        rest, demand = rest_of(written, nic, cool_down_s, now_s), _demand(request)
        try:
            done = assign(nic, held, rest, demand, now_s)
        except Unavailable:
            # What a clock that was put back has changed must not change again.
            book.write_released(written, rest.released_s)
            raise
        freed = dict.fromkeys(done.freed, now_s)
        book.write_released(written, {**rest.still_needed(nic, now_s), **freed})
        book.carry_out(held, demand.who, done)
        return done.given


def _demand(request: AddressRequest) -> Demand:
    heir_of = request.heir_of
    return Demand(
        Attachment(request.network, *request.owner),
        request.requested,
        None if heir_of is None else Attachment(request.network, *heir_of),
    )


def _with_age(error: Unavailable, reading: Reading) -> Unavailable:
    """The same refusal, and how old its ground is when Azure does not answer."""
    if not reading.stale:
        return error
    age = f"as it was known {reading.age_s:.0f} s ago ({reading.stale})"
    return Unavailable(f"{error.what}, {age}", error.remedy)
