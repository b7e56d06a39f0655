"""A plan: all stages of one direction of an endpoint's policy with lowered rules, to be painted.

Source: felix/rules/endpoints.go (the order in which a workload endpoint's policy is asked).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from korat.core.policy.outcome import Direction, RuleRef
from korat.core.table.atom import bits_of, union
from korat.core.table.lower import Block, LoweredRule


@dataclass(frozen=True, slots=True)
class LoweredTrial:
    """A staged policy with lowered rules."""

    rules: tuple[LoweredRule, ...]
    miss: RuleRef | None


#: What a stage is made of.
Lowered = LoweredRule | LoweredTrial


class LoweredStage:
    """A stage of a sequence with lowered rules, found by what is true of the peer."""

    __slots__ = ("_always", "_by_bit", "_keys", "end", "passing", "rules")

    def __init__(
        self,
        direction: Direction,
        rules: Iterable[Lowered],
        end: RuleRef | None,
        passing: RuleRef | None = None,
    ) -> None:
        """``end`` and ``passing`` as in a sequence's stage."""
        self.rules: tuple[Lowered, ...] = tuple(rules)
        self.end = end
        self.passing = passing
        self._always: list[int] = []
        self._by_bit: dict[int, list[int]] = {}
        for index, rule in enumerate(self.rules):
            holds = 0 if isinstance(rule, LoweredTrial) else rule.peer(direction).holds
            # Any one of the bits that must be set leads to the rule.
            (self._by_bit.setdefault(holds & -holds, []) if holds else self._always).append(index)
        self._keys = union(self._by_bit)

    def candidates(self, peer: int) -> list[Lowered]:
        """The rules that may match for a peer of which this is true, in order."""
        found = list(self._always)
        for bit in bits_of(peer & self._keys):
            found += self._by_bit[bit]
        found.sort()
        return [self.rules[index] for index in found]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """All stages of one direction, lowered.

    The masks have every bit that its tables depend on: of the peer, and of the endpoint itself.
    """

    direction: Direction
    stages: tuple[LoweredStage, ...]
    peer_mask: int
    own_mask: int

    @classmethod
    def of(
        cls, direction: Direction, stages: Iterable[LoweredStage], blocks: Sequence[Block]
    ) -> "Plan":
        """A plan of these stages, whose rules are those of the blocks."""
        source = union(block.source_mask for block in blocks)
        destination = union(block.destination_mask for block in blocks)
        ingress = direction is Direction.INGRESS
        masks = (source, destination) if ingress else (destination, source)
        return cls(direction, tuple(stages), *masks)
