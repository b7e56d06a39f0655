"""What one rule matches, field by field: every row is judged by all three engines.

The world: ``web`` (10.0.0.1, local, red) is asked about packets it gets; ``db`` (10.0.0.2, red)
and ``far`` (10.0.0.3, blue) and two network sets are its peers.
"""

import pytest

from korat.core.model.policy import HttpMatch, Icmp, ServiceAccountMatch, ServiceMatch
from korat.core.policy.outcome import Action, Direction
from policy_world import (
    address_set,
    allow,
    endpoint_slice,
    judged,
    open_namespace,
    packet,
    pod,
    policy,
    profile,
    who,
)

WEB, DB, FAR, SET, OUT = "10.0.0.1", "10.0.0.2", "10.0.0.3", "192.0.2.7", "203.0.113.9"
WAN = "198.51.100.1"
WEB6, DB6 = "fd00::1", "fd00::2"
HTTP, DNS = ("http", "TCP", 80), ("dns", "UDP", 53)

WORLD = [
    open_namespace("red", team="a"),
    open_namespace("blue", team="b"),
    profile("ksa.red.ops", pcsa__trust="high"),
    pod("web", WEB, WEB6, ports=[HTTP, DNS, ("web", "SCTP", 80)], app="web"),
    pod(
        "db", DB, DB6, account="ops", ports=[("alt", "TCP", 5000)],
        profiles=["kns.red", "ksa.red.ops"], app="db",
    ),
    pod("far", FAR, namespace="blue", ports=[("alt", "TCP", 6000)], app="db"),
    address_set("lan", "192.0.2.0/24", "192.168.9.0/24", namespace="red", app="lan"),
    address_set("wan", "198.51.100.0/24", app="wan"),
    endpoint_slice("s", "svc", DB, OUT, ports=[("TCP", 9)]),
    endpoint_slice("s", "svc", FAR, namespace="blue"),
]  # fmt: skip


def lets_in(rule, sent, namespace="red"):
    """Whether a policy for ``web`` with this one rule admits a packet."""
    lone = policy(namespace=namespace, selector="app == 'web'", ingress=[rule])
    return judged([*WORLD, lone], Direction.INGRESS, sent).action is Action.ALLOW


def admitted(rule, namespace="red"):
    """The peers from which a rule admits TCP to port 80."""
    peers = {"web": WEB, "db": DB, "far": FAR, "set": SET, "wan": WAN, "out": OUT}
    names = [n for n, addr in peers.items() if lets_in(rule, packet(addr, WEB), namespace)]
    return " ".join(names)


PEERS = {
    "nothing asked": (who(), "web db far set wan out"),
    "nets": (who(nets=["10.0.0.2/31"]), "db far"),
    "nets are alternatives": (who(nets=["10.0.0.2/32", "203.0.113.0/24"]), "db out"),
    "notNets": (who(not_nets=["10.0.0.0/8", "192.0.2.0/24"]), "wan out"),
    "nets and notNets": (who(nets=["10.0.0.0/29"], not_nets=["10.0.0.2/32"]), "web far"),
    "nets of both versions": (who(nets=["10.0.0.2/32", "fd00::/64"]), "db"),
    "nets of the other version alone skip the rule": (who(nets=["fd00::/64"]), ""),
    "notNets of the other version alone skip the rule": (who(not_nets=["fd00::/64"]), ""),
    "notNets that exclude everything skip the rule": (
        who(not_nets=["0.0.0.0/0", "10.0.0.0/8"]),
        "",
    ),
    "notNets that exclude everything of the other version": (
        who(not_nets=["::/0", "10.0.0.0/8"]),
        "set wan out",
    ),
    "a selector is of the policy's namespace": (who(selector="app == 'db'"), "db"),
    "a selector matches network sets": (who(selector="app == 'lan'"), "set"),
    "a global set is in no namespace": (who(selector="app == 'wan'"), ""),
    "a namespaceSelector widens it": (
        who(selector="app == 'db'", namespace_selector="all()"),
        "db far",
    ),
    "a namespaceSelector alone": (who(namespace_selector="team == 'b'"), "far"),
    "a namespaceSelector by name": (
        who(namespace_selector="projectcalico.org/name == 'red'"),
        "web db set",
    ),
    "all() is every namespace, not everything": (
        who(namespace_selector="all()"),
        "web db far set",
    ),
    "global() is no namespace": (who(namespace_selector="global()"), "wan"),
    "a lone notSelector is of the own namespace": (who(not_selector="app == 'db'"), "web set"),
    "notSelector itself is of every namespace": (
        who(namespace_selector="all()", not_selector="app == 'db'"),
        "web set",
    ),
    "service accounts by name": (
        who(service_accounts=ServiceAccountMatch(names=("ops", "dev"))),
        "db",
    ),
    "service accounts by label": (
        who(service_accounts=ServiceAccountMatch(selector="trust == 'high'")),
        "db",
    ),
    "service accounts all() are whoever is in the namespace": (
        who(service_accounts=ServiceAccountMatch(selector="all()")),
        "web db set",
    ),
    "service accounts of which nothing is asked": (
        who(service_accounts=ServiceAccountMatch()),
        "web db far set wan out",
    ),
    "all() within a namespaceSelector": (
        who(namespace_selector="!all()"),
        "wan",
    ),
    "service accounts in another namespace": (
        who(
            service_accounts=ServiceAccountMatch(names=("ops",)),
            namespace_selector="team == 'b'",
        ),
        "",
    ),
    "nets and selector must both hold": (
        who(nets=["10.0.0.1/32", "10.0.0.3/32"], selector="has(app)"),
        "web",
    ),
    "a service": (who(services=ServiceMatch(name="svc")), "db out"),
    "a service of another namespace": (
        who(services=ServiceMatch(name="svc", namespace="blue")),
        "far",
    ),
    "a service that is not there": (who(services=ServiceMatch(name="lost")), ""),
}


