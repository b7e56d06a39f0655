"""What is true of every address, and addresses of like truth put into classes.

The labelled things of a cluster (endpoints, network sets) and the CIDRs of rules are laid over the
number line once per family. Single addresses are kept in a map of their own, so that a pod that
comes or goes changes one entry and no interval.
"""

import hashlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.interval import sweep
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint
from korat.core.selector import Selector
from korat.core.table.lower import Atom, MeansPort, bits_of, union
from korat.core.table.matches import SelectorMatches
from korat.core.table.predicate import (
    HasLabels,
    InNets,
    InService,
    OwnsPort,
    Serves,
)
from korat.core.table.value import PeerClasses

#: Bits of a class's number: short enough for a name, long enough that two hardly ever collide.
CLASS_BITS = 48
#: The class of addresses of which nothing is true.
NOBODY = 0


class Stretch(NamedTuple):
    """Addresses ``first`` to ``last``, of which the same is true."""

    first: int
    last: int
    truth: int


@dataclass(frozen=True, slots=True)
class Truths:
    """What is true of each address of a family, as bits.

    ``hosts`` are single addresses, with what is true of them as such and as part of a stretch.
    Invariant: ``stretches`` is sorted and disjoint.
    """

    family: Family
    hosts: Mapping[int, int]
    stretches: tuple[Stretch, ...]

    @classmethod
    def of(cls, cluster: Cluster, family: Family, atoms: Mapping[Atom, int]) -> "Truths":
        """Lay everything that the atoms ask for over the number line."""
        alone: defaultdict[int, int] = defaultdict(int)
        wide: list[tuple[int, int, int]] = []
        for net, truth in _laid(cluster, family, atoms):
            if not truth:
                continue
            if net.length == family.bits:
                alone[net.base] |= truth
            else:
                wide.append((net.first, net.last, truth))
        stretches = tuple(Stretch(p.first, p.last, union(p.value)) for p in sweep(wide))
        return cls(family, {v: t | _beneath(stretches, v) for v, t in alone.items()}, stretches)

    def at(self, addr: Addr) -> int:
        """What is true of one address."""
        truth = self.hosts.get(addr.value)
        return _beneath(self.stretches, addr.value) if truth is None else truth


def _beneath(stretches: Sequence[Stretch], value: int) -> int:
    at = bisect_right(stretches, value, key=attrgetter("first")) - 1
    return stretches[at].truth if at >= 0 and value <= stretches[at].last else 0


def _laid(
    cluster: Cluster, family: Family, atoms: Mapping[Atom, int]
) -> Iterator[tuple[Prefix, int]]:
    """Prefixes of a family and what their owner's labels, or a rule's CIDR, makes true of them."""
    if not atoms:
        return
    labels = _LabelTruth(atoms)
    for endpoint in cluster.endpoints:
        own = endpoint.addresses_of(family)
        truth = labels.of(endpoint.labels) | labels.ports(endpoint) if own else 0
        yield from ((Prefix.of(addr), truth) for addr in own)
    for addresses in cluster.sets:
        truth = labels.of(addresses.labels)
        yield from ((net, truth) for net in addresses.nets if net.family is family)
    for atom, bit in atoms.items():
        if isinstance(atom, InNets):
            yield from ((net, 1 << bit) for net in atom.nets)
        yield from ((Prefix.of(a), 1 << bit) for a in _served(cluster, atom) if a.family is family)


def _served(cluster: Cluster, atom: Atom) -> Iterator[Addr]:
    """The addresses of which an atom about a service is true."""
    match atom:
        case InService(service):
            for each in cluster.services.get(service, ()):
                yield from each.addresses
        case MeansPort(Serves(service), protocol, port):
            for each in cluster.services.get(service, ()):
                yield from each.addresses if (protocol, port) in each.ports else ()
        case _:
            return


