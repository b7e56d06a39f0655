"""The networking option vxlan on one node, put together: tunnels, their addresses, their tests.

Everything here is a part with a thread of its own; this starts them, ends them, and tells each what
concerns it. Nothing here decides anything.
"""

import contextlib
from collections.abc import Mapping

import structlog

from korat.agent.feed import Batch
from korat.agent.node_address import Addresses, NodeAddress
from korat.agent.offload import OffloadTests
from korat.agent.overlay import Plans
from korat.agent.settings import NodeSettings
from korat.agent.startup import announce, own_addresses
from korat.agent.tunnel import Tunnels
from korat.agent.tunnel_address import TunnelAddress, TunnelAddresses
from korat.agent.tunnel_report import TunnelReporter
from korat.core.errors import KoratError
from korat.core.net.address import Family
from korat.core.route.tunnel import TunnelState
from korat.core.route.tunnel_step import steps
from korat.drivers.kernel.vxlan import Tunnel
from korat.drivers.store.client import Client
from korat.ports import Store

log = structlog.get_logger(__name__)


class VxlanNode:
    """One node's tunnels and all that belongs to them, from ``start`` to ``close``."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._reporter = TunnelReporter(settings.run_dir)
        self._tests = OffloadTests(settings.node_name, self._reporter.tested)
        self.tunnels = Tunnels(self._tried)
        self._stack = contextlib.ExitStack()
        self._keys: TunnelAddress | None = None
        self._addresses: TunnelAddresses | None = None
        self._own: NodeAddress | None = None

    def start(self, store: Store, announced: Addresses) -> None:
        """Begin; ``announced`` are the node's own addresses as its Node has them."""
        self._keys = TunnelAddress(store, self._settings.node_name)
        self._addresses = TunnelAddresses(self._keys)
        self._own = NodeAddress(
            lambda: own_addresses(self._settings),
            lambda found: announce(Client(store), self._settings, *found),
            announced,
            self._settings.poll_s,
        )
        for each in (self._tests, self.tunnels, self._addresses, self._own):
            each.start()
            self._stack.callback(each.close)

    def close(self) -> None:
        """End; the kernel keeps the tunnels."""
        self._stack.close()

    def told(self, batch: Batch) -> None:
        """Objects have changed; returns at once."""
        if self._keys is None or self._addresses is None:
            return
        if any(key.kind == "IPPool" or key in self._keys.keys for key in batch.changes):
            self._addresses.ring()

    def heard(self) -> None:
        """An interface or an address of it has changed; returns at once."""
        if self._own is not None:
            self._own.ring()

    def _tried(self, plans: Plans, faults: Mapping[Family, str]) -> None:
        """The tunnels were brought up to these plans, as far as possible."""
        self._reporter.planned(plans, faults)
        self._tests.look(plans)


def leave_tunnels() -> None:
    """Take away what this networking option left of a node that runs another one now.

    As Felix does: routes into a tunnel that nobody keeps would send packets nowhere.
    """
    for family in Family:
        try:
            with Tunnel(family) as tunnel:
                doing = list(steps(tunnel.read(), TunnelState()))
                tunnel.carry_out(doing)
        except KoratError as error:
            log.warning("an old tunnel stays", family=int(family), error=str(error))
            continue
        if doing:
            log.info("an old tunnel is taken away", family=int(family), steps=len(doing))
