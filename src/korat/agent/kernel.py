"""The node loop's hands: nftables, routes and connection tracking of this network namespace."""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping

import structlog

from korat.agent.connections import Connections, Looked
from korat.agent.overlay import Plans
from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr, Family
from korat.core.policy.host import HostInterface
from korat.core.render.nft.cut import (
    Cuts,
    add_cuts,
    keep_cuts,
    read_cuts,
    replaces_table,
    set_name,
)
from korat.core.render.nft.key import Key
from korat.core.render.nft.node import OwnPolicy
from korat.core.route.vxlan import Link
from korat.core.table.value import NodePolicy
from korat.drivers.kernel import address, fence, local_route, route_lookup, sysctl
from korat.drivers.kernel.conntrack import Conntrack
from korat.drivers.kernel.ctnetlink import Entry
from korat.drivers.kernel.nft import Nft
from korat.drivers.kernel.nft_element import ElementWriter

log = structlog.get_logger(__name__)

_FORWARDING = {"net/ipv4/ip_forward": 1}


class Table:
    """The table in nftables, for one thread that loads it and one that guards what was cut."""

    def __init__(self, give_way: Callable[[], None]) -> None:
        self._give_way = give_way
        self._loading, self._guarding = Nft(), Nft()
        # Each thread has its own way to the kernel, and both know what the table's sets hold.
        self._elements, self._guards = ElementWriter(), ElementWriter()
        # Held while the sets' elements are read and loaded again, so that none gets lost between.
        self._keeping = threading.Lock()
        self._written: dict[Family, dict[Key, float]] = {family: {} for family in Family}

    def close(self) -> None:
        """Give the netlink sockets back; the kernel keeps the table."""
        for each in (self._loading, self._guarding, self._elements, self._guards):
            each.close()

    def require(self) -> None:
        """Refuse to begin where nftables cannot do what korat needs.

        Raises:
            Unsupported: not root, or something is missing.
        """
        self._loading.require()

    def apply(self, transaction: str) -> bool:
        """Run one atomic transaction; returns whether it replaced all, but for what was cut."""
        if not replaces_table(transaction):
            if not self._elements.apply(transaction):
                self._loading.apply(transaction)
                self._elements.learn(transaction)
            return False
        with self._keeping:
            self._loading.apply(keep_cuts(transaction, self._held()))
            self._elements.learn(transaction)
            self._guards.learn(transaction)
        return True

    def guard(self, cuts: Cuts) -> None:
        """Hold up replies of connections that will be cut; in pieces, so that nobody waits long."""
        with self._keeping:
            now_s = time.monotonic()
            for family, times in cuts.items():
                live = {k: end_s for k, end_s in self._written[family].items() if end_s > now_s}
                self._written[family] = live | {k: now_s + left_s for k, left_s in times.items()}
        for transaction in add_cuts(cuts):
            self._give_way()
            with self._keeping:
                if not self._guards.apply(transaction):
                    self._guarding.apply(transaction)

    def _held(self) -> Cuts:
        """What is held up now: as the kernel says, whoever wrote it, and as was written here.

        The kernel alone would do, but for what somebody flushed, and for a set that was filled a
        moment ago: it may leave out some while it makes room for them.
        """
        now_s = time.monotonic()
        held: dict[Family, dict[Key, int]] = {}
        for family, written in self._written.items():
            left = {key: round(end_s - now_s) for key, end_s in written.items()}
            kept = {key: left_s for key, left_s in left.items() if left_s > 0}
            held[family] = kept | read_cuts(self._loading.elements(set_name(family)))
        return held


class NodeTracking:
    """Implements ``korat.agent.connections.Tracking`` with this namespace's kernel."""

    def __init__(self, table: Table, conntrack: Conntrack) -> None:
        self._table = table
        self._conntrack = conntrack

    def settle(self) -> None:
        """Wait until no packet is under way that met the rules of before."""
        fence.packets_under_way()

    def own_addresses(self) -> frozenset[Addr]:
        """All addresses of the node itself."""
        return address.own_addresses()

    def route(self, addr: Addr, own: Addr | None) -> str | None:
        """The interface by which the node sends to an address, from one of its own if given."""
        return route_lookup.interface_toward(addr, own)

    def entries(self, addresses: Collection[Addr] | None) -> Iterable[Entry]:
        """The connections whose original or reply source is one of these, or all."""
        return self._conntrack.entries(addresses)

    def guard(self, cuts: Cuts) -> None:
        """Hold up replies of connections that will be cut."""
        self._table.guard(cuts)

    def delete(self, doomed: list[Entry]) -> int:
        """Forget these connections; returns how many were still there."""
        return self._conntrack.delete(doomed)


class NodeKernel:
    """Implements ``korat.agent.loop.Kernel``; use it from one thread."""

    def __init__(
        self,
        on_looked: Callable[[Looked], None] = lambda _: None,
        give_way: Callable[[], None] = lambda: None,
        keep_tunnels: Callable[[Plans, float], None] = lambda _plans, _refresh_s: None,
    ) -> None:
        """``on_looked`` hears each time that live connections have been looked at.

        ``give_way`` is asked between two pieces of that work. ``keep_tunnels`` takes
        the tunnels as they should be, and how often to look at them, in seconds.
        """
        self._keep_tunnels = keep_tunnels
        self._table = Table(give_way)
        # Each thread has its own, since one reads long.
        self._conntrack, self._judged = Conntrack(), Conntrack()
        tracking = NodeTracking(self._table, self._judged)
        self._connections = Connections(tracking, on_looked, give_way)
        self._afresh = True
        self._waiting: frozenset[Addr] = frozenset()

    def prepare(self) -> None:
        """Let the node forward, which it must do for its workloads.

        Raises:
            Unsupported: not root, or nftables cannot do what korat needs.
        """
        self._table.require()
        sysctl.write(_FORWARDING)

    def apply(self, transaction: str) -> None:
        """Run one atomic nftables transaction."""
        self._connections.changing()
        self._afresh |= self._table.apply(transaction)

    def rejudge(
        self, policy: NodePolicy | None, felix: FelixSettings, own: OwnPolicy | None
    ) -> None:
        """Bring live connections under the policy that was just applied; returns at once."""
        self._connections.changed(policy, felix, own, afresh=self._afresh)
        self._afresh = False

    def close(self) -> None:
        """End the thread that judges connections, and let go of the kernel, which keeps all."""
        self._connections.stop()
        for each in (self._table, self._conntrack, self._judged):
            each.close()

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
        count = self._conntrack.forget(addresses)
        if count:
            log.info("connections of gone workloads forgotten", connections=count)

    def interfaces(self) -> tuple[HostInterface, ...]:
        """The node's interfaces and their addresses, as they are now."""
        return tuple(HostInterface(name, found) for name, found in address.all_addresses().items())

    def links(self) -> tuple[Link, ...]:
        """The same, as tunnels need to know them."""
        return address.links()

    def sync_tunnels(self, plans: Plans, felix: FelixSettings) -> None:
        """Make these the tunnels; what cannot be done now is tried again without the loop."""
        self._keep_tunnels(plans, felix.route_refresh_s)
