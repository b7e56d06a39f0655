"""Netlink's messages and attributes: what is packed is read back, and nothing breaks the reader."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from korat.drivers.kernel.nfnetlink import (
    ACK,
    REQUEST,
    Message,
    attribute,
    attributes,
    fault,
    message,
    messages,
)

PAIRS = st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), max_size=5)


@given(PAIRS)
def test_attributes_read_back(pairs):
    packed = b"".join(attribute(kind, value) for kind, value in pairs)
    assert list(attributes(packed)) == pairs
    assert list(attributes(b"head" + packed, 4)) == pairs


@given(st.lists(st.binary(max_size=8).map(lambda body: body + bytes(-len(body) % 4)), max_size=4))
def test_messages_read_back(bodies):
    packed = b"".join(message(0xA12, ACK, body) for body in bodies)
    assert list(messages(packed)) == [Message(0xA12, REQUEST | ACK, body) for body in bodies]


@given(st.binary(max_size=80))
def test_no_bytes_break_the_readers(data):
    assert all(len(value) <= len(data) for _, value in attributes(data))
    assert all(len(each.body) <= len(data) for each in messages(data))


def test_an_error_says_which_and_an_acknowledgement_is_none():
    assert fault(struct.pack("=i", 0) + bytes(16)) is None
    found = fault(struct.pack("=i", -16) + bytes(16))
    assert isinstance(found, OSError)
    assert (found.errno, found.strerror) == (16, "Device or resource busy")
