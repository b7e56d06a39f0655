"""What is true of every address of one family, found by scanning a cluster once.

For comparisons, in which both ends of a packet vary and nothing is followed change by change; what
a node enforces is kept up to date by ``book`` and ``owner``.
"""

from collections.abc import Iterable, Iterator, Mapping

from korat.core.net.address import Addr, Family
from korat.core.net.interval import IntervalSet
from korat.core.policy.cluster import Cluster
from korat.core.table.atom import Atom, MeansPort
from korat.core.table.predicate import (
    HasLabels,
    InNets,
    InService,
    OwnsPort,
    Serves,
    addresses,
    owned_ports,
    service_addresses,
    service_ports,
)

#: Addresses from the first number to the last one, and what is true of them.
_Item = tuple[int, int, int]


class Truths:
    """The truths of one cluster and family; also what port names and services mean there."""

    def __init__(self, cluster: Cluster, family: Family) -> None:
        self._cluster = cluster
        self._family = family
        self._meant: dict[OwnsPort | Serves, frozenset[tuple[Addr, int, int]]] = {}

    def of(self, owner: OwnsPort | Serves, family: Family) -> Iterable[tuple[int, int]]:
        """Every (protocol, port) that a port's name or a service stands for, sorted."""
        served = (each for each in self._places(owner) if each[0].family is family)
        return sorted({(protocol, port) for _, protocol, port in served})

    def items(self, bits: Mapping[Atom, int]) -> Iterator[_Item]:
        """The addresses of which each atom is true, with the atom's bit."""
        for atom, bit in bits.items():
            yield from ((first, last, 1 << bit) for first, last in self._spans(atom).spans)

    def _spans(self, atom: Atom) -> IntervalSet:
        match atom:
            case InNets(nets):
                return IntervalSet.of_prefixes(net for net in nets if net.family is self._family)
            case HasLabels(selector):
                return addresses(self._cluster, selector, self._family)
            case InService(service):
                return service_addresses(self._cluster, service, self._family)
            case MeansPort(owner, protocol, port):
                return IntervalSet.of(
                    (addr.value, addr.value)
                    for addr, *meaning in self._places(owner)
                    if addr.family is self._family and meaning == [protocol, port]
                )

    def _places(self, owner: OwnsPort | Serves) -> frozenset[tuple[Addr, int, int]]:
        """Address, protocol and port of everybody who is meant."""
        found = self._meant.get(owner)
        if found is None:
            if isinstance(owner, OwnsPort):
                found = owned_ports(self._cluster, owner)
            else:
                found = service_ports(self._cluster, owner.service)
            self._meant[owner] = found
        return found
