"""Whether one rule matches one packet, and if not, the first thing that stands against it.

The evaluator's own reading of a rule as it is written: all fields must hold, list items are
alternatives, ``not`` fields exclude. Normal forms, predicates and tables are not used.
Source: felix/calc/rule_scanner.go, felix/rules/policy.go.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from korat.core.model.policy import EntityRule, Icmp, Port
from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.port import (
    ICMP_PROTOCOLS,
    PORT_PROTOCOLS,
    PROTOCOLS_WITH_PORTS,
    PortRange,
    icmp_protocol,
    protocol_number,
)
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint, PolicyRule
from korat.core.policy.scope import Scope, ServiceName
from korat.core.selector import Selector


@dataclass(frozen=True, slots=True)
class Packet:
    """What policy can see of a packet; ports or ICMP numbers are 0 where it has none."""

    src: Addr
    dst: Addr
    protocol: int
    sport: int = 0
    dport: int = 0
    icmp_type: int = 0
    icmp_code: int = 0

    @property
    def family(self) -> Family:
        """Its IP version."""
        return self.dst.family

    @property
    def numbers(self) -> tuple[int, int]:
        """The two numbers a verdict table is asked with: ports, or ICMP type and code."""
        if self.protocol in ICMP_PROTOCOLS:
            return self.icmp_type, self.icmp_code
        return self.sport, self.dport


@dataclass(frozen=True, slots=True)
class Party:
    """Who is behind one address of a packet: the workloads, hosts and sets that have it.

    ``services`` are those with this address among their endpoints, ``serving`` those of them that
    are served there by the packet's protocol and port.
    """

    role: str
    addr: Addr
    port: int
    endpoints: tuple[Endpoint, ...]
    labels: tuple[Mapping[str, str], ...]
    services: frozenset[ServiceName]
    serving: frozenset[ServiceName]

    def matches(self, selector: Selector) -> bool:
        """Whether anyone with this address has such labels."""
        return any(selector.matches(labels) for labels in self.labels)


@dataclass(frozen=True, slots=True)
class Scene:
    """A packet and its two parties."""

    packet: Packet
    source: Party
    destination: Party

    @classmethod
    def of(cls, cluster: Cluster, packet: Packet) -> "Scene":
        """Look both addresses up."""
        return cls(
            packet,
            _party(cluster, "source", packet.src, packet.protocol, packet.sport),
            _party(cluster, "destination", packet.dst, packet.protocol, packet.dport),
        )


def _party(cluster: Cluster, role: str, addr: Addr, protocol: int, port: int) -> Party:
    endpoints = tuple(e for e in cluster.owners if addr in e.addresses)
    sets = (s for s in cluster.sets if any(addr in net for net in s.nets))
    labels = (*(e.labels for e in endpoints), *(s.labels for s in sets))
    behind = [s for slices in cluster.services.values() for s in slices if addr in s.addresses]
    serving = (s.service for s in behind if (protocol, port) in s.ports)
    services = frozenset(s.service for s in behind)
    return Party(role, addr, port, endpoints, labels, services, frozenset(serving))


def mismatch(rule: PolicyRule, scene: Scene) -> str:
    """Why the rule does not match, or an empty text when it does."""
    return next(_objections(rule, scene), "")


def _objections(rule: PolicyRule, scene: Scene) -> Iterator[str]:
    written, packet = rule.written, scene.packet
    if written.ip_version not in (None, packet.family):
        yield f"the rule is for IPv{written.ip_version}"
    if written.protocol is not None and protocol_number(written.protocol) != packet.protocol:
        yield f"the protocol is not {written.protocol}"
    if (
        written.not_protocol is not None
        and protocol_number(written.not_protocol) == packet.protocol
    ):
        yield f"the protocol is {written.not_protocol}"
    if written.icmp is not None and not _is_icmp(written.icmp, packet):
        yield f"it is not ICMP {_icmp_text(written.icmp)}"
    if written.not_icmp is not None and _is_excluded_icmp(written.not_icmp, packet):
        yield f"it is ICMP {_icmp_text(written.not_icmp)}"
    ported = packet.protocol in _port_protocols(written.protocol)
    protocol = packet.protocol if ported else None
    yield from _net_objections(written.source, scene.source)
    yield from _net_objections(written.destination, scene.destination)
    yield from _scope_objections(rule.source, scene.source)
    yield from _scope_objections(rule.destination, scene.destination)
    yield from _service_objections(rule, scene)
    yield from _port_objections(written.source, rule.source, scene.source, protocol)
    yield from _port_objections(written.destination, rule.destination, scene.destination, protocol)


def _icmp_text(icmp: Icmp) -> str:
    return f"type {icmp.type}" + ("" if icmp.code is None else f" code {icmp.code}")


def _is_icmp(icmp: Icmp, packet: Packet) -> bool:
    return icmp.type is None or (
        packet.protocol == icmp_protocol(packet.family)
        and packet.icmp_type == icmp.type
        and icmp.code in (None, packet.icmp_code)
    )


def _is_excluded_icmp(icmp: Icmp, packet: Packet) -> bool:
    return icmp.type is not None and _is_icmp(icmp, packet)


def _port_protocols(protocol: int | str | None) -> frozenset[int]:
    """The protocols whose port numbers a rule speaks of."""
    if protocol is None:
        return PROTOCOLS_WITH_PORTS
    return frozenset({protocol_number(protocol)}) & PORT_PROTOCOLS


def _service_objections(rule: PolicyRule, scene: Scene) -> Iterator[str]:
    """A service's addresses are asked of the source; of the destination its ports there too."""
    for service, party in (
        (rule.source.service, scene.source),
        (rule.destination.service, scene.destination),
    ):
        if service is not None and service not in party.services:
            yield f"the {party.role} is no endpoint of service {service}"
    service = rule.destination.service
    if service is not None and service not in scene.destination.serving:
        yield f"the destination port is none of service {service}"


