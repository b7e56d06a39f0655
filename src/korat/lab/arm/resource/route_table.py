"""Route tables and their routes."""

import copy

from korat.core.route.effective import NextHop, TableRoute
from korat.lab.arm.error import ArmError, bad_request, child_not_found
from korat.lab.arm.model import Json, Model, child_of
from korat.lab.arm.path import Target
from korat.lab.arm.resource import rule

_READ_ONLY = ("subnets", "provisioningState", "resourceGuid")


def put(model: Model, target: Target, body: Json) -> None:
    """Create or replace a table with the routes of the body."""
    rule.checked_name(target.name)
    properties = copy.deepcopy(rule.properties_of(body))
    for field in _READ_ONLY:
        properties.pop(field, None)
    routes = rule.named(rule.mappings(properties, "routes"))
    properties["routes"] = [_clean(route["name"], route) for route in routes]
    _check(properties["routes"], model.route_limit, target.name)
    location = body.get("location")
    if not isinstance(location, str):
        raise bad_request("LocationRequired", "The location property is required.")
    model.store(target, location, copy.deepcopy(rule.mapping(body, "tags")), properties)


def delete(model: Model, target: Target) -> None:
    """Remove a table that no subnet uses."""
    stored = model.find(target)
    if users := subnets_of(model, stored):
        message = f"Route table {stored['id']} is in use by subnet {users[0]}."
        raise bad_request("InUseRouteTableCannotBeDeleted", message)
    model.remove(target)


def put_route(model: Model, target: Target, body: Json) -> None:
    """Create or replace one route."""
    stored = model.find(target)
    old = child_of(stored, "routes", target.child)
    name = old["name"] if old else rule.checked_name(target.child)
    routes = [route for route in stored["properties"]["routes"] if route is not old]
    routes.append(_clean(name, body))
    _check(routes, model.route_limit, stored["name"])
    stored["properties"]["routes"] = routes
    model.touch(stored)


def delete_route(model: Model, target: Target) -> None:
    """Remove one route."""
    stored = model.find(target)
    route = child_of(stored, "routes", target.child)
    if route is None:
        raise child_not_found(target.id)
    stored["properties"]["routes"].remove(route)
    model.touch(stored)


def show(model: Model, stored: Json) -> Json:
    """The table as ARM answers it, with its subnets and its routes' own ids."""
    shown = copy.deepcopy(stored)
    properties = shown["properties"]
    properties["provisioningState"] = "Succeeded"
    properties["routes"] = [show_route(stored, route) for route in stored["properties"]["routes"]]
    if users := subnets_of(model, stored):
        properties["subnets"] = [{"id": user} for user in users]
    return shown


def show_route(stored: Json, route: Json) -> Json:
    """One route as ARM answers it."""
    return {
        "name": route["name"],
        "id": f"{stored['id']}/routes/{route['name']}",
        "etag": stored["etag"],
        "type": "Microsoft.Network/routeTables/routes",
        "properties": {
            **copy.deepcopy(route["properties"]),
            "provisioningState": "Succeeded",
            "hasBgpOverride": False,
        },
    }


def subnets_of(model: Model, stored: Json) -> list[str]:
    """The ids of the subnets that use a table."""
    return [
        f"{network['id']}/subnets/{subnet['name']}"
        for network in model.all("virtualNetworks")
        for subnet in network["properties"]["subnets"]
        if subnet["properties"].get("routeTable", {}).get("id", "").lower() == stored["id"].lower()
    ]


def table_routes(stored: Json) -> tuple[TableRoute, ...]:
    """The table's routes as values."""
    return tuple(_value(route) for route in stored["properties"]["routes"])


def _clean(name: str, route: Json) -> Json:
    properties = copy.deepcopy(rule.properties_of(route))
    properties.pop("provisioningState", None)
    properties.pop("hasBgpOverride", None)
    clean = {"name": name, "properties": properties}
    _value(clean)
    return clean


def _value(route: Json) -> TableRoute:
    name, properties = route["name"], route["properties"]
    what = f"route {name}"
    try:
        hop = NextHop(properties.get("nextHopType"))
    except ValueError:
        message = f"'{properties.get('nextHopType')}' of {what} is not a next hop type."
        raise bad_request("InvalidRequestFormat", message) from None
    ip_text = properties.get("nextHopIpAddress")
    if (hop is NextHop.VIRTUAL_APPLIANCE) != bool(ip_text):
        message = f"{what}: nextHopIpAddress goes with VirtualAppliance, and only with it."
        raise _next_hop(message)
    prefix = rule.prefix(properties.get("addressPrefix"), what)
    ip = rule.address(ip_text, what) if ip_text else None
    if ip and ip.family is not prefix.family:
        raise _next_hop(f"{what}: the next hop {ip} is not of the family of {prefix}.")
    return TableRoute(name, prefix, hop, ip)


def _next_hop(message: str) -> ArmError:
    return bad_request("InvalidNextHopIpAddress", message)


def _check(routes: list[Json], limit: int, table: str) -> None:
    if len(routes) > limit:
        message = f"Route table {table} would have {len(routes)} routes; the limit is {limit}."
        raise bad_request("RouteTableRouteLimitExceeded", message)
    owner: dict[str, str] = {}
    for route in routes:
        prefix = str(route["properties"]["addressPrefix"]).lower()
        other = owner.setdefault(prefix, route["name"])
        if other != route["name"]:
            message = f"Route: {route['name']} conflicts with Route: {other}."
            message += " Routes cannot have the same AddressPrefix."
            raise bad_request("RouteConflict", message)
