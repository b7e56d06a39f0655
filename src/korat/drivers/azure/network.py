"""The virtual network through ARM: reads it whole, and carries out the steps of a plan.

Every write is read, modify, PUT with the etag of the read: ARM's PUT replaces, and so nothing that
someone else wrote in between is lost. All route steps together are one PUT of the table, so that
no pod CIDR is without its route on the way and Azure's write limits are spared.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from azure.core.polling import LROPoller
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.network.models import NetworkInterface, RouteTable, Subnet
from typing_extensions import override

from korat.core.errors import Conflict, NotFound, Unavailable
from korat.core.net.address import Prefix
from korat.core.route.effective import EffectiveRoute, TableRoute
from korat.core.route.network import Network, name_of, same_id
from korat.core.route.step import (
    AddAddresses,
    Associate,
    CreateTable,
    DeleteRoute,
    EnableForwarding,
    PutRoute,
    Step,
)
from korat.drivers.azure import decode
from korat.drivers.azure.config import CloudConfig
from korat.drivers.azure.decode import Json
from korat.drivers.azure.error import translated
from korat.ports import CloudNetwork

TRIES = 5
"""How often a write is made anew when someone else wrote first."""

OPERATION_S = 120.0
"""How long a write may take before the caller's next turn looks again."""

TableStep = CreateTable | DeleteRoute | PutRoute

T = TypeVar("T")


class AzureNetwork(CloudNetwork):
    """One VNet with its NICs and the cluster's route table."""

    def __init__(self, client: NetworkManagementClient, config: CloudConfig) -> None:
        self._client = client
        self._config = config

    @override
    def read(self) -> Network:
        config, client = self._config, self._client
        with translated(f"cannot read VNet {config.vnet}"):
            vnet = decode.vnet(
                client.virtual_networks.get(config.vnet_group, config.vnet).as_dict()
            )
        groups = vnet.interface_groups
        with translated(f"cannot list the NICs in {', '.join(groups)}"):
            interfaces = tuple(
                decode.interface(nic.as_dict())
                for group in groups
                for nic in client.network_interfaces.list(group)
            )
        raw = self._read_table()
        with translated(f"cannot read route table {config.table}"):
            table = decode.table(raw) if raw is not None else None
        return Network(vnet.id, vnet.location, vnet.prefixes, vnet.subnets, interfaces, table)

    @override
    def apply(self, steps: Sequence[Step]) -> None:
        table_steps = [step for step in steps if isinstance(step, TableStep)]
        if table_steps:
            _again(partial(self._write_table, table_steps))
        for step in steps:
            match step:
                case EnableForwarding(interface_id):
                    _again(partial(self._enable_forwarding, interface_id))
                case Associate(subnet_id, table_id):
                    _again(partial(self._associate, subnet_id, table_id))
                case AddAddresses():
                    _again(partial(self._add_addresses, step))
                case CreateTable() | DeleteRoute() | PutRoute():
                    pass

    @override
    def effective_routes(self, interface_id: str) -> tuple[EffectiveRoute, ...]:
        group, name = _group_of(interface_id), name_of(interface_id)
        what = f"cannot read the effective routes of NIC {name}"
        with translated(what):
            nics = self._client.network_interfaces
            result = _wait(nics.begin_get_effective_route_table(group, name), what)
            return tuple(
                route
                for row in (result.value or () if result else ())
                for route in decode.effective(row.as_dict())
            )

    def _read_table(self) -> Json | None:
        config = self._config
        try:
            with translated(f"cannot read route table {config.table}"):
                table = self._client.route_tables.get(config.table_group, config.table)
                return dict(table.as_dict())
        except NotFound:
            return None

    def _write_table(self, steps: Sequence[TableStep]) -> None:
        config = self._config
        body = self._read_table() or _new_table(steps)
        if body is None:
            raise Conflict(f"route table {config.table} has gone since it was read")
        properties = body.setdefault("properties", {})
        properties["routes"] = _changed_routes(properties.get("routes", []), steps)
        what = f"cannot write route table {config.table}"
        with translated(what):
            tables = self._client.route_tables
            poller = tables.begin_create_or_update(
                config.table_group, config.table, RouteTable(body), headers=_if_match(body)
            )
            _wait(poller, what)

    def _enable_forwarding(self, interface_id: str) -> None:
        group, name = _group_of(interface_id), name_of(interface_id)
        what = f"cannot enable IP forwarding on NIC {name}"
        with translated(what):
            nics = self._client.network_interfaces
            body = dict(nics.get(group, name).as_dict())
            if body["properties"].get("enableIPForwarding") is True:
                return
            body["properties"]["enableIPForwarding"] = True
            poller = nics.begin_create_or_update(
                group, name, NetworkInterface(body), headers=_if_match(body)
            )
            _wait(poller, what)

    def _add_addresses(self, step: AddAddresses) -> None:
        group, name = _group_of(step.interface_id), name_of(step.interface_id)
        what = f"cannot add addresses to NIC {name}"
        with translated(what):
            nics = self._client.network_interfaces
            body = dict(nics.get(group, name).as_dict())
            configurations = body["properties"]["ipConfigurations"]
            missing = step.total - len(configurations)
            if missing <= 0:
                return
            configurations += _secondary(configurations, step.subnet_id, missing)
            poller = nics.begin_create_or_update(
                group, name, NetworkInterface(body), headers=_if_match(body)
            )
            _wait(poller, what)

    def _associate(self, subnet_id: str, table_id: str) -> None:
        group, name = _group_of(subnet_id), name_of(subnet_id)
        what = f"cannot associate route table {name_of(table_id)} with subnet {name}"
        with translated(what):
            subnets = self._client.subnets
            body = dict(subnets.get(group, self._config.vnet, name).as_dict())
            current = (body["properties"].get("routeTable") or {}).get("id", "")
            if same_id(current, table_id):
                return
            if current:
                raise Conflict(f"{what}: it has got route table {name_of(current)} meanwhile")
            body["properties"]["routeTable"] = {"id": table_id}
            poller = subnets.begin_create_or_update(
                group, self._config.vnet, name, Subnet(body), headers=_if_match(body)
            )
            _wait(poller, what)


