"""Where rules surprise: what is skipped, what names mean, what Kubernetes' rules become.

Each test is named after its trap and judged by all three engines.
Source: felix/rules/policy.go, felix/calc/rule_scanner.go, libcalico-go/lib/backend/k8s/conversion.
"""

import pytest

from korat.core.model.policy import HttpMatch, Icmp, ServiceAccountMatch
from korat.core.policy.outcome import Action, Direction
from policy_world import (
    address_set,
    allow,
    judged,
    kubernetes,
    open_namespace,
    packet,
    pod,
    policy,
    profile,
    who,
)

WEB, DB, FAR, OUT = "10.0.0.1", "10.0.0.2", "10.0.0.3", "203.0.113.9"
WEB6, DB6, OUT6 = "fd00::1", "fd00::2", "2001:db8::9"
TCP, UDP, ICMP, SCTP, ICMP6, LITE = 6, 17, 1, 132, 58, 136
WORLD = [
    open_namespace("red"),
    open_namespace("blue", team="b"),
    profile("ksa.red.ops", pcsa__trust="high"),
    pod("web", WEB, WEB6, ports=[("http", "TCP", 80), ("http", "UDP", 81)], app="web"),
    pod(
        "db", DB, DB6, account="ops", ports=[("http", "TCP", 5000)],
        profiles=["kns.red", "ksa.red.ops"], app="db",
    ),
    pod("far", FAR, namespace="blue", ports=[("http", "SCTP", 6000)], app="db"),
    address_set("wan", "198.51.100.0/24", app="wan"),
]  # fmt: skip


def lets(direction, rule, *sent, namespace="red"):
    """Which of these packets a policy for ``web`` with this one rule lets pass."""
    way = {direction.value: [rule]}
    lone = policy(namespace=namespace, selector="app == 'web'", **way)
    return [judged([*WORLD, lone], direction, each).action is Action.ALLOW for each in sent]


def comes(rule, *sent, namespace="red"):
    """Which of these packets the rule lets in."""
    return lets(Direction.INGRESS, rule, *sent, namespace=namespace)


def goes(rule, *sent, namespace="red"):
    """Which of these packets the rule lets out."""
    return lets(Direction.EGRESS, rule, *sent, namespace=namespace)


# IP versions.

IN4, IN6 = packet(OUT, WEB), packet(OUT6, WEB6)


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize("field", ["nets", "not_nets"])
def test_a_list_of_the_other_ip_version_skips_the_rule_negated_or_not(side, field):
    """``notNets: [fd00::/16]`` does not mean every IPv4 packet."""
    for nets, expected in (
        (["10.0.0.0/8", "203.0.113.0/24"], (field == "nets", False)),
        (["fd00::/16", "2001:db8::/32"], (False, field == "nets")),
        (["192.0.2.0/24"], (field == "not_nets", False)),
        (["2001:db8:1::/48"], (False, field == "not_nets")),
    ):
        found = comes(allow(**{side: who(**{field: nets})}), IN4, IN6)
        assert tuple(found) == expected, nets


def test_a_mixed_list_keeps_what_is_of_the_packets_version():
    rule = allow(who(nets=["203.0.113.9/32", "fd00::/16"], not_nets=["10.0.0.0/8", "fe80::/10"]))
    assert comes(rule, IN4, IN6, packet(DB6, WEB6)) == [True, False, True]


def test_one_list_of_four_emptied_is_enough_to_skip_the_rule():
    rule = allow(who(nets=["0.0.0.0/0", "::/0"]), who(not_nets=["fd99::/64"]))
    assert comes(rule, IN4, IN6) == [False, True]


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_negated_catch_all_skips_the_rule(side):
    rule = allow(**{side: who(not_nets=["0.0.0.0/0", "fe80::/10"])})
    assert comes(rule, IN4, IN6) == [False, True]


def test_a_negated_catch_all_of_the_other_version_does_not():
    assert comes(allow(who(not_nets=["::/0", "10.0.0.0/8"])), IN4, IN6) == [True, False]


def test_host_bits_of_nets_do_not_count():
    assert comes(allow(who(nets=["203.0.113.200/24"])), IN4) == [True]


def test_icmp_of_the_wrong_version_matches_nothing():
    ping, ping6 = packet(OUT, WEB, ICMP, 8, 0), packet(OUT6, WEB6, ICMP6, 128, 0)
    assert comes(allow(protocol="ICMP", icmp=Icmp(type=8)), ping, ping6) == [True, False]
    odd = packet(OUT6, WEB6, ICMP, 8, 0)
    assert comes(allow(protocol="ICMP", icmp=Icmp(type=8)), odd) == [False]
    assert comes(allow(protocol="ICMP"), odd) == [True]


