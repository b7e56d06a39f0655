"""flannel's tunnel as a plan: the device, three entries for each lease, and who is left out."""

import json

import pytest

from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.flannel.lease import Holder, Lease, TunnelEnd
from korat.core.route.flannel.network import read_network
from korat.core.route.flannel.plan import FlannelOverlay, device_mac, plan
from korat.core.route.tunnel import RouteKind, TunnelRoute
from korat.core.route.vxlan import Link, TunnelPlan

OWN = Addr.parse("10.10.0.4")
ETH0 = Link("eth0", 1500, frozenset({OWN}))


def network(**backend):
    text = {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", **backend}}
    return read_network(json.dumps(text))


def lease(number: int, node: str, mac: str = "", backend: str = "vxlan", vni: int = 1) -> Lease:
    at = Addr.parse(node)
    ends = (TunnelEnd(at, vni, mac or device_mac(at)),) if backend == "vxlan" else ()
    return Holder(at, backend, ends).lease(Prefix.parse(f"10.5.{number}.0/24"), None)


MINE = lease(1, "10.10.0.4")


def planned(*others: Lease, links=(ETH0,), own=MINE, **backend) -> TunnelPlan:
    return plan(FlannelOverlay(network(**backend), own, (own, *others), links), Family.V4)


def test_the_device_is_flannels():
    device = planned().state.device
    assert (device.name, device.vni, device.port) == ("flannel.1", 1, 8472)
    assert (device.local, device.parent, device.learning) == (OWN, "eth0", False)
    assert device.addresses == {Addr.parse("10.5.1.0")}
    assert device.mac == device_mac(OWN)


def test_three_entries_for_each_other_lease():
    two = lease(2, "10.10.0.5")
    state = planned(two).state
    first, (end,) = Addr.parse("10.5.2.0"), two.ends
    assert state.neighbours == {first: end.mac}
    assert state.forwarding == {end.mac: Addr.parse("10.10.0.5")}
    assert state.routes == {
        two.subnet: TunnelRoute(two.subnet, RouteKind.TUNNEL, "flannel.1", first)
    }


@pytest.mark.parametrize(
    ("mtu", "backend", "size", "reason"),
    [
        (1500, {}, 1350, "fabric fragments packets above 1400"),
        (1400, {}, 1350, "eth0 has 1400"),
        (1300, {}, 1250, "eth0 has 1300"),
        (1500, {"MTU": 1500}, 1450, "Backend.MTU is 1500"),
    ],
)
def test_the_mtu_and_its_reason(mtu, backend, size, reason):
    found = planned(links=[Link("eth0", mtu, frozenset({OWN}))], **backend)
    assert found.mtu.size_bytes == found.state.device.mtu_bytes == size
    assert reason in found.mtu.reason


def test_a_node_without_its_address_has_no_tunnel():
    found = planned(lease(2, "10.10.0.5"), links=[])
    assert found.state.device is None
    assert not found.state.routes
    assert "on no interface" in str(found.problems[0])


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (lease(2, "10.10.0.5", backend="host-gw"), "no VXLAN tunnel"),
        (lease(2, "10.10.0.5", vni=7), "this node's is 1"),
        (lease(2, "10.10.0.5", mac=device_mac(OWN)), "lease 10.5.1.0-24 has it too"),
        (lease(2, "10.10.0.4", mac="02:00:00:00:00:01"), "lease 10.5.1.0-24 has it too"),
        (Lease(Prefix.parse("10.5.2.0/24"), None, Addr.parse("10.10.0.5"), "vxlan"), "missing"),
    ],
)
def test_who_is_not_reached_is_named(other, reason):
    found = planned(other)
    assert not found.state.routes
    assert reason in str(found.problems[0])


def test_of_two_with_one_mac_the_first_by_its_subnet_is_reached_whatever_their_order():
    two = lease(2, "10.10.0.5", mac="02:00:00:00:00:01")
    three = lease(3, "10.10.0.6", mac="02:00:00:00:00:01")
    assert planned(three, two) == planned(two, three)
    assert list(planned(three, two).state.routes) == [two.subnet]


def test_alloc_has_no_tunnel():
    text = json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "alloc"}})
    own = lease(1, "10.10.0.4", backend="alloc")
    overlay = FlannelOverlay(read_network(text), own, (own,), (ETH0,))
    assert plan(overlay, Family.V4) == TunnelPlan()


def test_ipv6_is_a_tunnel_of_its_own():
    text = {
        "Network": "10.5.0.0/16",
        "EnableIPv6": True,
        "IPv6Network": "fd05::/48",
        "Backend": {"Type": "vxlan"},
    }
    own6, there6 = Addr.parse("fd01::4"), Addr.parse("fd01::5")
    ends = [(TunnelEnd(OWN, 1, device_mac(OWN)), TunnelEnd(own6, 1, device_mac(own6)))]
    ends += [tuple(TunnelEnd(a, 1, device_mac(a)) for a in (Addr.parse("10.10.0.5"), there6))]
    leases = [
        Holder(pair[0].node, "vxlan", pair).lease(
            Prefix.parse(f"10.5.{number}.0/24"), Prefix.parse(f"fd05:0:0:{number}::/64")
        )
        for number, pair in enumerate(ends, 1)
    ]
    links = (Link("eth0", 1500, frozenset({OWN, own6})),)
    overlay = FlannelOverlay(read_network(json.dumps(text)), leases[0], leases, links)
    state = plan(overlay, Family.V6).state
    assert state.device.name == "flannel-v6.1"
    assert state.device.local == own6
    assert state.neighbours == {Addr.parse("fd05:0:0:2::"): device_mac(there6)}
    assert len({device_mac(OWN), device_mac(own6)}) == 2
