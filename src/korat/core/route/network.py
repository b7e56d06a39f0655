"""The actual state of an Azure virtual network, as far as user-defined routes need it.

Values only: ``drivers.azure`` reads them from ARM, ``udr`` plans from them. ARM ids are compared
with ``same_id``, because ARM itself ignores their case.
"""

from dataclasses import dataclass

from korat.core.net.address import Addr, Prefix
from korat.core.route.effective import TableRoute


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet and the id of its route table, empty when it has none."""

    id: str
    name: str
    prefixes: tuple[Prefix, ...]
    table_id: str = ""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """A route table with all its routes, korat's and others'."""

    id: str
    routes: tuple[TableRoute, ...] = ()


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface; ``subnet_ids`` are those of its IP configurations, without doubles."""

    id: str
    name: str
    addresses: tuple[Addr, ...]
    subnet_ids: tuple[str, ...]
    ip_forwarding: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """One virtual network, its NICs, and the cluster's route table if that exists."""

    id: str
    location: str
    prefixes: tuple[Prefix, ...]
    subnets: tuple[Subnet, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    table: RouteTable | None = None


def same_id(one: str, other: str) -> bool:
    """Whether two ARM ids name the same resource."""
    return one.lower() == other.lower()


def name_of(resource_id: str) -> str:
    """The resource's own name: the last segment of its id."""
    return resource_id.rpartition("/")[2]
