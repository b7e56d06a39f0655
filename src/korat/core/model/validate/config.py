"""FelixConfiguration and ClusterInformation.

Source: the patterns of the CRD, and libcalico-go/lib/validator/v3 (validateFelixConfigSpec).
"""

import re
from collections.abc import Callable

from korat.core.errors import Problem
from korat.core.model import number
from korat.core.model.builtin import INFORMATION
from korat.core.model.config import ClusterInformation, FelixConfiguration
from korat.core.model.decode import nearest
from korat.core.model.felix_field import FIELDS, Field, Form
from korat.core.model.validate.faults import Faults
from korat.core.model.validate.name import dns_label
from korat.core.net.address import Family
from korat.core.net.port import NAMES_WITH_PORTS, canonical_protocol

_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ms|s|m|h))*")
_TYPES: dict[Form, type | tuple[type, ...]] = {
    Form.BOOLEAN: bool,
    Form.INTEGER: int,
    Form.TEXT: str,
    Form.DURATION: str,
    Form.CHOICE: str,
    Form.PORTS: (int, str),
    Form.LIST: (list, tuple),
    Form.MAPPING: dict,
}
_INTERFACE_FILTER = re.compile(r"[a-zA-Z0-9:._+-]{1,15}")
_INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
_HOST = re.compile(r"[a-zA-Z0-9:._+-]{1,64}")
_OVERRIDE = re.compile(r"[a-zA-Z0-9_ -]+")
_GUID = re.compile(r"[0-9a-f]{32}")
_NODE_PORT_RANGES = 7
_REGION_CHARS = 63 - len("openstack-region-")
_TABLE_LAST = 0xFFFFFFFF
_OLD_TABLE_LAST = 250
_TABLES = 0xFFFF


def felix_configuration(faults: Faults, own: FelixConfiguration) -> None:
    """Known fields with values of their form; korat need not honour them."""
    for key, value in own.spec.items():
        if value is not None:
            _field(faults, key, value)


def field_faults(where: str, key: str, value: object) -> list[Problem]:
    """What is wrong with one setting, wherever it came from."""
    faults = Faults(where)
    _field(faults, key, value)
    return faults.found


def cluster_information(faults: Faults, own: ClusterInformation) -> None:
    """The one object of its kind."""
    if own.metadata.name != INFORMATION.name:
        rule = f"there is only one, named {INFORMATION.name}"
        faults.add("metadata.name", own.metadata.name, rule)
    if own.spec.cluster_guid:
        rule = "must be 32 hexadecimal digits"
        faults.matches("spec.clusterGUID", own.spec.cluster_guid, _GUID, rule)


def _field(faults: Faults, key: str, value: object) -> None:
    field = FIELDS.get(key)
    path = f"spec.{key}"
    if field is None:
        hint = nearest(key, FIELDS)
        faults.add(path, None, f"unknown field{f', did you mean {hint}?' if hint else ''}")
    elif _has_form(faults, path, value, field):
        _narrow(faults, path, value, field)
        special = _SPECIAL.get(key)
        if special and value != "":
            special(faults, path, value)


def _has_form(faults: Faults, path: str, value: object, field: Field) -> bool:
    if isinstance(value, _TYPES[field.form]) and (
        isinstance(value, bool) is (field.form is Form.BOOLEAN)
    ):
        return True
    faults.add(path, value, f"must be {field.form.value}")
    return False


def _narrow(faults: Faults, path: str, value: object, field: Field) -> None:
    text = value if isinstance(value, str) else ""
    match field.form:
        case Form.CHOICE if field.exact:
            faults.choice(path, text, field.choices)
        case Form.CHOICE if text.lower() not in {"", *(c.lower() for c in field.choices)}:
            faults.choice(path, text, field.choices)
        case Form.DURATION:
            faults.matches(path, text, _DURATION, "must be a duration like 1m30s")
        case Form.TEXT if field.pattern:
            faults.matches(path, text, re.compile(field.pattern), f"must match {field.pattern}")
        case Form.INTEGER if isinstance(value, int):
            _bounds(faults, path, value, field)
        case _:
            pass


def _bounds(faults: Faults, path: str, value: int, field: Field) -> None:
    if field.first is not None and value < field.first:
        faults.add(path, value, f"must be at least {field.first}")
    if field.last is not None and value > field.last:
        faults.add(path, value, f"must be at most {field.last}")


