"""Azure networks, nodes and route tables small enough that everything collides; and what the
steps of a plan do to a network, as a model independent of ARM."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from korat.core.net.address import Addr, Prefix
from korat.core.route.effective import NextHop, TableRoute
from korat.core.route.network import Interface, Network, RouteTable, Subnet
from korat.core.route.podcidr import Placement, UdrNode, UdrSettings
from korat.core.route.step import (
    Associate,
    CreateTable,
    DeleteRoute,
    EnableForwarding,
    PutRoute,
    Step,
)

TABLE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/routeTables/korat-routes"
OTHER_TABLE = TABLE.replace("korat-routes", "firewall")

CLUSTER = Prefix.parse("10.10.128.0/17")
CLUSTER_V6 = Prefix.parse("fd00:10:10:8000::/52")

_POD_CIDRS = tuple(
    Prefix.parse(text)
    for text in (
        *("10.10.128.0/24", "10.10.129.0/24", "10.10.129.0/25", "10.10.128.0/23", "10.10.130.0/24"),
        *("10.10.131.0/26", "10.10.200.0/24", "10.10.1.0/24", "10.99.0.0/24"),
        *("fd00:10:10:8000::/64", "fd00:10:10:8001::/64", "fd00:10:10:8000::/63"),
    )
)
_SOUND = tuple(
    (Prefix.parse(text),)
    for text in ("10.10.128.0/24", "10.10.129.0/24", "10.10.130.0/24", "10.10.200.0/24")
)
_FOREIGN = tuple(
    Prefix.parse(text)
    for text in ("0.0.0.0/0", "10.10.0.0/16", "10.0.0.0/8", "192.0.2.0/24", "10.10.1.0/24")
)
_NAMES = ("vm1", "vm2", "VM2", "vm3", "node-1", "node-10", "n" * 90 + "a", "n" * 90 + "b")
_SUBNETS = ("10.10.0.0/24", "10.10.1.0/24", "fd00:10:10::/64")
_ADDRESSES = tuple(
    Addr.parse(text)
    for text in ("10.10.0.4", "10.10.0.5", "10.10.1.4", "10.10.1.5", "fd00:10:10::4")
)

_table_ids = st.sampled_from(("", "", TABLE, TABLE.upper(), OTHER_TABLE))


def _subnet(number: int, table_id: str) -> Subnet:
    return Subnet(
        f"/vnet/subnets/s{number}", f"s{number}", (Prefix.parse(_SUBNETS[number]),), table_id
    )


def _home(addr: Addr) -> str:
    number = next(i for i, text in enumerate(_SUBNETS) if addr in Prefix.parse(text))
    return f"/VNET/subnets/S{number}"


@st.composite
def interfaces(draw: st.DrawFn) -> tuple[Interface, ...]:
    """NICs that share out some of the addresses."""
    owners = draw(
        st.lists(
            st.sampled_from((0, 0, 1, 1, 2, 2, None)),
            min_size=len(_ADDRESSES),
            max_size=len(_ADDRESSES),
        )
    )
    found = []
    for number in range(3):
        mine = tuple(a for a, owner in zip(_ADDRESSES, owners, strict=True) if owner == number)
        homes = tuple(dict.fromkeys(map(_home, mine)))
        if mine:
            forwarding = draw(st.booleans())
            found.append(Interface(f"/nics/n{number}", f"n{number}", mine, homes, forwarding))
    return tuple(found)


@st.composite
def route_tables(draw: st.DrawFn) -> RouteTable:
    """A table with unique names and prefixes, as ARM demands."""
    prefixes = draw(st.lists(st.sampled_from(_POD_CIDRS + _FOREIGN), unique=True, max_size=7))
    names = draw(
        st.lists(
            st.sampled_from((*_NAMES, "to-firewall", "Vm1", "stale")),
            unique_by=str.lower,
            min_size=len(prefixes),
            max_size=len(prefixes),
        )
    )
    return RouteTable(
        TABLE, tuple(draw(_routes(n, p)) for n, p in zip(names, prefixes, strict=True))
    )


def _routes(name: str, prefix: Prefix) -> st.SearchStrategy[TableRoute]:
    hops = [a for a in _ADDRESSES if a.family is prefix.family]
    return st.one_of(
        st.sampled_from((NextHop.NONE, NextHop.INTERNET)).map(
            lambda hop: TableRoute(name, prefix, hop)
        ),
        st.sampled_from(hops).map(
            lambda ip: TableRoute(name, prefix, NextHop.VIRTUAL_APPLIANCE, ip)
        ),
    )


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """A virtual network with three subnets, some NICs, perhaps a table."""
    return Network(
        "/vnet",
        "westeurope",
        (Prefix.parse("10.10.0.0/16"), Prefix.parse("fd00:10:10::/48")),
        tuple(_subnet(number, draw(_table_ids)) for number in range(3)),
        draw(interfaces()),
        draw(st.none() | route_tables()),
    )


@st.composite
def node_lists(draw: st.DrawFn) -> tuple[UdrNode, ...]:
    """Nodes, most of them sound: own addresses, a pod CIDR of their own in the cluster."""
    names = draw(st.lists(st.sampled_from(_NAMES), unique=True, min_size=1, max_size=4))
    addresses = st.just(_ADDRESSES) | st.lists(st.sampled_from(_ADDRESSES), max_size=2).map(tuple)
    anything = st.lists(st.sampled_from(_POD_CIDRS), unique=True, max_size=2).map(tuple)
    return tuple(
        UdrNode(name, draw(addresses), draw(st.one_of(st.just(own), st.just(own), anything)))
        for name, own in zip(names, _SOUND, strict=False)
    )


settings_values = st.builds(
    UdrSettings,
    st.just(TABLE),
    st.sampled_from(("", "westeurope")),
    st.sampled_from(((CLUSTER,), (CLUSTER,), (CLUSTER, CLUSTER_V6))),
    st.sampled_from((Placement.INSIDE_VNET,) * 3 + (Placement.OUTSIDE_VNET,)),
    st.sampled_from((2, 400)),
)


def applied(network: Network, steps: Sequence[Step]) -> Network:
    """The network after the steps, by the rules of ARM."""
    for step in steps:
        network = _after(network, step)
    if network.table is not None:
        routes = network.table.routes
        assert len({r.name.lower() for r in routes}) == len(routes), "ARM: names are unique"
        assert len({r.prefix for r in routes}) == len(routes), "ARM: RouteConflict"
    return network


def _after(network: Network, step: Step) -> Network:
    match step:
        case CreateTable(table_id):
            assert network.table is None
            return replace(network, table=RouteTable(table_id))
        case DeleteRoute(route):
            assert network.table is not None
            assert route in network.table.routes
            left = tuple(other for other in network.table.routes if other != route)
            return replace(network, table=replace(network.table, routes=left))
        case PutRoute(route):
            assert network.table is not None
            name = route.name.lower()
            left = tuple(other for other in network.table.routes if other.name.lower() != name)
            return replace(network, table=replace(network.table, routes=(*left, route)))
        case EnableForwarding(interface_id):
            nics = tuple(
                replace(nic, ip_forwarding=True) if nic.id == interface_id else nic
                for nic in network.interfaces
            )
            return replace(network, interfaces=nics)
        case Associate(subnet_id, table_id):
            subnets = tuple(
                replace(subnet, table_id=table_id) if subnet.id == subnet_id else subnet
                for subnet in network.subnets
            )
            return replace(network, subnets=subnets)
