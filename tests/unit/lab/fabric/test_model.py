"""What the fabric does with one packet, rule by rule, without a kernel."""

from dataclasses import replace

import pytest

from fabric_wire import UDP, network, nic, user_route
from korat.core.net.address import Addr
from korat.core.net.port import Protocol
from korat.core.route.effective import NextHop
from korat.lab.fabric.model import INTERNET, PLATFORM, Packet, deliver, owner, primary
from korat.lab.fabric.switch import IPIP, Switches, is_unicast

A = Addr.parse
PODS = tuple(
    user_route(f"10.10.{127 + n}.0/24", NextHop.VIRTUAL_APPLIANCE, f"10.10.0.{3 + n}")
    for n in (1, 2)
)


def sent(src, dst, protocol=UDP, *, table=PODS, off=(), switches=None):
    view = network(table=table, off=off)
    return deliver(view, view.nics[0], Packet(A(src), A(dst), protocol), switches)


@pytest.mark.parametrize(
    ("src", "dst", "where"),
    [
        ("10.10.0.4", "10.10.0.5", "vm2-nic"),
        ("10.10.0.4", "10.10.129.7", "vm2-nic"),
        ("10.10.128.7", "10.10.129.7", "vm2-nic"),
        ("10.10.128.7", "10.10.128.9", "vm1-nic"),
        ("10.10.0.4", "10.10.0.1", None),
        ("10.10.0.4", "10.10.0.99", None),
        ("10.10.0.4", "10.99.0.1", None),
        ("10.10.0.4", "224.0.0.5", None),
        ("10.10.0.4", "255.255.255.255", None),
        ("10.10.0.4", "fd00::1", None),
        ("10.10.0.4", "203.0.113.10", INTERNET),
        ("10.10.128.7", "203.0.113.10", None),
    ],
)
def test_where_a_packet_arrives(src, dst, where):
    assert sent(src, dst) == where


@pytest.mark.parametrize("azure", ["169.254.169.254", "168.63.129.16"])
def test_azure_itself_answers_a_nics_primary_address_by_tcp_only(azure):
    everything = (user_route("0.0.0.0/0", NextHop.VIRTUAL_APPLIANCE, "10.10.0.6"),)
    assert sent("10.10.0.4", azure, Protocol.TCP) == PLATFORM
    assert sent("10.10.0.4", azure, Protocol.TCP, table=everything, off=(1,)) == PLATFORM
    assert sent("10.10.0.4", azure) is None
    assert sent("10.10.128.7", azure, Protocol.TCP) is None
    assert sent("10.10.0.4", "169.254.1.1", Protocol.TCP) is None


def test_secondary_addresses_pass_both_checks_and_stay_inside():
    routes = network().nics[0].routes
    second = nic(1, routes, forwarding=False, addresses=(A("10.10.0.4"), A("10.10.0.40")))
    other = nic(2, routes, forwarding=False, addresses=(A("10.10.0.5"), A("10.10.0.50")))
    view = replace(network(), nics=(second, other))
    for dst, where in (("10.10.0.5", "vm2-nic"), ("10.10.0.50", "vm2-nic")):
        assert deliver(view, second, Packet(A("10.10.0.40"), A(dst), UDP)) == where
    for dst in ("203.0.113.10", "10.10.0.60", "169.254.169.254"):
        assert deliver(view, second, Packet(A("10.10.0.40"), A(dst), Protocol.TCP)) is None
    assert deliver(view, second, Packet(A("10.10.0.50"), A("10.10.0.5"), UDP)) is None


def test_checks_of_source_and_destination():
    assert sent("10.10.128.7", "10.10.0.5", off=(1,)) is None
    assert sent("10.10.0.4", "10.10.129.7", off=(2,)) is None
    assert sent("10.10.0.4", "10.10.129.7", off=(1,)) == "vm2-nic"


def test_protocols_and_their_switches():
    assert sent("10.10.0.4", "10.10.0.5", IPIP) is None
    assert sent("10.10.0.4", "10.10.0.5", IPIP, switches=Switches(ipip=True)) == "vm2-nic"
    assert sent("10.10.0.4", "10.10.0.5", Protocol.SCTP, switches=Switches(ipip=True)) is None


def test_without_any_route_nothing_arrives():
    view = network()
    mute = replace(view.nics[0], routes=())
    assert deliver(view, mute, Packet(A("10.10.0.4"), A("10.10.0.5"), UDP)) is None


def test_owner_and_primary():
    two = nic(1, (), addresses=(A("fd00::4"), A("10.10.0.4"), A("10.10.0.40")))
    view = replace(network(), nics=(two,))
    assert primary(two) == A("10.10.0.4")
    assert primary(nic(1, (), addresses=(A("fd00::4"),))) is None
    assert owner(view, A("10.10.0.40")) is two
    assert owner(view, None) is None


@pytest.mark.parametrize(
    ("text", "unicast"),
    [
        ("223.255.255.255", True),
        ("224.0.0.0", False),
        ("239.255.255.255", False),
        ("240.0.0.1", True),
    ],
)
def test_unicast(text, unicast):
    assert is_unicast(A(text)) is unicast
