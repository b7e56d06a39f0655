"""RFC 7386's and RFC 6902's own examples, and what is refused."""

import copy

import pytest

from korat.cli.jsonpatch import merge, patched
from korat.core.errors import Invalid


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge(target, patch, expected):
    before = copy.deepcopy(target)
    assert expected == merge(target, patch)
    assert target == before


@pytest.mark.parametrize(
    ("target", "steps", "expected"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}],
         {"foo": "bar", "baz": "qux"}),
        ({"foo": ["a", "b"]}, [{"op": "add", "path": "/foo/1", "value": "x"}],
         {"foo": ["a", "x", "b"]}),
        ({"foo": ["a"]}, [{"op": "add", "path": "/foo/-", "value": "x"}], {"foo": ["a", "x"]}),
        ({"baz": 1, "foo": 2}, [{"op": "remove", "path": "/baz"}], {"foo": 2}),
        ({"foo": ["a", "b"]}, [{"op": "remove", "path": "/foo/0"}], {"foo": ["b"]}),
        ({"baz": 1}, [{"op": "replace", "path": "/baz", "value": 2}], {"baz": 2}),
        ({"a": {"b": 1}, "c": {}}, [{"op": "move", "from": "/a/b", "path": "/c/d"}],
         {"a": {}, "c": {"d": 1}}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"},
                      {"op": "add", "path": "/b/-", "value": 2}], {"a": [1], "b": [1, 2]}),
        ({"a/b": 1, "c~d": 2}, [{"op": "test", "path": "/a~1b", "value": 1},
                                {"op": "remove", "path": "/c~0d"}], {"a/b": 1}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": 5}], 5),
    ],
)  # fmt: skip
def test_patch(target, steps, expected):
    before = copy.deepcopy(target)
    assert expected == patched(target, steps)
    assert target == before


@pytest.mark.parametrize(
    ("steps", "rule"),
    [
        ({}, "a JSON patch is a list of steps"),
        ([5], "a step is a mapping with op and path"),
        ([{"op": "fly", "path": "/a"}], "op is one of add, remove, replace, move, copy, test"),
        ([{"op": "add", "path": "/a"}], "this op needs a value"),
        ([{"op": "add", "path": "a", "value": 1}], "a path is empty or starts with /"),
        ([{"op": "add", "path": "/a/9", "value": 1}], "nothing can be put at this path"),
        ([{"op": "remove", "path": "/x"}], "there is nothing at this path"),
        ([{"op": "replace", "path": "/x", "value": 1}], "there is nothing at this path"),
        ([{"op": "move", "path": "/x"}], "move needs a path in from"),
        ([{"op": "test", "path": "/a", "value": 1}], "the test failed"),
    ],
)
def test_refuses(steps, rule):
    with pytest.raises(Invalid, match=rule):
        patched({"a": ["x"]}, steps)
