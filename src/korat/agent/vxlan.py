"""The networking option vxlan on one node, put together: tunnels, their addresses, their tests.

Everything here is a part with a thread of its own; this starts them, ends them, and tells each what
concerns it. Nothing here decides anything.
"""

import contextlib
from collections.abc import Callable, Mapping

from typing_extensions import override

from korat.agent.feed import Batch
from korat.agent.networking import Networking
from korat.agent.node_address import Addresses, NodeAddress
from korat.agent.offload import OffloadTests
from korat.agent.overlay import Plans
from korat.agent.settings import NodeSettings
from korat.agent.startup import announce, own_addresses
from korat.agent.tunnel import Tunnels
from korat.agent.tunnel_address import TunnelAddress, TunnelAddresses
from korat.agent.tunnel_report import TunnelReporter
from korat.core.net.address import Family
from korat.core.route.tunnel import CALICO_TUNNELS
from korat.drivers.store.client import Client
from korat.ports import Store


class VxlanNode(Networking):
    """One node's tunnels and all that belongs to them, from ``start`` to ``close``."""

    def __init__(self, settings: NodeSettings) -> None:
        super().__init__(settings.node_name)
        self._settings = settings
        self._reporter = TunnelReporter(settings.run_dir)
        self._tests = OffloadTests(settings.node_name, self._reporter.tested)
        self._tunnels = Tunnels(CALICO_TUNNELS, self._tried)
        self._stack = contextlib.ExitStack()
        self._keys: TunnelAddress | None = None
        self._addresses: TunnelAddresses | None = None
        self._own: NodeAddress | None = None

    @override
    def start(self, store: Store, announced: Addresses, _refresh: Callable[[], None]) -> None:
        self._keys = TunnelAddress(store, self._settings.node_name)
        self._addresses = TunnelAddresses(self._keys)
        self._own = NodeAddress(
            lambda: own_addresses(self._settings),
            lambda found: announce(Client(store), self._settings, *found),
            announced,
            self._settings.poll_s,
        )
        for each in (self._tests, self._tunnels, self._addresses, self._own):
            each.start()
            self._stack.callback(each.close)

    @override
    def close(self) -> None:
        self._stack.close()

    @override
    def told(self, batch: Batch) -> None:
        if self._keys is None or self._addresses is None:
            return
        if any(key.kind == "IPPool" or key in self._keys.keys for key in batch.changes):
            self._addresses.ring()

    @override
    def heard(self) -> None:
        if self._own is not None:
            self._own.ring()

    @override
    def want(self, plans: Plans, refresh_s: float) -> None:
        self._tunnels.want(plans, refresh_s)

    def _tried(self, plans: Plans, faults: Mapping[Family, str]) -> None:
        """The tunnels were brought up to these plans, as far as possible."""
        self._reporter.planned(plans, faults)
        self._tests.look(plans)
