"""The effective routes of an Azure subnet, and which of them carries an address.

Azure looks the destination of every packet up in the effective routes of the *sender's* subnet:
its own system routes and those of the subnet's route table. The longest prefix wins, then User
over gateway over Default. This module is the one implementation of that rule: the lab's fabric
forwards by it, its ARM answers ``effectiveRouteTable`` from it, and the planner's laws are stated
with it. The routes of peerings and gateways are not made here; ``select`` still ranks them.

Source: Azure's "Virtual network traffic routing" page and live dumps of effective route tables.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from typing_extensions import override

from korat.core.net.address import Addr, Family, Prefix


class NextHop(Enum):
    """Where a route sends packets; the values are ARM's ``nextHopType``."""

    VNET_LOCAL = "VnetLocal"
    INTERNET = "Internet"
    NONE = "None"
    VIRTUAL_APPLIANCE = "VirtualAppliance"
    GATEWAY = "VirtualNetworkGateway"


class Source(Enum):
    """Who made an effective route: Azure itself, a gateway's BGP, or a route table."""

    DEFAULT = "Default"
    GATEWAY = "VirtualNetworkGateway"
    USER = "User"


class State(Enum):
    """Whether an effective route carries packets; Invalid means a user route took its prefix."""

    ACTIVE = "Active"
    INVALID = "Invalid"


@dataclass(frozen=True, slots=True)
class TableRoute:
    """One route of a route table; ``next_hop_ip`` is there for a virtual appliance only."""

    name: str
    prefix: Prefix
    next_hop_type: NextHop
    next_hop_ip: Addr | None = None

    @override
    def __str__(self) -> str:
        hop = str(self.next_hop_ip) if self.next_hop_ip else self.next_hop_type.value
        return f"{self.name}: {self.prefix} -> {hop}"


@dataclass(frozen=True, slots=True)
class EffectiveRoute:
    """One row of a subnet's effective routes."""

    prefix: Prefix
    next_hop_type: NextHop
    next_hop_ip: Addr | None = None
    source: Source = Source.DEFAULT
    state: State = State.ACTIVE


NONE_PREFIXES = tuple(
    Prefix.parse(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8"),
        *("25.48.0.0/12", "25.4.0.0/14", "25.33.0.0/16", "25.41.0.0/20", "198.18.0.0/15"),
        *("157.59.0.0/16", "40.109.0.0/16", "104.147.0.0/16", "104.146.0.0/17", "40.108.0.0/17"),
        *("23.103.0.0/18", "20.35.252.0/22"),
    )
)
"""Ranges that Azure drops unless a VNet or a longer route has them: private and its own."""

_RANK = {Source.DEFAULT: 0, Source.GATEWAY: 1, Source.USER: 2}

_EVERYTHING = {Family.V4: Prefix(Family.V4, 0, 0), Family.V6: Prefix(Family.V6, 0, 0)}


def effective_routes(
    vnet_prefixes: Iterable[Prefix], table_routes: Iterable[TableRoute] | None
) -> tuple[EffectiveRoute, ...]:
    """The effective routes of a subnet: system routes, then those of its table if it has one.

    Invariant: at most one Active route per prefix, as long as the table has no duplicates.
    """
    table = tuple(table_routes or ())
    taken = {route.prefix for route in table}
    system = tuple(
        EffectiveRoute(prefix, hop, state=State.INVALID if prefix in taken else State.ACTIVE)
        for prefix, hop in _system_routes(tuple(vnet_prefixes))
    )
    user = tuple(
        EffectiveRoute(route.prefix, route.next_hop_type, route.next_hop_ip, Source.USER)
        for route in table
    )
    return system + user


def select(routes: Iterable[EffectiveRoute], addr: Addr) -> EffectiveRoute | None:
    """The route that carries ``addr``: longest prefix, then User first; None drops.

    Complexity: linear in the routes.
    """
    matching = (r for r in routes if r.state is State.ACTIVE and addr in r.prefix)
    return max(matching, key=lambda r: (r.prefix.length, _RANK[r.source]), default=None)


def _system_routes(vnet_prefixes: tuple[Prefix, ...]) -> list[tuple[Prefix, NextHop]]:
    families = sorted({Family.V4} | {prefix.family for prefix in vnet_prefixes})
    dropped = [p for p in NONE_PREFIXES if not any(v.covers(p) for v in vnet_prefixes)]
    return [
        *((prefix, NextHop.VNET_LOCAL) for prefix in vnet_prefixes),
        *((_EVERYTHING[family], NextHop.INTERNET) for family in families),
        *((prefix, NextHop.NONE) for prefix in dropped),
    ]
