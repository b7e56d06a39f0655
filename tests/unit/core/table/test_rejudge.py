"""Who of a connection is judged, who is guarded, and whom a change concerns."""

import pytest
from msgspec.structs import replace

from korat.core.net.address import Addr
from korat.core.policy.cluster import Cluster
from korat.core.policy.outcome import Action
from korat.core.policy.platform import EVERYTHING, INSTANCE_METADATA, WIRESERVER, PlatformAccess
from korat.core.table.compile import compile_node
from korat.core.table.rejudge import (
    Connection,
    Places,
    Tuple,
    affected,
    guarded,
    refused_now,
    rejudge,
)
from policy_world import NODE, allow, open_namespace, pod, policy, who

ONE, TWO, FAR, NODE_ADDR = (
    Addr.parse(a) for a in ("10.0.0.1", "10.0.0.2", "10.0.9.9", "10.10.0.4")
)
PODS = (
    open_namespace("red"),
    pod("1", f"{ONE}/32", app="x"),
    pod("2", f"{TWO}/32", app="y"),
)
WEB = policy(
    "web",
    selector="app == 'y'",
    types=("Ingress",),
    ingress=[allow(protocol="TCP", destination=who(ports=[80]))],
)
NO_EGRESS = policy("no", selector="app == 'x'", types=("Egress",))


def tcp(src, dst, sport=40000, dport=80, asked=None, seen=None):
    """A TCP connection that asked for ``asked`` and whose server sees ``seen``, with ports."""
    to, to_port = asked or (dst, dport)
    by, by_port = seen or (src, sport)
    return Connection(6, Tuple(src, to, sport, to_port), Tuple(dst, by, dport, by_port))


def compiled(*resources):
    return compile_node(Cluster.build([*PODS, *resources]), NODE)


def judged(
    connection, *resources, own=frozenset(), prefixes=("cali",), spoofing=False, platform=EVERYTHING
):
    made = compiled(*resources)
    places = Places.of(made.endpoints, own, prefixes, spoofing_allowed=spoofing)
    outcome = rejudge(made, places, connection, platform)
    return outcome and outcome.action


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        (tcp(FAR, TWO), Action.ALLOW),
        (tcp(FAR, TWO, dport=81), Action.DENY),
        (tcp(TWO, FAR, dport=81), Action.ALLOW),
        (tcp(FAR, FAR), None),
        # where it really goes counts, not what was asked for, nor whom the server sees
        (tcp(FAR, TWO, asked=(NODE_ADDR, 30080)), Action.ALLOW),
        (tcp(FAR, TWO, dport=81, asked=(NODE_ADDR, 80)), Action.DENY),
        (tcp(FAR, TWO, dport=81, seen=(NODE_ADDR, 50000)), Action.DENY),
        (tcp(FAR, FAR, asked=(TWO, 80)), None),
    ],
)
def test_ingress(connection, expected):
    assert judged(connection, WEB) is expected


def test_both_ends_of_a_connection_within_the_node_are_asked():
    assert judged(tcp(ONE, TWO), WEB) is Action.ALLOW
    assert judged(tcp(ONE, TWO), WEB, NO_EGRESS) is Action.DENY
    assert judged(tcp(ONE, TWO, dport=81), WEB) is Action.DENY


def test_what_is_refused_of_the_platform_is_denied_to_workloads_alone():
    platform = PlatformAccess((WIRESERVER,))
    there = WIRESERVER.address
    own = frozenset({NODE_ADDR})
    assert judged(tcp(ONE, there), platform=platform) is Action.DENY
    assert judged(tcp(ONE, there)) is Action.ALLOW
    assert judged(tcp(ONE, there, dport=53), platform=platform) is Action.ALLOW
    assert judged(tcp(ONE, INSTANCE_METADATA.address), platform=platform) is Action.ALLOW
    assert judged(tcp(NODE_ADDR, there), own=own, platform=platform) is None
    assert judged(tcp(FAR, there), platform=platform) is None
    # where it really goes counts, whoever the platform takes for the client
    service = {"asked": (FAR, 8080), "seen": (NODE_ADDR, 50000)}
    assert judged(tcp(ONE, there, **service), platform=platform) is Action.DENY


def test_only_what_is_refused_anew_is_looked_at():
    one, both = PlatformAccess((WIRESERVER,)), PlatformAccess((WIRESERVER, INSTANCE_METADATA))
    assert refused_now(EVERYTHING, one) == {WIRESERVER.address}
    assert refused_now(one, both) == {INSTANCE_METADATA.address}
    assert refused_now(both, one) == refused_now(one, one) == frozenset()