def _items(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _v4(faults: Faults, path: str, value: object) -> None:
    faults.address(path, str(value), Family.V4)


def _v6(faults: Faults, path: str, value: object) -> None:
    faults.address(path, str(value), Family.V6)


def _pattern(faults: Faults, path: str, value: object) -> None:
    try:
        re.compile(str(value))
    except re.error as error:
        faults.add(path, value, f"is not a regular expression: {error}")


def _interface(faults: Faults, path: str, value: object) -> None:
    faults.matches(path, str(value), _INTERFACE, "is not an interface's name")


def _prefixes(faults: Faults, path: str, value: object) -> None:
    for word in str(value).split(","):
        faults.matches(path, word.strip(), _INTERFACE, "must be prefixes of interfaces' names")


def _interface_filter(faults: Faults, path: str, value: object) -> None:
    rule = "must be at most 15 letters, digits, ':', '.', '_', '+', '-'"
    faults.matches(path, str(value), _INTERFACE_FILTER, rule)


def _interface_filters(faults: Faults, path: str, value: object) -> None:
    for i, item in enumerate(_items(value)):
        _interface_filter(faults, f"{path}[{i}]", item)


def _cidrs(faults: Faults, path: str, value: object) -> None:
    for i, item in enumerate(_items(value)):
        faults.net(f"{path}[{i}]", str(item))


def _external_nodes(faults: Faults, path: str, value: object) -> None:
    for i, item in enumerate(_items(value)):
        faults.net(f"{path}[{i}]", str(item), Family.V4)


def _node_ports(faults: Faults, path: str, value: object) -> None:
    items = _items(value)
    faults.at_most(path, items, _NODE_PORT_RANGES)
    for i, item in enumerate(items):
        _numeric_port(faults, f"{path}[{i}]", item)


def _numeric_port(faults: Faults, path: str, value: object) -> None:
    """A port or range; zero switches a range off, as in Felix."""
    try:
        named = not isinstance(value, int | str) or number.is_named(number.port(value))
    except ValueError as error:
        faults.add(path, value, str(error))
        return
    if named:
        faults.add(path, value, "must be a port or a range min:max")


def _failsafes(faults: Faults, path: str, value: object) -> None:
    for i, item in enumerate(_items(value)):
        here = f"{path}[{i}]"
        if not isinstance(item, dict):
            faults.add(here, item, "must be a mapping of protocol, port and net")
            continue
        protocol = canonical_protocol(str(item.get("protocol", "")))
        faults.choice(f"{here}.protocol", protocol, NAMES_WITH_PORTS)
        _numeric_port(faults, f"{here}.port", item.get("port"))
        if item.get("net"):
            faults.net(f"{here}.net", str(item["net"]))


def _overrides(faults: Faults, path: str, value: object) -> None:
    for i, item in enumerate(_items(value)):
        here = f"{path}[{i}]"
        if not isinstance(item, dict):
            faults.add(here, item, "must be a mapping of name and timeout")
            continue
        rule = "must be of letters, digits, '_', '-' and blanks"
        faults.matches(f"{here}.name", str(item.get("name", "")), _OVERRIDE, rule)
        timeout = str(item.get("timeout", ""))
        faults.matches(f"{here}.timeout", timeout, _DURATION, "must be a duration like 1m30s")


def _table_range(faults: Faults, path: str, value: object, last: int) -> int:
    """Checks one range of routing tables and says how many it has."""
    low, high = (value.get("min"), value.get("max")) if isinstance(value, dict) else (None, None)
    if not isinstance(low, int) or not isinstance(high, int):
        faults.add(path, value, "must have min and max")
        return 0
    if not 1 <= low <= high <= last:
        faults.add(path, value, f"must have min <= max within 1 and {last}")
    return high - low + 1


def _table_ranges(faults: Faults, path: str, value: object) -> None:
    tables = sum(
        _table_range(faults, f"{path}[{i}]", item, _TABLE_LAST)
        for i, item in enumerate(_items(value))
    )
    if tables > _TABLES:
        faults.add(path, None, f"has {tables} routing tables, at most {_TABLES}")


def _old_table_range(faults: Faults, path: str, value: object) -> None:
    _table_range(faults, path, value, _OLD_TABLE_LAST)


def _region(faults: Faults, path: str, value: object) -> None:
    text = str(value)
    if len(text) > _REGION_CHARS:
        faults.add(path, text, f"is longer than {_REGION_CHARS} characters")
    else:
        dns_label(faults, path, text)


def _host(faults: Faults, path: str, value: object) -> None:
    faults.matches(path, str(value), _HOST, "must be a host's name or address")


def _selector(faults: Faults, path: str, value: object) -> None:
    faults.selector(path, str(value))


#: Fields whose values have an inner form of their own.
_SPECIAL: dict[str, Callable[[Faults, str, object], None]] = {
    "natOutgoingAddress": _v4,
    "deviceRouteSourceAddress": _v4,
    "deviceRouteSourceAddressIPv6": _v6,
    "interfacePrefix": _prefixes,
    "mtuIfacePattern": _pattern,
    "bpfDataIfacePattern": _pattern,
    "bpfL3IfacePattern": _pattern,
    "nftablesFlowTableDataIfacePattern": _pattern,
    "logDebugFilenameRegex": _pattern,
    "iptablesNATOutgoingInterfaceFilter": _interface_filter,
    "bpfForceTrackPacketsFromIfaces": _interface_filters,
    "wireguardInterfaceName": _interface,
    "wireguardInterfaceNameV6": _interface,
    "bpfDSROptoutCIDRs": _cidrs,
    "bpfExcludeCIDRsFromNAT": _cidrs,
    "externalNodesList": _external_nodes,
    "kubeNodePortRanges": _node_ports,
    "natPortRange": _numeric_port,
    "bpfPSNATPorts": _numeric_port,
    "failsafeInboundHostPorts": _failsafes,
    "failsafeOutboundHostPorts": _failsafes,
    "healthTimeoutOverrides": _overrides,
    "routeTableRange": _old_table_range,
    "routeTableRanges": _table_ranges,
    "openstackRegion": _region,
    "prometheusMetricsHost": _host,
    "nodeSelector": _selector,
}
