"""A tunnel's device, neighbours, forwarding entries and routes in the kernel: read, and changed.

Everything on the device is korat's, whoever made it, and so is, for Calico's tunnels, every route
with Felix's protocol number. ``read`` gives what is there as ``core.route``'s own value;
``carry_out`` does the steps that lead from there to what should be. Works in the network namespace
of the calling thread.

Not for what should be there (``core.route.vxlan``), nor for when to look (``agent.tunnel``).
Source: linux/if_link.h (IFLA_VXLAN_*), linux/neighbour.h (NTF_SELF), rtnetlink(7); ip-link(8).
"""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Self

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from korat.core.errors import Unavailable, Unsupported
from korat.core.net.address import Addr, Family
from korat.core.route.tunnel import (
    Device,
    RouteKind,
    TunnelName,
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
from korat.drivers.kernel import sysctl
from korat.drivers.kernel.family import AF
from korat.drivers.kernel.rtnetlink import (
    BLACKHOLE,
    DELNEIGH,
    DELROUTE,
    PERMANENT,
    Request,
    Route,
    RouteSocket,
    put_forwarding,
    put_neighbour,
    put_route,
    remove_forwarding,
    remove_neighbour,
    remove_route,
)

_UP = 0x01
_NO_DAD = 0x02
_SCOPE_LINK = 253
_PROTOCOL_KERNEL = 2
#: What is gone already needs no removal.
_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENXIO})
_LOCAL = {Family.V4: "vxlan_local", Family.V6: "vxlan_local6"}
#: The inner packet has its own checksums. IPv6 wants one outside too, IPv4 is told to do without,
#: as RFC 7348 recommends; neither is left to the kernel's or a library's default.
_CHECKSUMS: dict[Family, dict[str, bool]] = {
    Family.V4: {"vxlan_udp_csum": False},
    Family.V6: {"vxlan_udp_zero_csum6_tx": False, "vxlan_udp_zero_csum6_rx": False},
}
_DEVICE_STEPS = (AddDevice, ChangeDevice, RemoveDevice)


