"""Rules in normal form: one rule as one IP version sees it.

The normal form has parsed values only, and nothing of the other IP version. Every field given must
hold; an empty or None field asks nothing. A rule that can never match for a version has no normal
form there.

A port list means pairs of protocol and port, so a negated one holds for every packet without ports.
Source: projectcalico.org/v3 (Rule, EntityRule), felix/calc/rule_scanner.go, felix/rules/policy.go.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from korat.core.model.policy import EntityRule, Icmp, Port, Rule
from korat.core.net.address import Family, Prefix
from korat.core.net.port import (
    PORT_PROTOCOLS,
    PROTOCOLS_WITH_PORTS,
    PortRange,
    protocol_number,
)
from korat.core.policy.scope import Scope, ServiceName
from korat.core.selector import Selector


class RuleAction(Enum):
    """What a rule does, by the API's own word."""

    ALLOW = "Allow"
    DENY = "Deny"
    PASS = "Pass"  # noqa: S105 - an action, not a password
    LOG = "Log"


class Ports(NamedTuple):
    """A port list: ranges of numbers, and names that endpoints give a meaning to."""

    ranges: tuple[PortRange, ...]
    names: tuple[str, ...]


class IcmpMatch(NamedTuple):
    """An ICMP type, and its code unless any will do."""

    type: int
    code: int | None


@dataclass(frozen=True, slots=True)
class Side:
    """What a rule asks of the source or the destination.

    Named ports, negated ones too, are those of the endpoints that ``selector`` matches.
    The address is among the endpoints of ``service``; it is, together with the packet's protocol
    and port, among those of ``serving``.
    """

    nets: tuple[Prefix, ...] = ()
    not_nets: tuple[Prefix, ...] = ()
    selector: Selector | None = None
    not_selector: Selector | None = None
    ports: Ports | None = None
    not_ports: Ports | None = None
    service: ServiceName | None = None
    serving: ServiceName | None = None


@dataclass(frozen=True, slots=True)
class NormalRule:
    """A rule for one IP version; ``icmp`` asks for that version's ICMP."""

    action: RuleAction
    protocol: int | None
    not_protocol: int | None
    icmp: IcmpMatch | None
    not_icmp: IcmpMatch | None
    source: Side
    destination: Side

    @property
    def port_protocols(self) -> frozenset[int]:
        """The protocols that the rule's port numbers speak of."""
        if self.protocol is None:
            return PROTOCOLS_WITH_PORTS
        return PORT_PROTOCOLS & {self.protocol}


def normal_rule(rule: Rule, source: Scope, destination: Scope, family: Family) -> NormalRule | None:
    """The rule as one IP version sees it, or None when it cannot match there.

    Raises:
        ValueError: a field is malformed.
    """
    # Both sides are parsed before anything is decided, so that a malformed field never hides.
    sides = _side(rule.source, source, family), _side(rule.destination, destination, family)
    normal = NormalRule(
        action=RuleAction(rule.action),
        protocol=None if rule.protocol is None else protocol_number(rule.protocol),
        not_protocol=None if rule.not_protocol is None else protocol_number(rule.not_protocol),
        icmp=_icmp(rule.icmp),
        not_icmp=_icmp(rule.not_icmp),
        source=replace(sides[0] or Side(), service=source.service),
        destination=replace(sides[1] or Side(), serving=destination.service),
    )
    other_version = rule.ip_version is not None and rule.ip_version != family
    return None if other_version or None in sides else normal


def _side(entity: EntityRule, scope: Scope, family: Family) -> Side | None:
    nets, not_nets = _nets(entity.nets, family), _nets(entity.not_nets, family)
    side = Side(
        nets=nets,
        not_nets=not_nets,
        selector=scope.selector,
        not_selector=scope.not_selector,
        ports=_ports(entity.ports),
        not_ports=_ports(entity.not_ports),
    )
    emptied = (entity.nets and not nets) or (entity.not_nets and not not_nets)
    excludes_all = any(net.length == 0 for net in not_nets)
    return None if emptied or excludes_all else side


def _nets(texts: Iterable[str], family: Family) -> tuple[Prefix, ...]:
    prefixes = {Prefix.parse(text) for text in texts}
    return tuple(sorted(prefix for prefix in prefixes if prefix.family is family))


def _ports(ports: Iterable[Port]) -> Ports | None:
    ranges, names = set(), set()
    for port in ports:
        try:
            ranges.add(PortRange.parse(port))
        except ValueError:
            # Anything that is not a number or a range is a name; validation limits its letters.
            names.add(str(port))
    return Ports(tuple(sorted(ranges)), tuple(sorted(names))) if ranges or names else None


def _icmp(icmp: Icmp | None) -> IcmpMatch | None:
    return None if icmp is None or icmp.type is None else IcmpMatch(icmp.type, icmp.code)