@pytest.mark.parametrize(("source", "expected"), PEERS.values(), ids=PEERS)
def test_source(source, expected):
    assert admitted(allow(source)) == expected


GLOBAL_PEERS = {
    "a selector is of everywhere": (who(selector="app == 'db'"), "db far"),
    "a global set": (who(selector="app == 'wan'"), "wan"),
    "a lone notSelector is of everything": (who(not_selector="app == 'db'"), "web set wan out"),
    "a namespaceSelector": (who(namespace_selector="has(team)", selector="app == 'db'"), "db far"),
}


@pytest.mark.parametrize(("source", "expected"), GLOBAL_PEERS.values(), ids=GLOBAL_PEERS)
def test_source_in_a_global_policy(source, expected):
    assert admitted(allow(source), namespace="") == expected


def test_the_own_side_is_judged_by_address():
    for own in ("app == 'web'", "has(app)"):
        assert lets_in(allow(None, who(selector=own)), packet(OUT, WEB))
    assert not lets_in(allow(None, who(selector="app == 'db'")), packet(OUT, WEB))
    assert lets_in(allow(None, who(nets=["10.0.0.1/32"])), packet(OUT, WEB))
    assert not lets_in(allow(None, who(not_nets=["10.0.0.0/30"])), packet(OUT, WEB))


TCP, UDP, ICMP, ICMP6, SCTP, LITE, GRE = 6, 17, 1, 58, 132, 136, 47
PING, PING6 = packet(OUT, WEB, ICMP, 8, 0), packet(DB6, WEB6, ICMP6, 128, 0)


def to(number, protocol=TCP):
    return packet(OUT, WEB, protocol, b=number)


def dport(*ports, **fields):
    """A rule for destination ports."""
    return allow(None, who(ports=list(ports)), **fields)


def not_dport(*ports, **fields):
    """A rule against destination ports."""
    return allow(None, who(not_ports=list(ports)), **fields)


