"""Peer predicates: the yes-or-no questions that rules ask of an address.

A predicate is the address part of a rule without its sign (``notNets`` asks ``InNets`` too) and
without the port numbers, which are no matter of addresses. Its truth is defined here by scanning
the cluster; ``classes`` computes the same for all addresses at once.
Selectors are sets of addresses, named ports are sets of address, protocol and port; a service is
the one in a source and the other in a destination.
Source: felix/calc/rule_scanner.go, felix/serviceindex.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.interval import IntervalSet
from korat.core.policy.cluster import Cluster
from korat.core.policy.rule import Ports, Side
from korat.core.policy.scope import ServiceName
from korat.core.selector import Selector


@dataclass(frozen=True, slots=True)
class InNets:
    """The address is in one of these prefixes."""

    nets: tuple[Prefix, ...]

    @property
    def text(self) -> str:
        """A stable text, different for different predicates."""
        return f"nets {' '.join(map(str, self.nets))}"


@dataclass(frozen=True, slots=True)
class HasLabels:
    """The address belongs to an endpoint or a network set that matches."""

    selector: Selector

    @property
    def text(self) -> str:
        """A stable text, different for different predicates."""
        return f"labels {self.selector}"


@dataclass(frozen=True, slots=True)
class OwnsPort:
    """The address belongs to a matching endpoint that calls its port by this name.

    It is asked of an address together with a packet's protocol and port on that side.
    """

    selector: Selector | None
    name: str

    @property
    def text(self) -> str:
        """A stable text, different for different predicates."""
        return f"port {self.name} {self.selector or ''}"


@dataclass(frozen=True, slots=True)
class InService:
    """The address is among a service's endpoints."""

    service: ServiceName

    @property
    def text(self) -> str:
        """A stable text, different for different predicates."""
        return f"service {self.service}"


@dataclass(frozen=True, slots=True)
class Serves:
    """The address is among a service's endpoints, by the packet's protocol and port there."""

    service: ServiceName

    @property
    def text(self) -> str:
        """A stable text, different for different predicates."""
        return f"serves {self.service}"


#: What is asked of an address alone.
AddressPredicate = InNets | HasLabels | InService
Predicate = AddressPredicate | OwnsPort | Serves


@dataclass(frozen=True, slots=True)
class Needs:
    """What a side of a rule needs of the address: all of ``holds`` and none of ``fails``."""

    holds: tuple[AddressPredicate, ...]
    fails: tuple[AddressPredicate, ...]


def needs_of(side: Side) -> Needs:
    """The part of a rule's side that is about addresses alone."""
    return Needs(
        (
            *([InNets(side.nets)] if side.nets else []),
            *([HasLabels(side.selector)] if side.selector is not None else []),
            *([InService(side.service)] if side.service is not None else []),
        ),
        (
            *([InNets(side.not_nets)] if side.not_nets else []),
            *([HasLabels(side.not_selector)] if side.not_selector is not None else []),
        ),
    )


def named_ports(side: Side, ports: Ports | None) -> tuple[OwnsPort, ...]:
    """The names in one of the side's port lists, which always mean its positive selector's."""
    return tuple(OwnsPort(side.selector, name) for name in (ports.names if ports else ()))


def serves_of(side: Side) -> Serves | None:
    """What the side asks of address, protocol and port together, beside its port lists."""
    return None if side.serving is None else Serves(side.serving)


def predicates_of(side: Side) -> Iterator[Predicate]:
    """Every predicate of a rule's side."""
    needs = needs_of(side)
    yield from needs.holds
    yield from needs.fails
    yield from named_ports(side, side.ports)
    yield from named_ports(side, side.not_ports)
    serves = serves_of(side)
    yield from () if serves is None else (serves,)


def holds(cluster: Cluster, predicate: Predicate, addr: Addr, protocol: int, port: int) -> bool:
    """Whether a predicate is true of an address with this port, by scanning the cluster."""
    match predicate:
        case InNets(nets):
            return any(addr in net for net in nets)
        case HasLabels(selector):
            return addr.value in addresses(cluster, selector, addr.family)
        case OwnsPort():
            return (addr, protocol, port) in owned_ports(cluster, predicate)
        case InService(service):
            return addr.value in service_addresses(cluster, service, addr.family)
        case Serves(service):
            return (addr, protocol, port) in service_ports(cluster, service)


def addresses(cluster: Cluster, selector: Selector, family: Family) -> IntervalSet:
    """The addresses of all endpoints and network sets that match."""
    prefixes = [
        Prefix.of(addr)
        for endpoint in cluster.owners
        if selector.matches(endpoint.labels)
        for addr in endpoint.addresses_of(family)
    ]
    for group in cluster.sets:
        if selector.matches(group.labels):
            prefixes.extend(net for net in group.nets if net.family is family)
    return IntervalSet.of_prefixes(prefixes)


def owned_ports(cluster: Cluster, predicate: OwnsPort) -> frozenset[tuple[Addr, int, int]]:
    """Address, protocol and port of every endpoint that the predicate speaks of."""
    return frozenset(
        (addr, named.protocol, named.port)
        for endpoint in cluster.owners
        if predicate.selector is None or predicate.selector.matches(endpoint.labels)
        for named in endpoint.ports
        if named.name == predicate.name
        for addr in endpoint.addresses
    )


def service_addresses(cluster: Cluster, service: ServiceName, family: Family) -> IntervalSet:
    """The addresses of all endpoints of a service; none of one that is not there."""
    slices = cluster.services.get(service, ())
    return IntervalSet.of(
        (addr.value, addr.value)
        for each in slices
        for addr in each.addresses
        if addr.family is family
    )


def service_ports(cluster: Cluster, service: ServiceName) -> frozenset[tuple[Addr, int, int]]:
    """Address, protocol and port of every endpoint of a service."""
    return frozenset(
        (addr, *port)
        for each in cluster.services.get(service, ())
        for addr in each.addresses
        for port in each.ports
    )
