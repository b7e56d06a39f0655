"""The comparison of clusters: what counts as a change, and how changes are put together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from korat.core.net.address import Addr, Family
from korat.core.net.interval import IntervalSet
from korat.core.policy.cluster import Cluster
from korat.core.policy.outcome import Action, Direction
from korat.core.table.compare import compare
from korat.core.table.compare_group import grouped
from korat.core.table.compare_traffic import Traffic
from korat.core.table.grid import Box
from korat.core.table.value import number_last
from policy_world import address_set, allow, deny, open_namespace, pod, policy, who

WEB = pod("web", "10.0.0.1/32", app="web")
DB = pod("db", "10.0.0.2/32", "fd00::2/128", app="db")
CACHE = pod("cache", "10.0.0.3/32", app="db")
OPEN = [open_namespace("red"), WEB, DB, CACHE]
ALL = Traffic((), ())


def changes(before, after):
    return grouped(compare(Cluster.build(before), Cluster.build(after)))


def test_alike_endpoints_and_both_families_are_one_group():
    closed = policy("closed", selector="app == 'db'", types=("Ingress",))
    dual = pod("cache", "10.0.0.3/32", "fd00::3/128", app="db")
    world = [open_namespace("red"), WEB, DB, dual]
    (group,) = changes(world, [*world, closed])
    assert (group.direction, group.endpoints) == (Direction.INGRESS, (dual.key, DB.key))
    assert [family for family, _ in group.peers] == [Family.V4, Family.V6]
    assert group.traffic == ALL
    assert (group.before.action, group.after.action) == (Action.ALLOW, Action.DENY)
    assert group.before.ref.text == "ingress Profile kns.red rule 0"
    assert group.after.ref.text == "ingress default tier default"


def test_another_rule_with_the_same_verdict_is_no_change():
    one = policy("one", ingress=[allow(protocol="TCP"), allow()], egress=[deny()])
    other = policy("other", ingress=[allow()], egress=[deny(protocol="UDP"), deny()])
    assert changes([*OPEN, one], [*OPEN, other]) == []


def test_who_comes_or_goes_is_no_change():
    only_web = policy("p", selector="app == 'db'", ingress=[allow(who(selector="app == 'web'"))])
    new = pod("new", "10.0.0.9/32", app="web")
    assert changes([*OPEN, only_web], [*OPEN, only_web, new]) == []
    assert changes([*OPEN, only_web, new], [*OPEN, only_web]) == []


def test_who_gets_another_label_is_a_change_where_it_is_a_peer():
    only_web = policy("p", selector="app == 'db'", ingress=[allow(who(selector="app == 'web'"))])
    moved = pod("web", "10.0.0.1/32", app="other")
    (group,) = changes([*OPEN, only_web], [open_namespace("red"), moved, DB, CACHE, only_web])
    assert group.endpoints == (CACHE.key, DB.key)
    web = Addr.parse("10.0.0.1").value
    assert group.peers == ((Family.V4, IntervalSet(((web, web),))),)


def test_a_network_set_that_grows_changes_just_what_it_gains():
    trusted = policy("p", selector="app == 'db'", ingress=[allow(who(selector="has(trusted)"))])
    before = address_set("s", "192.0.2.0/25", namespace="red", trusted="")
    after = address_set("s", "192.0.2.0/24", namespace="red", trusted="")
    (group,) = changes([*OPEN, trusted, before], [*OPEN, trusted, after])
    first = Addr.parse("192.0.2.128").value
    assert group.peers == ((Family.V4, IntervalSet(((first, first + 127),))),)
    assert group.after.action is Action.ALLOW


@pytest.mark.parametrize(
    ("rule", "traffic"),
    [
        (deny(), ALL),
        (deny(protocol="TCP"), Traffic(((6, (Box(0, 65535, 0, 65535),)),), None)),
        (deny(None, who(ports=(80, "82:90")), protocol="TCP"),
         Traffic(((6, (Box(0, 65535, 80, 80), Box(0, 65535, 82, 90))),), None)),
        (deny(not_protocol="TCP"), Traffic((), (6,))),
        (deny(None, who(not_ports=(80,)), protocol="TCP"),
         Traffic(((6, (Box(0, 65535, 0, 79), Box(0, 65535, 81, 65535))),), None)),
    ],
)  # fmt: skip
def test_traffic(rule, traffic):
    shut = policy("p", selector="app == 'web'", types=("Ingress",), ingress=[rule, allow()])
    (group,) = changes(OPEN, [*OPEN, shut])
    assert group.traffic == traffic
    (back,) = changes([*OPEN, shut], OPEN)
    assert (back.traffic, back.before, back.after) == (traffic, group.after, group.before)


def test_what_is_denied_now_comes_first():
    before, after = (
        policy("p", selector="app == 'web'", types=("Ingress",), ingress=rules)
        for rules in ([deny(protocol="UDP"), allow()], [allow(protocol="UDP"), deny()])
    )
    groups = changes([*OPEN, before], [*OPEN, after])
    assert [group.after.action for group in groups] == [Action.DENY, Action.ALLOW]


@st.composite
def traffics(draw):
    """Some ports of some protocols, and perhaps all the others."""
    planes = []
    for protocol in sorted(draw(st.sets(st.sampled_from((1, 6, 17, 47))))):
        last = number_last(protocol)
        cuts = sorted(draw(st.sets(st.integers(0, last), max_size=4)))
        spans = IntervalSet.of(zip(cuts[::2], cuts[1::2], strict=False)).spans
        if spans:
            planes.append((protocol, tuple(Box(0, last, *span) for span in spans)))
    others = None
    if draw(st.booleans()):
        whole = draw(st.sets(st.sampled_from((2, 132))))
        others = tuple(sorted({*whole, *(protocol for protocol, _ in planes)}))
    return Traffic(tuple(planes), others)


@given(traffics(), st.sampled_from((1, 2, 6, 17, 47, 99, 132)), st.integers(0, 255))
def test_a_packet_is_in_a_traffic_or_in_the_rest(traffic, protocol, number):
    b = min(number, number_last(protocol))
    assert traffic.holds(protocol, 0, b) is not traffic.rest().holds(protocol, 0, b)