class _LabelTruth:
    """What labels and named ports make true of an endpoint's or a set's addresses."""

    def __init__(self, atoms: Mapping[Atom, int]) -> None:
        self._bits: dict[Selector, int] = {}
        self._ports: defaultdict[Selector | None, dict[tuple[str, int, int], int]]
        self._ports = defaultdict(dict)
        for atom, bit in atoms.items():
            if isinstance(atom, HasLabels):
                self._bits[atom.selector] = 1 << bit
            elif isinstance(atom, MeansPort) and isinstance(atom.owner, OwnsPort):
                meaning = atom.owner.name, atom.protocol, atom.port
                self._ports[atom.owner.selector][meaning] = 1 << bit
        owners = (selector for selector in self._ports if selector is not None)
        self._matches = SelectorMatches({*self._bits, *owners})

    def of(self, labels: Mapping[str, str]) -> int:
        """The bits of the selectors that match."""
        return union(self._bits.get(selector, 0) for selector in self._matches.of(labels))

    def ports(self, endpoint: Endpoint) -> int:
        """The bits of the meanings of its port names."""
        if not endpoint.ports:
            return 0
        meanings = [self._ports.get(s, {}) for s in (None, *self._matches.of(endpoint.labels))]
        return union(bits.get(named, 0) for bits in meanings for named in endpoint.ports)


@dataclass(frozen=True, slots=True)
class Classes:
    """Peer classes, the truth that each of them stands for, and which have a bit in theirs."""

    value: PeerClasses
    truths: Mapping[int, int]
    by_bit: Mapping[int, Sequence[int]]

    @classmethod
    def of(cls, value: PeerClasses, truths: Mapping[int, int]) -> "Classes":
        """Index the classes by their bits."""
        by_bit: defaultdict[int, list[int]] = defaultdict(list)
        for number in sorted(truths):
            for bit in bits_of(truths[number]):
                by_bit[bit].append(number)
        return cls(value, truths, by_bit)

    def touching(self, mask: int) -> list[int]:
        """The classes of which anything in the mask is true, sorted."""
        return sorted({number for bit in bits_of(mask) for number in self.by_bit.get(bit, ())})


def classes(truths: Truths, mask: int, atoms: Iterable[Atom]) -> Classes:
    """Put addresses into classes by the bits of ``mask`` alone; the rest must not split them.

    ``atoms`` are in the order of their bits.
    """
    stretches = list(_merged(Stretch(s.first, s.last, s.truth & mask) for s in truths.stretches))
    hosts = {value: truth & mask for value, truth in sorted(truths.hosts.items())}
    # A host that is like its surroundings needs no entry.
    hosts = {value: truth for value, truth in hosts.items() if truth != _beneath(stretches, value)}
    ids = _ids({0, *hosts.values(), *(stretch.truth for stretch in stretches)}, atoms)
    value = PeerClasses(
        {Addr(truths.family, value): ids[truth] for value, truth in hosts.items()},
        tuple((first, last, ids[truth]) for first, last, truth in stretches),
        NOBODY,
    )
    return Classes.of(value, {number: truth for truth, number in ids.items()})


def _merged(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    """Join neighbours of like truth, and leave out where nothing is true."""
    open_: Stretch | None = None
    for stretch in stretches:
        if not stretch.truth:
            continue
        if open_ and open_.truth == stretch.truth and open_.last + 1 == stretch.first:
            open_ = open_._replace(last=stretch.last)
            continue
        if open_:
            yield open_
        open_ = stretch
    if open_:
        yield open_


def _ids(truths: Iterable[int], atoms: Iterable[Atom]) -> dict[int, int]:
    """A number for each truth, drawn from the texts of what is true.

    So a class keeps its number whatever else there is in the cluster, and a change of policy
    renames only the classes of which the new predicates are true.
    """
    texts = [atom.text for atom in atoms]
    named = sorted((_text(truth, texts), truth) for truth in truths)
    ids: dict[int, int] = {}
    taken: set[int] = set()
    for text, truth in named:
        number = NOBODY if not truth else _digest(text)
        while number in taken:
            number += 1
        taken.add(number)
        ids[truth] = number
    return ids


def _text(truth: int, texts: Sequence[str]) -> str:
    return "\n".join(sorted(texts[bit.bit_length() - 1] for bit in bits_of(truth)))


def _digest(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=CLASS_BITS // 8).digest()
    return int.from_bytes(digest, "big")
