"""What decides about a node's tunnels, kept up to date: Nodes, pools and blocks, object by object.

Blocks change with every pod that comes or goes, their owners hardly ever: only what routes depend
on is kept of each, and a plan is made anew only where that has changed. Pure, like ``intent``.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from korat.core.errors import Problem
from korat.core.model.config import IPPool
from korat.core.model.endpoint import Node
from korat.core.model.felix import FelixSettings
from korat.core.model.ipam import IPAMBlock
from korat.core.model.key import Key
from korat.core.model.resource import Resource
from korat.core.net.address import Addr, Family, Prefix
from korat.core.render.nft.node import Pool
from korat.core.render.nft.tunnel import TunnelFilter
from korat.core.route.holding import Holding, holding
from korat.core.route.tunnel import DEVICE_NAMES
from korat.core.route.vtep import TunnelNode, tunnel_node
from korat.core.route.vxlan import (
    Link,
    Overlay,
    TunnelPlan,
    TunnelPool,
    TunnelSettings,
    plan,
)

T = TypeVar("T")

Plans = Mapping[Family, TunnelPlan]

_BLOCK = "IPAMBlock"
_NEVER = "Never"

NOTHING: Plans = {family: TunnelPlan() for family in Family}


class TunnelSource(Protocol):
    """What decides about a node's tunnels, and about the policy that goes with them.

    ``version`` is another one whenever what else than the plans may be different.
    """

    version: int

    def set(self, key: Key, resource: Resource | None) -> None:
        """An object of the store came, changed, or (None) went."""

    def surroundings(self, felix: FelixSettings) -> "TunnelSurroundings":
        """What the node's own rules must know of the tunnels."""

    def plans(
        self, felix: FelixSettings, links: tuple[Link, ...], local: Collection[Addr]
    ) -> Plans:
        """The tunnels of both families; the same object as before when nothing has changed."""


@dataclass(frozen=True, slots=True)
class TunnelSurroundings:
    """Beside the tunnels: whose packets are taken, where the node's own sources are changed.

    ``sources`` are the devices, each with the node's own address outside of it. ``pools`` are
    networks of pods that no IPPool tells of. ``port`` is that of a tunnel that another program has,
    to which workloads may not send either.
    """

    filter: TunnelFilter | None = None
    sources: tuple[tuple[str, Addr], ...] = ()
    pools: tuple[Pool, ...] = ()
    port: int | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What one family's plan was made from, beside the objects."""

    version: int
    settings: TunnelSettings
    links: tuple[Link, ...]
    local: frozenset[Addr]


