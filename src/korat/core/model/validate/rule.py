"""Rules of policies and profiles.

Source: libcalico-go/lib/validator/v3 (validateRule, validateEntityRule) and the CEL rules of the
CRDs. The protocol and ports are expected in the canonical form that ``default`` gives them.
"""

from enum import Enum

from korat.core.model import number
from korat.core.model.policy import EntityRule, HttpMatch, Icmp, Port, Rule
from korat.core.model.validate.faults import Faults, each
from korat.core.model.validate.name import annotations, name
from korat.core.net.address import Family, Prefix
from korat.core.net.port import PORT_LAST, PROTOCOL_NAMES, icmp_protocol, protocol_name

RULES = 1024

_NETS = 256
_PORTS = 50
_HTTP = 20
_ICMP_TYPE_LAST = 254
_ICMP_CODE_LAST = 255
_ACTIONS = ("Allow", "Deny", "Log", "Pass")
_ICMP = {
    written: family
    for family in Family
    for written in (icmp_protocol(family).value, protocol_name(icmp_protocol(family)))
}
_NO_PROTOCOL = "numbers need a protocol of TCP, UDP or SCTP; without one only names may stand here"


class Direction(Enum):
    """Which way the rules look; the values are the JSON fields that hold them."""

    INGRESS = "ingress"
    EGRESS = "egress"

    @property
    def near(self) -> str:
        """The side of a rule that is the policed endpoint itself."""
        return "destination" if self is Direction.INGRESS else "source"


def rules(faults: Faults, own: tuple[Rule, ...], direction: Direction) -> None:
    """All rules of one direction."""
    field = f"spec.{direction.value}"
    faults.at_most(field, own, RULES)
    for i, rule in enumerate(own):
        _rule(faults, f"{field}[{i}]", rule, direction)


def _rule(faults: Faults, field: str, rule: Rule, direction: Direction) -> None:
    faults.choice(f"{field}.action", rule.action, _ACTIONS)
    if rule.ip_version is not None:
        faults.choice(f"{field}.ipVersion", rule.ip_version, (4, 6))
    _protocols(faults, field, rule)
    sides = {"source": rule.source, "destination": rule.destination}
    for side, entity in sides.items():
        path = f"{field}.{side}"
        _entity(faults, path, entity)
        _ports(faults, f"{path}.ports", entity.ports, rule.protocol)
        _ports(faults, f"{path}.notPorts", entity.not_ports, rule.protocol)
    if sides[direction.near].services is not None:
        rule_text = f"may not stand in the {direction.near} of an {direction.value} rule"
        faults.add(f"{field}.{direction.near}.services", None, rule_text)
    if rule.destination.services and (rule.destination.ports or rule.destination.not_ports):
        faults.add(f"{field}.destination.ports", None, "may not be given with services")
    _families(faults, field, rule)
    _http(faults, field, rule, direction)
    if rule.metadata:
        annotations(faults, f"{field}.metadata.annotations", rule.metadata.annotations)


def _protocols(faults: Faults, field: str, rule: Rule) -> None:
    for key, value in (("protocol", rule.protocol), ("notProtocol", rule.not_protocol)):
        if value is None:
            continue
        if not number.is_protocol(value):
            known = ", ".join(PROTOCOL_NAMES)
            faults.add(f"{field}.{key}", value, f"must be one of {known}, or a number of 1 to 255")
        family = _ICMP.get(value)
        if family and rule.ip_version not in {None, family.value}:
            text = f"protocol {value} goes with ipVersion {family.value}"
            faults.add(f"{field}.ipVersion", rule.ip_version, text)
    for key, icmp in (("icmp", rule.icmp), ("notICMP", rule.not_icmp)):
        if icmp is not None:
            _icmp(faults, f"{field}.{key}", icmp, rule.protocol)


def _icmp(faults: Faults, field: str, icmp: Icmp, protocol: int | str | None) -> None:
    if protocol not in _ICMP:
        faults.add(field, None, "needs a protocol of ICMP or ICMPv6")
    if icmp.code is not None and icmp.type is None:
        faults.add(f"{field}.code", icmp.code, "needs a type")
    if icmp.type is not None and not 0 <= icmp.type <= _ICMP_TYPE_LAST:
        faults.add(f"{field}.type", icmp.type, f"must be 0 to {_ICMP_TYPE_LAST}")
    if icmp.code is not None and not 0 <= icmp.code <= _ICMP_CODE_LAST:
        faults.add(f"{field}.code", icmp.code, f"must be 0 to {_ICMP_CODE_LAST}")


