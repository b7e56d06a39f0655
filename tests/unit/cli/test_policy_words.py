"""Addresses and traffic in words, which must be exact and short."""

import pytest

from korat.cli.policy_words import Names, pods_words, traffic_rows, traffic_words
from korat.core.model.key import Key
from korat.core.net.address import Family, Prefix
from korat.core.net.interval import IntervalSet
from korat.core.policy.cluster import Cluster
from korat.core.table.compare_traffic import Traffic
from korat.core.table.grid import Box
from policy_world import address_set, open_namespace, pod

END = 65535
WHOLE = Box(0, END, 0, END)


def ports(*spans):
    return tuple(Box(0, END, *span) for span in spans)


@pytest.mark.parametrize(
    ("traffic", "words", "rows"),
    [
        (Traffic((), ()), "everything", [("any", "any")]),
        (Traffic(((6, ports((80, 80))),), None), "TCP 80", [("TCP", "80")]),
        (Traffic(((6, ports((80, 80), (90, 99))),), None), "TCP 80, 90-99", [("TCP", "80, 90-99")]),
        (Traffic(((17, (WHOLE,)),), None), "all UDP", [("UDP", "any")]),
        (Traffic(((47, (Box(0, 0, 0, 0),)),), None), "protocol 47", [("47", "any")]),
        (Traffic(((6, ports((0, 79), (81, END))),), None), "TCP but 80",
         [("TCP", "0-79, 81-65535")]),
        (Traffic(((6, ports((0, 79), (81, END))),), (6,)), "everything but TCP 80",
         [("TCP", "0-79, 81-65535"), ("any but TCP", "any")]),
        (Traffic((), (6, 17)), "everything but all TCP; all UDP", [("any but TCP, UDP", "any")]),
        (Traffic(((1, (Box(8, 8, 0, 255),)),), None), "ICMP type 8", [("ICMP", "type 8")]),
        (Traffic(((1, (Box(3, 3, 4, 4),)),), None), "ICMP type 3 code 4",
         [("ICMP", "type 3 code 4")]),
        (Traffic(((6, (Box(0, 1023, 80, 80),)),), None), "TCP 80 from port 0-1023",
         [("TCP", "80 from port 0-1023")]),
    ],
)  # fmt: skip
def test_traffic(traffic, words, rows):
    assert traffic_words(traffic) == words
    assert list(traffic_rows(traffic)) == rows


CLUSTER = Cluster.build(
    [
        open_namespace("red"),
        pod("a", "10.0.0.1/32"),
        pod("b", "10.0.0.2/32", "fd00::2/128"),
        address_set("s", "192.0.2.0/24"),
        address_set("around", "10.0.0.0/30"),
    ]
)
TITLES = {endpoint.key: f"red/{endpoint.key.name}" for endpoint in CLUSTER.endpoints}
NAMES = Names(CLUSTER, TITLES)
V4, V6 = Family.V4, Family.V6


def addresses(*texts):
    """Peers by their CIDRs, and ``!`` for everything else."""
    peers = {}
    for text in texts:
        prefix = Prefix.parse(text.removeprefix("!"))
        spans = IntervalSet.of_prefixes([prefix])
        if text.startswith("!"):
            spans = spans.complement(0, (1 << prefix.family.bits) - 1)
        peers[prefix.family] = peers.get(prefix.family, IntervalSet()) | spans
    return tuple(sorted(peers.items()))


