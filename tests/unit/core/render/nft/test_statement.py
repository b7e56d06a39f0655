"""Each statement's text, and what is kept out of it."""

import pytest

from korat.core.net.address import Addr
from korat.core.render.nft.key import Field, Span, Type
from korat.core.render.nft.ruleset import (
    Base,
    Chain,
    Hook,
    NamedSet,
    Ruleset,
    VerdictMap,
    digest,
    rule,
)
from korat.core.render.nft.statement import (
    ACCEPT,
    DROP,
    LOG_PREFIX_MAX,
    REJECT,
    Action,
    Carry,
    CarryChoice,
    CarryFrom,
    Choice,
    Counter,
    CounterFrom,
    CtMatch,
    CtState,
    InSet,
    Limit,
    Log,
    MapLookup,
    Match,
    Nat,
    Statement,
    Verdict,
    goto,
    jump,
)
from korat.core.render.nft.track import DnatMatch, MarkMatch, MarkSet, NoTrack

TEN = 10 << 24
TEXTS = [
    (Match(Field.IIFNAME, ("cali*",)), 'iifname "cali*"'),
    (Match(Field.OIFNAME, ("eth0",), negated=True), 'oifname != "eth0"'),
    (Match(Field.IP_SADDR, (TEN + 1,)), "ip saddr 10.0.0.1"),
    (Match(Field.IP_DADDR, (Span(TEN, TEN + 255),)), "ip daddr 10.0.0.0/24"),
    (Match(Field.IP_DADDR, (Span(TEN + 1, TEN + 2),)), "ip daddr 10.0.0.1-10.0.0.2"),
    (Match(Field.IP_DADDR, (Span(0, (1 << 32) - 1),)), "ip daddr 0.0.0.0/0"),
    (Match(Field.IP6_SADDR, (Span(0xFE80 << 112, (0xFE81 << 112) - 1),)), "ip6 saddr fe80::/16"),
    (Match(Field.IP6_DADDR, (1,)), "ip6 daddr ::1"),
    (Match(Field.L4PROTO, (6, 17)), "meta l4proto { 6, 17 }"),
    (Match(Field.NFPROTO, (10,)), "meta nfproto ipv6"),
    (Match(Field.DPORT, (80, Span(90, 99)), negated=True), "th dport != { 80, 90-99 }"),
    (Match(Field.SPORT, (53,), negated=True), "th sport != 53-53"),
    (Match(Field.SPORT, (Span(53, 54),), negated=True), "th sport != 53-54"),
    (Match(Field.ICMP_CODE, (0,), negated=True), "icmp code != 0-0"),
    (Match(Field.DPORT, (80,)), "th dport 80"),
    (Match(Field.DPORT, (80,), negated=True), "th dport != 80-80"),
    (Match(Field.ICMP_TYPE, (8,)), "icmp type 8"),
    (Match(Field.ICMPV6_CODE, (0,)), "icmpv6 code 0"),
    (CtMatch((CtState.ESTABLISHED, CtState.RELATED)), "ct state established,related"),
    (InSet((Field.IIFNAME, Field.IP_SADDR), "s"), "iifname . ip saddr @s"),
    (InSet((Field.IP_SADDR,), "s", negated=True), "ip saddr != @s"),
    (MapLookup((Field.IP6_DADDR,), "m"), "ip6 daddr vmap @m"),
    (Carry(0), "meta priority set none"),
    (Carry(0xABCD1234), "meta priority set abcd:1234"),
    (CarryFrom((Field.IP_SADDR,), "m"), "meta priority set ip saddr map @m"),
    (
        CarryChoice((Field.L4PROTO, Field.DPORT), (((6, 80), 7), ((6, Span(1, 9)), 1 << 16))),
        "meta priority set meta l4proto . th dport map { 6 . 80 : 0:7, 6 . 1-9 : 1:0 }",
    ),
    (CounterFrom((Field.CARRIED,), "m"), "counter name meta priority map @m"),
    (
        Choice((Field.L4PROTO, Field.DPORT), (((6, 80), goto("a")), ((6, Span(1, 9)), DROP))),
        "meta l4proto . th dport vmap { 6 . 80 : goto a, 6 . 1-9 : drop }",
    ),
    (Counter(), "counter"),
    (Counter("count-1"), "counter name count-1"),
    (Log("x: ", 7), 'log prefix "x: " group 7'),
    (Limit("10/minute", 5), "limit rate 10/minute burst 5 packets"),
    (Log("calico-packet: "), 'log prefix "calico-packet: "'),
    (Log('a"b\n;c'), 'log prefix "a_b_;c"'),
    (Nat(), "masquerade"),
    (Nat(fully_random=True), "masquerade fully-random"),
    (Nat(ports=Span(1, 9), fully_random=True), "masquerade to :1-9 fully-random"),
    (Nat(Addr.parse("1.2.3.4"), Span(1, 9)), "snat ip to 1.2.3.4:1-9"),
    (Nat(Addr.parse("fd00::1"), Span(1, 9)), "snat ip6 to [fd00::1]:1-9"),
    (Nat(Addr.parse("fd00::1")), "snat ip6 to fd00::1"),
    (NoTrack(), "notrack"),
    (DnatMatch(), "ct status dnat"),
    (MarkMatch(0x10000), "meta mark & 0x00010000 == 0x00010000"),
    (MarkSet(0x10000), "meta mark set meta mark | 0x00010000"),
    (MarkSet(0x10000, on=False), "meta mark set meta mark & 0xfffeffff"),
    (ACCEPT, "accept"),
    (REJECT, "reject"),
    (jump("c"), "jump c"),
    (goto("c"), "goto c"),
]


