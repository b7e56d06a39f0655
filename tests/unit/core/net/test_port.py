"""Ports and protocols in their written forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from korat.core.net.port import (
    PROTOCOLS_WITH_PORTS,
    PortRange,
    Protocol,
    canonical_protocol,
    protocol_name,
    protocol_number,
)


@pytest.mark.parametrize(
    ("text", "first", "last", "printed"),
    [
        ("80", 80, 80, "80"),
        (80, 80, 80, "80"),
        ("0", 0, 0, "0"),
        ("80:90", 80, 90, "80:90"),
        ("80:80", 80, 80, "80"),
        ("0:65535", 0, 65535, "0:65535"),
    ],
)
def test_ranges_parse_and_print(text, first, last, printed):
    parsed = PortRange.parse(text)
    assert parsed == PortRange(first, last)
    assert str(parsed) == printed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http",
        "-1",
        -1,
        "65536",
        65536,
        "0:65536",
        "-1:65535",
        "10:1",
        "1:2:3",
        "1:",
        ":2",
        "1 :2",
        "²",
    ],
)
def test_what_is_not_a_range_is_refused(text):
    with pytest.raises(ValueError, match="port"):
        PortRange.parse(text)


@given(st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 65535))
def test_a_range_holds_what_lies_between_its_ends(one, two, port):
    ports = PortRange(min(one, two), max(one, two))
    assert (port in ports) is (ports.first <= port <= ports.last)
    assert PortRange.parse(str(ports)) == ports


@pytest.mark.parametrize(
    ("written", "number", "canonical"),
    [
        ("TCP", 6, "TCP"),
        ("tcp", 6, "TCP"),
        ("Udp", 17, "UDP"),
        ("icmp", 1, "ICMP"),
        ("ICMPV6", 58, "ICMPv6"),
        ("sctp", 132, "SCTP"),
        ("udplite", 136, "UDPLite"),
        ("6", 6, 6),
        (6, 6, 6),
        (255, 255, 255),
        ("0", 0, 0),
    ],
)
def test_protocols(written, number, canonical):
    assert protocol_number(written) == number
    assert canonical_protocol(written) == canonical


@pytest.mark.parametrize("written", ["", "xyz", "256", 256, -1, "-1", "²"])
def test_what_is_no_protocol_is_refused_and_kept_for_the_message(written):
    with pytest.raises(ValueError, match="neither TCP, UDP"):
        protocol_number(written)
    assert canonical_protocol(written) == written


def test_names_and_numbers_are_each_others_inverse():
    assert all(protocol_number(protocol_name(number)) == number for number in range(256))
    assert {protocol_name(protocol) for protocol in PROTOCOLS_WITH_PORTS} == {"TCP", "UDP", "SCTP"}
    assert protocol_name(Protocol.ICMPV6) == "ICMPv6"
    assert protocol_name(47) == "47"
