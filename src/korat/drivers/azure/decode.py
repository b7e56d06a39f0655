"""ARM's JSON as the values that plans are made from.

What a plan cannot hold (routes to service tags, next hop types of other products) is left out: such
routes are foreign, and writes go through the whole JSON, so nothing of them is lost.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from korat.core.net.address import Addr, Prefix
from korat.core.route.effective import EffectiveRoute, NextHop, Source, State, TableRoute
from korat.core.route.network import Interface, RouteTable, Subnet

Json = dict[str, Any]


class _Struct(msgspec.Struct, frozen=True, rename="camel"):
    """The base of ARM's shapes; unknown fields are ignored."""


class _Reference(_Struct, frozen=True):
    id: str = ""


class _RouteProperties(_Struct, frozen=True):
    address_prefix: str = ""
    next_hop_type: str = ""
    next_hop_ip_address: str | None = None


class _Route(_Struct, frozen=True):
    name: str
    properties: _RouteProperties = _RouteProperties()


class _TableProperties(_Struct, frozen=True):
    routes: tuple[_Route, ...] = ()


class _Table(_Struct, frozen=True):
    id: str
    properties: _TableProperties = _TableProperties()


class _SubnetProperties(_Struct, frozen=True):
    address_prefix: str | None = None
    address_prefixes: tuple[str, ...] | None = None
    route_table: _Reference | None = None
    ip_configurations: tuple[_Reference, ...] = ()


class _Subnet(_Struct, frozen=True):
    id: str
    name: str
    properties: _SubnetProperties = _SubnetProperties()


class _AddressSpace(_Struct, frozen=True):
    address_prefixes: tuple[str, ...] = ()


class _VnetProperties(_Struct, frozen=True):
    address_space: _AddressSpace = _AddressSpace()
    subnets: tuple[_Subnet, ...] = ()


class Vnet(_Struct, frozen=True):
    """A virtual network as ARM answers it."""

    id: str
    location: str = ""
    properties: _VnetProperties = _VnetProperties()

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """The address space."""
        return tuple(_prefixes(self.properties.address_space.address_prefixes))

    @property
    def subnets(self) -> tuple[Subnet, ...]:
        """The subnets with their tables."""
        return tuple(_subnet(subnet) for subnet in self.properties.subnets)

    @property
    def interface_groups(self) -> tuple[str, ...]:
        """The resource groups with NICs in the network, in lower case; not those of scale sets."""
        ids = (
            reference.id.lower().split("/")
            for subnet in self.properties.subnets
            for reference in subnet.properties.ip_configurations
        )
        groups = {parts[4] for parts in ids if len(parts) > 7 and parts[7] == "networkinterfaces"}  # noqa: PLR2004  an id's parts
        return tuple(sorted(groups))


class _ConfigurationProperties(_Struct, frozen=True):
    private_ip_address: str | None = msgspec.field(default=None, name="privateIPAddress")
    primary: bool | None = None
    subnet: _Reference | None = None


class _Configuration(_Struct, frozen=True):
    properties: _ConfigurationProperties = _ConfigurationProperties()


class _InterfaceProperties(_Struct, frozen=True):
    enable_ip_forwarding: bool | None = msgspec.field(default=None, name="enableIPForwarding")
    ip_configurations: tuple[_Configuration, ...] = ()


class _Interface(_Struct, frozen=True):
    id: str
    name: str
    properties: _InterfaceProperties = _InterfaceProperties()


class _Effective(_Struct, frozen=True):
    source: str = ""
    state: str = ""
    address_prefix: tuple[str, ...] = ()
    next_hop_type: str = ""
    next_hop_ip_address: tuple[str, ...] | None = None


def vnet(raw: Json) -> Vnet:
    """A virtual network."""
    return msgspec.convert(raw, Vnet)


def table(raw: Json) -> RouteTable:
    """A route table."""
    decoded = msgspec.convert(raw, _Table)
    routes = (_table_route(route) for route in decoded.properties.routes)
    return RouteTable(decoded.id, tuple(route for route in routes if route))


def interface(raw: Json) -> Interface:
    """A network interface, primary address first."""
    decoded = msgspec.convert(raw, _Interface)
    configs = [config.properties for config in decoded.properties.ip_configurations]
    configs.sort(key=lambda config: not config.primary)
    return Interface(
        decoded.id,
        decoded.name,
        tuple(Addr.parse(c.private_ip_address) for c in configs if c.private_ip_address),
        tuple(dict.fromkeys(config.subnet.id for config in configs if config.subnet)),
        bool(decoded.properties.enable_ip_forwarding),
    )


def effective(raw: Json) -> tuple[EffectiveRoute, ...]:
    """One row of effective routes; it may stand for several prefixes, or for a service tag."""
    decoded = msgspec.convert(raw, _Effective)
    try:
        hop, source = NextHop(decoded.next_hop_type), Source(decoded.source)
        state = State(decoded.state)
    except ValueError:
        return ()
    hops = decoded.next_hop_ip_address
    ip = Addr.parse(hops[0]) if hops else None
    prefixes = _prefixes(decoded.address_prefix)
    return tuple(EffectiveRoute(prefix, hop, ip, source, state) for prefix in prefixes)


def _subnet(subnet: _Subnet) -> Subnet:
    properties = subnet.properties
    texts = properties.address_prefixes or (properties.address_prefix or "",)
    table_id = properties.route_table.id if properties.route_table else ""
    return Subnet(subnet.id, subnet.name, tuple(_prefixes(texts)), table_id)


def _table_route(route: _Route) -> TableRoute | None:
    properties = route.properties
    ip = properties.next_hop_ip_address
    try:
        return TableRoute(
            route.name,
            Prefix.parse(properties.address_prefix),
            NextHop(properties.next_hop_type),
            Addr.parse(ip) if ip else None,
        )
    except ValueError:
        return None


def _prefixes(texts: Iterable[str]) -> Iterator[Prefix]:
    for text in texts:
        try:
            yield Prefix.parse(text)
        except ValueError:
            continue