def _scope_objections(scope: Scope, party: Party) -> Iterator[str]:
    role = party.role
    if scope.selector is not None and not party.matches(scope.selector):
        yield f"the {role} does not match {scope.selector}"
    if scope.not_selector is not None and party.matches(scope.not_selector):
        yield f"the {role} matches {scope.not_selector}"


def _port_objections(
    entity: EntityRule, scope: Scope, party: Party, protocol: int | None
) -> Iterator[str]:
    """``protocol`` is the packet's, or None when the rule's ports cannot speak of it."""
    names = {
        named.name
        for endpoint in party.endpoints
        if scope.selector is None or scope.selector.matches(endpoint.labels)
        for named in endpoint.ports
        if (named.protocol, named.port) == (protocol, party.port)
    }

    def listed(ports: tuple[Port, ...]) -> bool:
        return protocol is not None and any(_is_port(port, party.port, names) for port in ports)

    if entity.ports and not listed(entity.ports):
        yield f"the {party.role} port is not {_listed(entity.ports)}"
    if listed(entity.not_ports):
        yield f"the {party.role} port is {_listed(entity.not_ports)}"


def _net_objections(entity: EntityRule, party: Party) -> Iterator[str]:
    family = party.addr.family
    nets = [net for net in map(Prefix.parse, entity.nets) if net.family is family]
    not_nets = [net for net in map(Prefix.parse, entity.not_nets) if net.family is family]
    if (entity.nets and not nets) or (entity.not_nets and not not_nets):
        yield f"the {party.role} nets hold none of IPv{family.value}"
    if any(net.length == 0 for net in not_nets):
        yield f"the {party.role} notNets exclude every address"
    if entity.nets and not any(party.addr in net for net in nets):
        yield f"the {party.role} is not in {_listed(entity.nets)}"
    if any(party.addr in net for net in not_nets):
        yield f"the {party.role} is in {_listed(entity.not_nets)}"


def _is_port(port: Port, number: int, names: set[str]) -> bool:
    """Whether a port in a rule is this number, or one of the names that its owner gives it."""
    try:
        return number in PortRange.parse(port)
    except ValueError:
        return str(port) in names


def _listed(items: tuple[Port, ...]) -> str:
    return ", ".join(map(str, items))
