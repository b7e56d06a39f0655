"""The node loop's hands: nftables, routes and connection tracking of this network namespace."""

from collections.abc import Mapping

import structlog

from korat.core.net.address import Addr
from korat.drivers.kernel import conntrack, local_route, sysctl
from korat.drivers.kernel.nft import Nft

log = structlog.get_logger(__name__)

_FORWARDING = {"net/ipv4/ip_forward": 1}


class NodeKernel:
    """Implements ``korat.agent.loop.Kernel``; use it from one thread."""

    def __init__(self) -> None:
        self._nft = Nft()
        self._waiting: frozenset[Addr] = frozenset()

    def prepare(self) -> None:
        """Let the node forward, which it must do for its workloads.

        Raises:
            Unsupported: not root, or nftables cannot do what korat needs.
        """
        self._nft.require()
        sysctl.write(_FORWARDING)

    def apply(self, transaction: str) -> None:
        """Run one atomic nftables transaction."""
        self._nft.apply(transaction)

    def sync_routes(self, routes: Mapping[Addr, str]) -> frozenset[Addr]:
        """Make these the routes to local workloads; returns the addresses of those it removed."""
        done = local_route.sync(routes)
        if done.waiting and done.waiting != self._waiting:
            names = sorted(routes[addr] for addr in done.waiting)
            log.info("workloads without an interface", interfaces=names)
        self._waiting = done.waiting
        return done.removed

    def forget(self, addresses: frozenset[Addr]) -> None:
        """Delete the tracked connections of addresses that left this node."""
        count = conntrack.forget(addresses)
        if count:
            log.info("connections of gone workloads forgotten", connections=count)
