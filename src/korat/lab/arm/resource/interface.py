"""Network interfaces: their IP configurations, addresses and forwarding flag."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.effective import EffectiveRoute, effective_routes
from korat.lab.arm.error import bad_request
from korat.lab.arm.model import Json, Model, child_of
from korat.lab.arm.path import Target, parse_id
from korat.lab.arm.resource import rule
from korat.lab.arm.resource.route_table import table_routes
from korat.lab.arm.resource.virtual_network import vnet_prefixes

ADDRESS_LIMIT = 256
"""How many private addresses a NIC has at most, its primary one among them."""

_READ_ONLY = ("provisioningState", "resourceGuid", "macAddress", "virtualMachine", "primary")


def put(model: Model, target: Target, body: Json) -> None:
    """Create or replace a NIC; addresses that the body does not give are kept or chosen."""
    rule.checked_name(target.name)
    old = model.lookup(target)
    properties = {
        key: copy.deepcopy(value)
        for key, value in rule.properties_of(body).items()
        if key not in _READ_ONLY
    }
    properties["enableIPForwarding"] = properties.get("enableIPForwarding") is True
    configs = [
        {"name": config["name"], "properties": rule.properties_of(config)}
        for config in rule.named(rule.mappings(properties, "ipConfigurations"))
    ]
    _check_primary(configs)
    _check_count(configs, target.name)
    properties["ipConfigurations"] = _configured(model, target, configs, old)
    properties["macAddress"] = old["properties"]["macAddress"] if old else model.next_mac()
    if old and "virtualMachine" in old["properties"]:
        properties["virtualMachine"] = old["properties"]["virtualMachine"]
    location = body.get("location")
    if not isinstance(location, str):
        raise bad_request("LocationRequired", "The location property is required.")
    before = _networks(old["properties"]["ipConfigurations"]) if old else {}
    model.store(target, location, copy.deepcopy(rule.mapping(body, "tags")), properties)
    _touch_networks(model, before, _networks(properties["ipConfigurations"]))


def delete(model: Model, target: Target) -> None:
    """Remove a NIC that no VM has."""
    stored = model.find(target)
    if vm := stored["properties"].get("virtualMachine"):
        raise bad_request("NicInUse", f"Network interface {stored['id']} is used by {vm['id']}.")
    model.remove(target)
    _touch_networks(model, _networks(stored["properties"]["ipConfigurations"]), {})


def attach(model: Model, target: Target, vm: str) -> None:
    """Give the NIC to a VM, which ARM's compute provider would do."""
    stored = model.find(target)
    root = stored["id"].partition("/providers/")[0]
    vm_id = f"{root}/providers/Microsoft.Compute/virtualMachines/{vm}"
    stored["properties"]["virtualMachine"] = {"id": vm_id}
    model.touch(stored)


def detach(model: Model, target: Target) -> None:
    """Take the NIC from its VM, which ARM's compute provider does when the VM is deleted."""
    stored = model.find(target)
    stored["properties"].pop("virtualMachine", None)
    model.touch(stored)


def show(stored: Json) -> Json:
    """The NIC as ARM answers it."""
    shown = copy.deepcopy(stored)
    shown["properties"]["provisioningState"] = "Succeeded"
    shown["properties"]["primary"] = "virtualMachine" in stored["properties"]
    for config in shown["properties"]["ipConfigurations"]:
        config["id"] = f"{stored['id']}/ipConfigurations/{config['name']}"
        config["etag"] = stored["etag"]
        config["type"] = "Microsoft.Network/networkInterfaces/ipConfigurations"
        config["properties"]["provisioningState"] = "Succeeded"
    return shown


def addresses(stored: Json) -> tuple[Addr, ...]:
    """The NIC's addresses, primary first."""
    configs = stored["properties"]["ipConfigurations"]
    ordered = sorted(configs, key=lambda config: not config["properties"]["primary"])
    return tuple(Addr.parse(config["properties"]["privateIPAddress"]) for config in ordered)


