"""flannel's tunnels of one node: what decides about them is not in the store, but in the leases.

``tell`` takes what flannel's side of the node knows, from a thread of its own; the rest is asked by
the node loop. Pure, like ``overlay``.
"""

import threading
from collections.abc import Collection
from dataclasses import dataclass

from korat.agent.overlay import NOTHING, Plans, TunnelSurroundings
from korat.core.model.felix import FelixSettings
from korat.core.model.key import Key
from korat.core.model.resource import Resource
from korat.core.net.address import Addr, Family
from korat.core.render.nft.node import Pool
from korat.core.render.nft.tunnel import TunnelFilter
from korat.core.route.flannel.lease import Lease
from korat.core.route.flannel.network import DEFAULT_PORT, FlannelNetwork
from korat.core.route.flannel.plan import FlannelOverlay, device_name, plan
from korat.core.route.vxlan import Link


@dataclass(frozen=True, slots=True)
class FlannelState:
    """What flannel's side knows: the configuration, this node's lease, and everybody's."""

    network: FlannelNetwork
    own: Lease
    leases: tuple[Lease, ...]


class OthersTunnel:
    """Implements ``overlay.TunnelSource`` beside a flanneld: all is its own, but for one thing.

    A packet that a workload sends to the tunnel's port would come out of the tunnel with whatever
    source it claims, on this node or on another.
    """

    version = 0

    def set(self, _key: Key, _resource: Resource | None) -> None:
        """Objects of the store make no difference."""

    def surroundings(self, _felix: FelixSettings) -> TunnelSurroundings:
        """The port that flannel has unless its configuration, which is not known here, sets one."""
        return TunnelSurroundings(port=DEFAULT_PORT)

    def plans(
        self, _felix: FelixSettings, _links: tuple[Link, ...], _local: Collection[Addr]
    ) -> Plans:
        """None of korat's."""
        return NOTHING


class FlannelTunnels:
    """Implements ``overlay.TunnelSource``; until it is told something there are no tunnels."""

    def __init__(self, *, masquerade: bool) -> None:
        """``masquerade``: what pods send out of flannel's network gets the node's address."""
        self._masquerade = masquerade
        self._lock = threading.Lock()
        self._state: FlannelState | None = None
        self.version = 0
        self._made: tuple[int, tuple[Link, ...]] | None = None
        self._plans: Plans = NOTHING

    def tell(self, state: FlannelState) -> bool:
        """This is what is known now; whether it is something else than before."""
        with self._lock:
            if state == self._state:
                return False
            self._state = state
            self.version += 1
            return True

    def set(self, _key: Key, _resource: Resource | None) -> None:
        """Objects of the store make no difference."""

    def surroundings(self, felix: FelixSettings) -> TunnelSurroundings:
        """Only nodes that have a lease may send to the tunnel's port."""
        state = self._state
        if state is None:
            return TunnelSurroundings()
        vxlan = state.network.vxlan
        networks = (state.network.of(family) for family in Family)
        pools = tuple(
            Pool(each.network, self._masquerade, encapsulated=vxlan is not None)
            for each in networks
            if each is not None
        )
        if vxlan is None:
            return TunnelSurroundings(pools=pools)
        others = (lease for lease in state.leases if lease.key != state.own.key)
        known = frozenset(end.node for lease in others for end in lease.ends)
        return TunnelSurroundings(
            TunnelFilter(vxlan.port, known, felix.external_nodes),
            tuple((device_name(e.node.family, vxlan.vni), e.node) for e in state.own.ends),
            pools,
        )

    def plans(
        self, _felix: FelixSettings, links: tuple[Link, ...], _local: Collection[Addr]
    ) -> Plans:
        """The tunnels of both families; the same object as before when nothing has changed."""
        with self._lock:
            state, version = self._state, self.version
        if state is None:
            return self._plans
        ends = {end.node for end in state.own.ends}
        parents = tuple(link for link in links if not ends.isdisjoint(link.addresses))
        if self._made != (version, parents):
            self._made = version, parents
            overlay = FlannelOverlay(state.network, state.own, state.leases, parents)
            self._plans = {family: plan(overlay, family) for family in Family}
        return self._plans
