"""Looks after the NIC while workloads have its addresses: who has one that is gone is named, once.

Azure's fabric drops the packets of an address that has left the NIC, and nothing else tells of it.
It is looked at after each use and every minute, from the first use on, so that a node whose pods
have other addresses asks Azure nothing. What is found is logged, and reported for ``korat node
status``. Not for giving addresses out, nor for taking them away: a workload's end does that.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

import structlog

from korat.agent.azure_ipam import AzureIpam
from korat.agent.lookout import Lookout
from korat.agent.nic_book import book_of
from korat.core.errors import KoratError
from korat.core.ipam.nic import Attachment, cool_down_of, rest_of, usage, vanished
from korat.core.ipam.nic_document import mac_of
from korat.core.net.address import Addr
from korat.drivers.azure.metadata import NicAddresses, Reading, places
from korat.drivers.kernel.address import addresses_by_mac
from korat.drivers.report import AddressReport

log = structlog.get_logger(__name__)

_PERIOD_S = 60.0
#: Many pods that come at once are one look.
_SETTLE_S = 1.0

_Faults = dict[Addr, tuple[Attachment, str]]


class NicWatch:
    """Tells of the NIC's addresses, from ``used`` on."""

    def __init__(
        self,
        read: Callable[[], Reading],
        report: Callable[[AddressReport], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` is the wall's, in seconds."""
        self._read, self._report, self._clock = read, report, clock
        self._ipam: Mapping[str, object] | None = None
        self._named: _Faults = {}
        self._lookout = Lookout("nic-watch", self._looked, _PERIOD_S, _SETTLE_S)

    def used(self, ipam: Mapping[str, object]) -> None:
        """Somebody has used this configuration; returns at once."""
        self._ipam = ipam
        self._lookout.ring()

    def look(self) -> None:
        """Look once, and tell.

        Raises:
            KoratError: the NIC is not known, or the folder cannot be used.
        """
        if self._ipam is None:
            return
        cool_down_s, book = cool_down_of(self._ipam), book_of(self._ipam)
        reading = self._read()
        with book.locked():
            held, written = book.held(), book.released()
        now_s, nic = self._clock(), reading.nic
        faults = {addr: (held[addr], why) for addr, why in vanished(nic, held).items()}
        self._name(faults)
        found = usage(nic, held, rest_of(written, nic, cool_down_s, now_s), now_s)
        self._report(
            AddressReport(
                nic=nic.mac,
                source=reading.source,
                total=found.total,
                used=found.used,
                resting=found.resting,
                age_s=reading.age_s,
                stale=reading.stale,
                problems=tuple(
                    f"{addr} of container {who.container_id or 'unknown'} {why}"
                    for addr, (who, why) in faults.items()
                ),
            )
        )

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look on in a thread of its own."""
        self._lookout.start()
        try:
            yield
        finally:
            self._lookout.close()

    def _looked(self) -> bool:
        try:
            self.look()
        except KoratError as error:
            # Azure need not be asked again before the next time.
            log.warning("the NIC's addresses are not looked after", error=str(error))
        return True

    def _name(self, faults: _Faults) -> None:
        """Say of each fault once that it is there, and that it is gone."""
        for addr, (who, why) in faults.items():
            if self._named.get(addr) != (who, why):
                log.warning(
                    "Azure drops the packets of a workload's address",
                    address=str(addr),
                    reason=f"it {why}",
                    container=who.container_id,
                    remedy="give the address back to the NIC, or delete the pod",
                )
        for addr in self._named.keys() - faults.keys():
            log.info("a workload's address is no problem any more", address=str(addr))
        self._named = faults


def azure_ipam(
    environ: Mapping[str, str], report: Callable[[AddressReport], None]
) -> tuple[AzureIpam, NicWatch]:
    """The plugin of this node and its watch; nothing is asked before an address is.

    Raises:
        Invalid: the environment says wrongly where Azure answers.
    """
    nic = NicAddresses(places(environ), _links)
    watch = NicWatch(nic.read, report)
    return AzureIpam(nic.read, watch.used), watch


def _links() -> dict[str, frozenset[Addr]]:
    return {mac_of(mac): addrs for mac, addrs in addresses_by_mac().items()}
