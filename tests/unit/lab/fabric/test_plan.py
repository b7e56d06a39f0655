"""The fabric's plan as a value: what it prints, and what must hold of it for any network."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from fabric_wire import NODES, nic
from korat.core.net.address import Addr, Prefix
from korat.core.route.effective import EffectiveRoute, NextHop, Source, State
from korat.lab.arm.view import NetworkView
from korat.lab.fabric.model import owner
from korat.lab.fabric.plan import INTERNET_TABLE, Rule, plan, port_name
from korat.lab.fabric.ruleset import SINK, public_address, ttl_text
from korat.lab.fabric.switch import Switches
from strategies_fabric import networks

A, P = Addr.parse, Prefix.parse
VNET = EffectiveRoute(P("10.10.0.0/16"), NextHop.VNET_LOCAL)
OUT = EffectiveRoute(P("0.0.0.0/0"), NextHop.INTERNET)
PRIVATE = EffectiveRoute(P("10.0.0.0/8"), NextHop.NONE)
VM1, VM2 = A("10.10.0.4"), A("10.10.0.5")


def user(prefix, hop_type=NextHop.VIRTUAL_APPLIANCE, hop=None):
    return EffectiveRoute(P(prefix), hop_type, hop, Source.USER)


def view_of(*routes, forwarding=True):
    nics = (nic(1, routes, forwarding=forwarding), nic(2, routes, forwarding=False))
    return NetworkView((P("10.10.0.0/16"),), (A("10.10.0.1"),), nics)


def table_of(view):
    """The routes of the nodes' table, without their table."""
    table = NODES.base
    return {str(r).removesuffix(f" table {table}") for r in plan(view).routes if r.table == table}


def test_a_plan_prints_itself():
    view = view_of(OUT, VNET, PRIVATE, user("10.10.128.0/24", hop=VM1))
    assert f"{plan(view)}" == Path(__file__).with_name("two_vms.plan").read_text()


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (user("10.10.129.0/24", hop=VM2), "10.10.129.0/24 via 10.10.0.5 onlink dev vm2-nic"),
        (user("10.10.129.0/24", hop=A("10.10.0.99")), "10.10.129.0/24 dev sink"),
        (user("10.10.129.0/24", NextHop.NONE), "10.10.129.0/24 dev sink"),
        (user("10.10.129.0/24", NextHop.GATEWAY), "10.10.129.0/24 dev sink"),
        (user("10.10.129.0/24", NextHop.VNET_LOCAL), "10.10.129.0/24 dev sink"),
        (user("10.10.0.77/32", NextHop.VNET_LOCAL), "10.10.0.77/32 dev sink"),
        (
            user("203.0.113.10/32", NextHop.INTERNET),
            "203.0.113.10/32 via 203.0.113.10 onlink dev internet",
        ),
    ],
)
def test_where_a_route_leads(route, expected):
    assert f"route {expected}" in table_of(view_of(VNET, route))


def test_without_a_default_route_everything_else_sinks():
    assert "route 0.0.0.0/0 dev sink" in table_of(view_of(VNET))


def test_a_user_route_hides_the_addresses_it_covers():
    routes = table_of(view_of(VNET, user("10.10.0.4/31", hop=VM1)))
    assert "route 10.10.0.4/31 via 10.10.0.4 onlink dev vm1-nic" in routes
    assert not any("10.10.0.5/32" in route for route in routes)


def test_the_user_route_wins_its_prefix_in_any_order():
    mine = user("10.10.0.0/16", NextHop.NONE)
    for routes in ((VNET, mine), (mine, VNET)):
        assert table_of(view_of(*routes)) == {
            "route 0.0.0.0/0 dev sink",
            "route 10.10.0.0/16 dev sink",
        }


def test_nics_of_one_subnet_share_a_table_and_others_do_not():
    more = P("10.10.1.0/24")
    nics = (
        *view_of(VNET).nics,
        nic(3, (VNET,), subnet=more),
        nic(4, (VNET, OUT)),  # another network's subnet of the same prefix
    )
    made = plan(NetworkView((), (), nics))
    tables = {rule.device: rule.table for rule in made.rules}
    assert [tables[f"vm{n}-nic"] - NODES.base for n in (1, 2, 3, 4)] == [0, 0, 256, 1]
    assert {r.table for r in made.routes} == {NODES.base + n for n in (0, 256, 1)} | {1000}