def test_an_icmp_type_without_code_means_every_code():
    rule = allow(protocol="ICMP", icmp=Icmp(type=3))
    sent = [packet(OUT, WEB, ICMP, 3, code) for code in (0, 4, 255)]
    assert comes(rule, *sent) == [True, True, True]


# Ports.


def at(number, protocol=TCP, to=WEB, src=OUT):
    return packet(src, to, protocol, b=number)


def test_a_named_port_with_no_protocol_means_every_protocol_that_has_it():
    rule = allow(None, who(ports=["http"]))
    sent = [at(80), at(81), at(80, UDP), at(81, UDP), at(80, SCTP), at(81, LITE)]
    assert comes(rule, *sent) == [True, False, False, True, False, False]


def test_a_named_port_with_a_protocol_means_that_one_alone():
    rule = allow(None, who(ports=["http"]), protocol="UDP")
    assert comes(rule, at(80), at(80, UDP), at(81, UDP)) == [False, False, True]


def test_a_named_port_in_an_egress_rule_is_the_receivers():
    rule = allow(None, who(ports=["http"]))
    sent = [at(80, to=DB, src=WEB), at(5000, to=DB, src=WEB), at(5000, to=OUT, src=WEB)]
    assert goes(rule, *sent) == [False, True, False]


def test_a_named_port_is_of_the_endpoints_that_the_same_sides_selector_matches():
    mine = allow(None, who(ports=["http"], selector="app == 'db'"))
    sent = [at(5000, to=DB, src=WEB), at(6000, SCTP, to=FAR, src=WEB)]
    assert goes(mine, *sent) == [True, False]
    assert goes(mine, *sent, namespace="") == [True, True]


def test_a_name_beside_numbers_is_one_more_alternative():
    rule = allow(None, who(ports=["http", 443, "8000:8001"]), protocol="TCP")
    sent = [at(80), at(443), at(8000), at(8001), at(8002), at(81)]
    assert comes(rule, *sent) == [True, True, True, True, False, False]


def test_not_ports_hold_for_what_has_no_ports():
    rule = allow(None, who(not_ports=["http"]))
    assert comes(rule, at(80), at(81), packet(OUT, WEB, ICMP, 8, 0)) == [False, True, True]


def test_a_range_of_all_ports_leaves_port_zero_out():
    rule = allow(None, who(ports=["1:65535"]), protocol="TCP")
    assert comes(rule, at(0), at(1), at(65535)) == [False, True, True]


def test_udplite_and_udp_are_two_protocols():
    assert comes(allow(protocol="UDPLite"), at(80, LITE), at(80, UDP)) == [True, False]
    assert comes(allow(protocol=136), at(80, LITE)) == [True]


def test_a_nameless_port_of_an_endpoint_is_no_named_port():
    """CNI keeps host ports without a name on the endpoint."""
    web = pod("web", WEB, ports=[("", "TCP", 80)], app="web")
    lone = policy(ingress=[allow(None, who(ports=[""]))])
    outcome = judged([open_namespace("red"), web, lone], Direction.INGRESS, at(80))
    assert outcome.action is Action.DENY


def test_http_criteria_leave_protocol_and_ports_to_the_kernel():
    rule = allow(None, who(ports=[80]), protocol="TCP", http=HttpMatch(methods=("GET",)))
    assert comes(rule, at(80), at(81), at(80, UDP)) == [True, False, False]


# Selectors.

PEERS = {"web": WEB, "db": DB, "far": FAR, "wan": "198.51.100.1", "out": OUT}


def admitted(source, namespace="red"):
    """The peers from which a rule with this source lets packets in."""
    sent = [packet(addr, WEB) for addr in PEERS.values()]
    found = comes(allow(source), *sent, namespace=namespace)
    return " ".join(name for name, passed in zip(PEERS, found, strict=True) if passed)


def test_all_is_every_namespace_and_nothing_outside():
    assert admitted(who(namespace_selector="all()")) == "web db far"


def test_global_is_what_is_in_no_namespace_and_has_an_owner():
    assert admitted(who(namespace_selector="global()")) == "wan"


def test_a_selector_in_a_namespaced_policy_stays_in_its_namespace():
    assert admitted(who(selector="app == 'db'")) == "db"
    assert admitted(who(selector="app == 'db'"), namespace="") == "db far"


def test_a_lone_not_selector_in_a_namespaced_policy_asks_for_its_namespace():
    assert admitted(who(not_selector="app == 'db'")) == "web"


def test_a_lone_not_selector_in_a_global_policy_takes_strangers_too():
    assert admitted(who(not_selector="app == 'db'"), namespace="") == "web wan out"


