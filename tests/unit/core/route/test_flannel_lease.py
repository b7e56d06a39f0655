"""flannel's leases and subnet.env: the very strings of flannel, and nothing that is none."""

import math

import pytest

from korat.core.net.address import Addr, Prefix
from korat.core.route.flannel.env import SubnetEnv, read_env, write_env
from korat.core.route.flannel.lease import (
    Held,
    Holder,
    Lease,
    TunnelEnd,
    lease_key,
    lease_value,
    read_lease,
    subnets_of_key,
)

SUBNET, SUBNET6 = Prefix.parse("10.5.34.0/24"), Prefix.parse("fc00::/64")
NODE, NODE6 = Addr.parse("1.2.3.4"), Addr.parse("fd01::4")
MAC, MAC6 = "aa:bb:cc:dd:ee:01", "aa:bb:cc:dd:ee:02"
END, END6 = TunnelEnd(NODE, 1, MAC), TunnelEnd(NODE6, 1, MAC6)

#: As flannel writes them.
CASES = [
    (
        Lease(SUBNET, None, NODE, "vxlan", (END,)),
        "10.5.34.0-24",
        (
            '{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"vxlan",'
            '"BackendData":{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:01"}}'
        ),
    ),
    (
        Lease(SUBNET, SUBNET6, NODE, "vxlan", (END, END6)),
        "10.5.34.0-24&fc00::-64",
        (
            '{"PublicIP":"1.2.3.4","PublicIPv6":"fd01::4","BackendType":"vxlan",'
            '"BackendData":{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:01"},'
            '"BackendV6Data":{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:02"}}'
        ),
    ),
    (
        Lease(SUBNET, None, NODE, "alloc"),
        "10.5.34.0-24",
        '{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"alloc"}',
    ),
]


@pytest.mark.parametrize(("lease", "key", "value"), CASES)
def test_a_lease_is_written_as_flannel_writes_it_and_read_back(lease, key, value):
    assert (lease.key, lease_value(lease)) == (key, value)
    assert read_lease(key, value) == lease


def test_a_holder_says_the_same_of_any_subnet():
    assert Holder(NODE, "vxlan", (END,)).lease(SUBNET, None) == CASES[0][0]
    assert Held(CASES[0][0], math.inf).lease.key == "10.5.34.0-24"


@pytest.mark.parametrize(
    ("value", "backend"),
    [
        ('{"PublicIP":"1.2.3.4","BackendType":"host-gw"}', "host-gw"),
        (
            '{"PublicIP":"1.2.3.4","BackendType":"wireguard","BackendData":{"PublicKey":"x"}}',
            "wireguard",
        ),
        ('{"PublicIP":"1.2.3.4","BackendType":"vxlan","BackendData":null}', "vxlan"),
        ('{"PublicIP":"1.2.3.4","BackendType":"vxlan","Unknown":[1]}', "vxlan"),
    ],
)
def test_a_lease_without_a_tunnel_has_no_end(value, backend):
    found = read_lease("10.5.34.0-24", value)
    assert (found.backend, found.ends, found.public_ip) == (backend, (), NODE)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "{}",
        '{"PublicIP":"nowhere","BackendType":"vxlan"}',
        '{"PublicIP":"1.2.3.4","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"x"}}',
        '{"PublicIP":"1.2.3.4","BackendType":"vxlan","BackendData":"x"}',
    ],
)
def test_what_is_no_lease_is_a_value_error(value):
    with pytest.raises(ValueError, match=r".+"):
        read_lease("10.5.34.0-24", value)


@pytest.mark.parametrize(
    "name", ["", "config", "10.5.34.0", "10.5.34.1-24", "10.5.34.0-33", "x-24"]
)
def test_other_names_are_no_subnets(name):
    with pytest.raises(ValueError, match=r".+"):
        subnets_of_key(name)


def test_names_lead_back_to_their_subnets():
    assert subnets_of_key(lease_key(SUBNET, SUBNET6)) == (SUBNET, SUBNET6)
    assert subnets_of_key(lease_key(SUBNET, None)) == (SUBNET, None)


ENV = SubnetEnv(Prefix.parse("10.5.0.0/16"), SUBNET, 1350, masquerade=True)


def test_subnet_env_is_flannels():
    text = (
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\n"
        "FLANNEL_MTU=1350\nFLANNEL_IPMASQ=true\n"
    )
    assert write_env(ENV) == text
    assert read_env(text) == ENV
    assert ENV.subnets == (SUBNET,)


def test_subnet_env_with_both_families():
    both = SubnetEnv(ENV.network, SUBNET, 1350, False, Prefix.parse("fc00::/48"), SUBNET6)
    assert "FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\n" in write_env(both)
    assert read_env(write_env(both)) == both
    assert both.subnets == (SUBNET, SUBNET6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_MTU=1350\n",
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=x\n",
        "FLANNEL_NETWORK=x\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1350\n",
    ],
)
def test_a_broken_subnet_env_is_a_value_error(text):
    with pytest.raises(ValueError, match=r".+"):
        read_env(text)
