"""The node's routes to its own workloads: one host route per address, made to match and no more.

Only routes with korat's protocol number are read or touched. Not for making a pod's link, which
adds its routes itself; this is what mends them after somebody removed one or the agent was away.
"""

import errno
from collections.abc import Mapping
from dataclasses import dataclass

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from korat.core.errors import Unavailable
from korat.core.net.address import Addr, Family
from korat.drivers.kernel.family import AF
from korat.drivers.kernel.veth import ROUTE_PROTOCOL

_SCOPE_LINK = 253


@dataclass(frozen=True, slots=True)
class Synced:
    """What ``sync`` could not do yet (the interface is missing), and what it took away."""

    waiting: frozenset[Addr]
    removed: frozenset[Addr]


def sync(wanted: Mapping[Addr, str]) -> Synced:
    """Make these the host routes.

    Raises:
        Unavailable: the kernel refuses a route.
    """
    with IPRoute() as ip:
        indexes = {link.get_attr("IFLA_IFNAME"): link["index"] for link in ip.get_links()}
        there = {
            Addr.parse(route.get_attr("RTA_DST")): route.get_attr("RTA_OIF")
            for family in Family
            for route in ip.get_routes(family=AF[family], proto=ROUTE_PROTOCOL)
            if route["dst_len"] == family.bits
        }
        present = {addr: indexes[name] for addr, name in wanted.items() if name in indexes}
        removed = frozenset(there.keys() - wanted.keys())
        for addr in removed:
            _change(ip, "del", addr, there[addr])
        changed = [addr for addr, index in present.items() if there.get(addr) != index]
        gone = {addr for addr in changed if not _change(ip, "replace", addr, present[addr])}
    return Synced(frozenset(wanted.keys() - present.keys()) | gone, removed)


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
