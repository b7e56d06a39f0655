"""Peer predicates: the yes-or-no questions that rules ask of an address.

A predicate is the address part of a rule without its sign (``notNets`` asks ``InNets`` too) and
without the port numbers, which are no matter of addresses. Its truth is defined here by scanning
the cluster; ``classes`` computes the same for all addresses at once.
Selectors are sets of addresses, named ports are sets of address, protocol and port.
Source: felix/calc/rule_scanner.go.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.interval import IntervalSet
from korat.core.policy.cluster import Cluster
from korat.core.policy.rule import Ports, Side
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


Predicate = InNets | HasLabels | OwnsPort


@dataclass(frozen=True, slots=True)
class Needs:
    """What a side of a rule needs of the address: all of ``holds`` and none of ``fails``."""

    holds: tuple[InNets | HasLabels, ...]
    fails: tuple[InNets | HasLabels, ...]


def needs_of(side: Side) -> Needs:
    """The part of a rule's side that is about addresses alone."""
    return Needs(
        (
            *([InNets(side.nets)] if side.nets else []),
            *([HasLabels(side.selector)] if side.selector is not None else []),
        ),
        (
            *([InNets(side.not_nets)] if side.not_nets else []),
            *([HasLabels(side.not_selector)] if side.not_selector is not None else []),
        ),
    )


def named_ports(side: Side, ports: Ports | None) -> tuple[OwnsPort, ...]:
    """The names in one of the side's port lists, which always mean its positive selector's."""
    return tuple(OwnsPort(side.selector, name) for name in (ports.names if ports else ()))


def predicates_of(side: Side) -> Iterator[Predicate]:
    """Every predicate of a rule's side."""
    needs = needs_of(side)
    yield from needs.holds
    yield from needs.fails
    yield from named_ports(side, side.ports)
    yield from named_ports(side, side.not_ports)


def holds(cluster: Cluster, predicate: Predicate, addr: Addr, protocol: int, port: int) -> bool:
    """Whether a predicate is true of an address with this port, by scanning the cluster."""
    match predicate:
        case InNets(nets):
            return any(addr in net for net in nets)
        case HasLabels(selector):
            return addr.value in addresses(cluster, selector, addr.family)
        case OwnsPort():
            return (addr, protocol, port) in owned_ports(cluster, predicate)


def addresses(cluster: Cluster, selector: Selector, family: Family) -> IntervalSet:
    """The addresses of all endpoints and network sets that match."""
    prefixes = [
        Prefix.of(addr)
        for endpoint in cluster.endpoints
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
        for endpoint in cluster.endpoints
        if predicate.selector is None or predicate.selector.matches(endpoint.labels)
        for named in endpoint.ports
        if named.name == predicate.name
        for addr in endpoint.addresses
    )
