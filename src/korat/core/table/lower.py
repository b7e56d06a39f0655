"""Sequences lowered for painting: predicates become bits, port lists become spans.

Every predicate of a family gets a bit, and all that is true of an address is one integer. A named
port has a bit for each (protocol, port) that any endpoint means by it, a service in a destination
for each by which it is served, so that every bit is a plain truth of an address. A lowered rule
asks each end for bits by two masks, and is a set of boxes then.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Protocol

from korat.core.net.address import Family
from korat.core.net.interval import IntervalSet
from korat.core.net.port import PROTOCOLS_WITH_PORTS, icmp_protocol
from korat.core.policy.outcome import Direction, RuleRef
from korat.core.policy.rule import IcmpMatch, NormalRule, Ports, RuleAction, Side
from korat.core.policy.scope import ServiceName
from korat.core.table.atom import Atom, Atoms, MeansPort, union
from korat.core.table.grid import Box, minus
from korat.core.table.predicate import OwnsPort, Serves, named_ports, needs_of, serves_of
from korat.core.table.sequence import Step
from korat.core.table.value import number_last

#: What a rule may ask the meaning of: a port's name or a service.
Topic = str | ServiceName
#: Stands for every protocol that no rule of a plan speaks of.
OTHER_PROTOCOL = -1


@dataclass(frozen=True, slots=True)
class PortList:
    """A port list: numbers, and the bits of its names with what they mean."""

    numbers: IntervalSet
    named: tuple[tuple[int, int, int], ...]

    def spans(self, protocol: int, truth: int) -> IntervalSet:
        """The ports in the list, for one protocol and one address."""
        if not self.named:
            return self.numbers
        meant = [(p, p) for bit, number, p in self.named if number == protocol and truth & bit]
        return IntervalSet.of((*self.numbers.spans, *meant))


@dataclass(frozen=True, slots=True)
class LoweredSide:
    """One end of a rule.

    ``mask`` has every bit that its answers depend on, ``named`` those that its ports depend on.
    """

    holds: int
    fails: int
    ports: PortList | None
    not_ports: PortList | None
    serving: PortList | None
    mask: int
    named: int

    def admits(self, truth: int) -> bool:
        """Whether an address of which this is true can be this end."""
        return truth & self.holds == self.holds and not truth & self.fails

    def spans(self, protocol: int, truth: int, *, ported: bool) -> IntervalSet:
        """The numbers that may stand at this end; ``ported`` says whether ports are in question."""
        last = number_last(protocol)
        spans = IntervalSet(((0, last),))
        if self.ports is not None:
            spans = self.ports.spans(protocol, truth) if ported else IntervalSet()
        if self.not_ports is not None and ported:
            spans -= self.not_ports.spans(protocol, truth)
        if self.serving is not None:
            spans &= self.serving.spans(protocol, truth)
        return spans


class LoweredRule:
    """A rule with bits for predicates; it remembers its boxes."""

    __slots__ = (
        "_boxes",
        "_family",
        "_rule",
        "action",
        "destination",
        "protocols",
        "ref",
        "source",
    )

    def __init__(
        self, ref: RuleRef, rule: NormalRule, family: Family, ends: tuple[LoweredSide, LoweredSide]
    ) -> None:
        self.ref = ref
        self.action: RuleAction = rule.action
        self.source, self.destination = ends
        self._rule = rule
        self._family = family
        self._boxes: dict[tuple[int, int, int], tuple[Box, ...]] = {}
        #: The protocols that the rule may treat unlike others.
        self.protocols: frozenset[int] = self._protocols()

    def peer(self, direction: Direction) -> LoweredSide:
        """The end that is the peer's."""
        return self.source if direction is Direction.INGRESS else self.destination

    def admits(self, source: int, destination: int) -> bool:
        """Whether it can match between two addresses of which this is true."""
        return self.source.admits(source) and self.destination.admits(destination)

    def boxes(self, protocol: int, source: int, destination: int) -> tuple[Box, ...]:
        """The disjoint boxes of a protocol's plane that it matches between addresses it admits."""
        key = protocol, source & self.source.named, destination & self.destination.named
        boxes = self._boxes.get(key)
        if boxes is None:
            boxes = self._boxes[key] = tuple(self._match(*key))
        return boxes

    def _match(self, protocol: int, source: int, destination: int) -> Iterable[Box]:
        rule = self._rule
        if rule.protocol not in (None, protocol) or rule.not_protocol == protocol:
            return ()
        ported = protocol in rule.port_protocols
        a_spans = self.source.spans(protocol, source, ported=ported)
        b_spans = self.destination.spans(protocol, destination, ported=ported)
        boxes = (Box(*a, *b) for a, b in product(a_spans.spans, b_spans.spans))
        return self._of_icmp(boxes, protocol)

    def _of_icmp(self, boxes: Iterable[Box], protocol: int) -> Iterable[Box]:
        rule, last = self._rule, number_last(protocol)
        is_icmp = protocol == icmp_protocol(self._family)
        if rule.icmp is not None:
            boxes = (_icmp_box(rule.icmp, last) for _ in boxes) if is_icmp else ()
        if rule.not_icmp is not None and is_icmp:
            hole = _icmp_box(rule.not_icmp, last)
            boxes = (piece for box in boxes for piece in minus(box, hole))
        return boxes

    def _protocols(self) -> frozenset[int]:
        rule = self._rule
        lists = [(end.ports, end.not_ports) for end in (self.source, self.destination)]
        numbers = {rule.protocol, rule.not_protocol}
        if any(ports is not None for both in lists for ports in both):
            numbers |= rule.port_protocols
        if self.source.serving is not None or self.destination.serving is not None:
            numbers |= PROTOCOLS_WITH_PORTS
        if rule.icmp is not None or rule.not_icmp is not None:
            numbers.add(icmp_protocol(self._family))
        return frozenset(int(number) for number in numbers if number is not None)


