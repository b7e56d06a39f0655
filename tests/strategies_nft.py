"""Random rulesets that the kernel would take: few names, so that two of them share many."""

from hypothesis import strategies as st

from korat.core.net.address import Addr, Family
from korat.core.policy.outcome import Direction, RuleRef
from korat.core.render.nft.check import one_family
from korat.core.render.nft.key import Field, Span, Type
from korat.core.render.nft.ruleset import Base, Chain, Hook, NamedSet, Ruleset, VerdictMap, rule
from korat.core.render.nft.statement import (
    ACCEPT,
    DROP,
    RETURN,
    Choice,
    Counter,
    CtMatch,
    CtState,
    InSet,
    Limit,
    Log,
    MapLookup,
    Match,
    goto,
    jump,
)

CHAINS = tuple(f"c{number}" for number in range(5))
BASES = {
    "forward": Base("filter", Hook.FORWARD, 0),
    "input": Base("filter", Hook.INPUT, 0),
    "c4": Base("filter", Hook.OUTPUT, 5),
}
COUNTERS = {f"n{i}": RuleRef.tier_default(Direction.EGRESS, f"t{i}") for i in range(3)}
LOOKUPS = ("l0", "l1", "l2", "l3")
NAMES = ("cali1", "cali2", "eth0")

#: Fields that are looked up together, and values for each of their parts.
KEYS = (
    (Field.IP_SADDR,),
    (Field.IP_DADDR,),
    (Field.IP6_SADDR,),
    (Field.IIFNAME,),
    (Field.IIFNAME, Field.IP_SADDR),
    (Field.L4PROTO, Field.DPORT),
    (Field.L4PROTO, Field.SPORT, Field.DPORT),
    (Field.IP_DADDR, Field.L4PROTO, Field.DPORT),
)
POINTS = {
    Type.IPV4: st.integers(0, 12).map(lambda n: (10 << 24) + n),
    Type.IPV6: st.integers(0, 12).map(lambda n: (0xFD << 120) + n),
    Type.IFNAME: st.sampled_from(NAMES),
    Type.PROTO: st.sampled_from([1, 6, 17, 132]),
    Type.PORT: st.sampled_from([0, 1, 79, 80, 81, 443, 65535]),
}
#: Two ways to cut a line, so that from one table to the next an interval may be split or grow.
TILINGS = (((0, 3), (4, 4), (5, 7), (8, 15)), ((0, 1), (2, 5), (6, 6), (7, 15)))
LINES = {Type.IPV4: 10 << 24, Type.IPV6: 0xFD << 120, Type.PORT: 80}


def keys(types, tiling):
    """Keys of these types; without a tiling they are points, else spans that are disjoint."""
    return st.tuples(*(_spans(kind, tiling) if tiling else POINTS[kind] for kind in types))


def _spans(kind, tiling):
    if kind not in LINES:
        return POINTS[kind]
    return st.sampled_from([Span(LINES[kind] + a, LINES[kind] + b) for a, b in tiling])


def verdicts(chains):
    """Where an element or rule may lead, given the chains below it."""
    ends = st.sampled_from([ACCEPT, DROP, RETURN])
    if not chains:
        return ends
    return st.one_of(ends, st.sampled_from(chains).flatmap(_ways_to))


def _ways_to(chain):
    return st.sampled_from([jump(chain), goto(chain)])


@st.composite
def lookups(draw, chains):
    """A set or a verdict map."""
    fields = draw(st.sampled_from(KEYS))
    types = tuple(field.type for field in fields)
    interval = any(kind in LINES for kind in types) and draw(st.booleans())
    tiling = draw(st.sampled_from(TILINGS)) if interval else ()
    found = draw(st.lists(keys(types, tiling), max_size=6, unique=True))
    if draw(st.booleans()):
        return fields, NamedSet(types, frozenset(found), interval)
    return fields, VerdictMap(types, {k: draw(verdicts(chains)) for k in found}, interval)


