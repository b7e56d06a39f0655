"""Headers read from packets as they are on the wire; a table, and the wire's own writer as twin."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from korat.core.net.address import Addr, Family
from korat.core.net.header import Header, read_header
from nft_wire import Probe, packed

ONE, TWO = Addr.parse("10.0.0.1"), Addr.parse("10.0.0.2")
SIX, SEVEN = Addr.parse("fd00::6"), Addr.parse("fd00::7")


def v4(body, protocol=6, offset=0, options=b""):
    head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, 0, 0, offset, 64, protocol, 0)
    return head + ONE.value.to_bytes(4) + TWO.value.to_bytes(4) + options + body


def v6(body, following=6):
    head = struct.pack("!IHBB", 6 << 28, len(body), following, 64)
    return head + SIX.value.to_bytes(16) + SEVEN.value.to_bytes(16) + body


PORTS = struct.pack("!HH", 40000, 80)
TABLE = {
    "tcp": (v4(PORTS), Header(ONE, TWO, 6, 40000, 80)),
    "options before it": (v4(PORTS, options=bytes(8)), Header(ONE, TWO, 6, 40000, 80)),
    "the first fragment": (v4(PORTS, offset=0x2000), Header(ONE, TWO, 6, 40000, 80)),
    "a later fragment has no ports": (v4(PORTS, offset=0x2001), Header(ONE, TWO, 6)),
    "cut before the ports end": (v4(PORTS[:3]), Header(ONE, TWO, 6)),
    "icmp": (v4(b"\x08\x00", protocol=1), Header(ONE, TWO, 1, 8, 0)),
    "a protocol without numbers": (v4(PORTS, protocol=89), Header(ONE, TWO, 89)),
    "IPv6 udp": (v6(PORTS, 17), Header(SIX, SEVEN, 17, 40000, 80)),
    "hop-by-hop options": (v6(b"\x11\0" + bytes(6) + PORTS, 0), Header(SIX, SEVEN, 17, 40000, 80)),
    "longer options, then routing": (
        v6(b"\x2b\1" + bytes(14) + b"\x3a\0" + bytes(6) + b"\x80\0", 60),
        Header(SIX, SEVEN, 58, 128, 0),
    ),
    "an IPv6 fragment, the first": (
        v6(b"\x06\0\0\1" + bytes(4) + PORTS, 44),
        Header(SIX, SEVEN, 6, 40000, 80),
    ),
    "an IPv6 fragment, a later one": (
        v6(b"\x06\0\0\x09" + bytes(4) + PORTS, 44),
        Header(SIX, SEVEN, 6),
    ),
    "an extension header cut off": (v6(b"\x06\0", 0), Header(SIX, SEVEN, 0)),
    "nothing": (b"", None),
    "half a header": (v4(b"")[:19], None),
    "no IP at all": (b"\xf0" + bytes(60), None),
}


@pytest.mark.parametrize(("packet", "header"), TABLE.values(), ids=TABLE)
def test_headers(packet, header):
    assert read_header(packet) == header


@given(
    st.sampled_from([Family.V4, Family.V6]),
    st.integers(0, (1 << 32) - 1),
    st.sampled_from([6, 17, 132]),
    st.integers(0, 65535),
    st.integers(0, 65535),
)
def test_what_the_wire_writes_reads_back(family, number, protocol, a, b):
    src, dst = Addr(family, number), Addr(family, number ^ 1)
    found = read_header(packed(Probe("eth0", src, dst, protocol, a, b), 0))
    assert found == Header(src, dst, protocol, a, b)


@given(st.binary(max_size=120))
def test_no_bytes_break_it(data):
    found = read_header(data)
    assert found is None or (found.a is None) is (found.b is None)
