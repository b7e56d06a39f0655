"""Effective routes: which system routes there are, what overrides them, which one wins."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.effective import (
    NONE_PREFIXES,
    EffectiveRoute,
    NextHop,
    Source,
    State,
    TableRoute,
    effective_routes,
    select,
)

VNET = (Prefix.parse("10.10.0.0/16"),)


def _to(prefix: str, ip: str) -> TableRoute:
    return TableRoute(prefix, Prefix.parse(prefix), NextHop.VIRTUAL_APPLIANCE, Addr.parse(ip))


def _hop(table: tuple[TableRoute, ...] | None, addr: str) -> str:
    found = select(effective_routes(VNET, table), Addr.parse(addr))
    assert found is not None
    return str(found.next_hop_ip) if found.next_hop_ip else found.next_hop_type.value


@pytest.mark.parametrize(
    ("table", "addr", "hop"),
    [
        (None, "10.10.0.5", "VnetLocal"),
        (None, "10.10.128.9", "VnetLocal"),
        (None, "10.11.0.5", "None"),
        (None, "192.168.1.1", "None"),
        (None, "100.64.0.1", "None"),
        (None, "203.0.113.10", "Internet"),
        (("10.10.128.0/24", "10.10.0.4"), "10.10.128.9", "10.10.0.4"),
        (("10.10.128.0/24", "10.10.0.4"), "10.10.129.9", "VnetLocal"),
        (("10.10.0.0/16", "10.10.0.4"), "10.10.0.5", "10.10.0.4"),
        (("0.0.0.0/0", "10.10.0.4"), "203.0.113.10", "10.10.0.4"),
        (("0.0.0.0/0", "10.10.0.4"), "10.11.0.5", "None"),
        (("10.0.0.0/8", "10.10.0.4"), "10.11.0.5", "10.10.0.4"),
        (("10.0.0.0/8", "10.10.0.4"), "10.10.0.5", "VnetLocal"),
    ],
)
def test_longest_prefix_then_user(table: tuple[str, str] | None, addr: str, hop: str):
    assert _hop((_to(*table),) if table else None, addr) == hop


def test_an_overridden_system_route_is_listed_as_invalid():
    routes = effective_routes(VNET, (_to("10.10.0.0/16", "10.10.0.4"),))
    same = [route for route in routes if route.prefix == VNET[0]]
    assert [(r.source, r.state) for r in same] == [
        (Source.DEFAULT, State.INVALID),
        (Source.USER, State.ACTIVE),
    ]


@pytest.mark.parametrize(
    ("vnet", "there"),
    [("10.10.0.0/16", True), ("10.0.0.0/8", False), ("172.16.0.0/12", True)],
)
def test_a_dropped_range_vanishes_only_inside_the_vnet(vnet: str, *, there: bool):
    routes = effective_routes([Prefix.parse(vnet)], None)
    assert (
        Prefix.parse("10.0.0.0/8") in {r.prefix for r in routes if r.next_hop_type is NextHop.NONE}
    ) is there


def test_a_vnet_with_ipv6_has_an_ipv6_way_out():
    routes = effective_routes([*VNET, Prefix.parse("fd00::/48")], None)
    found = select(routes, Addr.parse("2001:db8::1"))
    assert found == EffectiveRoute(Prefix.parse("::/0"), NextHop.INTERNET)
    assert select(effective_routes(VNET, None), Addr.parse("2001:db8::1")) is None


def test_gateway_routes_win_over_system_routes_and_lose_to_user_routes():
    prefix = Prefix.parse("10.20.0.0/16")
    rows = [EffectiveRoute(prefix, NextHop.GATEWAY, None, source) for source in Source]
    found = select(reversed(rows), Addr.parse("10.20.0.1"))
    assert found is not None
    assert found.source is Source.USER
    found = select(rows[:2], Addr.parse("10.20.0.1"))
    assert found is not None
    assert found.source is Source.GATEWAY


_prefixes = st.builds(
    lambda value, length: Prefix.parse(f"{Addr(Family.V4, value)}/{length}"),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(st.lists(_prefixes, unique=True, max_size=8), st.integers(0, 2**32 - 1))
def test_select_is_the_standard_librarys_longest_match(prefixes: list[Prefix], value: int):
    table = [_to(str(p), "10.10.0.4") for p in prefixes]
    addr = ipaddress.ip_address(value)
    networks = [
        (ipaddress.ip_network(text), kind)
        for kind, texts in (
            ("User", map(str, prefixes)),
            ("Default", ("10.10.0.0/16", "0.0.0.0/0", *map(str, NONE_PREFIXES))),
        )
        for text in texts
    ]
    best = max(
        ((n, kind) for n, kind in networks if addr in n),
        key=lambda row: (row[0].prefixlen, row[1] == "User"),
    )
    found = select(effective_routes(VNET, table), Addr(Family.V4, value))
    assert found is not None
    assert (str(found.prefix), found.source.value) == (str(best[0]), best[1])
