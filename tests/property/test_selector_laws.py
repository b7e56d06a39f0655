"""Laws of the selector language, held against a slow and obvious reading of the tree."""

from hypothesis import given
from hypothesis import strategies as st

from korat.core.selector import Selector, SelectorError, conjunction, parse
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
)
from korat.core.selector.restriction import restrictions
from strategies_selector import label_maps, nodes, small_nodes, spellings


def reading(node: Node, labels: dict[str, str]) -> bool:
    """The language's semantics, spelled out."""
    match node:
        case All() | Global():
            return True
        case Not(operand):
            return not reading(operand, labels)
        case And(operands):
            return False not in [reading(operand, labels) for operand in operands]
        case Or(operands):
            return True in [reading(operand, labels) for operand in operands]
        case leaf:
            return reading_of_value(leaf, labels.get(leaf.label))


def reading_of_value(leaf: Has | Compare | Member, present: str | None) -> bool:
    if present is None:
        return getattr(leaf, "comparison", None) is Comparison.NE or getattr(leaf, "negated", False)
    match leaf:
        case Has():
            return True
        case Member(_, values, negated):
            return any(present == value for value in values) is not negated
        case Compare(_, comparison, value):
            return {
                Comparison.EQ: present == value,
                Comparison.NE: present != value,
                Comparison.CONTAINS: present.find(value) >= 0,
                Comparison.STARTS_WITH: present[: len(value)] == value,
                Comparison.ENDS_WITH: present[max(0, len(present) - len(value)) :] == value,
            }[comparison]


@given(nodes())
def test_canonical_text_parses_back_to_the_same_tree(node):
    canonical = Selector(node).canonical
    assert parse(canonical).root == node
    assert parse(canonical).canonical == canonical


@given(st.data(), nodes())
def test_every_spelling_is_the_same_selector(data, node):
    text = data.draw(spellings(node))
    assert parse(text) == Selector(node)
    assert parse(text).uid == Selector(node).uid


@given(small_nodes, label_maps)
def test_matching_is_the_plain_reading_of_the_tree(node, labels):
    assert Selector(node).matches(labels) is reading(node, labels)


@given(small_nodes, label_maps)
def test_a_prefixed_selector_sees_prefixed_labels_as_the_plain_one_sees_plain(node, labels):
    prefixed = {f"pcns.{label}": value for label, value in labels.items()}
    others = dict.fromkeys(labels, "other")
    plain = Selector(node).matches(labels)
    assert Selector(node).prefixed("pcns.").matches(prefixed | others) is plain


@given(st.lists(small_nodes, max_size=3), label_maps)
def test_a_conjunction_matches_what_all_match(nodes, labels):
    selectors = [Selector(node) for node in nodes]
    expected = all(selector.matches(labels) for selector in selectors)
    assert conjunction(*selectors).matches(labels) is expected


@given(small_nodes, label_maps)
def test_labels_that_match_keep_every_restriction(node, labels):
    if Selector(node).matches(labels):
        demanded = restrictions(node)
        assert all(demand.admits(labels.get(label)) for label, demand in demanded.items())


@given(st.text(alphabet="ab!=&|(){}'\", \tinhas\n%", max_size=30) | st.text(max_size=20))
def test_any_text_parses_or_is_refused_with_a_place_inside_it(text):
    try:
        selector = parse(text)
    except SelectorError as error:
        position = error.position
    else:
        position = 0
        assert parse(selector.canonical) == selector
    assert 0 <= position <= len(text)