def test_not_equal_and_not_in_hold_where_the_label_is_absent():
    for text in ("nolabel != 'x'", "nolabel not in {'x'}"):
        assert admitted(who(selector=text), namespace="") == "web db far wan"


def test_empty_sets_of_values():
    assert admitted(who(selector="app in {}"), namespace="") == ""
    assert admitted(who(selector="app not in {}"), namespace="") == "web db far wan"


def test_nets_and_a_selector_must_both_hold():
    assert admitted(who(nets=["10.0.0.0/8"], selector="app == 'wan'"), namespace="") == ""
    assert admitted(who(nets=["198.51.100.0/24"], selector="has(app)"), namespace="") == "wan"


def test_service_accounts_without_namespace_selector_are_the_own_namespaces():
    source = who(service_accounts=ServiceAccountMatch(names=("ops",)))
    assert admitted(source) == "db"


def test_names_and_labels_of_service_accounts_must_both_hold():
    for selector, expected in (("trust == 'high'", "db"), ("trust == 'low'", "")):
        source = who(service_accounts=ServiceAccountMatch(names=("ops", "x"), selector=selector))
        assert admitted(source) == expected


def test_a_selector_on_the_policed_side_is_asked_too():
    assert comes(allow(None, who(selector="app == 'db'")), IN4) == [False]
    assert comes(allow(None, who(selector="app == 'web'")), IN4) == [True]


# Kubernetes' policies.


def kube(spec, *sent, direction=Direction.INGRESS, world=WORLD):
    """Which of these packets a Kubernetes policy lets pass."""
    own = kubernetes("NetworkPolicy", {"podSelector": {"matchLabels": {"app": "web"}}, **spec})
    return [judged([*world, own], direction, each).action is Action.ALLOW for each in sent]


def test_no_ingress_rules_isolate_and_an_empty_one_opens():
    assert kube({}, IN4) == [False]
    assert kube({"ingress": []}, IN4) == [False]
    assert kube({"ingress": [{}]}, IN4, IN6) == [True, True]


def test_an_empty_from_is_everyone_and_an_empty_pod_selector_is_the_own_namespace():
    sent = [packet(addr, WEB) for addr in (DB, FAR, OUT)]
    for peers, expected in (
        ([], [True, True, True]),
        ([{"podSelector": {}}], [True, False, False]),
        ([{"namespaceSelector": {}}], [True, True, False]),
        ([{"namespaceSelector": {"matchLabels": {"team": "b"}}}], [False, True, False]),
    ):
        assert kube({"ingress": [{"from": peers}]}, *sent) == expected


def test_a_pod_selector_beside_a_namespace_selector_is_one_peer_and_not_two():
    both = {"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": {}}
    sent = [packet(addr, WEB) for addr in (DB, FAR)]
    assert kube({"ingress": [{"from": [both]}]}, *sent) == [False, True]
    split = [{key: value} for key, value in both.items()]
    assert kube({"ingress": [{"from": split}]}, *sent) == [True, True]


def test_egress_rules_without_policy_types_isolate_both_ways():
    spec = {"egress": [{}]}
    assert kube(spec, IN4) == [False]
    assert kube(spec, packet(WEB, OUT), direction=Direction.EGRESS) == [True]


def test_a_port_without_protocol_is_tcp_and_one_without_number_is_all_of_it():
    spec = {"ingress": [{"ports": [{"port": 80}, {"protocol": "UDP"}]}]}
    assert kube(spec, at(80), at(81), at(9, UDP), at(80, SCTP)) == [True, False, True, False]


def test_an_end_port_is_among_its_range():
    spec = {"ingress": [{"ports": [{"port": 80, "endPort": 82}]}]}
    assert kube(spec, at(79), at(80), at(82), at(83)) == [False, True, True, False]


def test_an_exception_of_a_block_is_not_let_in_by_its_own_rule_alone():
    block = {"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.8/29"]}}
    sent = [packet("203.0.113.1", WEB), IN4]
    assert kube({"ingress": [{"from": [block]}]}, *sent) == [True, False]
    assert kube({"ingress": [{"from": [block]}, {}]}, *sent) == [True, True]


def test_a_block_of_one_version_says_nothing_of_the_other():
    spec = {"ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]}
    assert kube(spec, IN4, IN6) == [True, False]


def test_kubernetes_policies_add_up():
    one = kubernetes("NetworkPolicy", {"ingress": [{"ports": [{"port": 80}]}]}, "a")
    assert kube({"ingress": [{"ports": [{"port": 81}]}]}, at(80), at(81), world=[*WORLD, one]) == [
        True,
        True,
    ]
