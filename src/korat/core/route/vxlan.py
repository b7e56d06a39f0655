"""Calico's VXLAN on one node: which device, neighbours, forwarding entries and routes it needs.

A block of addresses belongs to a node; packets to it go through the tunnel to that node, or, in a
pool with CrossSubnet and within one subnet, as they are. Single addresses of a block may be used on
another node (borrowed), which has a route of its own. A block of this node ends in a blackhole, so
that an address nobody has does not wander off to the fabric.

On Azure CrossSubnet cannot work: the fabric drops what is not encapsulated within a subnet too.
Such a pool is refused where it is written (``core.model.validate.pool``); one that is stored all
the same is encapsulated, and named.
Source: felix/calc/l3_route_resolver.go, felix/dataplane/linux/vxlan_mgr.go, table 6.4 of the
project's reference.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from korat.core.errors import Problem
from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.holding import Holding
from korat.core.route.mtu import Mtu, tunnel_mtu
from korat.core.route.tunnel import DEVICE_NAMES, Device, RouteKind, TunnelRoute, TunnelState
from korat.core.route.vtep import TunnelNode, Vtep, remote_vteps

ALWAYS, CROSS_SUBNET = "Always", "CrossSubnet"


@dataclass(frozen=True, slots=True)
class TunnelPool:
    """A pool, as far as its packets' way is concerned; ``mode`` is its vxlanMode."""

    name: str
    prefix: Prefix
    mode: str


@dataclass(frozen=True, slots=True)
class Link:
    """An interface of this node; ``underlay`` says that its MTU counts (mtuIfacePattern, up)."""

    name: str
    mtu_bytes: int
    addresses: frozenset[Addr]
    up: bool = True
    underlay: bool = False


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """Felix's settings of one family's tunnel; ``layer2`` says that CrossSubnet can work."""

    enabled: bool | None = None
    vni: int = 4096
    port: int = 4789
    mtu_bytes: int = 0
    layer2: bool = False


@dataclass(frozen=True, slots=True)
class Overlay:
    """What decides about one family's tunnel of ``own``; ``local`` are its workloads' addresses."""

    family: Family
    own: TunnelNode
    nodes: Collection[TunnelNode]
    pools: Collection[TunnelPool]
    holdings: Collection[Holding]
    links: Collection[Link]
    settings: TunnelSettings = TunnelSettings()
    local: Collection[Addr] = ()


@dataclass(frozen=True, slots=True)
class TunnelPlan:
    """One family's tunnel as it should be; ``mtu`` is None where there is none."""

    state: TunnelState = field(default_factory=TunnelState)
    mtu: Mtu | None = None
    peers: tuple[Vtep, ...] = ()
    problems: tuple[Problem, ...] = ()


def plan(overlay: Overlay) -> TunnelPlan:
    """Everything that one family's tunnel needs on this node, and what of it cannot be."""
    pools = _tunnelled(overlay)
    if not pools:
        return TunnelPlan()
    problems = list(_pool_problems(overlay, pools))
    counting = [(link.name, link.mtu_bytes) for link in overlay.links if link.underlay]
    mtu = tunnel_mtu(overlay.family, overlay.settings.mtu_bytes, counting)
    device = _device(overlay, mtu, problems)
    vteps, clashes = remote_vteps(overlay.nodes, overlay.own)
    problems += clashes
    ways = _Ways(overlay, device, vteps)
    routes = {route.prefix: route for route in ways.routes(pools)}
    problems += ways.problems()
    if device is None:
        return TunnelPlan(TunnelState(routes=routes), mtu, (), tuple(problems))
    state = TunnelState(
        device,
        {vtep.address: vtep.mac for vtep in vteps.values()},
        {vtep.mac: vtep.node_address for vtep in vteps.values()},
        routes,
    )
    return TunnelPlan(state, mtu, tuple(vteps.values()), tuple(problems))


def _tunnelled(overlay: Overlay) -> list[TunnelPool]:
    """The pools of this family whose packets are encapsulated."""
    if overlay.settings.enabled is False:
        return []
    return [
        pool
        for pool in overlay.pools
        if pool.prefix.family is overlay.family and pool.mode in (ALWAYS, CROSS_SUBNET)
    ]


def _pool_problems(overlay: Overlay, pools: Iterable[TunnelPool]) -> Iterator[Problem]:
    if overlay.settings.layer2:
        return
    rule = (
        "is taken as Always: Azure's fabric drops pods' packets that are not encapsulated, within "
        "one subnet too; write `vxlanMode: Always`"
    )
    for pool in pools:
        if pool.mode == CROSS_SUBNET:
            yield Problem(f"IPPool {pool.name}", "spec.vxlanMode", pool.mode, rule)


def _device(overlay: Overlay, mtu: Mtu, problems: list[Problem]) -> Device | None:
    own = overlay.own
    where = f"Node {own.name}"
    if own.address is None:
        rule = f"is not set, so there is no IPv{overlay.family.value} tunnel"
        problems.append(Problem(where, "spec.bgp address", None, rule))
        return None
    if own.tunnel is None:
        rule = "is not assigned yet, so there is no tunnel"
        problems.append(Problem(where, "VXLAN tunnel address", None, rule))
        return None
    parent = next((link.name for link in overlay.links if own.address in link.addresses), None)
    if parent is None:
        rule = "is on no interface of this node, so there is no tunnel"
        problems.append(Problem(where, "spec.bgp address", str(own.address), rule))
        return None
    return Device(
        name=DEVICE_NAMES[overlay.family],
        vni=overlay.settings.vni,
        port=overlay.settings.port,
        local=own.address,
        parent=parent,
        mac=own.mac,
        mtu_bytes=mtu.size_bytes,
        addresses=frozenset({own.tunnel}),
    )


