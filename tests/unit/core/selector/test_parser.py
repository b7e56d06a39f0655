"""The selector language: what each form matches, what is refused and where, canonical texts."""

import json
from pathlib import Path

import pytest

from korat.core.selector import SelectorError, conjunction, parse
from korat.core.selector.parser import DEPTH_MAX

CASES = Path(__file__).resolve().parents[5] / "shared" / "cases" / "selector.jsonl"


def calico_cases(table: str) -> list[list]:
    """The argument lists of one of Calico's own tables, when they lie beside the checkout."""
    if not CASES.exists():
        return []
    rows = map(json.loads, CASES.read_text(encoding="utf-8").splitlines())
    return [row["Args"] for row in rows if row["Table"] == table]


needs_cases = pytest.mark.skipif(
    not CASES.exists(), reason="shared/cases is not beside the checkout"
)

FORMS = [
    # text, label maps that match, label maps that do not
    ("", [{}, {"a": "b"}], []),
    (" \t ", [{}], []),
    ("all()", [{}, {"a": "b"}], []),
    ("all( \t)", [{}], []),
    ("global()", [{}, {"a": "b"}], []),
    ("has(a)", [{"a": ""}, {"a": "x"}], [{}, {"b": "a"}]),
    ("has( a\t)", [{"a": "x"}], [{}]),
    ("!has(a)", [{}], [{"a": ""}]),
    ("!!has(a)", [{"a": ""}], [{}]),
    ("! ! !has(a)", [{}], [{"a": ""}]),
    ("a=='b'", [{"a": "b"}], [{}, {"a": "B"}, {"a": ""}]),
    ("a == ''", [{"a": ""}], [{}, {"a": " "}]),
    ("a != 'b'", [{}, {"a": "c"}], [{"a": "b"}]),
    ("!a == 'b'", [{}, {"a": "c"}], [{"a": "b"}]),
    ("a contains 'b'", [{"a": "abc"}, {"a": "b"}], [{}, {"a": "ac"}]),
    ("a contains ''", [{"a": ""}], [{}]),
    ("a contains'b'", [{"a": "b"}], [{"a": "c"}]),
    ("a starts with 'b'", [{"a": "bc"}], [{}, {"a": "cb"}]),
    ("a startswith 'b'", [{"a": "bc"}], [{"a": "cb"}]),
    ("a starts \t with'b'", [{"a": "bc"}], [{"a": "cb"}]),
    ("a ends with 'b'", [{"a": "cb"}], [{}, {"a": "bc"}]),
    ("a endswith 'b'", [{"a": "cb"}], [{"a": "bc"}]),
    ("a in {'b','c'}", [{"a": "b"}, {"a": "c"}], [{}, {"a": "d"}]),
    ("a in{'b'}", [{"a": "b"}], [{"a": "d"}]),
    ("a in { 'b' , }", [{"a": "b"}], [{}]),
    ("a in {}", [], [{}, {"a": ""}]),
    ("a not in {'b'}", [{}, {"a": "c"}], [{"a": "b"}]),
    ("a notin {'b'}", [{}, {"a": "c"}], [{"a": "b"}]),
    ("a not in {}", [{}, {"a": "b"}], []),
    ("""a == "it's" """, [{"a": "it's"}], [{"a": "its"}]),
    ("""a == 'say "x"'""", [{"a": 'say "x"'}], [{"a": "say x"}]),
    ("a == 'two\nlines'", [{"a": "two\nlines"}], [{"a": "two lines"}]),
    # && binds closer than ||, ! closer than both
    ("has(a) || has(b) && has(c)", [{"a": ""}, {"b": "", "c": ""}], [{"b": ""}, {"c": ""}]),
    ("(has(a) || has(b)) && has(c)", [{"a": "", "c": ""}], [{"a": ""}]),
    ("!has(a) && has(b)", [{"b": ""}], [{"a": "", "b": ""}, {}]),
    ("!(has(a) && has(b))", [{"a": ""}, {}], [{"a": "", "b": ""}]),
    # words of the language as labels
    ("in in {'x'}", [{"in": "x"}], [{}]),
    ("not not in {'x'}", [{}], [{"not": "x"}]),
    ("has == 'x'", [{"has": "x"}], [{}]),
    ("all == 'x' && global == 'y'", [{"all": "x", "global": "y"}], [{}]),
    ("contains contains 'x'", [{"contains": "x"}], [{}]),
    ("startswith startswith 'x'", [{"startswith": "xy"}], [{}]),
    ("has(has)", [{"has": ""}], [{}]),
    ("has(all)", [{"all": ""}], [{}]),
    ("k8s.io/a-b_c == 'x'", [{"k8s.io/a-b_c": "x"}], [{}]),
]


@pytest.mark.parametrize(("text", "matching", "others"), FORMS, ids=lambda value: repr(value)[:40])
def test_each_form_matches_what_it_says(text, matching, others):
    matches = parse(text).matches
    assert [matches(labels) for labels in matching] == [True] * len(matching)
    assert [matches(labels) for labels in others] == [False] * len(others)