@st.composite
def rules(draw, named, chains, counters=()):
    """One rule: perhaps a match, then something that ends or does not end it."""
    match = draw(
        st.sampled_from(
            [
                (),
                (Match(Field.IIFNAME, ("cali*",)),),
                (CtMatch((CtState.ESTABLISHED, CtState.RELATED)),),
                (Match(Field.L4PROTO, (6, 17)), Match(Field.DPORT, (80, Span(90, 99)))),
                (Match(Field.IP_SADDR, (Span(10 << 24, (10 << 24) + 255),), negated=True),),
                (Match(Field.ICMPV6_TYPE, (133, 135)),),
                (Match(Field.NFPROTO, (2,)),),
            ]
        )
    )
    ways = [
        st.builds(lambda v: (Counter(), v), verdicts(chains)),
        st.just((Limit("10/second", 5), Log('say "what": '))),
        st.just((Limit("10/second", 5), Log("n0", 7), Counter())),
        st.builds(lambda v: (_choice(v),), verdicts(chains)),
    ]
    if named:
        name, fields, lookup = draw(st.sampled_from(named))
        ways.append(
            st.just((MapLookup(fields, name),))
            if isinstance(lookup, VerdictMap)
            else st.builds(
                lambda v, n: (InSet(fields, name, n), v), verdicts(chains), st.booleans()
            )
        )
    if counters:
        counts = st.lists(st.sampled_from(counters).map(Counter), min_size=1, unique=True)
        ways.append(st.builds(lambda c, v: (*c, v), counts, verdicts(chains)))
    end = draw(st.one_of(ways))
    if not one_family((*match, *end)):
        end = (Counter(),)
    return rule(*match, *end, comment=draw(st.sampled_from(["", "why not"])))


def _choice(verdict):
    return Choice((Field.L4PROTO, Field.DPORT), (((6, 80), verdict), ((17, Span(1, 9)), DROP)))


@st.composite
def rulesets(draw):
    """A table. Chain ``c<n>`` leads only to later ones; maps lead to the last ones only."""
    present = draw(st.sets(st.sampled_from(CHAINS)))
    c4_is_base = draw(st.booleans())
    regular = sorted(present - {"c4"} if c4_is_base else present)
    last = [name for name in regular if name >= "c3"]
    found = {n: draw(lookups(last)) for n in draw(st.sets(st.sampled_from(LOOKUPS)))}
    named = [(name, *found[name]) for name in sorted(found)]
    counters = sorted(draw(st.sets(st.sampled_from(sorted(COUNTERS)))))
    chains = {}
    for name in regular:
        below = [other for other in regular if other > name]
        # A map leads to the last chains, so that these must not ask one.
        usable = named if name < "c3" else []
        many = draw(st.lists(rules(usable, below, counters), max_size=3))
        chains[name] = Chain(tuple(many))
    for name, base in BASES.items():
        if name in present or (name != "c4" and draw(st.booleans())):
            if name == "c4" and not c4_is_base:
                continue
            many = draw(st.lists(rules(named, regular, counters), max_size=3))
            chains[name] = Chain(tuple(many), base)
    found = {name: lookup for name, (_, lookup) in found.items()}
    return Ruleset(found, chains, {name: COUNTERS[name] for name in counters})


@st.composite
def headers(draw):
    """Source, destination, protocol and two numbers that the keys and matches above may hit."""
    kind, family = draw(st.sampled_from([(Type.IPV4, Family.V4), (Type.IPV6, Family.V6)]))
    ends = POINTS[kind].map(lambda value: Addr(family, value))
    protocol = draw(st.sampled_from([6, 17, 132, 1, 58]))
    numbers = st.sampled_from([0, 8, 133]) if protocol in (1, 58) else POINTS[Type.PORT]
    return draw(ends), draw(ends), protocol, draw(numbers), draw(numbers)