def test_what_the_node_begins_is_not_judged_and_what_reaches_it_is():
    own = frozenset({NODE_ADDR})
    assert judged(tcp(NODE_ADDR, TWO, dport=81), WEB, own=own) is None
    assert judged(tcp(ONE, NODE_ADDR), own=own) is Action.ALLOW
    assert judged(tcp(ONE, NODE_ADDR), NO_EGRESS, own=own) is Action.DENY


def test_an_interface_that_no_rule_guards_is_not_judged():
    assert judged(tcp(FAR, TWO, dport=81), WEB, prefixes=("azv",)) is None


def test_of_two_pods_with_one_address_both_must_deny():
    twin = pod("twin", f"{TWO}/32", app="z")
    assert judged(tcp(FAR, TWO, dport=81), WEB, twin) is Action.ALLOW
    none = policy("none", selector="app == 'z'", types=("Ingress",))
    assert judged(tcp(FAR, TWO, dport=81), WEB, twin, none) is Action.DENY


def test_a_lent_source_counts_where_it_is_allowed():
    plain = pod("lender", "10.0.0.3/32", app="x")
    spec = replace(plain.spec, allow_spoofed_source_prefixes=("192.0.2.0/24",))
    lender = replace(plain, spec=spec)
    lent = tcp(Addr.parse("192.0.2.7"), FAR)
    assert judged(lent, lender, NO_EGRESS) is None
    assert judged(lent, lender, NO_EGRESS, spoofing=True) is Action.DENY
    before, after = compiled(lender), compiled(lender, NO_EGRESS)
    places = Places.of(after.endpoints, frozenset(), ("cali",), spoofing_allowed=True)
    assert affected(before, after).addresses(places) is None
    assert affected(after, before).addresses(places) == frozenset(), "nothing is lost"


def test_what_is_only_allowed_more_concerns_nobody():
    more = policy(
        "web",
        selector="app == 'y'",
        types=("Ingress",),
        ingress=[allow(protocol="TCP", destination=who(ports=[80, 443]))],
    )
    assert affected(compiled(WEB), compiled(more)).interfaces == frozenset()
    assert affected(compiled(more), compiled(WEB)).interfaces == {"cali-2"}
    assert affected(compiled(WEB), compiled()).interfaces == frozenset()


@pytest.mark.parametrize(
    ("protocol", "ports", "expected"),
    [
        (6, (40000, 80), True),
        (17, (40000, 53), True),
        (132, (40000, 53), True),
        (17, (51820, 51820), False),
        (1, (8, 0), False),
        (47, (0, 0), False),
    ],
)
def test_guarded_is_what_has_a_client_that_can_be_told(protocol, ports, expected):
    a, b = ports
    made = Connection(protocol, Tuple(FAR, TWO, a, b), Tuple(TWO, FAR, b, a))
    assert guarded(made) is expected


BY_LABEL = policy(
    "by-label",
    selector="app == 'y'",
    types=("Ingress",),
    ingress=[allow(source=who(selector="role == 'p'"))],
)


def test_a_pod_elsewhere_that_changes_its_label_concerns_its_own_connections_only():
    far, unlike = (
        pod("far", f"{FAR}/32", node="there", **labels) for labels in ({"role": "p"}, {})
    )
    change = affected(compiled(BY_LABEL, far), compiled(BY_LABEL, unlike))
    assert (change.interfaces, change.peers) == (frozenset(), {FAR})
    idle = (pod("far", f"{FAR}/32", node="there", other=value) for value in ("p", "q"))
    change = affected(*(compiled(BY_LABEL, each) for each in idle))
    assert (change.interfaces, change.peers) == (frozenset(), frozenset())


def test_a_policy_that_changes_concerns_whom_it_selects():
    change = affected(compiled(), compiled(WEB))
    assert (change.interfaces, change.peers) == ({"cali-2"}, frozenset())


def test_a_net_that_changes_concerns_whom_it_is_allowed_by():
    def nets(*cidrs):
        rules = [allow(source=who(nets=list(cidrs)))]
        return policy("n", selector="app == 'y'", types=("Ingress",), ingress=rules)

    change = affected(compiled(nets("10.0.8.0/21")), compiled(nets("10.0.8.0/24")))
    assert change.interfaces == {"cali-2"}
    # More policies number classes anew; that alone concerns nobody.
    other = policy("o", selector="app == 'x'", types=("Egress",), egress=[allow()])
    change = affected(compiled(nets("10.0.8.0/21")), compiled(nets("10.0.8.0/21"), other))
    assert "cali-2" not in change.interfaces
