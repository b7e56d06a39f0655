"""Longest-prefix match as a route table uses it."""

import pytest

from korat.core.net.address import Addr, Prefix
from korat.core.net.lpm import Lpm

ROUTES = Lpm(
    [
        (Prefix.parse("0.0.0.0/0"), "internet"),
        (Prefix.parse("10.10.0.0/16"), "vnet"),
        (Prefix.parse("10.10.128.0/24"), "vm1"),
        (Prefix.parse("10.10.128.7/32"), "host"),
        (Prefix.parse("fd00::/8"), "six"),
    ]
)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.10.128.7", "host"),
        ("10.10.128.8", "vm1"),
        ("10.10.129.8", "vnet"),
        ("255.255.255.255", "internet"),
        ("0.0.0.0", "internet"),
        ("fd12::1", "six"),
        ("fe80::1", None),
    ],
)
def test_the_longest_prefix_wins(address, expected):
    found = ROUTES.find(Addr.parse(address))
    assert (found[1] if found else None) == expected


def test_all_matches_come_longest_first():
    values = [value for _, value in ROUTES.matches(Addr.parse("10.10.128.7"))]
    assert values == ["host", "vm1", "vnet", "internet"]


def test_what_a_prefix_covers():
    values = [value for _, value in ROUTES.covered(Prefix.parse("10.10.0.0/16"))]
    assert values == ["vnet", "vm1", "host"]


def test_the_last_of_equal_prefixes_stays():
    prefix = Prefix.parse("10.0.0.0/8")
    assert Lpm([(prefix, "first"), (prefix, "last")]).find(Addr.parse("10.0.0.1")) == (
        prefix,
        "last",
    )
