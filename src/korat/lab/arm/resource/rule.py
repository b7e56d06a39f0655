"""Rules that several ARM resources share: JSON shapes, names, prefixes, reserved addresses.

Codes are those of Azure's network provider where its documents or users' reports show them.
"""

import re
from collections.abc import Iterable
from typing import Any

from korat.core.net.address import Addr, Family, Prefix
from korat.lab.arm.error import bad_request
from korat.lab.arm.model import Json

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,78}[A-Za-z0-9_])?")

FORBIDDEN_SPACE = tuple(
    Prefix.parse(text)
    for text in (
        *("224.0.0.0/4", "255.255.255.255/32", "127.0.0.0/8"),
        *("169.254.0.0/16", "168.63.129.16/32"),
    )
)
"""What no virtual network may contain."""


def checked_name(name: object) -> str:
    """A legal resource name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        rule = "It can contain up to 80 letters, digits, '_', '.', '-', and starts alphanumeric."
        raise bad_request("InvalidResourceName", f"Resource name {name} is invalid. {rule}")
    return name


def properties_of(body: Json) -> Json:
    """The ``properties`` of a body, empty when absent."""
    return mapping(body, "properties")


def mapping(body: Json, field: str) -> Json:
    """A JSON object in a body, empty when absent."""
    value = body.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_request("InvalidRequestFormat", f"'{field}' must be an object.")
    return value


def mappings(body: Json, field: str) -> list[Json]:
    """A list of JSON objects in a body, empty when absent."""
    value: Any = body.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise bad_request("InvalidRequestFormat", f"'{field}' must be a list of objects.")
    return value


def strings(body: Json, field: str) -> list[str]:
    """A list of strings in a body, empty when absent."""
    value: Any = body.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise bad_request("InvalidRequestFormat", f"'{field}' must be a list of strings.")
    return value


def named(children: Iterable[Json]) -> list[Json]:
    """Children with legal names that differ, whatever the case."""
    checked = list(children)
    names = [checked_name(child.get("name")).lower() for child in checked]
    for name in names:
        if names.count(name) > 1:
            raise bad_request("InvalidRequestFormat", f"Name '{name}' is there twice.")
    return checked


def prefix(text: object, what: str) -> Prefix:
    """A CIDR without host bits."""
    try:
        parsed = Prefix.parse(str(text))
    except ValueError:
        message = f"Address prefix '{text}' of {what} is not a CIDR."
        raise bad_request("InvalidAddressPrefixFormat", message) from None
    if "/" not in str(text) or str(text).lower() != str(parsed):
        message = f"Address prefix {text} of {what} has an invalid CIDR notation: use {parsed}."
        raise bad_request("InvalidCIDRNotation", message)
    return parsed


def address(text: object, what: str) -> Addr:
    """An IP address."""
    try:
        return Addr.parse(str(text))
    except ValueError:
        message = f"IP address '{text}' of {what} is invalid."
        raise bad_request("InvalidIPAddressFormat", message) from None


def subnet_prefixes(properties: Json, what: str = "a subnet") -> tuple[Prefix, ...]:
    """A subnet's prefixes, from either of ARM's two spellings."""
    texts = strings(properties, "addressPrefixes") or [str(properties.get("addressPrefix"))]
    return tuple(prefix(text, what) for text in texts)


def reserved(subnet: Prefix) -> frozenset[int]:
    """The addresses that Azure keeps: network, gateway, two for DNS, and the last."""
    return frozenset((*(subnet.first + i for i in range(4)), subnet.last))


def gateway(subnet: Prefix) -> Addr:
    """The subnet's gateway, which answers ARP and nothing else."""
    return Addr(subnet.family, subnet.first + 1)


def check_subnet_size(subnet: Prefix, what: str) -> None:
    """IPv4 subnets are /29 at the smallest, IPv6 ones exactly /64."""
    if subnet.family is Family.V4 and subnet.length > 29:  # noqa: PLR2004  Azure's smallest
        raise bad_request("NetcfgInvalidSubnet", f"{what} {subnet}: the smallest subnet is /29.")
    if subnet.family is Family.V6 and subnet.length != 64:  # noqa: PLR2004  Azure's only one
        raise bad_request("NetcfgInvalidSubnet", f"{what} {subnet}: IPv6 subnets are /64.")
