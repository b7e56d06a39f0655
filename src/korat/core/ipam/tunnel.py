"""The address of a node's VXLAN device: had, kept as long as it may be, given back.

A node has one per family, from pools that are encapsulated and may be used for tunnels. It is found
again by its handle, so an agent that dies after it was assigned and before the Node says so takes
the same one up.
Source: node/pkg/allocateip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from korat.core.ipam.assign import Assigned, auto_assign
from korat.core.ipam.block import address_of, ordinals_of
from korat.core.ipam.draw import Holder
from korat.core.ipam.instant import Moment
from korat.core.ipam.pool import TUNNEL, Asking, Pool, choose, pools_of
from korat.core.ipam.release import Return, release_by_handle, release_ips
from korat.core.ipam.request import Steps, read
from korat.core.ipam.view import Demand
from korat.core.model.config import IPPool
from korat.core.model.endpoint import Node
from korat.core.model.ipam import IPAMBlock, IPAMHandle, block_key, handle_key
from korat.core.model.key import Key
from korat.core.net.address import Addr, Family, Prefix


class Tunnel(Enum):
    """A tunnel device: its family, its handle's beginning, and the type its attribute says."""

    VXLAN = (Family.V4, "vxlan-tunnel-addr-", "vxlanTunnelAddress")
    VXLAN_V6 = (Family.V6, "vxlan-v6-tunnel-addr-", "vxlanV6TunnelAddress")

    @property
    def family(self) -> Family:
        """The IP version of its address."""
        return self.value[0]

    def handle_id(self, host: str) -> str:
        """By which the address is found."""
        return f"{self.value[1]}{host}"

    def holder(self, host: str) -> Holder:
        """Whose the address is."""
        return Holder(self.handle_id(host), {"type": self.value[2], "node": host})


@dataclass(frozen=True, slots=True)
class TunnelAddress:
    """What the Node should say: an address, or none and why."""

    addr: Addr | None
    reason: str = ""


def ensure_tunnel(
    tunnel: Tunnel, host: str, present: Addr | None, moment: Moment
) -> Steps[TunnelAddress]:
    """Keep the node's present address if it may have it, else give it one; none without a pool.

    Raises:
        Conflict: others write the same objects all the time.
    """
    handle_id = tunnel.handle_id(host)
    choice = yield from _pools(tunnel, host)
    if not choice:
        yield from release_by_handle(handle_id, moment)
        return TunnelAddress(None, f"no enabled VXLAN pool for tunnels is for node {host}")
    held = yield from _held(handle_id)
    fitting = sorted(a for a in held if any(a in pool.cidr for pool in choice))
    kept = present if present in fitting else next(iter(fitting), None)
    surplus = [Return(addr, handle_id) for addr in held if addr != kept]
    if surplus:
        yield from release_ips(surplus, moment)
    if kept is not None:
        return TunnelAddress(kept)
    done = yield from _assigned(tunnel, host, choice, moment)
    return TunnelAddress(done.given[0].addr) if done.given else TunnelAddress(None, done.shortage)


def release_tunnel(tunnel: Tunnel, host: str, moment: Moment) -> Steps[tuple[Addr, ...]]:
    """Give the node's address back.

    Raises:
        Conflict: others write the same objects all the time.
    """
    return (yield from release_by_handle(tunnel.handle_id(host), moment))


def _pools(tunnel: Tunnel, host: str) -> Steps[tuple[Pool, ...]]:
    node_key = Key("Node", "", host)
    seen = yield from read("IPPool", node_key)
    node = seen.get(node_key, Node)
    labels = {} if node is None else node.metadata.labels
    asking = Asking(tunnel.family, TUNNEL, host, labels, {})
    choice = choose(pools_of(seen.readable(IPPool)), asking)
    return tuple(pool for pool in choice.pools if pool.vxlan_mode != "Never")


def _held(handle_id: str) -> Steps[list[Addr]]:
    """The addresses that the handle has, by what the blocks say."""
    seen = yield from read(handle_key(handle_id))
    handle = seen.get(handle_key(handle_id), IPAMHandle)
    cidrs = [] if handle is None else [Prefix.parse(text) for text in handle.spec.block]
    seen = yield from read(*map(block_key, cidrs))
    return [
        address_of(block, ordinal)
        for block in seen.of(IPAMBlock)
        for ordinal in ordinals_of(block, handle_id)
    ]


def _assigned(tunnel: Tunnel, host: str, pools: Sequence[Pool], moment: Moment) -> Steps[Assigned]:
    demand = Demand(
        host=host,
        family=tunnel.family,
        holder=tunnel.holder(host),
        use=TUNNEL,
        pools=tuple(pool.name for pool in pools),
    )
    return (yield from auto_assign(demand, moment))
