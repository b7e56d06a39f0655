"""The fabric's rules, routes and neighbours in the kernel: read them, change what differs.

What is read becomes the plan's own values, so that what to do is a difference of two sets.
Runs inside the fabric's namespace, where everything is the fabric's.

Source: rtnetlink(7).
"""

from collections.abc import Iterator, Mapping
from socket import AF_INET
from typing import Any, Protocol

from pyroute2 import IPRoute

from korat.core.net.address import Addr, Family, Prefix
from korat.lab.fabric.plan import FabricPlan, KernelRoute, Neighbour, Rule

_RULE_PRIORITY = 100
_PERMANENT = 0x80
_SCOPE_GLOBAL, _SCOPE_LINK, _SCOPE_ANY = 0, 253, 255
_KERNEL_TABLES = {253, 254, 255}


class _Message(Protocol):
    """A decoded netlink message, as pyroute2 hands it out."""

    def __getitem__(self, field: str) -> int: ...

    def get(self, attribute: str) -> str | int | None: ...

    def get_attr(self, attribute: str) -> Any: ...  # noqa: ANN401 - a value, or a nested message


def apply_forwarding(ip: IPRoute, plan: FabricPlan) -> None:
    """Make the kernel's rules, routes and neighbours those of the plan.

    Neighbours come first, so that no packet finds a route whose end has no address yet.
    """
    names = {link["index"]: str(link.get("ifname")) for link in ip.get_links()}
    indexes = {name: index for index, name in names.items()}
    _apply_neighbours(ip, plan, names, indexes)
    _apply_routes(ip, plan, names, indexes)
    _apply_rules(ip, plan)


def _apply_neighbours(
    ip: IPRoute, plan: FabricPlan, names: Mapping[int, str], indexes: Mapping[str, int]
) -> None:
    there = set(_neighbours(ip, names))
    wanted = set(plan.neighbours)
    kept = {(n.device, n.address) for n in wanted}
    for n in there - wanted:
        if (n.device, n.address) not in kept:
            ip.neigh("del", dst=str(n.address), ifindex=indexes[n.device])
    for n in wanted - there:
        index = indexes[n.device]
        ip.neigh("replace", dst=str(n.address), lladdr=n.mac, ifindex=index, state="permanent")


def _apply_routes(
    ip: IPRoute, plan: FabricPlan, names: Mapping[int, str], indexes: Mapping[str, int]
) -> None:
    there = set(_routes(ip, names))
    wanted = set(plan.routes)
    for route in wanted - there:
        index = indexes[route.device]
        more: dict[str, object]
        request = {"dst": str(route.prefix), "table": route.table, "oif": index}
        if route.via:
            more = {"gateway": str(route.via), "scope": _SCOPE_GLOBAL, "flags": ["onlink"]}
        else:
            more = {"scope": _SCOPE_LINK}
        if route.largest_packet:
            more["metrics"] = {"mtu": route.largest_packet}
        ip.route("replace", **request, **more)
    kept = {(route.table, route.prefix) for route in wanted}
    for route in there - wanted:
        if (route.table, route.prefix) not in kept:
            ip.route("del", dst=str(route.prefix), table=route.table, scope=_SCOPE_ANY)


def _apply_rules(ip: IPRoute, plan: FabricPlan) -> None:
    there = set(_rules(ip))
    wanted = set(plan.rules)
    for rule in there - wanted:
        ip.rule("del", iifname=rule.device, table=rule.table, priority=_RULE_PRIORITY)
    for rule in wanted - there:
        ip.rule("add", iifname=rule.device, table=rule.table, priority=_RULE_PRIORITY)


def _neighbours(ip: IPRoute, names: Mapping[int, str]) -> Iterator[Neighbour]:
    for message in ip.get_neighbours(family=AF_INET):
        if message["state"] == _PERMANENT:
            addr = Addr.parse(str(message.get("dst")))
            yield Neighbour(names[message["ifindex"]], addr, str(message.get("lladdr")))


def _routes(ip: IPRoute, names: Mapping[int, str]) -> Iterator[KernelRoute]:
    for message in ip.get_routes(family=AF_INET):
        table = message.get("table")
        if table not in _KERNEL_TABLES:
            yield _route(message, int(table), names)


def _route(message: _Message, table: int, names: Mapping[int, str]) -> KernelRoute:
    base = Addr.parse(str(message.get("dst") or "0.0.0.0"))
    gateway, metrics = message.get("gateway"), message.get_attr("RTA_METRICS")
    mtu = metrics.get_attr("RTAX_MTU") if metrics is not None else None
    return KernelRoute(
        table=table,
        prefix=Prefix(Family.V4, base.value, message["dst_len"]),
        device=names[int(message.get("oif") or 0)],
        via=Addr.parse(str(gateway)) if gateway else None,
        largest_packet=int(mtu or 0),
    )


def _rules(ip: IPRoute) -> Iterator[Rule]:
    for message in ip.get_rules(family=AF_INET):
        if message.get("priority") == _RULE_PRIORITY:
            yield Rule(str(message.get("iifname")), int(message.get("table")))
