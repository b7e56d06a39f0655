"""Laws of judging live connections again.

A connection is denied when the evaluator would deny its first packet now; and whatever a change of
policy has come to deny has an end among the addresses that are looked at.
"""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from korat.core.net.port import ICMP_PROTOCOLS
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import judge
from korat.core.policy.outcome import Action, Direction
from korat.core.table.compile import compile_node
from korat.core.table.rejudge import Connection, Places, Tuple, affected, rejudge
from strategies_policy import NODE, clusters, dealers, flows

PREFIXES = ("cali",)


def connection(packet, other):
    """A packet as a tracked connection; its source and destination may have been translated.

    ``other`` says to what: what the client asked for first, and whom the server sees.
    """
    if packet.protocol in ICMP_PROTOCOLS:
        original = Tuple(packet.src, other.dst, packet.icmp_type, packet.icmp_code)
        return Connection(packet.protocol, original, Tuple(packet.dst, other.src, 0, 0))
    original = Tuple(packet.src, other.dst, packet.sport, other.dport)
    return Connection(
        packet.protocol, original, Tuple(packet.dst, other.src, packet.dport, other.sport)
    )


def denied(cluster, packet):
    """Whether the evaluator denies it at an end, None when no end is here.

    At an end that several endpoints claim all must deny; an endpoint denies what it would deny for
    any of its addresses.
    """
    found = []
    for direction, end in ((Direction.EGRESS, "src"), (Direction.INGRESS, "dst")):
        addr = getattr(packet, end)
        verdicts = [
            any(
                judge(cluster, e, direction, replace(packet, **{end: own})).outcome.action
                is Action.DENY
                for own in e.addresses_of(addr.family)
            )
            for e in cluster.endpoints
            if e.node == NODE and addr in e.addresses
        ]
        if verdicts:
            found.append(all(verdicts))
    return any(found) if found else None


def places_of(policy, own=frozenset()):
    return Places.of(policy.endpoints, own, PREFIXES)


@given(clusters(), flows(), flows())
def test_a_connection_is_denied_when_the_evaluator_denies_its_packet(resources, sent, others):
    cluster = Cluster.build(resources)
    policy = compile_node(cluster, NODE)
    places = places_of(policy)
    for packet, other in zip(sent, others, strict=True):
        if other.family is not packet.family:
            other = replace(other, src=packet.src, dst=packet.dst)  # noqa: PLW2901 -- made to fit
        outcome = rejudge(policy, places, connection(packet, other))
        found = None if outcome is None else outcome.action is Action.DENY
        assert found == denied(cluster, packet)
        node = places_of(policy, frozenset({packet.src}))
        assert rejudge(policy, node, connection(packet, other)) is None


@st.composite
def changes(draw):
    """A cluster, and what became of it: some objects are gone, some come from another world."""
    dealer = draw(dealers)
    before = dealer.world()
    after = {r.key: r for r in before if not dealer.chance(15)}
    after |= {r.key: r for r in dealer.world() if dealer.chance(25)}
    return before, list(after.values()), [dealer.packet() for _ in range(12)]


@given(changes())
def test_nothing_that_a_change_denies_is_overlooked(change):
    before, after, sent = change
    old, new = (compile_node(Cluster.build(world), NODE) for world in (before, after))
    places = places_of(new)
    looked_at = affected(old, new).addresses(places) or frozenset()
    for packet in sent:
        made = connection(packet, packet)
        then, now = rejudge(old, places_of(old), made), rejudge(new, places, made)
        fine = then is None or then.action is Action.ALLOW
        if fine and now is not None and now.action is Action.DENY:
            assert not looked_at.isdisjoint({made.original.src, made.reply.src})


@given(clusters())
def test_no_change_concerns_nobody(resources):
    policy, again = (compile_node(Cluster.build(resources), NODE) for _ in range(2))
    assert affected(policy, again).addresses(places_of(again)) == frozenset()