def test_an_address_of_two_networks_is_the_first_nics_as_in_the_model():
    twice = (nic(1, (VNET,)), replace(nic(2, (VNET,)), addresses=(VM1,)))
    view = NetworkView((), (), twice)
    assert owner(view, VM1) is twice[0]
    assert "route 10.10.0.4/32 dev vm1-nic" in table_of(view)


def test_a_plan_grows_with_its_addresses_and_not_with_their_square():
    def size(count):
        addresses = [A(f"10.10.{n // 200}.{4 + n % 200}") for n in range(count)]
        nics = tuple(
            replace(nic(1, (VNET,), addresses=addresses[n : n + 10]), name=f"nic-{n}")
            for n in range(0, count, 10)
        )
        return len(plan(NetworkView((), (), nics)).routes)

    assert size(400) - size(200) == size(600) - size(400)


def test_an_invalid_route_carries_nothing():
    assert table_of(view_of(replace(VNET, state=State.INVALID))) == {"route 0.0.0.0/0 dev sink"}


@pytest.mark.parametrize("name", ["vm1-nic", "exactly-15-long", "a.b_c-1"])
def test_a_nic_name_that_fits_is_its_interfaces_name(name):
    assert port_name(replace(nic(1, ()), name=name)) == name


def test_other_nic_names_become_short_and_stay_apart():
    names = (
        "longer-than-an-interface",
        "longer-than-an-interfacE",
        "internet",
        "sink",
        "lo",
        "a b",
    )
    ports = {port_name(replace(nic(1, ()), name=name)) for name in names}
    assert len(ports) == len(names)
    assert all(re.fullmatch("nic[0-9a-f]{11}", port) for port in ports)


def test_only_nics_without_forwarding_are_checked():
    text = plan(view_of(VNET)).ruleset
    assert 'set forwarding {\n\t\ttype ifname\n\t\telements = { "vm1-nic" }' in text
    empty = plan(view_of(VNET, forwarding=False)).ruleset
    assert "set forwarding {\n\t\ttype ifname\n\t}" in empty


def test_switches_show_in_the_ruleset():
    view = view_of(VNET)
    assert "ip protocol != { 1, 6, 17, 50, 51 } counter drop" in plan(view).ruleset
    everything = Switches(ipip=True, gre=True, six_in_four=True, sctp=True)
    assert "!= { 1, 4, 6, 17, 41, 47, 50, 51, 132 }" in plan(view, everything).ruleset


def test_public_addresses_come_from_one_block():
    assert str(public_address(VM1)) == "20.0.0.4"
    assert str(public_address(A("10.12.7.200"))) == "20.0.7.200"


def test_every_ttl_but_the_last_grows_by_one():
    text = ttl_text()
    assert all(f"chain ttl{n} {{ ip ttl set {n + 1}; }}" in text for n in range(1, 255))
    assert "ttl255" not in text


@given(view=networks())
def test_a_plan_is_whole(view):
    """Every port has one rule, its table a default; nothing names a device that is not there."""
    made = plan(view)
    devices = {port.device for port in made.ports} | {SINK, "internet"}
    by_device = {rule.device: rule.table for rule in made.rules}
    assert len(by_device) == len(made.rules) == len(made.ports) + 2
    assert {Rule("internet", INTERNET_TABLE), Rule("lo", INTERNET_TABLE)} <= set(made.rules)
    assert {r.device for r in made.routes} | {n.device for n in made.neighbours} <= devices
    keys = [(route.table, route.prefix) for route in made.routes]
    assert len(set(keys)) == len(keys)
    assert {(table, P("0.0.0.0/0")) for table in by_device.values()} <= set(keys)
    # Whoever is routed to has a neighbour entry there, so that the fabric never asks.
    known = {(n.device, n.address) for n in made.neighbours}
    ends = {(r.device, r.via or Addr(r.prefix.family, r.prefix.base)) for r in made.routes}
    assert {end for end in ends if end[0] != SINK} <= known
