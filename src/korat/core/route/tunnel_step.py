"""What leads from one state of a tunnel to another: steps, in an order that loses no packet.

A route comes after the neighbour and the forwarding entry it leads to, and goes before them. A
device that must be made anew takes everything on it along, which is then made again.
Not for carrying a step out; ``drivers.kernel.vxlan`` does.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from korat.core.net.address import Addr
from korat.core.route.tunnel import ON_DEVICE, Device, TunnelRoute, TunnelState


@dataclass(frozen=True, slots=True)
class AddDevice:
    """Make the device, with its addresses, and bring it up."""

    device: Device


@dataclass(frozen=True, slots=True)
class ChangeDevice:
    """Give the device that is there these addresses and this MTU, and bring it up."""

    before: Device
    device: Device


@dataclass(frozen=True, slots=True)
class RemoveDevice:
    """Take the device away."""

    device: Device


@dataclass(frozen=True, slots=True)
class PutForwarding:
    """Frames to this MAC go to this node, and to no other."""

    mac: str
    node: Addr


@dataclass(frozen=True, slots=True)
class RemoveForwarding:
    """Frames to this MAC go to no node any more."""

    mac: str


@dataclass(frozen=True, slots=True)
class PutNeighbour:
    """This address has this MAC."""

    address: Addr
    mac: str


@dataclass(frozen=True, slots=True)
class RemoveNeighbour:
    """Nobody has this address any more."""

    address: Addr


@dataclass(frozen=True, slots=True)
class PutRoute:
    """Packets go by this route; ``before`` is the one that they went by."""

    route: TunnelRoute
    before: TunnelRoute | None = None


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Packets do not go by this route any more."""

    route: TunnelRoute


TunnelStep = (
    AddDevice
    | ChangeDevice
    | RemoveDevice
    | PutForwarding
    | RemoveForwarding
    | PutNeighbour
    | RemoveNeighbour
    | PutRoute
    | RemoveRoute
)


def steps(before: TunnelState, after: TunnelState) -> Iterator[TunnelStep]:
    """What to do, in this order; nothing where both are the same."""
    yield from (RemoveRoute(r) for p, r in before.routes.items() if p not in after.routes)
    old = before.device
    if old is not None and (after.device is None or old.fixed != after.device.fixed):
        yield RemoveDevice(old)
        before = _without_device(before)
    if after.device is not None and before.device is None:
        yield AddDevice(after.device)
    elif before.device is not None and after.device is not None and before.device != after.device:
        yield ChangeDevice(before.device, after.device)
    yield from _entries(before, after)
    for prefix, route in after.routes.items():
        there = before.routes.get(prefix)
        if there != route:
            yield PutRoute(route, there)


def _without_device(state: TunnelState) -> TunnelState:
    routes = {p: route for p, route in state.routes.items() if route.kind not in ON_DEVICE}
    return TunnelState(routes=routes)


def _entries(before: TunnelState, after: TunnelState) -> Iterator[TunnelStep]:
    """Neighbours and forwarding entries: those that go first, as two may share a MAC for once."""
    for address in before.neighbours.keys() - after.neighbours.keys():
        yield RemoveNeighbour(address)
    for mac in before.forwarding.keys() - after.forwarding.keys():
        yield RemoveForwarding(mac)
    for mac, node in after.forwarding.items():
        if before.forwarding.get(mac) != node:
            yield PutForwarding(mac, node)
    for address, mac in after.neighbours.items():
        if before.neighbours.get(address) != mac:
            yield PutNeighbour(address, mac)