class Tunnel:
    """One family's tunnel of this node, between entering and leaving."""

    def __init__(self, family: Family, name: TunnelName) -> None:
        self._family = family
        self._name, self._protocol, self._everywhere = name.device, name.protocol, name.everywhere
        self._ip = IPRoute()
        self._wire = RouteSocket()
        self._index = 0

    def __enter__(self) -> Self:
        with _errors(self._name):
            self._index = self._index_of(self._name)
        return self

    def __exit__(self, *_: object) -> None:
        self._ip.close()
        self._wire.__exit__()

    def read(self) -> TunnelState:
        """All there is of this tunnel, whoever made it.

        Raises:
            Unavailable: the kernel does not answer.
        """
        with _errors(self._name):
            names = {link["index"]: str(link.get("ifname")) for link in self._ip.get_links()}
            routes = {route.prefix: route for route in self._routes(names)}
            if not self._index:
                return TunnelState(routes=routes)
            return TunnelState(
                self._device(names), dict(self._neighbours()), dict(self._forwarding()), routes
            )

    def carry_out(self, steps: Iterable[TunnelStep]) -> None:
        """Do the steps in their order.

        Raises:
            Unavailable: the kernel refuses one; those before it are done, of those after some.
            Unsupported: this kernel has no VXLAN.
        """
        with _errors(self._name):
            # The device comes first and goes first, so the others know its number by then.
            for is_device, part in groupby(steps, lambda step: isinstance(step, _DEVICE_STEPS)):
                if is_device:
                    for step in part:
                        self._do(step)
                else:
                    self._together(part)

    def _do(self, step: TunnelStep) -> None:
        match step:
            case AddDevice(device):
                self._add_device(device)
            case ChangeDevice(before, device):
                self._change_device(before, device)
            case _:
                with _gone_is_fine():
                    self._ip.link("del", index=self._index)
                self._index = 0

    def _together(self, steps: Iterable[TunnelStep]) -> None:
        requests = [request for step in steps for request in self._requests(step)]
        results = self._wire.carry_out(requests)
        for request, error in zip(requests, results, strict=True):
            removes = request.kind in (DELROUTE, DELNEIGH)
            if error is not None and not (removes and error.errno in _GONE):
                raise error

    def _requests(self, step: TunnelStep) -> Iterator[Request]:
        match step:
            case PutForwarding(mac, node):
                yield put_forwarding(self._index, mac, node)
            case RemoveForwarding(mac):
                yield remove_forwarding(self._index, mac)
            case PutNeighbour(address, mac):
                yield put_neighbour(self._index, address, mac)
            case RemoveNeighbour(address):
                yield remove_neighbour(self._index, address)
            case PutRoute(route, before):
                # IPv6 would add a second way beside the first, where one of them has a next hop.
                if before is not None and route.prefix.family is Family.V6:
                    yield self._removal(before)
                at = self._index_on(route)
                yield put_route(route.prefix, self._protocol, at, route.via, route.mtu_bytes)
            case RemoveRoute(route):
                yield self._removal(route)
            case _:
                raise TypeError(f"{step} is the device's")

    def _removal(self, route: TunnelRoute) -> Request:
        return remove_route(route.prefix, self._protocol, self._index_on(route))

    def _index_on(self, route: TunnelRoute) -> int:
        """The interface of a route; 0 of a blackhole."""
        if route.kind is RouteKind.BLACKHOLE:
            return 0
        if route.device == self._name:
            return self._index
        found = self._index_of(route.device)
        if not found:
            raise Unavailable(f"route to {route.prefix}: there is no interface {route.device}")
        return found

    def _add_device(self, device: Device) -> None:
        parent = self._index_of(device.parent)
        if not parent:
            raise Unavailable(f"{device.name}: there is no interface {device.parent}")
        self._ip.link(
            "add",
            ifname=device.name,
            kind="vxlan",
            address=device.mac,
            mtu=device.mtu_bytes,
            vxlan_id=device.vni,
            vxlan_port=device.port,
            vxlan_link=parent,
            vxlan_learning=device.learning,
            **{_LOCAL[device.local.family]: str(device.local)},
            **_CHECKSUMS[device.local.family],
        )
        self._index = self._index_of(device.name)
        self._settle(device, frozenset())

    def _change_device(self, before: Device, device: Device) -> None:
        if before.mtu_bytes != device.mtu_bytes:
            self._ip.link("set", index=self._index, mtu=device.mtu_bytes)
        self._settle(device, before.addresses)

    def _settle(self, device: Device, addresses: frozenset[Addr]) -> None:
        """Give the device its addresses and bring it up.

        What is new comes first: with its last address a device loses its routes.
        """
        family = self._family
        if family is Family.V6:
            sysctl.write({f"net/ipv6/conf/{device.name}/disable_ipv6": 0})
        for addr in device.addresses - addresses:
            flags = {"flags": _NO_DAD} if family is Family.V6 else {}
            self._ip.addr(
                "replace", index=self._index, address=str(addr), prefixlen=family.bits, **flags
            )
        for addr in addresses - device.addresses:
            with _gone_is_fine():
                self._ip.addr("del", index=self._index, address=str(addr), prefixlen=family.bits)
        self._ip.link("set", index=self._index, state="up")

    def _index_of(self, name: str) -> int:
        return int(next(iter(self._ip.link_lookup(ifname=name)), 0))

    def _device(self, names: dict[int, str]) -> Device:
        (link,) = self._ip.get_links(self._index)
        info = link.get_attr("IFLA_LINKINFO")
        data = info.get_attr("IFLA_INFO_DATA") if info is not None else None
        return _read_device(link, data, names, self._addresses())

    def _addresses(self) -> frozenset[Addr]:
        found = self._ip.get_addr(family=AF[self._family], index=self._index)
        return frozenset(
            Addr.parse(entry.get_attr("IFA_ADDRESS"))
            for entry in found
            if entry["scope"] != _SCOPE_LINK
        )

    def _neighbours(self) -> Iterator[tuple[Addr, str]]:
        """What is permanent: the kernel keeps others for itself, for multicast and by asking."""
        for entry in self._wire.neighbours(self._family):
            if entry.interface == self._index and entry.state & PERMANENT:
                yield entry.address(self._family), entry.mac

    def _forwarding(self) -> Iterator[tuple[str, Addr]]:
        for entry in self._wire.forwarding(self._index):
            if entry.interface == self._index and entry.dst is not None:
                yield entry.mac, entry.address(self._family)

    def _routes(self, names: dict[int, str]) -> Iterator[TunnelRoute]:
        """All on the device but the kernel's own, and those with the number that is its alone."""
        for route in self._wire.routes(self._family):
            on_device = bool(self._index) and route.interface == self._index
            own = self._everywhere and route.protocol == self._protocol
            if own or (on_device and route.protocol != _PROTOCOL_KERNEL):
                yield _read_route(route, names, on_device=on_device)


def _read_device(
    link: Any,  # noqa: ANN401 - pyroute2's messages have no types
    data: Any,  # noqa: ANN401 - as above
    names: dict[int, str],
    addresses: frozenset[Addr],
) -> Device:
    """What a link is as a tunnel's device; of another kind it is one that equals none."""

    def value(key: str) -> Any:  # noqa: ANN401 - as above
        return data.get_attr(f"IFLA_VXLAN_{key}") if data is not None else None

    local = value("LOCAL") or value("LOCAL6")
    port = value("PORT") or 0
    return Device(
        name=str(link.get_attr("IFLA_IFNAME")),
        vni=int(value("ID") or 0),
        port=int(port),
        local=Addr.parse(str(local)) if local else Addr(Family.V4, 0),
        parent=names.get(int(value("LINK") or 0), ""),
        mac=str(link.get_attr("IFLA_ADDRESS")),
        mtu_bytes=int(link.get_attr("IFLA_MTU")),
        addresses=addresses,
        learning=bool(value("LEARNING")),
        up=bool(link["flags"] & _UP),
    )


def _read_route(route: Route, names: dict[int, str], *, on_device: bool) -> TunnelRoute:
    if route.kind == BLACKHOLE:
        return TunnelRoute(route.prefix, RouteKind.BLACKHOLE)
    kind = RouteKind.SUBNET
    if on_device:
        kind = RouteKind.TUNNEL if route.via else RouteKind.DIRECT
    device = names.get(route.interface, "")
    return TunnelRoute(route.prefix, kind, device, route.via, route.mtu_bytes)


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code not in _GONE:
            raise


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """Turn the kernel's refusals into korat's."""
    try:
        yield
    except NetlinkError as error:
        if error.code == errno.EOPNOTSUPP:
            raise Unsupported(f"{what}: this kernel has no VXLAN devices: {error}") from error
        raise Unavailable(f"{what}: the kernel refuses it: {error}") from error
    except OSError as error:
        raise Unavailable(f"{what}: {error}") from error
