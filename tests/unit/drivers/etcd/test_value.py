"""Keys as text, and where a prefix ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from korat.drivers.etcd.value import end_of, from_bytes, to_bytes


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        (b"a", b"b"),
        (b"/a/", b"/a0"),
        (b"a\xff", b"b"),
        (b"a\xff\xff", b"b"),
        (b"\xff", b"\0"),
        (b"", b"\0"),
    ],
)
def test_where_a_prefix_ends(prefix, end):
    assert end_of(prefix) == end


@given(st.binary(max_size=4), st.binary(max_size=6))
def test_what_lies_before_the_end_is_what_begins_with_the_prefix(prefix, key):
    end = end_of(prefix)
    inside = prefix <= key and (end == b"\0" or key < end)
    assert inside == key.startswith(prefix)


@given(st.binary())
def test_a_key_survives_as_text(key):
    assert to_bytes(from_bytes(key)) == key
