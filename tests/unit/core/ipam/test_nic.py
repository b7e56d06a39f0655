"""Azure's rules for the secondary addresses of a NIC, as a table of cases."""

import pytest

from korat.core.errors import Conflict, Invalid, Unavailable
from korat.core.ipam.nic import (
    Assignment,
    Attachment,
    Demand,
    Nic,
    NicAddress,
    Rest,
    assign,
    free,
    vanished,
)
from korat.core.net.address import Addr, Family, Prefix

V4, V6 = Prefix.parse("10.0.0.0/24"), Prefix.parse("fd00::/64")
NOW = 1_700_000_000.0


def addr(last):
    return Addr.parse(last if isinstance(last, str) else f"10.0.0.{last}")


def addrs(*lasts):
    return tuple(map(addr, lasts))


def nic(*lasts, own=(4,)):
    """A NIC with these addresses for pods, and its own."""
    return Nic(
        "000D3A000001",
        tuple(
            NicAddress(each, V4 if each.family is Family.V4 else V6, mine)
            for mine, several in ((True, own), (False, lasts))
            for each in addrs(*several)
        ),
    )


def who(number, network="net"):
    return Attachment(network, f"c{number}", "eth0")


def holding(**by_last):
    """``_5=1`` for 10.0.0.5 held by the first container."""
    return {addr(int(key[1:])): who(number) for key, number in by_last.items()}


def resting(ages, cool_down_s=30.0):
    """Addresses given back so many seconds ago."""
    return Rest({addr(last): NOW - age for last, age in ages.items()}, cool_down_s)


SIX, SEVEN = "fd00::6", "fd00::7"


@pytest.mark.parametrize(
    ("there", "held", "ages", "given"),
    [
        pytest.param(nic(5, 6), {}, {}, (5,), id="the-lowest-first"),
        pytest.param(nic(5, 6), holding(_5=2), {}, (6,), id="what-is-held-is-passed-over"),
        pytest.param(nic(5, 6), holding(_6=1), {}, (6,), id="who-asks-again-has-the-same"),
        pytest.param(nic(5, 6, own=(4, 5)), {}, {}, (6,), id="never-the-nodes-own"),
        pytest.param(nic(5, 6), {}, {5: 29.9}, (6,), id="what-cools-down-is-passed-over"),
        pytest.param(nic(5, 6, 7), {}, {5: 99, 6: 50}, (7,), id="what-nobody-had-comes-first"),
        pytest.param(nic(5, 6, 7), {}, {5: 40, 6: 50, 7: 45}, (6,), id="the-longest-free-next"),
        pytest.param(nic(5), {}, {5: 30}, (5,), id="cooled-down-at-last"),
        pytest.param(nic(6), holding(_5=1), {}, (6,), id="what-left-the-nic-is-replaced"),
        pytest.param(
            nic(6, SIX), holding(_5=1), {}, (6, SIX), id="what-left-is-no-reason-for-less"
        ),
        pytest.param(nic(5, SIX), {}, {}, (5, SIX), id="both-ip-versions"),
        pytest.param(nic(5, own=(4, SIX)), {}, {}, (5,), id="ipv6-of-the-node-is-no-pods"),
    ],
)
def test_who_gets_what(there, held, ages, given):
    done = assign(there, held, resting(ages), Demand(who(1)), NOW)
    assert done.given == addrs(*given)
    assert done.freed == tuple(a for a in held if held[a] == who(1) and a not in done.given)


def test_a_new_container_of_a_pod_keeps_its_predecessors_address():
    held = holding(_6=1, _5=3)
    demand = Demand(who(2), heir_of=who(1))
    assert assign(nic(5, 6, 7), held, resting({}), demand, NOW) == Assignment(addrs(6), ())


def test_an_heir_has_another_where_the_address_left_and_the_old_one_goes():
    demand = Demand(who(2), heir_of=who(1))
    done = assign(nic(5, 7), holding(_6=1), resting({}), demand, NOW)
    assert done == Assignment(addrs(5), addrs(6))


def test_another_network_of_the_same_container_is_another_holder():
    held = {addr(5): who(1, "other")}
    assert assign(nic(5, 6), held, resting({}), Demand(who(1)), NOW).given == addrs(6)


def test_what_was_cut_off_between_two_ip_versions_is_completed():
    """IPv6's address is written first: it alone is half of it, IPv4's alone is all there was."""
    there = nic(5, SIX)
    half, whole = {addr(SIX): who(1)}, {addr(5): who(1)}
    assert assign(there, half, resting({}), Demand(who(1)), NOW).given == addrs(5, SIX)
    assert assign(there, whole, resting({}), Demand(who(1)), NOW).given == addrs(5)