def _secondary(configurations: Sequence[Json], subnet_id: str, count: int) -> list[Json]:
    """So many new configurations, with the first names that no other one has."""
    taken = {str(each["name"]).lower() for each in configurations}
    names = (name for number in itertools.count(1) if (name := f"korat-{number}") not in taken)
    properties = {
        "primary": False,
        "privateIPAllocationMethod": "Dynamic",
        "privateIPAddressVersion": "IPv4",
    }
    return [
        {"name": name, "properties": {**properties, "subnet": {"id": subnet_id}}}
        for name in itertools.islice(names, count)
    ]


def _new_table(steps: Sequence[TableStep]) -> Json | None:
    created = next((step for step in steps if isinstance(step, CreateTable)), None)
    return {"location": created.location, "properties": {}} if created else None


def _changed_routes(routes: Sequence[Json], steps: Sequence[TableStep]) -> list[Json]:
    """The table's routes after the steps; routes that no step names stay as they are.

    Raises:
        Conflict: a route that a step replaces has become another route since the plan.
    """
    by_name = {route["name"].lower(): route for route in routes}
    for step in steps:
        match step:
            case DeleteRoute(route):
                if _prefix_of(by_name.get(route.name.lower())) == route.prefix:
                    del by_name[route.name.lower()]
            case PutRoute(route, was):
                there = _prefix_of(by_name.get(route.name.lower()))
                if there not in (None, route.prefix, was.prefix if was else None):
                    raise Conflict(f"route {route.name} has become a route to {there}")
                by_name[route.name.lower()] = _route_body(route)
            case CreateTable():
                pass
    return list(by_name.values())


def _prefix_of(route: Json | None) -> Prefix | str | None:
    if route is None:
        return None
    text = str(route["properties"].get("addressPrefix"))
    try:
        return Prefix.parse(text)
    except ValueError:
        return text


def _route_body(route: TableRoute) -> Json:
    properties = {"addressPrefix": str(route.prefix), "nextHopType": route.next_hop_type.value}
    if route.next_hop_ip is not None:
        properties["nextHopIpAddress"] = str(route.next_hop_ip)
    return {"name": route.name, "properties": properties}


def _again(write: Callable[[], None]) -> None:
    """Make a write anew, from its read, while someone else writes first."""
    for left in reversed(range(TRIES)):
        try:
            return write()
        except Conflict:
            if not left:
                raise
    return None


def _wait(poller: LROPoller[T], what: str) -> T:
    poller.wait(OPERATION_S)
    if not poller.done():
        raise Unavailable(f"{what}: Azure is not done after {OPERATION_S:.0f} s")
    return poller.result()


def _if_match(body: Json) -> dict[str, str]:
    etag = body.get("etag")
    return {"If-Match": str(etag)} if etag else {}


def _group_of(resource_id: str) -> str:
    return resource_id.split("/")[4]
