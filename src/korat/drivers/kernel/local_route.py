"""The node's routes to its own workloads: one host route per address, made to match and no more.

Only routes with korat's protocol number are touched. Where another CNI plugin made the same route
already, over the same interface, that one serves, and korat makes its own when it is gone. Not for
making a pod's link, which adds its routes itself; this is what mends them after somebody removed
one or the agent was away.
"""

import errno
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from korat.core.errors import Unavailable
from korat.core.net.address import Addr, Family
from korat.drivers.kernel.family import AF
from korat.drivers.kernel.rtnetlink import UNICAST, RouteSocket
from korat.drivers.kernel.veth import ROUTE_PROTOCOL

_SCOPE_LINK = 253


@dataclass(frozen=True, slots=True)
class Synced:
    """What ``sync`` could not do yet (the interface is missing), and what it took away."""

    waiting: frozenset[Addr]
    removed: frozenset[Addr]


@dataclass(frozen=True, slots=True)
class _HostRoutes:
    """The host routes of the main table: korat's by address, and others' with their interface."""

    own: Mapping[Addr, int]
    others: Collection[tuple[Addr, int]]


def sync(wanted: Mapping[Addr, str]) -> Synced:
    """Make these the host routes, where nobody else has.

    Raises:
        Unavailable: the kernel refuses a route, or does not answer.
    """
    there = _read()
    with IPRoute() as ip:
        indexes = {link.get_attr("IFLA_IFNAME"): link["index"] for link in ip.get_links()}
        present = {addr: indexes[name] for addr, name in wanted.items() if name in indexes}
        removed = frozenset(there.own.keys() - wanted.keys())
        for addr in removed:
            _change(ip, "del", addr, there.own[addr])
        changed = [
            addr
            for addr, index in present.items()
            if there.own.get(addr) != index and (addr, index) not in there.others
        ]
        gone = {addr for addr in changed if not _change(ip, "replace", addr, present[addr])}
    return Synced(frozenset(wanted.keys() - present.keys()) | gone, removed)


def _read() -> _HostRoutes:
    own: dict[Addr, int] = {}
    others: set[tuple[Addr, int]] = set()
    try:
        with RouteSocket() as kernel:
            for family in Family:
                for route in kernel.routes(family):
                    if route.prefix.length != family.bits or route.kind != UNICAST:
                        continue
                    addr = Addr(family, route.prefix.base)
                    if route.protocol == ROUTE_PROTOCOL:
                        own[addr] = route.interface
                    elif route.via is None:
                        others.add((addr, route.interface))
    except OSError as error:
        raise Unavailable(f"the node's routes cannot be read: {error}") from error
    return _HostRoutes(own, others)


def _change(ip: IPRoute, verb: str, addr: Addr, index: int) -> bool:
    """Add or delete a route; False when its interface went meanwhile, and with it the route."""
    scope = {"scope": _SCOPE_LINK} if addr.family is Family.V4 else {}
    dst = f"{addr}/{addr.family.bits}"
    try:
        ip.route(verb, family=AF[addr.family], dst=dst, oif=index, proto=ROUTE_PROTOCOL, **scope)
    except NetlinkError as error:
        if verb == "del" or error.code == errno.ENODEV:
            return False
        raise Unavailable(f"route {dst}: the kernel says: {error.args[-1]}") from error
    return True