def routes(model: Model, stored: Json) -> tuple[EffectiveRoute, ...]:
    """The effective routes of the NIC: those of its first configuration's subnet."""
    config = stored["properties"]["ipConfigurations"][0]
    target = parse_id(config["properties"]["subnet"]["id"])
    network = model.find(target)
    subnet = child_of(network, "subnets", target.child) or {"properties": {}}
    table = subnet["properties"].get("routeTable")
    stored_table = model.lookup(parse_id(table["id"])) if table else None
    return effective_routes(
        vnet_prefixes(network), table_routes(stored_table) if stored_table else None
    )


def show_routes(model: Model, stored: Json) -> Json:
    """The answer of ``effectiveRouteTable``.

    Raises:
        ArmError: no VM has the NIC; then Azure has nothing to ask.
    """
    if "virtualMachine" not in stored["properties"]:
        message = f"Network interface {stored['id']} must be attached to a running VM."
        raise bad_request("NetworkInterfaceNotAttachedToRunningVM", message)
    return {"value": [_show_route(route) for route in routes(model, stored)]}


def _show_route(route: EffectiveRoute) -> Json:
    return {
        "source": route.source.value,
        "state": route.state.value,
        "addressPrefix": [str(route.prefix)],
        "nextHopType": route.next_hop_type.value,
        "nextHopIpAddress": [str(route.next_hop_ip)] if route.next_hop_ip else [],
        "hasBgpOverride": False,
        "disableBgpRoutePropagation": False,
        "destinationServiceTags": [],
        "tagMap": {},
    }


def _check_primary(configs: list[Json]) -> None:
    if not configs:
        message = "A network interface needs an IP configuration."
        raise bad_request("NetworkInterfaceMustHaveAtLeastOneIpConfiguration", message)
    if not any(config["properties"].get("primary") for config in configs):
        configs[0]["properties"]["primary"] = True
    if sum(bool(config["properties"].get("primary")) for config in configs) > 1:
        message = "A network interface has one primary IP configuration."
        raise bad_request("NetworkInterfaceCanHaveOnlyOnePrimaryIpConfiguration", message)