def _icmp_box(icmp: IcmpMatch, last: int) -> Box:
    code = (0, last) if icmp.code is None else (icmp.code, icmp.code)
    return Box(icmp.type, icmp.type, *code)


@dataclass(frozen=True, slots=True)
class Block:
    """One policy's or profile's rules for one direction and family, lowered.

    ``atoms`` are those whose bits it holds, each once; ``topics`` are the port names and services
    whose meaning went into it.
    """

    rules: tuple[LoweredRule, ...]
    atoms: frozenset[Atom]
    topics: frozenset[Topic]
    source_mask: int
    destination_mask: int


class Meanings(Protocol):
    """What port names and services mean anywhere in the cluster."""

    def of(self, owner: OwnsPort | Serves, family: Family) -> Iterable[tuple[int, int]]:
        """Every (protocol, port) that the name or service stands for, sorted."""


class Lowering:
    """Lowers the rules of one family with bits of shared atoms."""

    def __init__(self, atoms: Atoms, family: Family, meanings: Meanings) -> None:
        self._atoms = atoms
        self._family = family
        self._meanings = meanings

    def block(self, steps: Iterable[Step]) -> Block:
        """Lower some steps; their atoms are in use until ``release``."""
        block = _Building(self._atoms, self._meanings, self._family)
        rules = tuple(block.rule(step.ref, step.rule) for step in steps)
        return Block(
            rules,
            frozenset(block.bits),
            frozenset(block.topics),
            union(rule.source.mask for rule in rules),
            union(rule.destination.mask for rule in rules),
        )

    def release(self, block: Block) -> None:
        """A block is not needed any more."""
        for atom in block.atoms:
            self._atoms.drop(atom)


class _Building:
    """One block in the making: which bits it has taken, and what it asked the meaning of."""

    def __init__(self, atoms: Atoms, meanings: Meanings, family: Family) -> None:
        self.bits: dict[Atom, int] = {}
        self.topics: set[Topic] = set()
        self._atoms = atoms
        self._meanings = meanings
        self._family = family

    def rule(self, ref: RuleRef, rule: NormalRule) -> LoweredRule:
        ends = self._side(rule.source), self._side(rule.destination)
        return LoweredRule(ref, rule, self._family, ends)

    def _side(self, side: Side) -> LoweredSide:
        needs = needs_of(side)
        holds = union(self._bit(atom) for atom in needs.holds)
        fails = union(self._bit(atom) for atom in needs.fails)
        lists = self._ports(side, side.ports), self._ports(side, side.not_ports)
        serves = serves_of(side)
        serving = None if serves is None else PortList(IntervalSet(), self._named(serves))
        named = union(bit for own in (*lists, serving) if own for bit, _, _ in own.named)
        return LoweredSide(holds, fails, *lists, serving, mask=holds | fails | named, named=named)

    def _ports(self, side: Side, ports: Ports | None) -> PortList | None:
        if ports is None:
            return None
        named = tuple(each for owner in named_ports(side, ports) for each in self._named(owner))
        return PortList(IntervalSet.of((p.first, p.last) for p in ports.ranges), named)

    def _named(self, owner: OwnsPort | Serves) -> tuple[tuple[int, int, int], ...]:
        """What a name or service may mean, each with the bit of the addresses that mean it."""
        self.topics.add(owner.name if isinstance(owner, OwnsPort) else owner.service)
        meanings = self._meanings.of(owner, self._family)
        return tuple((self._bit(MeansPort(owner, *meaning)), *meaning) for meaning in meanings)

    def _bit(self, atom: Atom) -> int:
        bit = self.bits.get(atom)
        if bit is None:
            bit = self.bits[atom] = self._atoms.use(atom)
        return bit