NUMBERS = {
    "a protocol by name": (allow(protocol="TCP"), [to(1)], [to(1, UDP), PING]),
    "a protocol in any case": (allow(protocol="udplite"), [to(1, LITE)], [to(1, UDP)]),
    "a protocol by digits": (allow(protocol="47"), [to(0, GRE)], [to(1)]),
    "HTTP criteria are not the kernel's": (
        allow(protocol="TCP", http=HttpMatch(methods=("GET",))),
        [to(80)],
        [to(80, UDP)],
    ),
    "notProtocol": (allow(not_protocol=6), [to(1, UDP), PING, to(0, GRE)], [to(1)]),
    "protocol and notProtocol": (allow(protocol=6, not_protocol="TCP"), [], [to(1), PING]),
    "a port": (dport(80, protocol="TCP"), [to(80)], [to(79), to(81), to(80, UDP)]),
    "a range": (dport("80:82", protocol="TCP"), [to(80), to(82)], [to(79), to(83)]),
    "ports of all protocols that have them": (
        dport(80),
        [to(80), to(80, UDP), to(80, SCTP)],
        [to(80, LITE), to(80, GRE), PING],
    ),
    "ports of UDPLite when it is named": (dport(80, protocol=136), [to(80, LITE)], [to(80)]),
    "ports of a protocol without any": (
        dport("1:255", protocol="ICMP"),
        [],
        [PING, packet(OUT, WEB, ICMP, 3, 3), to(80)],
    ),
    "notPorts of a protocol without any": (
        not_dport("1:255", protocol="ICMP"),
        [PING, packet(OUT, WEB, ICMP, 3, 3)],
        [to(80)],
    ),
    "notPorts": (not_dport(80, protocol="TCP"), [to(79), to(81)], [to(80), to(80, UDP)]),
    "notPorts of any protocol": (not_dport("80:81"), [PING, to(0, GRE)], [to(80), to(81, SCTP)]),
    "source ports": (
        allow(who(ports=["40000:40001"]), protocol="TCP"),
        [to(1)],
        [packet(OUT, WEB, TCP, 40002, 1)],
    ),
    "source and destination ports": (
        allow(who(ports=[40000]), who(not_ports=[80]), protocol="TCP"),
        [to(81)],
        [to(80), packet(OUT, WEB, TCP, 1, 81)],
    ),
    "every kind of port list at once": (
        allow(who(ports=["1:65535"], not_ports=[5]), who(ports=["1:90"], not_ports=[81])),
        [to(80), to(80, SCTP)],
        [to(81), to(91), packet(OUT, WEB, TCP, 5, 80), PING],
    ),
    "a named port": (dport("http", protocol="TCP"), [to(80)], [to(53), to(80, UDP)]),
    "a named port of another protocol": (dport("http", protocol="UDP"), [], [to(80, UDP), to(80)]),
    "named ports without a protocol": (
        dport("http", "dns", "web"),
        [to(80), to(53, UDP), to(80, SCTP)],
        [to(80, UDP), to(53)],
    ),
    "named and numbered ports": (dport("http", 81, protocol="TCP"), [to(80), to(81)], [to(82)]),
    "a name that nobody has": (dport("nope"), [], [to(80), PING]),
    "not a name that nobody has": (not_dport("nope"), [to(80), PING], []),
    "not a named port": (not_dport("http"), [to(80, UDP), to(81), PING], [to(80)]),
    "a named port is its selector's": (
        allow(None, who(ports=["http"], selector="app == 'db'")),
        [],
        [to(80)],
    ),
    "an ICMP type": (
        allow(protocol="ICMP", icmp=Icmp(type=8)),
        [PING, packet(OUT, WEB, ICMP, 8, 3)],
        [packet(OUT, WEB, ICMP, 0, 0), to(80)],
    ),
    "an ICMP type and code": (
        allow(protocol="ICMP", icmp=Icmp(type=8, code=0)),
        [PING],
        [packet(OUT, WEB, ICMP, 8, 3), packet(OUT, WEB, ICMP, 9, 0)],
    ),
    "no ICMP type": (allow(protocol="ICMP", icmp=Icmp()), [PING], [to(80)]),
    "notICMP": (
        allow(protocol="ICMP", not_icmp=Icmp(type=8, code=0)),
        [packet(OUT, WEB, ICMP, 8, 3), packet(OUT, WEB, ICMP, 0, 0)],
        [PING, to(80)],
    ),
    "ICMP types of the other version": (
        allow(protocol="ICMPv6", icmp=Icmp(type=128)),
        [PING6],
        [packet(OUT, WEB, ICMP6, 128, 0), packet(DB6, WEB6, ICMP, 128, 0)],
    ),
    "ipVersion": (allow(ip_version=6), [PING6], [to(80), PING]),
    "a list that another version empties": (allow(who(nets=["fd00::/64"])), [PING6], [PING]),
}


@pytest.mark.parametrize(("rule", "matched", "others"), NUMBERS.values(), ids=NUMBERS)
def test_numbers(rule, matched, others):
    assert [sent for sent in (*matched, *others) if lets_in(rule, sent)] == matched


def test_a_peers_named_port_is_the_peers_own():
    rule = policy(selector="app == 'web'", egress=[allow(None, who(ports=["alt"]), protocol="TCP")])
    near = policy(
        selector="app == 'web'",
        egress=[allow(None, who(ports=["alt"], selector="all()"), protocol="TCP")],
    )
    reached = {
        (addr, port, lone is near)
        for lone in (rule, near)
        for addr in (DB, FAR, OUT)
        for port in (5000, 6000)
        if judged([*WORLD, lone], Direction.EGRESS, packet(WEB, addr, b=port)).action
        is Action.ALLOW
    }
    assert reached == {(DB, 5000, False), (FAR, 6000, False), (DB, 5000, True)}


def test_a_named_source_port_is_the_senders():
    near = who(ports=["alt"], selector="app == 'db'", namespace_selector="all()")
    sent = [packet(addr, WEB, a=port) for addr in (DB, FAR, OUT) for port in (5000, 6000)]
    found = [(str(p.src), p.sport) for p in sent if lets_in(allow(near, protocol="TCP"), p)]
    assert found == [(DB, 5000), (FAR, 6000)]
    own = policy(selector="app == 'web'", egress=[allow(who(ports=["http"]))])
    for port, action in ((80, Action.ALLOW), (81, Action.DENY)):
        reply = packet(WEB, OUT, a=port, b=1)
        assert judged([*WORLD, own], Direction.EGRESS, reply).action is action


def test_a_negated_name_means_the_positive_selectors_port():
    lone = policy(
        selector="app == 'web'",
        egress=[
            allow(None, who(not_ports=["alt"], selector="app == 'db'", namespace_selector="all()"))
        ],
    )
    sent = [packet(WEB, addr, b=port) for addr in (DB, FAR) for port in (5000, 6000)]
    allowed = [
        (str(p.dst), p.dport)
        for p in sent
        if judged([*WORLD, lone], Direction.EGRESS, p).action is Action.ALLOW
    ]
    assert allowed == [(DB, 6000), (FAR, 5000)]
