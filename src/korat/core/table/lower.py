"""Sequences lowered for painting: predicates become bits, port lists become spans.

Every predicate of a family gets a bit, and all that is true of an address is one integer. A named
port has a bit for each (protocol, port) that any endpoint means by it, so that every bit is a plain
truth of an address. A lowered rule asks each end for bits by two masks, and is a set of boxes then.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from korat.core.net.address import Family
from korat.core.net.interval import IntervalSet
from korat.core.net.port import PROTOCOLS_WITH_PORTS, icmp_protocol
from korat.core.policy.cluster import Cluster
from korat.core.policy.outcome import RuleRef
from korat.core.policy.rule import IcmpMatch, NormalRule, Ports, RuleAction, Side
from korat.core.table.grid import Box, minus
from korat.core.table.predicate import HasLabels, InNets, OwnsPort, named_ports, needs_of
from korat.core.table.sequence import Sequence, Step, Trial
from korat.core.table.value import number_last

#: Stands for every protocol that no rule of a plan speaks of.
OTHER_PROTOCOL = -1


@dataclass(frozen=True, slots=True)
class MeansPort:
    """The address belongs to an endpoint of ``owner`` for which the name means this port."""

    owner: OwnsPort
    protocol: int
    port: int

    @property
    def text(self) -> str:
        """A stable text, different for different atoms."""
        return f"{self.owner.text} {self.protocol} {self.port}"


#: What can be true of an address alone.
Atom = InNets | HasLabels | MeansPort


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
    """One end of a rule; ``mask`` has every bit that its answers depend on."""

    holds: int
    fails: int
    ports: PortList | None
    not_ports: PortList | None
    mask: int

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
        return spans


class LoweredRule:
    """A rule with bits for predicates; it remembers its boxes."""

    __slots__ = ("_boxes", "_family", "_rule", "action", "destination", "ref", "source")

    def __init__(
        self, ref: RuleRef, rule: NormalRule, family: Family, ends: tuple[LoweredSide, LoweredSide]
    ) -> None:
        self.ref = ref
        self.action: RuleAction = rule.action
        self.source, self.destination = ends
        self._rule = rule
        self._family = family
        self._boxes: dict[tuple[int, int, int], tuple[Box, ...]] = {}

    def admits(self, source: int, destination: int) -> bool:
        """Whether it can match between two addresses of which this is true."""
        return self.source.admits(source) and self.destination.admits(destination)

    def boxes(self, protocol: int, source: int, destination: int) -> tuple[Box, ...]:
        """The disjoint boxes of a protocol's plane that the rule matches between two addresses."""
        key = protocol, source & self.source.mask, destination & self.destination.mask
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

    def protocols(self) -> frozenset[int]:
        """The protocols that the rule may treat unlike others."""
        rule = self._rule
        lists = [(end.ports, end.not_ports) for end in (self.source, self.destination)]
        numbers = {rule.protocol, rule.not_protocol}
        if any(ports is not None for both in lists for ports in both):
            numbers |= rule.port_protocols
        if rule.icmp is not None or rule.not_icmp is not None:
            numbers.add(icmp_protocol(self._family))
        return frozenset(int(number) for number in numbers if number is not None)


def _icmp_box(icmp: IcmpMatch, last: int) -> Box:
    code = (0, last) if icmp.code is None else (icmp.code, icmp.code)
    return Box(icmp.type, icmp.type, *code)


@dataclass(frozen=True, slots=True)
class LoweredTrial:
    """A staged policy with lowered rules."""

    rules: tuple[LoweredRule, ...]
    miss: RuleRef | None


@dataclass(frozen=True, slots=True)
class LoweredStage:
    """A stage of a sequence with lowered rules."""

    rules: tuple[LoweredRule | LoweredTrial, ...]
    end: RuleRef | None
    passing: RuleRef | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A sequence, lowered; the masks have every bit that its table depends on."""

    stages: tuple[LoweredStage, ...]
    protocols: tuple[int, ...]
    source_mask: int
    destination_mask: int


class Lowering:
    """Lowers the sequences of one family.

    ``atoms`` grows by what they ask; an atom's number is its place there and the place of its bit.
    """

    def __init__(self, cluster: Cluster, family: Family) -> None:
        self.atoms: dict[Atom, int] = {}
        self._family = family
        self._meanings = _meanings(cluster)

    def plan(self, sequence: Sequence) -> Plan:
        """Lower a sequence."""
        stages = tuple(
            LoweredStage(tuple(map(self._step, stage.steps)), stage.end, stage.passing)
            for stage in sequence.stages
        )
        rules = [rule for stage in stages for rule in _flat(stage.rules)]
        protocols = frozenset[int]().union(*(rule.protocols() for rule in rules))
        return Plan(
            stages,
            tuple(sorted(protocols)),
            union(rule.source.mask for rule in rules),
            union(rule.destination.mask for rule in rules),
        )

    def _step(self, step: Step | Trial) -> LoweredRule | LoweredTrial:
        if isinstance(step, Trial):
            rules = tuple(self._rule(each.ref, each.rule) for each in step.steps)
            return LoweredTrial(rules, step.miss)
        return self._rule(step.ref, step.rule)

    def _rule(self, ref: RuleRef, rule: NormalRule) -> LoweredRule:
        ends = self._side(rule.source), self._side(rule.destination)
        return LoweredRule(ref, rule, self._family, ends)

    def _side(self, side: Side) -> LoweredSide:
        needs = needs_of(side)
        holds = union(self._bit(atom) for atom in needs.holds)
        fails = union(self._bit(atom) for atom in needs.fails)
        lists = self._ports(side, side.ports), self._ports(side, side.not_ports)
        named = union(bit for ports in lists if ports for bit, _, _ in ports.named)
        return LoweredSide(holds, fails, *lists, mask=holds | fails | named)

    def _ports(self, side: Side, ports: Ports | None) -> PortList | None:
        if ports is None:
            return None
        named = (
            (self._bit(MeansPort(owner, *meaning)), *meaning)
            for owner in named_ports(side, ports)
            for meaning in self._meanings.get(owner.name, ())
        )
        return PortList(IntervalSet.of((p.first, p.last) for p in ports.ranges), tuple(named))

    def _bit(self, atom: Atom) -> int:
        return 1 << self.atoms.setdefault(atom, len(self.atoms))


def _flat(rules: Iterable[LoweredRule | LoweredTrial]) -> Iterator[LoweredRule]:
    """The rules, those of staged policies among them."""
    for rule in rules:
        yield from (rule.rules if isinstance(rule, LoweredTrial) else (rule,))


def union(masks: Iterable[int]) -> int:
    """The bits of all masks."""
    bits = 0
    for mask in masks:
        bits |= mask
    return bits


def bits_of(mask: int) -> Iterator[int]:
    """Each bit of a mask by itself, the lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest
        mask ^= lowest


def _meanings(cluster: Cluster) -> Mapping[str, list[tuple[int, int]]]:
    """What a port name means anywhere: (protocol, port), sorted."""
    meanings: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
    for endpoint in cluster.endpoints:
        for name, protocol, port in endpoint.ports:
            if protocol in PROTOCOLS_WITH_PORTS:
                meanings[name].add((protocol, port))
    return {name: sorted(meaning) for name, meaning in meanings.items()}
