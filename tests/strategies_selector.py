"""Selectors as trees, the many ways to spell one, and label maps that they may match."""

from hypothesis import strategies as st

from korat.core.selector.ast import (
    All,
    And,
    Compare,
    Comparison,
    Global,
    Has,
    Member,
    Node,
    Not,
    Or,
    negation,
)

#: Few labels and values, so that maps often match; some are words of the language.
LABELS = ["a", "b", "has", "in", "contains", "k8s.io/x-y_z"]
VALUES = ["", "a", "ab", "ba", "'", '"', "x y"]

labels = st.sampled_from(LABELS) | st.from_regex(r"[A-Za-z0-9_./-]{1,20}", fullmatch=True)
values = st.sampled_from(VALUES) | st.text(max_size=5).filter(
    lambda value: not ("'" in value and '"' in value)
)
label_maps = st.dictionaries(st.sampled_from(LABELS), st.sampled_from(VALUES), max_size=4)


def nodes(
    labels: st.SearchStrategy[str] = labels, values: st.SearchStrategy[str] = values
) -> st.SearchStrategy[Node]:
    """Trees as the parser makes them: no Not of a Not, at least two operands in And and Or."""
    leaves = st.one_of(
        st.just(All()),
        st.just(Global()),
        st.builds(Has, labels),
        st.builds(Compare, labels, st.sampled_from(Comparison), values),
        st.builds(Member, labels, st.frozensets(values, max_size=3), st.booleans()),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            inner.map(negation),
            st.lists(inner, min_size=2, max_size=3).map(lambda terms: And(tuple(terms))),
            st.lists(inner, min_size=2, max_size=3).map(lambda terms: Or(tuple(terms))),
        ),
        max_leaves=8,
    )


#: Trees over the few labels and values.
small_nodes = nodes(st.sampled_from(LABELS), st.sampled_from(VALUES))


@st.composite
def spellings(draw: st.DrawFn, node: Node) -> str:
    """Any text that means this tree: other quotes, blanks, parentheses, orders and repetitions."""
    return _Speller(draw).spelled(node)


class _Speller:
    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def spelled(self, node: Node) -> str:
        return f"{self._gap()}{self._term(node)}{self._gap()}"

    def _term(self, node: Node) -> str:
        text = self._plain(node)
        return self._draw(
            st.sampled_from([text, f"({self._gap()}{text}{self._gap()})", f"!!{text}"])
        )

    def _plain(self, node: Node) -> str:
        match node:
            case Not(operand):
                return f"!{self._gap()}{self._term(operand)}"
            case And(operands) | Or(operands):
                operator = "&&" if isinstance(node, And) else "||"
                terms = f"{self._gap()}{operator}{self._gap()}".join(map(self._term, operands))
                return f"({terms})"
            case Compare(label, comparison, value):
                return f"{label}{self._operator(comparison.value)}{self._string(value)}"
            case Member(label, values, negated):
                operator = self._operator("not in" if negated else "in")
                return f"{label}{operator}{self._set(values)}"
            case function:
                return f"{str(function)[:-1]}{self._gap()})"

    def _gap(self) -> str:
        return self._draw(st.sampled_from(["", " ", "\t", "  "]))

    def _operator(self, operator: str) -> str:
        before = "" if operator in ("==", "!=") else " "
        return before + self._gap() + operator.replace(" ", self._gap()) + self._gap()

    def _string(self, value: str) -> str:
        quote = self._draw(st.sampled_from([quote for quote in "'\"" if quote not in value]))
        return f"{quote}{value}{quote}"

    def _set(self, values: frozenset[str]) -> str:
        members = self._draw(st.permutations(sorted(values)))
        if not members:
            return f"{{{self._gap()}}}"
        again = self._draw(st.lists(st.sampled_from(members), max_size=1))
        text = f"{self._gap()},{self._gap()}".join(map(self._string, [*members, *again]))
        return f"{{{text}{self._draw(st.sampled_from(['', ',', ' , ']))}}}"
