"""Live connections of host endpoints: by which interface they are judged, and what may be cut."""

import pytest

from host_world import membership
from korat.core.net.address import Addr
from korat.core.policy.cluster import Cluster
from korat.core.policy.host import HostInterface, HostNode, governors
from korat.core.table.host import HostSequences
from korat.core.table.rejudge import Connection, Places, Tuple
from korat.core.table.rejudge_host import HostJudge, regrouped
from policy_world import NODE, address_set, allow, deny, host, pod, policy, who

OWN, NEAR, FAR = (Addr.parse(a) for a in ("172.16.0.1", "172.16.0.2", "172.17.0.2"))
INTERFACES = (
    HostInterface("eth0", frozenset({OWN})),
    HostInterface("eth1", frozenset({Addr.parse("172.17.0.1")})),
)
ROUTES = {NEAR: "eth0", FAR: "eth1"}


def judge(*resources, routes=ROUTES):
    cluster = Cluster.build(resources)
    assert cluster.problems == ()
    node = HostNode(cluster, governors(cluster, NODE, INTERFACES, ("cali",)))
    sequences = HostSequences.of(node)
    places = Places({}, (), frozenset({OWN}))
    return HostJudge(
        sequences, membership(cluster, sequences), places, lambda addr, _own: routes.get(addr)
    )


def tcp(src, dst, dport=80, *, asked=None):
    asked = asked or (dst, dport)
    return Connection(6, Tuple(src, asked[0], 40000, asked[1]), Tuple(dst, src, dport, 40000))


CLOSED = host("eth0", role="host")
EVERY = host("*", role="host")


@pytest.mark.parametrize(
    ("connection", "denied"),
    [
        (tcp(NEAR, OWN), True),
        (tcp(NEAR, OWN, 22), False),
        (tcp(FAR, OWN), False),
        (tcp(OWN, NEAR), True),
        (tcp(OWN, NEAR, 6443), False),
        (tcp(OWN, FAR), False),
        (tcp(OWN, OWN), False),
        (tcp(NEAR, FAR), False),
    ],
    ids=["in", "failsafe in", "by eth1", "out", "failsafe out", "out by eth1", "lo", "through"],
)
def test_a_closed_interface(connection, denied):
    assert judge(CLOSED).denies(connection) is denied


def test_the_star_governs_the_loopback_too():
    assert judge(EVERY).denies(tcp(OWN, OWN))


def forward(*ingress, egress=(), **switches):
    return policy(
        "f",
        namespace="",
        selector="role == 'host'",
        apply_on_forward=True,
        ingress=list(ingress),
        egress=list(egress),
        **switches,
    )


def test_what_is_forwarded_is_apply_on_forward_policys_matter():
    only = allow(protocol="TCP", destination=who(ports=[80]))
    made = judge(CLOSED, forward(only, egress=[only]))
    assert not made.denies(tcp(NEAR, FAR))
    assert made.denies(tcp(NEAR, FAR, 22))
    assert made.denies(tcp(FAR, NEAR, 22))


def test_pre_dnat_policy_judges_the_destination_that_was_asked_for():
    asked = deny(protocol="TCP", destination=who(ports=[9000]))
    made = judge(CLOSED, forward(asked, pre_dnat=True, types=("Ingress",)))
    assert made.denies(tcp(NEAR, FAR, 80, asked=(OWN, 9000)))
    assert not made.denies(tcp(NEAR, FAR, 80, asked=(OWN, 9001)))
    assert not made.denies(tcp(NEAR, FAR, 9000, asked=(OWN, 80)))


def test_where_no_route_leads_every_interface_would_have_to_deny():
    assert not judge(CLOSED, routes={}).denies(tcp(NEAR, OWN)), "eth1 is nobody's"
    assert judge(CLOSED, host("*", name="others"), routes={}).denies(tcp(NEAR, OWN))


def renamed(rule, *who_moves, **switches):
    """Of whom a policy with this rule may say something else when these owners come."""
    cluster, after = (
        Cluster.build([CLOSED, forward(rule, **switches), *owners]) for owners in ((), who_moves)
    )
    node = HostNode(cluster, governors(cluster, NODE, INTERFACES, ("cali",)))
    sequences = HostSequences.of(node)
    return regrouped(sequences, membership(cluster, sequences), membership(after, sequences))


AT_FAR = address_set("s", f"{FAR}/32", "fd00::7/128", app="x")
TO_X = deny(destination=who(selector="app == 'x'"))


def test_only_who_came_into_a_set_or_left_it_is_looked_at():
    assert renamed(TO_X, AT_FAR) == {FAR, Addr.parse("fd00::7")}
    assert renamed(TO_X, address_set("s", f"{FAR}/32", app="y")) == frozenset()
    served = deny(protocol="TCP", destination=who(ports=["web"]))
    assert renamed(served, pod("1", f"{FAR}/32", ports=[("web", "TCP", 80)])) == {FAR}


@pytest.mark.parametrize("switches", [{"pre_dnat": True}, {"do_not_track": True}])
def test_where_policy_sees_the_destination_that_was_asked_for_everybody_is_looked_at(switches):
    """Conntrack finds connections by their sources alone, and that one may be neither."""
    assert renamed(TO_X, AT_FAR, **switches) is None
    assert renamed(deny(who(selector="app == 'x'")), AT_FAR, **switches) == {
        FAR,
        Addr.parse("fd00::7"),
    }


def test_whole_networks_are_no_addresses_to_look_for():
    assert renamed(TO_X, address_set("s", "172.17.0.0/16", app="x")) is None
