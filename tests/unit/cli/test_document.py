"""Text to documents: what is read, and every trap with its words."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from korat.cli.dialect import dump
from korat.cli.document import documents
from korat.core.errors import Invalid

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: 1\n", [{"a": 1}], id="one"),
        pytest.param("---\n---\na: 1\n---\n# no\n---\nb: 2\n", [{"a": 1}, {"b": 2}], id="many"),
        pytest.param("", [], id="empty"),
        pytest.param("# only a comment\n", [], id="comment"),
        pytest.param('{"a": 1}\n{"b": [1, 2.5]}', [{"a": 1}, {"b": [1, 2.5]}], id="json"),
        pytest.param('{"a":\t"\\/\\ud83d\\ude00"}', [{"a": "/😀"}], id="json escapes"),
        pytest.param("{a: 1, b: [x]}", [{"a": 1, "b": ["x"]}], id="flow yaml"),
        pytest.param("a: 1:30\n", [{"a": "1:30"}], id="no base 60"),
        pytest.param("a: 2026-01-02\n", [{"a": "2026-01-02"}], id="no dates"),
        pytest.param("a: off\n", [{"a": False}], id="off is false"),
        pytest.param("a: 0x10\nb: 1e3\n", [{"a": 16, "b": 1000.0}], id="numbers"),
        pytest.param("a: &x {b: 1}\nc: {<<: *x, d: 2}\n", [{"a": {"b": 1}, "c": {"b": 1, "d": 2}}],
                     id="merge"),
        pytest.param("\ufeff{}", [{}], id="byte order mark"),
    ],
)  # fmt: skip
def test_reads(text, expected):
    assert expected == [document.value for document in documents(text, "f.yaml")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", "f.yaml:2: a stands twice in one mapping, first in line 1"),
        ('{"b": {"c": 1,\n"c": 2}}', "f.yaml:1: c stands twice in one object"),
        ("x:\n\ty: 1\n", ("f.yaml:2: is not YAML: found character that cannot start any token; "
         "indent with spaces, not tabs")),
        ("a: [1\nb: 2", "f.yaml:2: is not YAML: did not find expected ',' or ']'"),
        ("a: *b\n", "f.yaml:1: is not YAML: found undefined alias"),
        ("a: !!python/name:os.system x", ("f.yaml:1: is not YAML: could not determine a "
         "constructor for the tag 'tag:yaml.org,2002:python/name:os.system'")),
        ("? [a]\n: b\n", "f.yaml:1: a key must be a plain word"),
        ("on: x\n", ('f.yaml:1: a key: on is a boolean to YAML, but text is due; write it in '
         'quotes: "on"')),
        ("labels: {a: ok,\n  b: no}\n", ("f.yaml:2: labels.b: no is a boolean to YAML, but text is "
         'due; write it in quotes: "no"')),
        ("labels: {v: 1.10}\n", ("f.yaml:1: labels.v: 1.10 is a number to YAML, but text is due; "
         'write it in quotes: "1.10"')),
        ("metadata: {name: 5}\n", ('f.yaml:1: name: 5 is a number to YAML, but text is due; write '
         'it in quotes: "5"')),
        (BOMB, "f.yaml:1: grows to more than 500000 values when its aliases are written out"),
        ("a: &a [*a]\n", ("f.yaml:1: grows to more than 500000 values when its aliases are written "
         "out")),
        ("[" * 100_000, "f.yaml:1: is nested more than 64 levels deep"),
        ("- " * 5_000 + "x", "f.yaml:1: is nested more than 64 levels deep"),
        ('{"a":' * 100_000, "f.yaml:1: is nested more than 64 levels deep"),
    ],
)  # fmt: skip
def test_refuses(text, expected):
    started = time.process_time()
    with pytest.raises(Invalid) as caught:
        documents(text, "f.yaml")
    assert expected == str(caught.value)
    assert time.process_time() - started < 2


def test_every_trap_of_a_document_is_named():
    with pytest.raises(Invalid) as caught:
        documents("labels: {a: no, b: yes}\nlabels: {c: 1}\n", "f.yaml")
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("path", "line"),
    [("", 1), ("metadata.name", 3), ("spec.ingress[1].action", 7), ("spec.egress[0].action", 4),
     ("metadata.labels.a", 2)],
)  # fmt: skip
def test_a_field_has_a_line(path, line):
    text = "kind: X\nmetadata:\n  name: x\nspec:\n  ingress:\n  - action: Allow\n  - action: Alow\n"
    assert documents(text, "f.yaml")[0].place(path) == f"f.yaml:{line}"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcny-./~1", min_size=1, max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc-./", min_size=1, max_size=4), VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read_again(value):
    assert [value] == [document.value for document in documents(dump(value), "f.yaml")]


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(Invalid):
        assert all(document.line >= 1 for document in documents(text, "f.yaml"))


def test_json_has_the_lines_of_its_fields_too():
    text = '{"a": 1}\n{\n\t"b": [\n\t\t{"c": 1},\n\t\t{"c":\n\t\t 2}\n\t]\n}'
    one, other = documents(text, "f.json")
    assert one.place("a") == "f.json:1"
    lines = [other.line_at(path) for path in ("", "b", "b[0]", "b[1].c", "b[7].c", "nope")]
    assert lines == [2, 3, 4, 5, 3, 2]
    (escaped,) = documents('{\n"a":\n"\\ud83d\\ude00",\n"b": 1}', "f.json")
    assert escaped.line_at("b") in (1, 4)
