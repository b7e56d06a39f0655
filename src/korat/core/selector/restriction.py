"""What a selector demands of single labels: the ground of the label index.

A restriction is necessary, never sufficient: labels that break one cannot match, labels that keep
all of them may still not. So an index may look only where the restrictions allow, and evaluate the
selector there.

Source: libcalico-go/lib/selector/parser (LabelRestrictions).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

from korat.core.selector.ast import And, Compare, Comparison, Has, Member, Node, Not, Or


@dataclass(frozen=True, slots=True)
class Restriction:
    """What must hold of one label; ``values`` are the only ones possible, None for no such limit.

    Invariant: a restriction with values is ``present`` too.
    """

    present: bool = False
    absent: bool = False
    values: frozenset[str] | None = None

    def __and__(self, other: "Restriction") -> "Restriction":
        values = self.values
        if values is None:
            values = other.values
        elif other.values is not None:
            values &= other.values
        return Restriction(self.present or other.present, self.absent or other.absent, values)

    def __or__(self, other: "Restriction") -> "Restriction":
        values = None
        if self.values is not None and other.values is not None:
            values = self.values | other.values
        return Restriction(self.present and other.present, self.absent and other.absent, values)

    def admits(self, value: str | None) -> bool:
        """Whether a label with this value, or without one, keeps the restriction."""
        if value is None:
            return not self.present
        return not self.absent and (self.values is None or value in self.values)


Restrictions = Mapping[str, Restriction]

_NONE = Restriction()


def restrictions(node: Node) -> Restrictions:
    """The restrictions of every label that the node restricts."""
    match node:
        case And(operands):
            return _all_of(map(restrictions, operands))
        case Or(operands):
            return _any_of(map(restrictions, operands))
        case Not(Has(label)):
            return {label: Restriction(absent=True)}
        case Has(label) | Compare(label) | Member(label):
            demand = _demand(node)
            return {} if demand == _NONE else {label: demand}
        case _:
            return {}


def _demand(node: Has | Compare | Member) -> Restriction:
    match node:
        case Compare(_, Comparison.NE, _) | Member(negated=True):
            return _NONE
        case Compare(_, Comparison.EQ, value):
            return Restriction(present=True, values=frozenset({value}))
        case Member(_, values):
            return Restriction(present=True, values=values)
        case _:
            return Restriction(present=True)


def _all_of(parts: Iterable[Restrictions]) -> Restrictions:
    joined: dict[str, Restriction] = {}
    for part in parts:
        for label, restriction in part.items():
            joined[label] = joined.get(label, _NONE) & restriction
    return joined


def _any_of(parts: Iterable[Restrictions]) -> Restrictions:
    def either(left: Restrictions, right: Restrictions) -> Restrictions:
        joined = {label: left[label] | right[label] for label in left if label in right}
        return {label: restriction for label, restriction in joined.items() if restriction != _NONE}

    return reduce(either, parts)
