"""What holds of every tunnel: steps lead where they should, plans keep their promises."""

from dataclasses import replace

from hypothesis import given

from korat.core.net.address import Addr, Prefix
from korat.core.route.tunnel import RouteKind, TunnelState
from korat.core.route.tunnel_step import PutNeighbour, PutRoute, steps
from korat.core.route.vtep import TunnelNode
from korat.core.route.vxlan import Overlay, plan
from strategies_tunnel import OWN, done, overlays, states


@given(states(), states())
def test_the_steps_lead_from_one_state_to_the_other(before: TunnelState, after: TunnelState):
    state = before
    for step in steps(before, after):
        state = done(state, step)
    assert state == after


@given(states())
def test_from_a_state_to_itself_there_is_nothing_to_do(state: TunnelState):
    assert list(steps(state, state)) == []


@given(states(), states())
def test_no_step_is_for_nothing(before: TunnelState, after: TunnelState):
    state = before
    for step in steps(before, after):
        assert done(state, step) != state, step
        state = done(state, step)


@given(states(), states())
def test_routes_come_after_the_neighbours_they_lead_to(before: TunnelState, after: TunnelState):
    kinds = [type(step) for step in steps(before, after)]
    if PutRoute in kinds and PutNeighbour in kinds:
        last = len(kinds) - 1 - kinds[::-1].index(PutNeighbour)
        assert kinds.index(PutRoute) > last


@given(overlays())
def test_every_next_hop_has_a_mac_and_every_mac_a_node(overlay: Overlay):
    state = plan(overlay).state
    for route in state.routes.values():
        if route.kind is RouteKind.TUNNEL:
            assert route.via is not None
            node = state.forwarding[state.neighbours[route.via]]
            assert node in {each.address for each in overlay.nodes if each.name != OWN}
    assert len(set(state.forwarding.values())) == len(state.forwarding), "one node, one MAC"
    assert set(state.neighbours.values()) == set(state.forwarding)


@given(overlays())
def test_an_address_leads_to_who_uses_it(overlay: Overlay):
    """The slow and obvious twin: look at the blocks for one address, and at nothing else."""
    found = plan(overlay)
    for addr in curious(overlay):
        assert leads_to(found.state, addr) == expected(overlay, found.state, addr), str(addr)


def curious(overlay: Overlay) -> set[Addr]:
    """Addresses of which something is said, and their neighbours."""
    named = {addr for holding in overlay.holdings for addr, _ in holding.lent}
    named |= {node.tunnel for node in overlay.nodes if node.tunnel is not None}
    named |= {Addr(h.block.family, h.block.base) for h in overlay.holdings}
    return {Addr(a.family, a.value + by) for a in named for by in (-1, 0, 1)}


def leads_to(state: TunnelState, addr: Addr) -> object:
    """What the kernel would do by the state: the longest prefix decides."""
    fitting = [route for prefix, route in state.routes.items() if addr in prefix]
    route = max(fitting, key=lambda each: each.prefix.length, default=None)
    match route and route.kind:
        case RouteKind.TUNNEL:
            return state.forwarding[state.neighbours[route.via]]
        case RouteKind.DIRECT:
            return state.forwarding[state.neighbours[addr]]
        case RouteKind.SUBNET:
            return ("as it is", route.via)
        case RouteKind.BLACKHOLE:
            return "nowhere"
        case _:
            return None


def expected(overlay: Overlay, state: TunnelState, addr: Addr) -> object:
    reached = {
        node.name: node
        for node in overlay.nodes
        if node.name != OWN
        and node.tunnel in state.neighbours
        and state.neighbours[node.tunnel] == node.mac
        and state.forwarding.get(node.mac) == node.address
        and not any(is_before(other, node) for other in overlay.nodes)
    }
    pool = next((p for p in overlay.pools if addr in p.prefix and p.mode != "Never"), None)
    block = next((h for h in overlay.holdings if addr in h.block), None)
    if pool is not None and block is not None:
        user = dict(block.lent).get(addr)
        if (
            user not in (None, OWN)
            and addr not in overlay.local
            and not is_end(reached, addr, user)
        ):
            way = toward(overlay, reached, pool.mode, user)
            if way is not None:
                return way
    end = next((node for node in reached.values() if node.tunnel == addr), None)
    if end is not None and not in_own_block(overlay, end.name, addr):
        return end.address
    if pool is None or block is None or not block.node:
        return None
    if block.node == OWN:
        return "nowhere"
    return toward(overlay, reached, pool.mode, block.node)


def is_before(other: TunnelNode, node: TunnelNode) -> bool:
    """Whether another node of an earlier name claims to be the very same."""
    same = (other.tunnel, other.mac, other.address) == (node.tunnel, node.mac, node.address)
    return same and OWN != other.name < node.name


def is_end(reached: dict, addr: Addr, user: str) -> bool:
    return user in reached and reached[user].tunnel == addr


def in_own_block(overlay: Overlay, name: str, addr: Addr) -> bool:
    wanted = [p.prefix for p in overlay.pools if p.mode != "Never"]
    return any(
        addr in h.block and h.node == name and any(p.covers(h.block) for p in wanted)
        for h in overlay.holdings
    )


def toward(overlay: Overlay, reached: dict, mode: str, name: str) -> object:
    node = next((each for each in overlay.nodes if each.name == name), None)
    subnet = overlay.own.subnet
    near = mode == "CrossSubnet" and overlay.settings.layer2 and node and node.address and subnet
    if near and node.address in subnet:
        return ("as it is", node.address) if overlay.own.address else None
    return reached[name].address if name in reached else None


@given(overlays())
def test_the_order_in_which_things_are_told_does_not_matter(overlay: Overlay):
    turned = replace(
        overlay, nodes=list(overlay.nodes)[::-1], holdings=list(overlay.holdings)[::-1]
    )
    assert plan(turned).state == plan(overlay).state


@given(overlays())
def test_nothing_is_routed_that_no_pool_encapsulates(overlay: Overlay):
    wanted = [pool.prefix for pool in overlay.pools if pool.mode != "Never"]
    ends = {Prefix.of(node.tunnel) for node in overlay.nodes if node.tunnel}
    for prefix in plan(overlay).state.routes:
        assert prefix in ends or any(pool.covers(prefix) for pool in wanted)