BAD = [
    # text, the character it goes wrong at, a part of the reason
    ("b == b", 5, "a quoted string"),
    ("b contains b", 11, "a quoted string"),
    ("b starts with b", 14, "a quoted string"),
    ("'b1' == b", 0, "a label"),
    ("b", 1, "after the label b"),
    ("b ", 2, "after the label b"),
    ("a b", 2, "an operator"),
    ("a starts 'b'", 2, "an operator"),
    ("a not 'b'", 2, "an operator"),
    ("!", 1, "a label"),
    ("a !has(b)", 2, "after the label a"),
    ("a == 'b' &", 9, "'&'"),
    ("a == 'b' | has(c)", 9, "'|'"),
    ("a = 'b'", 2, "an operator"),
    ("a == 'b' && ", 12, "a label"),
    ("|| has(a)", 0, "a label"),
    ("has(a) has(b)", 7, "&&, || or the end"),
    ("has(a))", 6, "the end"),
    ("a in 'b'", 5, "a set"),
    ("a in {b}", 6, "a quoted string"),
    ("a in {,}", 6, "a quoted string"),
    ("a in {'b' 'c'}", 10, "a comma"),
    ("a in {'b'", 9, "}"),
    ("a == 'b", 5, "closing '"),
    ("a == \"b'", 5, 'closing "'),
    ("(", 1, "a label"),
    ("(has(a)", 7, ")"),
    ("()", 1, "a label"),
    ("%", 0, "'%'"),
    ("has()", 4, "a label"),
    ("has(a", 5, "the ) of has("),
    ("has(a b)", 6, "the ) of has("),
    ("has (a)", 4, "after the label has"),
    ("all(a)", 4, "the ) of all("),
    ("all", 3, "after the label all"),
    ("has(a)\n", 6, "'\\n'"),
    ("a\n== 'b'", 1, "an operator"),
    ("ä == 'b'", 0, "'ä'"),
    ("x" * 513 + " == 'b'", 0, "at most 512"),
    ("(" * (DEPTH_MAX + 1) + "has(a)" + ")" * (DEPTH_MAX + 1), DEPTH_MAX, "nested deeper"),
]


@pytest.mark.parametrize(("text", "position", "reason"), BAD, ids=lambda value: repr(value)[:40])
def test_bad_text_is_refused_with_its_place_and_reason(text, position, reason):
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert caught.value.position == position
    assert reason in caught.value.reason
    assert "\n" not in str(caught.value)


def test_nesting_up_to_the_limit_is_fine():
    assert parse("(" * DEPTH_MAX + "has(a)" + ")" * DEPTH_MAX).canonical == "has(a)"


def test_the_error_says_where_and_what_was_expected():
    with pytest.raises(SelectorError) as caught:
        parse("app = web")
    assert str(caught.value) == (
        "expected an operator after the label, at character 5, before '= web'"
    )


CANONICAL = [
    ("", "all()"),
    ("((all()))", "all()"),
    ("a=='b'", 'a == "b"'),
    ("a == '\"'", "a == '\"'"),
    ("a notin {'c','b','c'}", 'a not in {"b", "c"}'),
    ("a in {}", "a in {}"),
    ("a startswith 'b' || a endswith 'c'", '(a starts with "b" || a ends with "c")'),
    ("has(a) && has(b) && has(c)", "(has(a) && has(b) && has(c))"),
    ("(has(a) && has(b)) && has(c)", "((has(a) && has(b)) && has(c))"),
    ("!(has(a) || has(b))", "!(has(a) || has(b))"),
    ("!!!a == 'b'", '!a == "b"'),
    ("!(!has(a))", "has(a)"),
]


@pytest.mark.parametrize(("text", "canonical"), CANONICAL)
def test_canonical_text(text, canonical):
    assert parse(text).canonical == canonical
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ("", "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"),
        ("!(has(b)||!has(a))", "s:Iss0uCleLYv1GSv_pNm7hAO58kE9jAx1NKyG3Q"),
    ],
)
def test_uid_is_calicos(text, uid):
    assert parse(text).uid == uid


def test_spellings_are_one_selector():
    assert parse("a=='b'") == parse('a == "b"')
    assert len({parse("a=='b'"), parse('(a == "b")'), parse("a != 'b'")}) == 2


def test_prefixed_changes_labels_and_nothing_else():
    selector = parse("has(a) && !(b in {'b', 'c'} || c startswith 'a') && all()").prefixed("pcns.")
    assert selector.canonical == (
        '(has(pcns.a) && !(pcns.b in {"b", "c"} || pcns.c starts with "a") && all())'
    )


def test_conjunction_leaves_out_what_says_nothing():
    assert conjunction() == parse("all()")
    assert conjunction(parse(""), parse("has(a)")) == parse("has(a)")
    assert conjunction(parse("has(a) || has(b)"), parse("all()"), parse("c == 'd'")).canonical == (
        '((has(a) || has(b)) && c == "d")'
    )


@pytest.mark.parametrize(
    ("text", "is_all", "is_global", "mentions_global"),
    [
        ("", True, False, False),
        ("all()", True, False, False),
        ("all() && all()", False, False, False),
        ("global()", False, True, True),
        ("has(a) || !(has(b) && global())", False, False, True),
    ],
)
def test_what_conversion_asks(text, is_all, is_global, mentions_global):
    selector = parse(text)
    asked = (selector.is_all, selector.is_global, selector.mentions_global)
    assert asked == (is_all, is_global, mentions_global)


@needs_cases
def test_calicos_matching_table():
    rows = calico_cases("selector")
    assert len(rows) >= 58
    for text, matching, others in rows:
        matches = parse(text).matches
        assert all(map(matches, matching)), text
        assert not any(map(matches, others)), text


@needs_cases
def test_calicos_table_of_bad_selectors():
    rows = calico_cases("bad")
    assert len(rows) >= 26
    for (text,) in rows:
        with pytest.raises(SelectorError):
            parse(text)


@needs_cases
def test_calicos_table_of_canonical_texts_and_uids():
    rows = calico_cases("canon")
    assert len(rows) >= 17
    for text, canonical, uid in rows:
        assert parse(text).canonical == canonical
        assert uid in ("", parse(text).uid)