def test_a_half_that_left_the_nic_is_replaced():
    held = {addr(5): who(1), addr(SIX): who(1)}
    done = assign(nic(5, SEVEN), held, resting({}), Demand(who(1)), NOW)
    assert done == Assignment(addrs(5, SEVEN), addrs(SIX))


def test_of_two_of_one_ip_version_one_is_kept():
    done = assign(nic(5, 6), holding(_5=1, _6=1), resting({}), Demand(who(1)), NOW)
    assert done == Assignment(addrs(5), addrs(6))


def test_a_requested_address_is_had_and_what_was_had_goes():
    demand = Demand(who(1), requested=addrs(7))
    done = assign(nic(5, 6, 7), holding(_5=1), resting({}), demand, NOW)
    assert done == Assignment(addrs(7), addrs(5))


def test_a_requested_ipv6_address_has_an_ipv4_one_beside_it():
    demand = Demand(who(1), requested=addrs(SEVEN))
    done = assign(nic(5, SIX, SEVEN), {}, resting({}), demand, NOW)
    assert done.given == addrs(5, SEVEN)


@pytest.mark.parametrize(
    ("requested", "error", "text"),
    [
        ((9,), Invalid, "'10.0.0.9': is not on the NIC 000D3A000001; add it"),
        ((4,), Invalid, "'10.0.0.4': is the node's own"),
        ((5, 7), Invalid, "'10.0.0.5,10.0.0.7': are more than one of an IP version"),
        ((6,), Conflict, "10.0.0.6 belongs to another container"),
        ((5,), Unavailable, "10.0.0.5 was given back a moment ago and cools down until 2023-11-14"),
    ],
    ids=["not-there", "nodes-own", "two", "anothers", "cools-down"],
)
def test_a_requested_address_that_cannot_be_had(requested, error, text):
    demand = Demand(who(1), requested=addrs(*requested))
    with pytest.raises(error) as raised:
        assign(nic(5, 6, 7), holding(_6=2), resting({5: 10}), demand, NOW)
    assert text in str(raised.value)


def test_ones_own_requested_address_does_not_cool_down():
    demand = Demand(who(1), requested=addrs(5))
    held, rest = holding(_5=1), resting({5: 10})
    assert assign(nic(5, 6), held, rest, demand, NOW).given == addrs(5)


@pytest.mark.parametrize(
    ("there", "held", "ages", "text"),
    [
        (
            nic(5, 6, 7),
            holding(_5=2),
            {6: 10, 7: 18.2},
            (
                "no secondary IPv4 address of the NIC 000D3A000001 is free: 1 of 3 are in use, "
                "2 cool down until 2023-11-14T22:13:40Z, the first for 12 s more"
            ),
        ),
        (nic(5), holding(_5=2), {}, "is free: 1 of 1 are in use; delete pods, or give the NIC"),
        (nic(), {}, {}, "the NIC 000D3A000001 has no secondary IPv4 address for pods"),
        (nic(SIX), {}, {}, "the NIC 000D3A000001 has no secondary IPv4 address for pods"),
        (nic(6), holding(_5=2, _6=3), {}, "1 of 1 are in use"),
    ],
    ids=["some-cool-down", "all-in-use", "none", "ipv6-only", "what-left-is-not-counted"],
)
def test_a_refusal_has_the_numbers_and_the_remedy(there, held, ages, text):
    with pytest.raises(Unavailable) as raised:
        assign(there, held, resting(ages), Demand(who(1)), NOW)
    assert text in str(raised.value)
    assert "give the NIC more IP configurations" in str(raised.value)


def test_an_ipv6_shortage_is_refused_too():
    held = {addr(SIX): who(2)}
    with pytest.raises(Unavailable, match="no secondary IPv6 address"):
        assign(nic(5, SIX), held, resting({}), Demand(who(1)), NOW)


def test_what_is_free_is_in_its_order():
    rest = resting({5: 40, 6: 50, 8: 3})
    assert free(nic(5, 6, 7, 8, 9), holding(_9=1), rest, NOW) == addrs(7, 6, 5)


def test_holders_of_what_left_the_nic_are_named():
    held = holding(_5=1, _6=2, _7=3)
    found = vanished(nic(5, 7, own=(4, 7)), held)
    assert found == {addr(6): "has left the NIC", addr(7): "is the node's own now"}


def test_a_clock_that_was_put_back_makes_nothing_rest_longer_than_it_should():
    rest = Rest({addr(5): NOW + 86_400, addr(6): NOW - 10}).settled(NOW)
    assert rest.until_s(addr(5)) == NOW + 30
    assert rest.until_s(addr(6)) == NOW + 20