@pytest.mark.parametrize(
    ("peers", "families", "pods", "strangers"),
    [
        (["0.0.0.0/0"], {V4}, ["red/a", "red/b"], ["anyone else"]),
        (["0.0.0.0/0"], {V4, V6}, ["red/a", "red/b (10.0.0.2)"], ["anyone else (IPv4)"]),
        (["0.0.0.0/0", "::/0"], {V4, V6}, ["red/a", "red/b"], ["anyone else"]),
        (["10.0.0.1"], {V4}, ["red/a"], []),
        (["192.0.2.0/24"], {V4}, [], ["GlobalNetworkSet s"]),
        (["192.0.2.0/25"], {V4}, [], ["192.0.2.0/25"]),
        (["192.0.2.7"], {V4}, [], ["192.0.2.7"]),
        (["10.0.0.0/30"], {V4}, ["red/a", "red/b"], ["GlobalNetworkSet around"]),
        (["10.0.0.0/29"], {V4}, ["red/a", "red/b"], ["10.0.0.0/29"]),
        (["10.0.0.2/31"], {V4}, ["red/b"], ["10.0.0.2/31"]),
        (["!10.0.0.0/29"], {V4}, [], ["anyone else but 10.0.0.0/29"]),
        (["!198.51.100.0/24"], {V4}, ["red/a", "red/b"], ["anyone else but 198.51.100.0/24"]),
        (["!fd01::/64"], {V4, V6}, ["red/b (fd00::2)"], ["anyone else (IPv6) but fd01::/64"]),
    ],
)
def test_addresses(peers, families, pods, strangers):
    named = addresses(*peers)
    assert NAMES.pods(named, families) == pods
    assert NAMES.strangers(named, families) == strangers


@pytest.mark.parametrize(
    ("texts", "families", "expected"),
    [
        (("0.0.0.0/0", "::/0"), {V4, V6}, "anyone"),
        (("0.0.0.0/0",), {V4}, "anyone"),
        (("0.0.0.0/0",), {V4, V6}, "anyone (IPv4)"),
        (("0.0.0.0/0", "fd00::/64"), {V4, V6}, ""),
        (("!192.0.2.1/32",), {V4}, ""),
        (("!10.0.0.1/32",), {V4}, ""),
    ],
)
def test_everybody(texts, families, expected):
    assert NAMES.whole(addresses(*texts), families) == expected


def test_a_workload_that_has_no_title_is_an_address():
    names = Names(CLUSTER, {Key("WorkloadEndpoint", "red", "a"): "red/a"})
    assert names.pods(addresses("10.0.0.0/30"), {V4}) == ["red/a"]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ([], []),
        (["b/x"], ["b/x"]),
        (["a/1", "a/2", "a/3", "b/x"], ["every pod"]),
        (["a/1", "a/2", "a/3"], ["every pod of a"]),
        (["a/1", "a/2"], ["a/1", "a/2"]),
        (["a/1", "a/3", "b/x"], ["a/1", "a/3", "b/x"]),
        (["a/1", "a/2 (10.0.0.1)"], ["a/1", "a/2 (10.0.0.1)"]),
    ],
)
def test_pods_by_namespace(chosen, expected):
    assert pods_words(chosen, ["a/1", "a/2", "a/3", "b/x"]) == expected


def test_all_but_a_few_of_a_namespace():
    everybody = [f"a/{i}" for i in range(6)]
    assert pods_words(everybody[1:], everybody) == ["every pod of a but 0"]


LABELS = {f"a/{i}": {"app": "x" if i < 4 else "y", "longer-key": str(i // 4)} for i in range(10)}


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (range(4), "every pod of a with app=x"),
        (range(4, 10), "every pod of a with app=y"),
        (range(4, 8), "every pod of a with longer-key=1"),
        (range(3), "a/0 a/1 a/2"),
        (range(1, 5), "a/1 a/2 a/3 a/4"),
        (range(2, 10), "every pod of a but 0 1"),
        ([0, 1, 2, 3, 8, 9], "every pod of a but those with longer-key=1"),
    ],
)
def test_many_pods_are_described_by_a_label_that_nobody_else_has(chosen, expected):
    names = [f"a/{i}" for i in chosen]
    assert " ".join(pods_words(names, list(LABELS), LABELS)) == expected


def test_labels_that_nobody_wrote_describe_nobody():
    lent = {f"a/{i}": {"pcns.x": str(i < 4), "projectcalico.org/y": str(i < 4)} for i in range(10)}
    names = [f"a/{i}" for i in range(4)]
    assert pods_words(names, list(lent), lent) == names
