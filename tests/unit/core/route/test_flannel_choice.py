"""Which subnet a node takes."""

import json

import pytest

from korat.core.errors import Unavailable
from korat.core.net.address import Addr, Prefix
from korat.core.route.flannel.choice import choose
from korat.core.route.flannel.lease import Holder
from korat.core.route.flannel.network import read_network

NETWORK = read_network(json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}))
OWN, OTHER = Addr.parse("10.10.0.4"), Addr.parse("10.10.0.5")


def subnet(number):
    return Prefix.parse(f"10.5.{number}.0/24")


def lease(number, node=OTHER):
    return Holder(node, "vxlan").lease(subnet(number), None)


def chosen(leases=(), previous=None, taken=None, draw=lambda _count: 0, network=NETWORK):
    pairs = [(each.subnet, each.subnet6) for each in leases] if taken is None else taken
    return choose(network, leases, pairs, OWN, previous, draw)


def test_the_nodes_own_lease_is_kept():
    mine = lease(7, OWN)
    found = chosen([lease(1), mine], previous=(subnet(9), None))
    assert (found.subnet, found.held, found.stale) == (subnet(7), mine, None)


def test_an_own_lease_that_the_configuration_no_longer_gives_goes():
    old = Holder(OWN, "vxlan").lease(Prefix.parse("10.6.1.0/24"), None)
    found = chosen([old])
    assert (found.subnet, found.held, found.stale) == (subnet(1), None, old)


def test_the_previous_subnet_is_taken_while_it_is_free():
    assert chosen(previous=(subnet(9), None)).subnet == subnet(9)
    assert chosen([lease(9)], previous=(subnet(9), None)).subnet == subnet(1)
    assert chosen(previous=(Prefix.parse("10.6.9.0/24"), None)).subnet == subnet(1)


def test_a_reserved_subnet_is_taken_though_nobody_can_read_it():
    assert chosen(taken=[(subnet(1), None)]).subnet == subnet(2)


def test_one_of_the_first_hundred_is_drawn():
    counts = []

    def last(count):
        counts.append(count)
        return count - 1

    assert chosen([lease(3)], draw=last).subnet == subnet(101)
    assert counts == [100]


def test_what_overlaps_is_not_free():
    assert chosen(taken=[(Prefix.parse("10.5.0.0/22"), None)]).subnet == subnet(4)
    assert chosen(taken=[(Prefix.parse("10.5.1.128/25"), None)]).subnet == subnet(2)


def test_no_free_subnet_is_said():
    small = read_network(json.dumps({"Network": "10.5.0.0/22", "Backend": {"Type": "vxlan"}}))
    leases = [lease(number) for number in (1, 2, 3)]
    with pytest.raises(Unavailable, match="no free IPv4 subnet"):
        chosen(leases, network=small)


def test_both_families_are_taken_together():
    both = read_network(
        json.dumps(
            {
                "Network": "10.5.0.0/16",
                "EnableIPv6": True,
                "IPv6Network": "fd00::/48",
                "Backend": {"Type": "vxlan"},
            }
        )
    )
    found = chosen(network=both)
    assert (found.subnet, found.subnet6) == (subnet(1), Prefix.parse("fd00:0:0:1::/64"))
    # A lease from before IPv6 was switched on is none of this configuration's.
    mine = lease(7, OWN)
    assert chosen([mine], network=both).stale == mine
