"""Follows the node's own address: when the interface gets another one, the Node says so.

Other nodes send into the tunnel to the address that the Node has, so it must not go stale. It is
looked at when an interface's addresses change, and every AUTODETECT_POLL_INTERVAL.
Source: node/pkg/lifecycle/startup (MonitorIPAddressSubnets).
"""

from collections.abc import Callable

import structlog

from korat.agent.lookout import Lookout
from korat.core.errors import KoratError

log = structlog.get_logger(__name__)

#: DHCP takes the old address away before it gives the new one.
_SETTLE_S = 1.0

Addresses = tuple[str, str]


class NodeAddress:
    """Keeps what the Node says true, from ``start`` to ``close``."""

    def __init__(
        self,
        found: Callable[[], Addresses],
        announce: Callable[[Addresses], None],
        announced: Addresses,
        period_s: float,
    ) -> None:
        """``found`` looks at the interfaces, ``announce`` writes; ``announced`` stands already."""
        self._found, self._announce = found, announce
        self._announced = announced
        self._lookout = Lookout("node-address", self._looked, period_s, _SETTLE_S)

    def start(self) -> None:
        """Begin."""
        self._lookout.start()

    def ring(self) -> None:
        """An interface has changed; returns at once."""
        self._lookout.ring()

    def close(self) -> None:
        """End; the thread may finish its present look by itself."""
        self._lookout.close()

    def look(self) -> None:
        """Compare once; an address that is gone for the moment is no news.

        Raises:
            KoratError: the store cannot be written now.
        """
        try:
            found = self._found()
        except KoratError as error:
            log.debug("the node's address is not there", error=str(error))
            return
        if found != self._announced:
            log.info("the node's address has changed", before=self._announced, now=found)
            self._announce(found)
            self._announced = found

    def _looked(self) -> bool:
        try:
            self.look()
        except KoratError as error:
            log.warning("cannot announce the node", error=str(error))
            return False
        return True
