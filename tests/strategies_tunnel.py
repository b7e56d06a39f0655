"""Clusters with tunnels, and states of a tunnel, for laws; and what a step does, said plainly."""

from dataclasses import replace

from hypothesis import strategies as st

from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.holding import Holding
from korat.core.route.tunnel import (
    DEVICE_NAMES,
    ON_DEVICE,
    Device,
    RouteKind,
    TunnelRoute,
    TunnelState,
)
from korat.core.route.tunnel_step import (
    AddDevice,
    ChangeDevice,
    PutForwarding,
    PutNeighbour,
    PutRoute,
    RemoveDevice,
    RemoveForwarding,
    RemoveNeighbour,
    RemoveRoute,
    TunnelStep,
)
from korat.core.route.vtep import TunnelNode, derived_mac
from korat.core.route.vxlan import Link, Overlay, TunnelPool, TunnelSettings

V4 = Family.V4
NAME = DEVICE_NAMES[V4]
OWN = "n0"
NAMES = [f"n{number}" for number in range(5)]
POOLS = (Prefix.parse("192.168.0.0/20"), Prefix.parse("192.168.16.0/20"))


def addr(text: str) -> Addr:
    return Addr.parse(text)


ADDRESSES = st.integers(1, 6).map(lambda n: Addr(V4, addr("192.168.0.0").value + n))
NODE_ADDRESSES = st.integers(1, 6).map(lambda n: Addr(V4, addr("10.0.0.0").value + n))
MACS = st.integers(1, 6).map(lambda n: f"66:00:00:00:00:{n:02x}")
PREFIXES = st.tuples(st.integers(0, 5), st.sampled_from((26, 32))).map(
    lambda p: Prefix(V4, addr("192.168.0.0").value + (p[0] << 6), p[1])
)


@st.composite
def devices(draw: st.DrawFn) -> Device:
    return Device(
        name=NAME,
        vni=draw(st.sampled_from((4096, 7))),
        port=4789,
        local=draw(NODE_ADDRESSES),
        parent=draw(st.sampled_from(("eth0", "eth1"))),
        mac=draw(MACS),
        mtu_bytes=draw(st.sampled_from((1350, 1450))),
        addresses=frozenset(draw(st.lists(ADDRESSES, min_size=1, max_size=2))),
        up=draw(st.booleans()),
    )


@st.composite
def routes(draw: st.DrawFn, *, on_device: bool) -> TunnelRoute:
    prefix = draw(PREFIXES)
    kinds = [k for k in RouteKind if on_device or k not in ON_DEVICE]
    kind = draw(st.sampled_from(kinds))
    if kind is RouteKind.BLACKHOLE:
        return TunnelRoute(prefix, kind)
    if kind is RouteKind.SUBNET:
        return TunnelRoute(prefix, kind, "eth0", draw(NODE_ADDRESSES))
    via = draw(ADDRESSES) if kind is RouteKind.TUNNEL else None
    return TunnelRoute(prefix, kind, NAME, via, draw(st.sampled_from((1350, 1450))))


@st.composite
def states(draw: st.DrawFn) -> TunnelState:
    """What a kernel can hold: without a device nothing is on one."""
    device = draw(st.none() | devices())
    there = draw(st.lists(routes(on_device=device is not None), max_size=5))
    by_prefix = {route.prefix: route for route in there}
    if device is None:
        return TunnelState(routes=by_prefix)
    return TunnelState(
        device,
        draw(st.dictionaries(ADDRESSES, MACS, max_size=4)),
        draw(st.dictionaries(MACS, NODE_ADDRESSES, max_size=4)),
        by_prefix,
    )


def done(state: TunnelState, step: TunnelStep) -> TunnelState:
    """The state after a step, as the kernel has it; refuses what the kernel would refuse."""
    match step:
        case AddDevice(device):
            assert state.device is None, "there is one already"
            return replace(state, device=device)
        case ChangeDevice(before, device):
            assert state.device == before
            assert before.fixed == device.fixed, "this takes a new device"
            return replace(state, device=device)
        case RemoveDevice(device):
            assert state.device == device
            left = {p: r for p, r in state.routes.items() if r.kind not in ON_DEVICE}
            return TunnelState(routes=left)
        case PutRoute(route, before):
            assert state.routes.get(route.prefix) == before
            if route.kind in ON_DEVICE:
                assert state.device is not None
            return replace(state, routes={**state.routes, route.prefix: route})
        case RemoveRoute(route):
            assert state.routes[route.prefix] == route
            rest = {p: r for p, r in state.routes.items() if p != route.prefix}
            return replace(state, routes=rest)
        case _:
            return _entry_done(state, step)


def _entry_done(state: TunnelState, step: TunnelStep) -> TunnelState:
    assert state.device is not None
    match step:
        case PutForwarding(mac, node):
            return replace(state, forwarding={**state.forwarding, mac: node})
        case RemoveForwarding(mac):
            assert mac in state.forwarding
            left = {m: n for m, n in state.forwarding.items() if m != mac}
            return replace(state, forwarding=left)
        case PutNeighbour(address, mac):
            return replace(state, neighbours={**state.neighbours, address: mac})
        case RemoveNeighbour(address):
            assert address in state.neighbours
            known = {a: m for a, m in state.neighbours.items() if a != address}
            return replace(state, neighbours=known)
        case _:
            raise AssertionError(step)


@st.composite
def tunnel_nodes(draw: st.DrawFn, name: str) -> TunnelNode:
    far = Addr(V4, addr("10.0.1.0").value + int(name[1:]) + 1)
    near = Addr(V4, addr("10.0.0.0").value + int(name[1:]) + 1)
    own = draw(st.sampled_from((near, near, far, None)) | NODE_ADDRESSES)
    return TunnelNode(
        name,
        own,
        Prefix(V4, own.value & ~0xFF, 24) if own else None,
        draw(ADDRESSES | st.none()),
        draw(st.just(derived_mac(name, V4)) | MACS),
    )


@st.composite
def holdings(draw: st.DrawFn) -> Holding:
    # Few blocks and few places in each, so that they meet with tunnels' addresses.
    index = draw(st.sampled_from((0, 0, 1, 64, 130)))
    block = Prefix(V4, addr("192.168.0.0").value + (index << 6), 26)
    lent = draw(st.dictionaries(st.integers(0, 7), st.sampled_from(NAMES), max_size=3))
    return Holding(
        block,
        draw(st.sampled_from(("", *NAMES))),
        tuple((Addr(V4, block.base + at), node) for at, node in sorted(lent.items())),
    )


@st.composite
def overlays(draw: st.DrawFn) -> Overlay:
    nodes = [draw(tunnel_nodes(name)) for name in NAMES]
    own = nodes[0]
    addresses = frozenset({own.address}) if own.address else frozenset()
    blocks = {h.block: h for h in draw(st.lists(holdings(), max_size=6))}
    modes = st.sampled_from(("Always", "Always", "CrossSubnet", "Never"))
    lent = sorted({a for h in blocks.values() for a, _ in h.lent})
    return Overlay(
        V4,
        own,
        nodes,
        [TunnelPool(f"p{i}", prefix, draw(modes)) for i, prefix in enumerate(POOLS)],
        list(blocks.values()),
        [Link("eth0", draw(st.sampled_from((1500, 1300))), addresses, underlay=True)],
        TunnelSettings(layer2=draw(st.booleans())),
        draw(st.just([]) | st.lists(st.sampled_from(lent), min_size=1)) if lent else [],
    )