class _Ways:
    """The routes of one plan; of several for a prefix the most particular reason counts."""

    def __init__(self, overlay: Overlay, device: Device | None, vteps: Mapping[str, Vtep]) -> None:
        self._overlay = overlay
        self._own = overlay.own
        self._device = device
        self._vteps = vteps
        #: Of each node that cannot be reached the first of what it has.
        self._unreached: dict[str, Prefix] = {}
        self._nodes = {node.name: node for node in overlay.nodes}

    def routes(self, pools: Collection[TunnelPool]) -> Iterator[TunnelRoute]:
        """All of them; a later one stands in the place of an earlier one for the same prefix."""
        blocks: dict[str, list[Prefix]] = {}
        lent: list[tuple[Prefix, str, Holding, TunnelPool]] = []
        for holding in self._overlay.holdings:
            pool = _pool_of(holding.block, pools)
            if pool is None:
                continue
            if holding.node:
                blocks.setdefault(holding.node, []).append(holding.block)
                yield from self._of_block(holding, pool)
            lent += [(Prefix.of(addr), node, holding, pool) for addr, node in holding.lent]
        yield from self._tunnel_ends(blocks)
        for prefix, node, holding, pool in lent:
            yield from self._of_lent(prefix, node, holding, pool)

    def _of_block(self, holding: Holding, pool: TunnelPool) -> Iterator[TunnelRoute]:
        block = holding.block
        if holding.node != self._own.name:
            yield from self._toward(block, holding.node, pool, f"block of {holding.node}")
        elif block.length < block.family.bits:
            yield TunnelRoute(block, RouteKind.BLACKHOLE, reason="block of this node")

    def _of_lent(
        self, prefix: Prefix, node: str, holding: Holding, pool: TunnelPool
    ) -> Iterator[TunnelRoute]:
        addr = Addr(prefix.family, prefix.base)
        # Its own workloads and its own tunnel's end have routes already.
        if node == self._own.name or addr in self._overlay.local or self._is_end(addr, node):
            return
        whose = holding.node or "nobody"
        yield from self._toward(prefix, node, pool, f"{node} uses it from the block of {whose}")

    def _is_end(self, addr: Addr, node: str) -> bool:
        """Whether it is the end of a tunnel that ``_tunnel_ends`` leads to."""
        vtep = self._vteps.get(node)
        return self._device is not None and vtep is not None and vtep.address == addr

    def _tunnel_ends(self, blocks: Mapping[str, list[Prefix]]) -> Iterator[TunnelRoute]:
        """Ends of tunnels that no block of their node leads to."""
        if self._device is None:
            return
        for node, vtep in self._vteps.items():
            if not any(vtep.address in block for block in blocks.get(node, ())):
                yield TunnelRoute(
                    Prefix.of(vtep.address),
                    RouteKind.DIRECT,
                    self._device.name,
                    mtu_bytes=self._device.mtu_bytes,
                    reason=f"tunnel address of {node}",
                )

    def _toward(
        self, prefix: Prefix, node: str, pool: TunnelPool, reason: str
    ) -> Iterator[TunnelRoute]:
        device, vtep = self._device, self._vteps.get(node)
        if self._near(node, pool):
            address, parent = self._nodes[node].address, self._parent()
            if address is not None and parent:
                yield TunnelRoute(prefix, RouteKind.SUBNET, parent, address, reason=reason)
        elif device is not None and vtep is not None:
            kind, mtu = RouteKind.TUNNEL, device.mtu_bytes
            yield TunnelRoute(prefix, kind, device.name, vtep.address, mtu, reason=reason)
        elif vtep is None:
            self._unreached[node] = min(prefix, self._unreached.get(node, prefix))

    def _near(self, node: str, pool: TunnelPool) -> bool:
        """Whether packets go as they are: the pool says so, and the node is in this subnet."""
        if pool.mode != CROSS_SUBNET or not self._overlay.settings.layer2:
            return False
        there, subnet = self._nodes.get(node), self._own.subnet
        if there is None or there.address is None or subnet is None:
            return False
        return there.address in subnet

    def _parent(self) -> str:
        own = self._own.address
        return next((link.name for link in self._overlay.links if own in link.addresses), "")

    def problems(self) -> Iterator[Problem]:
        """Whom no route leads to, once each, after the routes were asked for."""
        for node, prefix in sorted(self._unreached.items()):
            missing = "is not there" if node not in self._nodes else "has no tunnel address yet"
            rule = f"cannot be reached: node {node} {missing}"
            yield Problem(f"Block {prefix}", "", None, rule)


def _pool_of(block: Prefix, pools: Iterable[TunnelPool]) -> TunnelPool | None:
    return next((pool for pool in pools if pool.prefix.covers(block)), None)