@pytest.mark.parametrize(("statement", "text"), TEXTS, ids=[text for _, text in TEXTS])
def test_text(statement, text):
    assert statement.text == text


def test_every_kind_of_statement_stands_in_the_table():
    assert {type(statement) for statement, _ in TEXTS} == set(Statement.__args__)


def test_a_log_prefix_is_cut_to_what_the_kernel_keeps():
    assert Log("x" * 500).text == f'log prefix "{"x" * LOG_PREFIX_MAX}"'


@pytest.mark.parametrize(
    "name", ["", "*", 'a"b', "a b", "a/b", "sixteen-letters!", "a\n", "cali*", "a\\b"]
)
def test_what_is_no_interface_name_never_becomes_text(name):
    lookup = NamedSet((Type.IFNAME,), frozenset({(name,)}))
    ruleset = Ruleset({"s": lookup})
    with pytest.raises(ValueError, match="not an interface name"):
        assert ruleset.text


@pytest.mark.parametrize("name", ["", "1a", "a b", "a;b", "x" * 65])
def test_names_are_plain(name):
    with pytest.raises(ValueError, match="not a name"):
        Ruleset({}, {name: Chain()})


@pytest.mark.parametrize(("action", "chain"), [(Action.JUMP, ""), (Action.DROP, "c")])
def test_only_jumps_have_targets(action, chain):
    with pytest.raises(ValueError, match="with chain"):
        Verdict(action, chain)


def test_a_digest_depends_on_where_its_parts_end():
    assert digest("a", "b") != digest("ab")
    assert digest("a", "b") == digest("a", "b")


def test_a_table_is_printed_whole_and_sorted():
    ruleset = Ruleset(
        {
            "nets": VerdictMap((Type.IPV4,), {(Span(TEN, TEN + 255),): goto("c")}, interval=True),
            "hosts": NamedSet((Type.IFNAME, Type.IPV4), frozenset({("b", 2), ("a", 1)})),
        },
        {
            "forward": Chain((rule(MapLookup((Field.IP_DADDR,), "nets")),), BASE),
            "c": Chain((rule(Counter(), DROP, comment='why "not"'),)),
        },
    )
    assert ruleset.text.splitlines() == [
        "add table inet korat",
        "delete table inet korat",
        "add table inet korat",
        "add chain inet korat c",
        "add chain inet korat forward { type filter hook forward priority -5; policy accept; }",
        "add set inet korat hosts { type ifname . ipv4_addr; }",
        'add element inet korat hosts { "a" . 0.0.0.1, "b" . 0.0.0.2 }',
        "add map inet korat nets { type ipv4_addr : verdict; flags interval; }",
        "add element inet korat nets { 10.0.0.0/24 : goto c }",
        'add rule inet korat c counter drop comment "why _not_"',
        "add rule inet korat forward ip daddr vmap @nets",
    ]


BASE = Base("filter", Hook.FORWARD, -5)
