"""flannel's network configuration: its defaults, and everything that is refused with a reason."""

import json

import pytest

from korat.core.errors import Invalid
from korat.core.net.address import Family, Prefix
from korat.core.route.flannel.network import ALLOC, VXLAN, Vxlan, read_network

VX = {"Type": "vxlan"}


def network(**keys):
    return read_network(json.dumps({"Network": "10.5.0.0/16", "Backend": VX, **keys}))


def faults(**keys):
    with pytest.raises(Invalid) as caught:
        network(**keys)
    return {problem.field: problem.rule for problem in caught.value.problems}


def test_what_is_not_written_is_flannels_default():
    found = network()
    assert found.vxlan == Vxlan(vni=1, port=8472, mtu_bytes=0, learning=False)
    assert found.backend == VXLAN
    assert found.ipv6 is None
    assert found.ipv4.length == 24
    assert (found.ipv4.first, found.ipv4.last) == (
        Prefix.parse("10.5.1.0/24"),
        Prefix.parse("10.5.255.0/24"),
    )


@pytest.mark.parametrize(
    ("text", "length", "first", "last"),
    [
        ("10.0.0.0/8", 24, "10.0.1.0", "10.255.255.0"),
        ("10.5.0.0/22", 24, "10.5.1.0", "10.5.3.0"),
        ("10.5.0.0/23", 25, "10.5.0.128", "10.5.1.128"),
        ("10.5.0.0/28", 30, "10.5.0.4", "10.5.0.12"),
    ],
)
def test_a_small_network_is_cut_in_four(text, length, first, last):
    found = network(Network=text).ipv4
    assert found.first == Prefix.parse(f"{first}/{length}")
    assert found.last == Prefix.parse(f"{last}/{length}")


def test_ends_and_lengths_can_be_given():
    found = network(SubnetLen=26, SubnetMin="10.5.10.0", SubnetMax="10.5.20.64").ipv4
    assert found.admits(Prefix.parse("10.5.10.0/26"))
    assert found.admits(Prefix.parse("10.5.20.64/26"))
    assert not found.admits(Prefix.parse("10.5.20.128/26"))
    assert not found.admits(Prefix.parse("10.5.9.192/26"))
    assert not found.admits(Prefix.parse("10.5.10.0/24"))
    assert not found.admits(None)


def test_both_families():
    found = network(EnableIPv6=True, IPv6Network="fd00:5::/48")
    assert found.of(Family.V6).length == 64
    assert found.of(Family.V6).first == Prefix.parse("fd00:5:0:1::/64")
    assert found.of(Family.V6).last == Prefix.parse("fd00:5:0:ffff::/64")


def test_alloc_has_no_tunnel():
    found = network(Backend={"Type": "alloc"})
    assert found.vxlan is None
    assert found.backend == ALLOC


def test_the_backend_can_be_set():
    backend = {**VX, "VNI": 4096, "Port": 4789, "MTU": 1400, "Learning": True}
    assert network(Backend=backend).vxlan == Vxlan(4096, 4789, 1400, learning=True)


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ({"Type": "host-gw"}, "Azure's fabric delivers only"),
        ({"Type": "udp"}, "user space"),
        ({}, "user space"),  # flannel takes a missing type for udp
        ({"Type": "ipip"}, "protocol 4"),
        ({"Type": "wireguard"}, "no WireGuard"),
        ({"Type": "extension"}, "runs no commands"),
        ({"Type": "aws-vpc"}, "another cloud's"),
        ({"Type": "vxlann"}, "use vxlan or alloc"),
    ],
)
def test_other_backends_are_refused_with_the_reason(backend, reason):
    assert reason in faults(Backend=backend)["Backend.Type"]


def test_what_azure_or_korat_does_not_carry_is_refused():
    found = faults(Backend={**VX, "DirectRouting": True, "GBP": True})
    assert "Azure's fabric" in found["Backend.DirectRouting"]
    assert "group policy" in found["Backend.GBP"]


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"Network": ""}, "Network"),
        ({"Network": "10.5.0.1/16"}, "Network"),
        ({"Network": "fd00::/48"}, "Network"),
        ({"Network": "10.5.0.0/29"}, "Network"),
        ({"SubnetLen": 17}, "SubnetLen"),
        ({"SubnetLen": 31}, "SubnetLen"),
        ({"SubnetMin": "10.6.0.0"}, "SubnetMin"),
        ({"SubnetMin": "10.5.1.1"}, "SubnetMin"),
        ({"SubnetMin": "nowhere"}, "SubnetMin"),
        ({"SubnetMax": "10.5.1.128"}, "SubnetMax"),
        ({"EnableIPv4": False}, "EnableIPv4"),
        ({"EnableIPv6": True}, "IPv6Network"),
        ({"EnableIPv6": True, "IPv6Network": "fd00::/125"}, "IPv6Network"),
        ({"Backend": {**VX, "VNI": 0}}, "Backend.VNI"),
        ({"Backend": {**VX, "Port": 70000}}, "Backend.Port"),
        ({"Backend": {**VX, "MTU": 100}}, "Backend.MTU"),
    ],
)
def test_each_fault_is_named_by_its_key(keys, field):
    assert field in faults(**keys)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Network": 5}', b"\xff"])
def test_what_is_no_configuration_is_invalid(text):
    with pytest.raises(Invalid):
        read_network(text)
