"""Virtual networks and their subnets."""

import copy
from collections.abc import Iterable, Iterator
from itertools import combinations

from korat.core.net.address import Prefix
from korat.lab.arm.error import bad_request, child_not_found
from korat.lab.arm.model import Json, Model, child_of
from korat.lab.arm.path import Target, parse_id
from korat.lab.arm.resource import rule

_READ_ONLY = ("ipConfigurations", "provisioningState", "purpose", "resourceGuid")


def put(model: Model, target: Target, body: Json) -> None:
    """Create or replace a network with the subnets of the body; those left out are deleted."""
    rule.checked_name(target.name)
    properties = _without_read_only(rule.properties_of(body))
    subnets = rule.named(rule.mappings(properties, "subnets"))
    properties["subnets"] = [_clean(model, subnet["name"], subnet) for subnet in subnets]
    space = _check_space(properties)
    _check_subnets(space, properties["subnets"])
    old = model.lookup(target)
    if old is not None:
        _check_users(model, old, properties["subnets"])
    location = body.get("location")
    if not isinstance(location, str):
        raise bad_request("LocationRequired", "The location property is required.")
    before = _tables(old["properties"]["subnets"]) if old else {}
    model.store(target, location, copy.deepcopy(rule.mapping(body, "tags")), properties)
    _touch_tables(model, before, _tables(properties["subnets"]))


def delete(model: Model, target: Target) -> None:
    """Remove a network without NICs."""
    stored = model.find(target)
    _check_users(model, stored, [])
    model.remove(target)
    _touch_tables(model, _tables(stored["properties"]["subnets"]), {})


def put_subnet(model: Model, target: Target, body: Json) -> None:
    """Create or replace one subnet; a body without ``routeTable`` takes its table away."""
    stored = model.find(target)
    old = child_of(stored, "subnets", target.child)
    name = old["name"] if old else rule.checked_name(target.child)
    new = _clean(model, name, body)
    if old is None:
        _replace(model, stored, [*_subnets(stored), new])
    else:
        _replace(model, stored, [new if s is old else s for s in _subnets(stored)])


def delete_subnet(model: Model, target: Target) -> None:
    """Remove a subnet without NICs."""
    stored = model.find(target)
    old = child_of(stored, "subnets", target.child)
    if old is None:
        raise child_not_found(target.id)
    _replace(model, stored, [subnet for subnet in _subnets(stored) if subnet is not old])


def show(model: Model, stored: Json) -> Json:
    """The network as ARM answers it."""
    shown = copy.deepcopy(stored)
    shown["properties"]["provisioningState"] = "Succeeded"
    shown["properties"]["subnets"] = [show_subnet(model, stored, s) for s in _subnets(stored)]
    return shown


def show_subnet(model: Model, stored: Json, subnet: Json) -> Json:
    """One subnet as ARM answers it, with the NIC configurations that lie in it."""
    subnet_id = subnet_id_of(stored, subnet)
    properties = {**copy.deepcopy(subnet["properties"]), "provisioningState": "Succeeded"}
    if users := configurations_in(model, subnet_id):
        properties["ipConfigurations"] = [{"id": user} for user in users]
    return {
        "name": subnet["name"],
        "id": subnet_id,
        "etag": stored["etag"],
        "type": "Microsoft.Network/virtualNetworks/subnets",
        "properties": properties,
    }


def subnet_id_of(stored: Json, subnet: Json) -> str:
    """A subnet's id."""
    return f"{stored['id']}/subnets/{subnet['name']}"


def vnet_prefixes(stored: Json) -> tuple[Prefix, ...]:
    """The network's address space."""
    space = rule.mapping(stored["properties"], "addressSpace")
    return tuple(rule.prefix(text, "the address space") for text in space["addressPrefixes"])


def configurations_in(model: Model, subnet_id: str) -> list[str]:
    """The ids of the IP configurations in a subnet."""
    return [
        f"{nic['id']}/ipConfigurations/{config['name']}"
        for nic in model.all("networkInterfaces")
        for config in nic["properties"]["ipConfigurations"]
        if config["properties"]["subnet"]["id"].lower() == subnet_id.lower()
    ]


def _subnets(stored: Json) -> list[Json]:
    subnets: list[Json] = stored["properties"]["subnets"]
    return subnets


