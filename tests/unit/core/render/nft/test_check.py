"""What the kernel would refuse is refused without one, one row per rule."""

import pytest

from korat.core.render.nft.check import DEPTH_MAX, RefusedError, check
from korat.core.render.nft.key import Field, Span, Type
from korat.core.render.nft.ruleset import Base, Chain, Hook, NamedSet, Ruleset, VerdictMap, rule
from korat.core.render.nft.statement import (
    ACCEPT,
    DROP,
    REJECT,
    Choice,
    Counter,
    InSet,
    MapLookup,
    Match,
    Nat,
    goto,
    jump,
)

FORWARD = Base("filter", Hook.FORWARD, 0)
POSTROUTING = Base("nat", Hook.POSTROUTING, 110)
FILTER_POST = Base("filter", Hook.POSTROUTING, 0)
V4 = NamedSet((Type.IPV4,))
PORTS = (Field.L4PROTO, Field.DPORT)


def table(*rules, base=FORWARD, lookups=None, **chains):
    others = {name: Chain((each,) if each else ()) for name, each in chains.items()}
    return Ruleset(lookups or {}, {"start": Chain(rules, base)} | others)


def chained(depth):
    links = {f"c{n}": rule(goto(f"c{n + 1}")) for n in range(1, depth)}
    return table(rule(goto("c1")), **links, **{f"c{depth}": None})


def elements(*keys, types=(Type.IPV4,), interval=True):
    return Ruleset({"s": NamedSet(types, frozenset(keys), interval)})


REFUSED = {
    "no such counter": (table(rule(Counter("gone"))), "no counter gone"),
    "no such chain": (table(rule(jump("gone"))), "no chain gone"),
    "no such chain in a map": (
        table(
            rule(MapLookup((Field.IP_SADDR,), "m")),
            lookups={"m": VerdictMap((Type.IPV4,), {(1,): goto("gone")})},
        ),
        "no chain gone",
    ),
    "no such chain in a choice": (
        table(rule(Choice(PORTS, (((6, 80), goto("gone")),)))),
        "no chain gone",
    ),
    "a base chain as target": (table(rule(jump("start"))), "base chain"),
    "no such set": (table(rule(InSet((Field.IP_SADDR,), "gone"), DROP)), "no gone"),
    "a set as map": (table(rule(MapLookup((Field.IP_SADDR,), "s")), lookups={"s": V4}), "not a"),
    "a map as set": (
        table(rule(InSet((Field.IP_SADDR,), "m"), DROP), lookups={"m": VerdictMap((Type.IPV4,))}),
        "not a NamedSet",
    ),
    "other types": (table(rule(InSet((Field.DPORT,), "s"), DROP), lookups={"s": V4}), "types"),
    "a loop": (table(rule(jump("a")), a=rule(jump("b")), b=rule(goto("a"))), "a loop"),
    "too deep": (chained(DEPTH_MAX), "deep"),
    "wrong number of parts": (elements((1, 2)), "parts"),
    "a name as address": (elements(("eth0",)), "exact"),
    "a number as name": (elements((1,), types=(Type.IFNAME,), interval=False), "exact"),
    "a wildcard in a set": (elements(("a*",), types=(Type.IFNAME,), interval=False), "exact"),
    "a span in an exact set": (elements((Span(1, 2),), interval=False), "interval flag"),
    "a span backwards": (elements((Span(2, 1),)), "not a"),
    "too large": (elements((1 << 32,)), "not a"),
    "overlap": (elements((Span(1, 5),), (Span(5, 9),)), "overlap"),
    "overlap of a point": (elements((Span(1, 5),), (3,)), "overlap"),
    "overlap of boxes": (
        elements((6, Span(1, 5)), (6, Span(5, 9)), types=(Type.PROTO, Type.PORT)),
        "overlap",
    ),
    "a key twice": (table(rule(Choice(PORTS, (((6, 1), DROP), ((6, 1), DROP))))), "twice"),
    "compared with nothing": (table(rule(Match(Field.DPORT, ()), DROP)), "nothing"),
    "both IP versions": (
        table(rule(Match(Field.IP_SADDR, (1,)), Match(Field.IP6_DADDR, (1,)), DROP)),
        "both IP versions",
    ),
    "a version and the other's field": (
        table(rule(Match(Field.NFPROTO, (2,)), Match(Field.ICMPV6_TYPE, (1,)), DROP)),
        "both IP versions",
    ),
    "two protocols": (
        table(rule(Match(Field.L4PROTO, (6,)), Match(Field.ICMP_TYPE, (1,)), DROP)),
        "two protocols",
    ),
    "NAT in a filter": (table(rule(Nat())), "source NAT"),
    "NAT below a filter": (table(rule(jump("a")), a=rule(Nat())), "source NAT"),
    "reject too late": (table(rule(REJECT), base=FILTER_POST), "reject"),
}


@pytest.mark.parametrize(("ruleset", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(ruleset, words):
    with pytest.raises(RefusedError, match=words):
        check(ruleset)


TAKEN = {
    "nothing": Ruleset(),
    "as deep as can be": chained(DEPTH_MAX - 1),
    "neighbouring spans": elements((Span(1, 4),), (Span(5, 9),)),
    "boxes side by side": elements(
        (6, Span(1, 5)), (17, Span(1, 5)), types=(Type.PROTO, Type.PORT)
    ),
    "NAT where it belongs": table(rule(jump("a")), base=POSTROUTING, a=rule(Nat())),
    "reject in forward": table(rule(REJECT)),
    "a loop that nothing enters": table(rule(ACCEPT), a=rule(jump("a"))),
    "a negated protocol": table(
        rule(Match(Field.L4PROTO, (6,), negated=True), Match(Field.ICMP_TYPE, (1,)), DROP)
    ),
}


@pytest.mark.parametrize("ruleset", TAKEN.values(), ids=TAKEN)
def test_taken(ruleset):
    check(ruleset)
