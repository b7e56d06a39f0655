"""Intervals at their edges: the ends of the address space, bad input, and the cost of a sweep."""

import pytest

from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.interval import IntervalSet, Piece, sweep


@pytest.mark.parametrize(
    ("cidrs", "expected"),
    [
        ([], []),
        (["0.0.0.0/0"], ["0.0.0.0/0"]),
        (["0.0.0.0/1", "128.0.0.0/1"], ["0.0.0.0/0"]),
        (["10.0.0.0/25", "10.0.0.128/25", "10.0.1.0/24"], ["10.0.0.0/23"]),
        (["10.0.1.0/24", "10.0.2.0/24"], ["10.0.1.0/24", "10.0.2.0/24"]),
        (["255.255.255.255"], ["255.255.255.255/32"]),
        (["0.0.0.0", "0.0.0.1", "0.0.0.2"], ["0.0.0.0/31", "0.0.0.2/32"]),
        (["::/0"], ["::/0"]),
        (["fd00::/9", "fd80::/9"], ["fd00::/8"]),
        (
            ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"],
        ),
    ],
)
def test_minimal_prefixes(cidrs, expected):
    family = Family.V6 if any(":" in cidr for cidr in cidrs) else Family.V4
    addresses = IntervalSet.of_prefixes(map(Prefix.parse, cidrs))
    assert list(map(str, addresses.prefixes(family))) == expected


def test_a_network_without_an_exception():
    network = IntervalSet.of_prefixes([Prefix.parse("10.0.0.0/8")])
    rest = network - IntervalSet.of_prefixes([Prefix.parse("10.0.0.0/9")])
    assert list(map(str, rest.prefixes(Family.V4))) == ["10.128.0.0/9"]
    assert Addr.parse("10.128.0.0").value in rest
    assert Addr.parse("10.127.255.255").value not in rest


@pytest.mark.parametrize(
    "spans", [((2, 1),), ((0, 1), (2, 3)), ((0, 5), (3, 9)), ((5, 6), (0, 1))], ids=str
)
def test_a_set_that_is_not_canonical_cannot_be(spans):
    with pytest.raises(ValueError, match="not sorted disjoint spans"):
        IntervalSet(spans)


def test_reversed_intervals_are_refused():
    with pytest.raises(ValueError, match="first 3 is above its last 2"):
        IntervalSet.of([(3, 2)])
    with pytest.raises(ValueError, match="first 3 is above its last 2"):
        sweep([(3, 2, "x")])


def test_a_sweep_cuts_and_leaves_out_gaps():
    assert sweep([(0, 9, "net"), (3, 4, "pod"), (20, 20, "pod"), (5, 5, "pod")]) == [
        Piece(0, 2, frozenset({"net"})),
        Piece(3, 5, frozenset({"net", "pod"})),
        Piece(6, 9, frozenset({"net"})),
        Piece(20, 20, frozenset({"pod"})),
    ]


def test_addresses_in_a_deep_nest_share_few_sets():
    """Ten thousand addresses in two hundred networks: sets are counted, not seconds."""
    nest = [(level, 1_000_000 - level, f"net{level}") for level in range(200)]
    pods = [(1000 + 10 * pod, 1000 + 10 * pod, f"app{pod % 5}") for pod in range(10_000)]
    pieces = sweep(nest + pods)
    assert len(pieces) == 2 * 200 - 1 + 2 * 10_000
    assert len({id(piece.value) for piece in pieces}) == 200 + 5
