"""Selectors as trees, and what can be read off a tree: canonical text, test, prefixed labels.

A node knows its text (``str``) and its ``test``, a closure from a label map to a truth value: a
selector is parsed once and matched against a hundred thousand maps.

Source: libcalico-go/lib/selector/parser/ast.go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from typing_extensions import override

Labels = Mapping[str, str]
Test = Callable[[Labels], bool]


def quoted(value: str) -> str:
    """A string literal: double quotes, or single ones when the value holds a double one.

    Raises:
        ValueError: the value holds both, which the language cannot write.
    """
    if '"' not in value:
        return f'"{value}"'
    if "'" in value:
        raise ValueError(f"{value!r} holds both kinds of quotes; a selector cannot say it")
    return f"'{value}'"


@dataclass(frozen=True, slots=True)
class All:
    """``all()``: every label map."""

    @override
    def __str__(self) -> str:
        return "all()"

    def test(self) -> Test:
        """A closure that says whether a label map satisfies the node."""
        return lambda _: True

    def prefixed(self, _: str) -> "Node":
        """Itself: it looks at no label."""
        return self


@dataclass(frozen=True, slots=True)
class Global:
    """``global()``: true as a test; conversion gives it its meaning, no namespace."""

    @override
    def __str__(self) -> str:
        return "global()"

    def test(self) -> Test:
        """A closure that says whether a label map satisfies the node."""
        return lambda _: True

    def prefixed(self, _: str) -> "Node":
        """Itself: it looks at no label."""
        return self


@dataclass(frozen=True, slots=True)
class Has:
    """``has(label)``: the label is there, with any value."""

    label: str

    @override
    def __str__(self) -> str:
        return f"has({self.label})"

    def test(self) -> Test:
        """A closure that says whether a label map satisfies the node."""
        label = self.label
        return lambda labels: label in labels

    def prefixed(self, prefix: str) -> "Node":
        """The same tree with ``prefix`` before every label key."""
        return Has(prefix + self.label)


class Comparison(Enum):
    """How a label's value is compared with one string; the value is the operator's text.

    An absent label satisfies ``!=`` and no other.
    """

    EQ = "=="
    NE = "!="
    CONTAINS = "contains"
    STARTS_WITH = "starts with"
    ENDS_WITH = "ends with"


@dataclass(frozen=True, slots=True)
class Compare:
    """A label against one string."""

    label: str
    comparison: Comparison
    value: str

    @override
    def __str__(self) -> str:
        return f"{self.label} {self.comparison.value} {quoted(self.value)}"

    def test(self) -> Test:
        """A closure that says whether a label map satisfies the node."""
        label, value = self.label, self.value
        match self.comparison:
            case Comparison.EQ:
                return lambda labels: labels.get(label) == value
            case Comparison.NE:
                return lambda labels: labels.get(label) != value
            case Comparison.CONTAINS:
                return lambda labels: label in labels and value in labels[label]
            case Comparison.STARTS_WITH:
                return lambda labels: label in labels and labels[label].startswith(value)
            case Comparison.ENDS_WITH:
                return lambda labels: label in labels and labels[label].endswith(value)

    def prefixed(self, prefix: str) -> "Node":
        """The same tree with ``prefix`` before every label key."""
        return Compare(prefix + self.label, self.comparison, self.value)


@dataclass(frozen=True, slots=True)
class Member:
    """``in`` a set of strings, or with ``negated`` ``not in``, which an absent label satisfies."""

    label: str
    values: frozenset[str]
    negated: bool = False

    @override
    def __str__(self) -> str:
        operator = "not in" if self.negated else "in"
        values = ", ".join(quoted(value) for value in sorted(self.values))
        return f"{self.label} {operator} {{{values}}}"

    def test(self) -> Test:
        """A closure that says whether a label map satisfies the node."""
        label, values = self.label, self.values
        if self.negated:
            return lambda labels: labels.get(label) not in values
        return lambda labels: labels.get(label) in values

    def prefixed(self, prefix: str) -> "Node":
        """The same tree with ``prefix`` before every label key."""
        return Member(prefix + self.label, self.values, self.negated)


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of another node; never of another Not (``negation`` sees to it)."""

    operand: "Node"

    @override
    def __str__(self) -> str:
        return f"!{self.operand}"

    def test(self) -> Test:
        """A closure that says whether a label map satisfies the node."""
        operand = self.operand.test()
        return lambda labels: not operand(labels)

    def prefixed(self, prefix: str) -> "Node":
        """The same tree with ``prefix`` before every label key."""
        return Not(self.operand.prefixed(prefix))


@dataclass(frozen=True, slots=True)
class And:
    """All of at least two nodes."""

    operands: tuple["Node", ...]

    @override
    def __str__(self) -> str:
        return f"({' && '.join(map(str, self.operands))})"

    def test(self) -> Test:
        """A closure that says whether a label map satisfies the node."""
        return _every(tuple(operand.test() for operand in self.operands))

    def prefixed(self, prefix: str) -> "Node":
        """The same tree with ``prefix`` before every label key."""
        return And(tuple(operand.prefixed(prefix) for operand in self.operands))


@dataclass(frozen=True, slots=True)
class Or:
    """Any of at least two nodes."""

    operands: tuple["Node", ...]

    @override
    def __str__(self) -> str:
        return f"({' || '.join(map(str, self.operands))})"

    def test(self) -> Test:
        """A closure that says whether a label map satisfies the node."""
        return _some(tuple(operand.test() for operand in self.operands))

    def prefixed(self, prefix: str) -> "Node":
        """The same tree with ``prefix`` before every label key."""
        return Or(tuple(operand.prefixed(prefix) for operand in self.operands))


Node = All | Global | Has | Compare | Member | Not | And | Or


def negation(node: Node) -> Node:
    """The opposite of a node; two negations cancel, as runs of ``!`` do in the text."""
    return node.operand if isinstance(node, Not) else Not(node)


def with_all(node: Node, instead: Node) -> Node:
    """The tree with another node in the place of every ``all()``."""
    match node:
        case All():
            return instead
        case Not(operand):
            return negation(with_all(operand, instead))
        case And(operands):
            return And(tuple(with_all(operand, instead) for operand in operands))
        case Or(operands):
            return Or(tuple(with_all(operand, instead) for operand in operands))
        case _:
            return node


def _every(tests: tuple[Test, ...]) -> Test:
    if len(tests) == 2:  # noqa: PLR2004 - pairs are the usual case and need no loop
        left, right = tests
        return lambda labels: left(labels) and right(labels)

    def every(labels: Labels) -> bool:
        for test in tests:  # noqa: SIM110 - all() with a generator costs twice as much
            if not test(labels):
                return False
        return True

    return every


def _some(tests: tuple[Test, ...]) -> Test:
    def some(labels: Labels) -> bool:
        for test in tests:  # noqa: SIM110 - any() with a generator costs twice as much
            if test(labels):
                return True
        return False

    return some