def _entity(faults: Faults, field: str, entity: EntityRule) -> None:
    for key, nets in (("nets", entity.nets), ("notNets", entity.not_nets)):
        faults.at_most(f"{field}.{key}", nets, _NETS)
        for path, text in each(f"{field}.{key}", nets):
            prefix = faults.cidr(path, text)
            if prefix and prefix.length == 0 and key == "notNets":
                faults.add(path, text, "leaves nothing to match")
    faults.selector(f"{field}.selector", entity.selector)
    faults.selector(f"{field}.notSelector", entity.not_selector)
    parsed = faults.any_selector(f"{field}.namespaceSelector", entity.namespace_selector)
    if parsed and parsed.mentions_global and not parsed.is_global:
        path = f"{field}.namespaceSelector"
        faults.add(path, entity.namespace_selector, "global() may not be combined with others")
    if entity.service_accounts:
        path = f"{field}.serviceAccounts"
        faults.selector(f"{path}.selector", entity.service_accounts.selector)
        for place, text in each(f"{path}.names", entity.service_accounts.names):
            name(faults, place, text)
    _services(faults, field, entity)


def _services(faults: Faults, field: str, entity: EntityRule) -> None:
    if entity.services is None:
        return
    if not entity.services.name:
        faults.add(f"{field}.services.name", None, "is missing")
    others = {
        "selector": entity.selector,
        "notSelector": entity.not_selector,
        "nets": entity.nets,
        "notNets": entity.not_nets,
        "namespaceSelector": entity.namespace_selector,
        "serviceAccounts": entity.service_accounts,
    }
    given = [key for key, value in others.items() if value]
    if given:
        faults.add(f"{field}.services", None, f"may not be given with {', '.join(given)}")


def _ports(faults: Faults, field: str, ports: tuple[Port, ...], protocol: int | str | None) -> None:
    faults.at_most(field, ports, _PORTS)
    for i, value in enumerate(ports):
        _port_value(faults, f"{field}[{i}]", value)
    if protocol is None:
        if not all(number.is_named(value) for value in ports):
            faults.add(field, None, _NO_PROTOCOL)
    elif ports and not number.has_ports(protocol):
        faults.add(field, None, f"protocol {protocol} has none; use TCP, UDP or SCTP")


def _port_value(faults: Faults, field: str, value: Port) -> None:
    """A port, a range or a name; zero is no port."""
    try:
        canonical = number.port(value)
    except ValueError as error:
        faults.add(field, value, str(error))
        return
    if canonical == 0 or str(canonical).startswith("0:"):
        faults.add(field, value, f"ports are 1 to {PORT_LAST}")


def _families(faults: Faults, field: str, rule: Rule) -> None:
    """All CIDRs of a rule are of one IP version, the rule's own where it has one."""
    lists = {
        "source.nets": rule.source.nets,
        "source.notNets": rule.source.not_nets,
        "destination.nets": rule.destination.nets,
        "destination.notNets": rule.destination.not_nets,
    }
    wanted = rule.ip_version
    for key, nets in lists.items():
        for path, text in each(f"{field}.{key}", nets):
            version = _version(text)
            if version is None:
                continue
            if wanted is None:
                wanted = version
            elif version != wanted:
                word = "the rule's ipVersion" if rule.ip_version else "the rule's other nets"
                faults.add(path, text, f"is IPv{version}, {word} IPv{wanted}")


def _version(text: str) -> int | None:
    try:
        return Prefix.parse(text).family.value
    except ValueError:
        return None


def _http(faults: Faults, field: str, rule: Rule, direction: Direction) -> None:
    if rule.http is None:
        return
    path = f"{field}.http"
    if direction is Direction.EGRESS:
        faults.add(path, None, "may only stand in ingress rules")
    if rule.action != "Allow":
        faults.add(path, None, "may only stand in Allow rules")
    if rule.protocol not in {None, "TCP", 6}:
        faults.add(path, None, "goes with protocol TCP or none")
    _http_match(faults, path, rule.http)


def _http_match(faults: Faults, field: str, http: HttpMatch) -> None:
    faults.at_most(f"{field}.methods", http.methods, _HTTP)
    faults.unique(f"{field}.methods", http.methods)
    faults.at_most(f"{field}.paths", http.paths, _HTTP)
    for i, path in enumerate(http.paths):
        here = f"{field}.paths[{i}]"
        if bool(path.exact) == bool(path.prefix):
            faults.add(here, None, "must have either exact or prefix")
            continue
        text = path.exact or path.prefix
        if not text.startswith("/") or any(mark in text for mark in "? #"):
            faults.add(here, text, "must begin with / and hold no blank, ? or #")
