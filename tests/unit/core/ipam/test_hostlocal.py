"""host-local's choices, by the table; the laws are a property test, the peer is the real one."""

import pytest

from korat.core.errors import Conflict, Invalid, Unavailable
from korat.core.ipam.hostlocal import Owner, State, assign, candidates, range_sets
from korat.core.net.address import Addr, Prefix

ME = Owner("me", "eth0")
OTHER = Owner("other", "eth0")
V4 = Prefix.parse("10.10.128.0/24")
V6 = Prefix.parse("fd00:1::/64")


def addrs(*texts):
    return tuple(Addr.parse(text) for text in texts)


def sets(ipam, *pod_cidrs):
    return range_sets(ipam, pod_cidrs)


def state(held=(), last=()):
    return State({Addr.parse(a): o for a, o in dict(held).items()}, dict(last))


@pytest.mark.parametrize(
    ("ipam", "expected"),
    [
        ({"subnet": "usePodCidr"}, ["10.10.128.1-10.10.128.254"]),
        ({"subnet": "usePodCIDR"}, ["10.10.128.1-10.10.128.254"]),
        ({"subnet": "10.1.0.0/30"}, ["10.1.0.1-10.1.0.2"]),
        ({"subnet": "usePodCidrIPv6"}, ["fd00:1::1-fd00:1::ffff:ffff:ffff:ffff"]),
        (
            {"ranges": [[{"subnet": "usePodCidr"}], [{"subnet": "usePodCidrIPv6"}]]},
            ["10.10.128.1-10.10.128.254", "fd00:1::1-fd00:1::ffff:ffff:ffff:ffff"],
        ),
        (
            {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.12"},
            ["10.1.0.9-10.1.0.12"],
        ),
        (
            {"ranges": [[{"subnet": "10.1.0.0/30"}, {"subnet": "10.2.0.0/30"}]]},
            ["10.1.0.1-10.1.0.2,10.2.0.1-10.2.0.2"],
        ),
        (
            {"subnet": "10.1.0.0/30", "ranges": [[{"subnet": "10.2.0.0/30"}]]},
            ["10.1.0.1-10.1.0.2", "10.2.0.1-10.2.0.2"],
        ),
    ],
)
def test_ranges_as_written(ipam, expected):
    assert [str(s) for s in sets(ipam, V4, V6)] == expected


@pytest.mark.parametrize(
    ("ipam", "field"),
    [
        ({}, "ipam"),
        ({"ranges": []}, "ipam"),
        ({"ranges": {}}, "ipam.ranges"),
        ({"ranges": "10.0.0.0/8"}, "ipam.ranges"),
        ({"ranges": [[]]}, "ipam.ranges[0]"),
        ({"ranges": [{"subnet": "10.0.0.0/8"}]}, "ipam.ranges[0]"),
        ({"ranges": [["10.0.0.0/8"]]}, "ipam.ranges[0][0]"),
        ({"subnet": "nonsense"}, "subnet"),
        ({"subnet": None}, "subnet"),
        ({"subnet": 7}, "subnet"),
        ({"subnet": "10.0.0.0/31"}, "subnet"),
        ({"subnet": "fd00::/127"}, "subnet"),
        ({"subnet": "10.0.0.0/24", "rangeStart": "10.0.1.1"}, "rangeStart"),
        ({"subnet": "10.0.0.0/24", "rangeEnd": "fd00::1"}, "rangeEnd"),
        ({"subnet": "10.0.0.0/24", "gateway": "x"}, "gateway"),
        ({"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.8"}, "rangeEnd"),
        ({"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]]}, "ipam.ranges[0]"),
        ({"ranges": [[{"subnet": "10.0.0.0/8"}], [{"subnet": "10.1.0.0/16"}]]}, "ipam.ranges"),
    ],
)
def test_what_cannot_be_is_refused_by_field(ipam, field):
    with pytest.raises(Invalid) as refused:
        sets(ipam, V4)
    assert any(field in problem.field for problem in refused.value.problems)


def test_every_fault_is_named_at_once():
    with pytest.raises(Invalid) as refused:
        sets({"ranges": [[{"subnet": "a"}], [{"subnet": "b"}, 3], []]})
    assert len(refused.value.problems) == 4


@pytest.mark.parametrize(
    ("text", "cidrs"), [("usePodCidr", []), ("usePodCidr", [V6]), ("usePodCidrIPv6", [V4])]
)
def test_missing_pod_cidr_is_worth_another_try(text, cidrs):
    with pytest.raises(Unavailable, match="no IPv"):
        sets({"subnet": text}, *cidrs)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, "2 3 4 5 6"),
        ("10.0.0.2", "3 4 5 6 2"),
        ("10.0.0.5", "6 2 3 4 5"),
        ("10.0.0.6", "2 3 4 5 6"),
        ("10.9.9.9", "2 3 4 5 6"),
    ],
)
def test_scan_goes_round_once_and_leaves_the_gateway_out(last, expected):
    (pool,) = sets({"subnet": "10.0.0.0/29"})
    found = candidates(pool, Addr.parse(last) if last else None)
    assert " ".join(str(a).rsplit(".")[-1] for a in found) == expected


def test_scan_goes_round_over_the_ranges_of_a_set():
    (pool,) = sets({"ranges": [[{"subnet": "10.0.0.0/29"}, {"subnet": "10.1.0.0/30"}]]})
    found = [str(a) for a in candidates(pool, Addr.parse("10.0.0.5"))]
    assert found == ["10.0.0.6", "10.1.0.2", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]


def test_one_address_of_each_set():
    pools = sets({"ranges": [[{"subnet": "usePodCidr"}], [{"subnet": "usePodCidrIPv6"}]]}, V4, V6)
    assert assign(pools, state(), ME) == addrs("10.10.128.2", "fd00:1::2")


def test_asking_again_gives_the_same():
    pools = sets({"subnet": "usePodCidr"}, V4)
    held = state({"10.10.128.9": ME}, {0: Addr.parse("10.10.128.40")})
    assert assign(pools, held, ME) == addrs("10.10.128.9")


def test_exhaustion_names_the_range():
    pools = sets({"subnet": "10.0.0.0/30"})
    with pytest.raises(Unavailable, match=r"10\.0\.0\.1-10\.0\.0\.2"):
        assign(pools, state({"10.0.0.2": OTHER}), ME)


@pytest.mark.parametrize(
    ("wanted", "held", "error"),
    [
        ("10.0.0.1", {}, Invalid),
        ("10.7.0.1", {}, Invalid),
        ("fd00::1", {}, Invalid),
        ("10.0.0.4", {"10.0.0.4": OTHER}, Conflict),
    ],
    ids=["gateway", "elsewhere", "other-family", "taken"],
)
def test_requested_address_that_cannot_be_had(wanted, held, error):
    pools = sets({"subnet": "10.0.0.0/29"})
    with pytest.raises(error, match=wanted.replace(".", r"\.")):
        assign(pools, state(held), ME, addrs(wanted))


@pytest.mark.parametrize("held", [{}, {"10.0.0.4": ME}])
def test_requested_address(held):
    pools = sets({"subnet": "10.0.0.0/29"})
    assert assign(pools, state(held), ME, addrs("10.0.0.4")) == addrs("10.0.0.4")
