"""Routes and neighbours as the kernel is told of them, and read back from the same bytes."""

import pytest

from korat.core.net.address import Addr, Prefix
from korat.drivers.kernel.rtnetlink import (
    AF_BRIDGE,
    BLACKHOLE,
    PERMANENT,
    UNICAST,
    Route,
    entry_of,
    put_forwarding,
    put_neighbour,
    put_route,
    remove_forwarding,
    remove_neighbour,
    remove_route,
    route_of,
)

MAC = "66:00:00:00:00:01"
BOTH = pytest.mark.parametrize(
    ("prefix", "via"),
    [("192.168.1.0/26", "192.168.1.1"), ("fd00::40/122", "fd00::1")],
    ids=["IPv4", "IPv6"],
)


@BOTH
def test_routes(prefix: str, via: str):
    block, hop = Prefix.parse(prefix), Addr.parse(via)
    over = put_route(block, 80, 7, hop, 1350)
    assert route_of(over.body) == Route(block, 80, UNICAST, 7, hop, 1350)
    assert route_of(put_route(block, 80, 7).body) == Route(block, 80, UNICAST, 7, None, 0)
    assert route_of(put_route(block, 80).body) == Route(block, 80, BLACKHOLE, 0, None, 0)


@BOTH
def test_a_removal_over_a_device_asks_nobody_who_made_it(prefix: str, via: str):
    """Nor by which next hop."""
    block = Prefix.parse(prefix)
    assert route_of(remove_route(block, 80, 7).body) == Route(block, 0, UNICAST, 7, None, 0)
    assert route_of(remove_route(block, 80).body) == Route(block, 80, BLACKHOLE, 0, None, 0)
    assert via not in str(route_of(remove_route(block, 80, 7).body))


@pytest.mark.parametrize("text", ["10.0.0.2", "fd80::2"])
def test_neighbours_and_forwarding_entries(text: str):
    addr = Addr.parse(text)
    neighbour = entry_of(put_neighbour(3, addr, MAC).body)
    assert (neighbour.interface, neighbour.mac, neighbour.state) == (3, MAC, PERMANENT)
    assert neighbour.address(addr.family) == addr
    entry = entry_of(put_forwarding(3, MAC, addr).body)
    assert (entry.family, entry.interface, entry.mac) == (AF_BRIDGE, 3, MAC)
    assert entry.state & PERMANENT
    assert entry.address(addr.family) == addr
    assert entry_of(remove_neighbour(3, addr).body).address(addr.family) == addr
    gone = entry_of(remove_forwarding(3, MAC).body)
    assert (gone.mac, gone.dst) == (MAC, None), "to wherever it leads"