def _check_count(configs: list[Json], name: str) -> None:
    if len(configs) > ADDRESS_LIMIT:
        message = f"Network interface {name} would have {len(configs)} IP configurations;"
        message += f" the limit is {ADDRESS_LIMIT}."
        raise bad_request("NetworkInterfaceIpConfigurationLimitExceeded", message)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an IP configuration lies: its subnet, and the prefixes of it that it may be in."""

    subnet_id: str
    prefixes: tuple[Prefix, ...]

    @property
    def scope(self) -> str:
        """The network: an address is taken in all of it."""
        return self.subnet_id.lower().partition("/subnets/")[0]


def _configured(model: Model, target: Target, configs: list[Json], old: Json | None) -> list[Json]:
    """The configurations as they are stored; who names its address has it before who does not."""
    taken = _addresses_of_others(model, target)
    places = [_place(model, config) for config in configs]
    chosen: list[Addr | None] = []
    for config, place in zip(configs, places, strict=True):
        addr = _named(config, place, old)
        if addr is not None:
            _claim(addr, place, taken)
        chosen.append(addr)
    made = []
    for config, place, addr in zip(configs, places, chosen, strict=True):
        made.append(_clean(config, place, addr or _free(place, taken, model.kept)))
    return made


def _place(model: Model, config: Json) -> _Place:
    name, given = config["name"], config["properties"]
    target = parse_id(str(rule.mapping(given, "subnet").get("id")))
    network = model.lookup(target) if target.kind == "virtualNetworks" else None
    subnet = child_of(network, "subnets", target.child) if network else None
    if network is None or subnet is None:
        message = f"Subnet {target.id} referenced by IP configuration {name} was not found."
        raise bad_request("InvalidResourceReference", message)
    subnet_id = f"{network['id']}/subnets/{subnet['name']}"
    version = given.get("privateIPAddressVersion", "IPv4")
    prefixes = rule.subnet_prefixes(subnet["properties"])
    family = tuple(p for p in prefixes if f"IPv{p.family.value}" == version)
    if not family:
        message = f"Subnet {subnet_id} has no {version} prefix for IP configuration {name}."
        raise bad_request("NetcfgInvalidSubnet", message)
    return _Place(subnet_id, family)


def _clean(config: Json, place: _Place, addr: Addr) -> Json:
    given = config["properties"]
    properties = {k: v for k, v in given.items() if k != "provisioningState"}
    properties.update(
        privateIPAddress=str(addr),
        privateIPAllocationMethod=given.get("privateIPAllocationMethod", "Dynamic"),
        privateIPAddressVersion=given.get("privateIPAddressVersion", "IPv4"),
        primary=bool(given.get("primary")),
        subnet={"id": place.subnet_id},
    )
    return {"name": config["name"], "properties": properties}


def _named(config: Json, place: _Place, old: Json | None) -> Addr | None:
    """The address that the configuration names, or has had so far in this subnet."""
    given = config["properties"]
    if given.get("privateIPAllocationMethod") == "Static" or given.get("privateIPAddress"):
        return rule.address(given.get("privateIPAddress"), "an IP configuration")
    before = child_of(old, "ipConfigurations", config["name"]) if old else None
    if before and before["properties"]["subnet"]["id"].lower() == place.subnet_id.lower():
        return Addr.parse(before["properties"]["privateIPAddress"])
    return None


def _claim(addr: Addr, place: _Place, taken: set[str]) -> None:
    """Take an address that was asked for, unless it cannot be had."""
    home = next((prefix for prefix in place.prefixes if addr in prefix), None)
    if home is None:
        subnet = ", ".join(map(str, place.prefixes))
        message = f"Private IP address {addr} does not lie in the subnet {subnet}."
        raise bad_request("PrivateIPAddressNotInSubnet", message)
    if addr.value in rule.reserved(home):
        message = f"Private IP address {addr} is reserved by Azure in the subnet {home}."
        raise bad_request("PrivateIPAddressInReservedRange", message)
    key = f"{place.scope} {addr}"
    if key in taken:
        message = f"Private IP address {addr} is already in use by another network interface."
        raise bad_request("PrivateIPAddressInUse", message)
    taken.add(key)


def _free(place: _Place, taken: set[str], kept: range) -> Addr:
    """The first free address of the subnet; from now on it is taken."""
    for addr in (addr for prefix in place.prefixes for addr in _usable(prefix)):
        key = f"{place.scope} {addr}"
        if key not in taken and not (addr.family is Family.V4 and addr.value in kept):
            taken.add(key)
            return addr
    raise bad_request("SubnetIsFull", f"Subnet {place.subnet_id} has no free address.")


def _usable(prefix: Prefix) -> Iterator[Addr]:
    return (Addr(prefix.family, value) for value in range(prefix.first + 4, prefix.last))


def _addresses_of_others(model: Model, target: Target) -> set[str]:
    return {
        _key(config)
        for nic in model.all("networkInterfaces")
        if nic["id"].lower() != target.parent_id.lower()
        for config in nic["properties"]["ipConfigurations"]
    }


def _key(config: Json) -> str:
    properties = config["properties"]
    network = properties["subnet"]["id"].lower().partition("/subnets/")[0]
    return f"{network} {properties['privateIPAddress']}"


def _networks(configs: list[Json]) -> dict[str, str]:
    return {
        config["name"].lower(): config["properties"]["subnet"]["id"].lower() for config in configs
    }


def _touch_networks(model: Model, before: dict[str, str], after: dict[str, str]) -> None:
    """A subnet's ``ipConfigurations`` changed, so its network's etag does."""
    changed = {subnet for _, subnet in set(before.items()) ^ set(after.items())}
    for network_id in {subnet.partition("/subnets/")[0] for subnet in changed}:
        if stored := model.lookup(parse_id(network_id)):
            model.touch(stored)