class Overlays:
    """Calico's tunnels of one node; all that decides is objects of the store."""

    version = 0

    def __init__(self, node_name: str) -> None:
        self._own = node_name
        self._version = 0
        self._nodes: dict[Key, tuple[TunnelNode, ...]] = {}
        self._pools: dict[Key, TunnelPool] = {}
        self._holdings: dict[Key, Holding] = {}
        self._broken: dict[Key, Problem] = {}
        self._made: dict[Family, tuple[_Inputs, TunnelPlan]] = {}
        self._lent: set[Addr] = set()
        self._plans: Plans = NOTHING

    def set(self, key: Key, resource: Resource | None) -> None:
        """An object came, changed, or (None) went; those of other kinds make no difference."""
        if key.kind == "Node":
            self._keep(self._nodes, key, resource, _tunnel_nodes)
        elif key.kind == "IPPool":
            self._keep(self._pools, key, resource, _tunnel_pool)
        elif key.kind == _BLOCK:
            self._keep(self._holdings, key, resource, _holding)

    def surroundings(self, felix: FelixSettings) -> TunnelSurroundings:
        """What the node's own rules must know; problems are in the order of the objects' keys."""
        problems = tuple(self._broken[key] for key in sorted(self._broken))
        return TunnelSurroundings(self._filter(felix), self._sources(felix), problems=problems)

    def _filter(self, felix: FelixSettings) -> TunnelFilter | None:
        """Whose tunnel packets this node takes; None where it has no tunnel."""
        if not self._families(felix):
            return None
        nodes = (n for pair in self._nodes.values() for n in pair if n.name != self._own)
        known = frozenset(node.address for node in nodes if node.address is not None)
        return TunnelFilter(felix.vxlan_port, known, felix.external_nodes)

    def _sources(self, felix: FelixSettings) -> tuple[tuple[str, Addr], ...]:
        """The tunnels' devices, each with the node's own address outside of it."""
        families = self._families(felix)
        return tuple(
            (DEVICE_NAMES[node.address.family], node.address)
            for node in self._mine
            if node.vtep is not None and node.address is not None
            if node.address.family in families
        )

    @property
    def _mine(self) -> tuple[TunnelNode, ...]:
        """What this node's own Node says of each family; nothing while there is none."""
        return self._nodes.get(Key("Node", "", self._own), ())

    def _families(self, felix: FelixSettings) -> frozenset[Family]:
        """The IP versions of which a pool is encapsulated."""
        pools = [pool for pool in self._pools.values() if pool.mode != _NEVER]
        return frozenset(
            pool.prefix.family
            for pool in pools
            if tunnel_settings(felix, pool.prefix.family).enabled is not False
        )

    def plans(
        self, felix: FelixSettings, links: tuple[Link, ...], local: Collection[Addr]
    ) -> Plans:
        """The tunnels of both families; the same object as before when nothing has changed."""
        here = frozenset(addr for addr in self._lent if addr in local)
        counting = tuple(self._counting(felix, links))
        made = {family: self._plan(family, felix, counting, here) for family in Family}
        if any(made[family] is not self._plans[family] for family in Family):
            self._plans = made
        return self._plans

    def _counting(self, felix: FelixSettings, links: tuple[Link, ...]) -> Iterator[Link]:
        """The interfaces that tunnels depend on: workloads' come and go, and are none of them."""
        own = {node.address for node in self._mine}
        pattern = re.compile(felix.mtu_iface_pattern)
        for link in links:
            underlay = link.up and pattern.search(link.name) is not None
            if underlay or not own.isdisjoint(link.addresses):
                yield replace(link, underlay=underlay)

    def _plan(
        self, family: Family, felix: FelixSettings, links: tuple[Link, ...], local: frozenset[Addr]
    ) -> TunnelPlan:
        inputs = _Inputs(self._version, tunnel_settings(felix, family), links, local)
        before = self._made.get(family)
        if before is not None and before[0] == inputs:
            return before[1]
        at = list(Family).index(family)
        mine = self._mine or tuple(_unknown(self._own) for _ in Family)
        found = plan(
            Overlay(
                family,
                mine[at],
                [each[at] for each in self._nodes.values()],
                [self._pools[key] for key in sorted(self._pools)],
                [h for h in self._holdings.values() if h.block.family is family],
                links,
                inputs.settings,
                local,
            )
        )
        self._made[family] = inputs, found
        return found

    def _keep(
        self,
        kept: dict[Key, T],
        key: Key,
        resource: Resource | None,
        read: Callable[[Resource], T | None],
    ) -> None:
        value = None
        self._broken.pop(key, None)
        if resource is not None:
            try:
                value = read(resource)
            except ValueError as error:
                rule = f"is left out of the tunnels: {error}"
                self._broken[key] = Problem(resource.title, "", None, rule)
        if kept.get(key) == value:
            return
        self._version += 1
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = value
        if key.kind == _BLOCK:
            self._lent = {addr for each in self._holdings.values() for addr, _ in each.lent}


def tunnel_settings(felix: FelixSettings, family: Family) -> TunnelSettings:
    """Felix's settings of one family's tunnel."""
    return TunnelSettings(
        enabled=False if family is Family.V6 and not felix.ipv6_support else felix.vxlan_enabled,
        vni=felix.vxlan_vni,
        port=felix.vxlan_port,
        mtu_bytes=felix.vxlan_mtu if family is Family.V4 else felix.vxlan_mtu_v6,
        layer2=felix.layer2_subnets,
    )


def _unknown(name: str) -> TunnelNode:
    return TunnelNode(name, None, None, None, "")


def _tunnel_nodes(resource: Resource) -> tuple[TunnelNode, ...] | None:
    if not isinstance(resource, Node):
        return None
    return tuple(tunnel_node(resource, family) for family in Family)


def _tunnel_pool(resource: Resource) -> TunnelPool | None:
    if not isinstance(resource, IPPool):
        return None
    prefix = Prefix.parse(resource.spec.cidr)
    return TunnelPool(resource.metadata.name, prefix, resource.spec.vxlan_mode or _NEVER)


def _holding(resource: Resource) -> Holding | None:
    return holding(resource.spec) if isinstance(resource, IPAMBlock) else None