def _replace(model: Model, stored: Json, subnets: list[Json]) -> None:
    _check_subnets(vnet_prefixes(stored), subnets)
    _check_users(model, stored, subnets)
    before = _tables(_subnets(stored))
    stored["properties"]["subnets"] = subnets
    model.touch(stored)
    _touch_tables(model, before, _tables(subnets))


def _clean(model: Model, name: str, subnet: Json) -> Json:
    properties = _without_read_only(rule.properties_of(subnet))
    for prefix in rule.subnet_prefixes(properties, f"subnet {name}"):
        rule.check_subnet_size(prefix, f"Subnet {name}")
    if table := rule.mapping(properties, "routeTable"):
        properties["routeTable"] = {"id": _table_id(model, table.get("id"), name)}
    else:
        properties.pop("routeTable", None)
    return {"name": name, "properties": properties}


def _table_id(model: Model, text: object, subnet: str) -> str:
    target = parse_id(str(text))
    stored = model.lookup(target) if target.kind == "routeTables" else None
    if stored is None:
        message = f"Resource {text} referenced by subnet {subnet} was not found."
        raise bad_request("InvalidResourceReference", message)
    return str(stored["id"])


def _without_read_only(properties: Json) -> Json:
    return {k: copy.deepcopy(v) for k, v in properties.items() if k not in _READ_ONLY}


def _check_space(properties: Json) -> tuple[Prefix, ...]:
    texts = rule.strings(rule.mapping(properties, "addressSpace"), "addressPrefixes")
    space = tuple(rule.prefix(text, "the address space") for text in texts)
    if not space:
        raise bad_request("VnetAddressSpaceRequired", "addressSpace.addressPrefixes is empty.")
    for prefix in space:
        if any(prefix.overlaps(forbidden) for forbidden in rule.FORBIDDEN_SPACE):
            message = f"Address prefix {prefix} contains addresses that Azure reserves."
            raise bad_request("AddressPrefixReserved", message)
    for one, other in combinations(space, 2):
        if one.overlaps(other):
            message = f"Address prefixes {one} and {other} overlap."
            raise bad_request("AddressPrefixesOverlap", message)
    return space


def _check_subnets(space: tuple[Prefix, ...], subnets: list[Json]) -> None:
    claims = [(s["name"], p) for s in subnets for p in rule.subnet_prefixes(s["properties"])]
    for name, prefix in claims:
        if not any(block.covers(prefix) for block in space):
            message = f"Subnet '{name}' ({prefix}) is not in the network's address space."
            raise bad_request("NetcfgInvalidSubnet", message)
    for (name, prefix), (other_name, other) in combinations(claims, 2):
        if prefix.overlaps(other):
            message = f"Subnet '{name}' ({prefix}) overlaps subnet '{other_name}' ({other})."
            raise bad_request("NetcfgSubnetRangesOverlap", message)


def _check_users(model: Model, stored: Json, subnets: Iterable[Json]) -> None:
    """A subnet with NICs neither goes nor changes its prefixes."""
    new = {s["name"].lower(): rule.subnet_prefixes(s["properties"]) for s in subnets}
    for old in _subnets(stored):
        prefixes = new.get(old["name"].lower())
        if prefixes == rule.subnet_prefixes(old["properties"]):
            continue
        users = configurations_in(model, subnet_id_of(stored, old))
        if users:
            verb = "Deleted" if prefixes is None else "Updated"
            message = f"Subnet {old['name']} is in use by {users[0]}."
            raise bad_request(f"InUseSubnetCannotBe{verb}", message)


def _tables(subnets: Iterable[Json]) -> dict[str, str]:
    return dict(_associations(subnets))


def _associations(subnets: Iterable[Json]) -> Iterator[tuple[str, str]]:
    for subnet in subnets:
        if table := subnet["properties"].get("routeTable"):
            yield subnet["name"].lower(), table["id"]


def _touch_tables(model: Model, before: dict[str, str], after: dict[str, str]) -> None:
    """A table's ``subnets`` changed, so its etag does."""
    for table_id in {table for _, table in set(before.items()) ^ set(after.items())}:
        if stored := model.lookup(parse_id(table_id)):
            model.touch(stored)
