"""Who is in the sets that host endpoints' policies ask for, kept up to date address by address.

Neither end of a host endpoint's packets is a constant, so its rules are not compiled into tables:
they look both ends up in a set for each predicate. The sets' members follow what the address books
know of owners, so that a pod that comes is an element of a few sets and no rule is another one.

A set has single keys, which a hash holds in the kernel, and apart from them the spans of network
sets; an address may be in both. Named ports and services have keys of address, protocol and port.
Source: felix/labelindex/named_port_index.go, which keeps Felix's IP sets.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from korat.core.net.address import Addr, Family
from korat.core.net.interval import IntervalSet
from korat.core.pmap import PSet
from korat.core.table.atom import Atom, Atoms, MeansPort, bits_of, union
from korat.core.table.line import Line
from korat.core.table.lower import Meanings, Topic
from korat.core.table.predicate import HasLabels, InNets, InService, OwnsPort, Predicate, Serves
from korat.core.table.value import Place

#: An address's number; of a named port or a service with the protocol and port behind it.
MemberKey = tuple[int, ...]
#: What is asked for: of each predicate the bits of its atoms, and what stands behind the address.
AskedBits = Mapping[Predicate, Mapping[int, MemberKey]]


@dataclass(frozen=True, slots=True)
class Members:
    """Of whom one predicate is true, of one IP version."""

    keys: PSet[MemberKey]
    spans: IntervalSet

    def __contains__(self, key: MemberKey) -> bool:
        return key in self.keys or key[0] in self.spans


_NOBODY = Members(PSet(), IntervalSet())


@dataclass(frozen=True, slots=True)
class Membership:
    """The members of every set that is asked for, at one moment; safe in any thread."""

    families: Mapping[Family, Mapping[Predicate, Members]]

    def holds(self, predicate: Predicate, addr: Addr, protocol: int, port: int) -> bool:
        """Whether a predicate that is asked for is true of an address with this port."""
        match predicate:
            case InNets(nets):
                return any(addr in net for net in nets)
            case HasLabels() | InService():
                return (addr.value,) in self.families[addr.family][predicate]
            case OwnsPort() | Serves():
                return (addr.value, protocol, port) in self.families[addr.family][predicate]


class Questions:
    """The predicates that host policy asks, and the atoms that they are made of.

    ``asked`` is another object when it says something else than before.
    """

    def __init__(self, atoms: Atoms, meanings: Meanings) -> None:
        self.asked: AskedBits = {}
        self._atoms = atoms
        self._meanings = meanings
        self._wanted: frozenset[Predicate] = frozenset()
        self._taken: tuple[Atom, ...] = ()

    def ask(self, wanted: frozenset[Predicate]) -> None:
        """From the next turn on these are asked, and no others; prefixes are not about owners."""
        self._wanted = frozenset(p for p in wanted if not isinstance(p, InNets))

    def turn(self, topics: Iterable[Topic]) -> None:
        """Take the bits of what is asked now, where that or the meaning of a topic is another."""
        if self.asked.keys() == self._wanted and not self._topics.intersection(topics):
            return
        taken = {each: dict(self._atoms_of(each)) for each in self._wanted}
        before, self._taken = self._taken, tuple(atom for own in taken.values() for atom in own)
        use = self._atoms.use
        self.asked = {
            predicate: {use(atom): port for atom, port in own.items()}
            for predicate, own in taken.items()
        }
        for atom in before:
            self._atoms.drop(atom)

    @property
    def _topics(self) -> frozenset[Topic]:
        return frozenset(
            each.name if isinstance(each, OwnsPort) else each.service
            for each in self._wanted
            if isinstance(each, OwnsPort | Serves)
        )

    def _atoms_of(self, predicate: Predicate) -> Iterator[tuple[Atom, MemberKey]]:
        if isinstance(predicate, OwnsPort | Serves):
            for family in Family:
                for meant in self._meanings.of(predicate, family):
                    yield MeansPort(predicate, *meant), meant
        else:
            yield predicate, ()


class MemberBook:
    """The sets of one IP version; what is true of an address comes as bits, as in its book."""

    def __init__(self) -> None:
        self.mask = 0
        self.sets: Mapping[Predicate, Members] = {}
        self._asked: AskedBits = {}
        self._by_bit: dict[int, tuple[Predicate, MemberKey]] = {}
        self._truths: dict[Place, int] = {}
        self._changes: dict[Predicate, dict[MemberKey, bool]] = {}
        self._spans: dict[Predicate, IntervalSet] = {}

    @property
    def idle(self) -> bool:
        """Whether no address is in question, and none was."""
        return not self.mask and not self._truths

    def ask(self, asked: AskedBits) -> int:
        """Keep the members of these from now on; returns the bits that came or went."""
        if asked is self._asked:
            return 0
        self._asked = asked
        self.sets = {predicate: self.sets.get(predicate, _NOBODY) for predicate in asked}
        # Bits that go are known until the turn ends, so that who had them leaves their sets.
        self._by_bit |= {bit: (p, port) for p, bits in asked.items() for bit, port in bits.items()}
        before, self.mask = self.mask, union(bit for bits in asked.values() for bit in bits)
        return self.mask ^ before

    def put(self, place: Place, truth: int) -> None:
        """Those of the bits asked for that are true of an address because of its owners."""
        before = self._truths.get(place, 0)
        for bit in bits_of(before ^ truth):
            predicate, port = self._by_bit[bit]
            self._changes.setdefault(predicate, {})[(*place, *port)] = bool(truth & bit)
        if truth:
            self._truths[place] = truth
        else:
            self._truths.pop(place, None)

    def lay(self, line: Line) -> None:
        """Take the spans from a line."""
        self._spans = {
            predicate: IntervalSet(tuple((s.first, s.last) for s in line.masked(union(bits))))
            for predicate, bits in self._asked.items()
            if isinstance(predicate, HasLabels | InService)
        }

    def settle(self) -> None:
        """End the turn: ``sets`` is another object if anything in it is."""
        changes, self._changes = self._changes, {}
        laid, self._spans = self._spans, {}
        fresh: dict[Predicate, Members] = {}
        for predicate in changes.keys() | laid.keys():
            before = self.sets.get(predicate)
            if before is None:
                continue  # Nobody asks for it any more.
            spans = laid.get(predicate, before.spans)
            if predicate in changes or spans != before.spans:
                keys = before.keys.changed(changes.get(predicate, {}))
                fresh[predicate] = Members(keys, spans)
        if fresh:
            self.sets = {**self.sets, **fresh}
        if len(self._by_bit) > self.mask.bit_count():
            self._by_bit = {bit: found for bit, found in self._by_bit.items() if bit & self.mask}
