"""The whole table: hooks, settings, source NAT, log lines, names; simulated, without a kernel."""

from dataclasses import replace

import pytest

from korat.agent.intent import NodeState
from korat.core.model.felix import FelixSettings
from korat.core.model.key import Key
from korat.core.model.policy import Icmp
from korat.core.net.address import Addr, Prefix
from korat.core.policy.cluster import Cluster
from korat.core.policy.outcome import Action, Direction, Outcome, RuleRef
from korat.core.render.nft.check import check
from korat.core.render.nft.diff import diff
from korat.core.render.nft.key import Span
from korat.core.render.nft.node import NodeInput, Pool, outcome_settings, render
from korat.core.render.nft.outcome import (
    DenyLog,
    OutcomeSettings,
    counter_name,
    log_prefix,
    outcome_chain,
    outcome_name,
)
from korat.core.render.nft.outcome_map import OutcomeMap
from korat.core.render.nft.ruleset import Hook
from korat.core.render.nft.simulate import Fate, Packet, Simulator
from korat.core.render.nft.statement import CtState, Nat
from korat.core.table.compile import compile_node
from policy_world import NODE, allow, open_namespace, pod, policy, rule, who

ONE, TWO, SIX = (Addr.parse(text) for text in ("10.0.0.1", "10.0.0.2", "fd00::1"))
STRANGER = Addr.parse("203.0.113.9")
PODS = (
    open_namespace("red"),
    pod("1", "10.0.0.1/32", "fd00::1/128", app="x"),
    pod("2", "10.0.0.2/32", app="y"),
)


def node(*resources, felix=None, **fields):
    compiled = compile_node(Cluster.build([*PODS, *resources]), NODE)
    return render(NodeInput(compiled, felix or FelixSettings(), **fields))


def fate(ruleset, iif, oif, src, dst, hook=Hook.FORWARD, **fields):
    numbers = {"protocol": 6, "a": 1000, "b": 80} | fields
    return Simulator(ruleset).run(Packet(iif, oif, src, dst, **numbers), hook).fate


def test_a_table_of_nothing_still_drops_unknown_workloads():
    ruleset = render(NodeInput(compile_node(Cluster.build([]), NODE), FelixSettings()))
    check(ruleset)
    assert fate(ruleset, "cali9", "eth0", ONE, STRANGER) is Fate.DROP
    assert fate(ruleset, "eth0", "cali9", STRANGER, ONE) is Fate.DROP
    assert fate(ruleset, "eth0", "eth1", STRANGER, ONE) is Fate.ACCEPT


def test_other_interfaces_pass_after_at_most_three_rules():
    chains = node().chains
    bases = [chain for chain in chains.values() if chain.base is not None]
    assert len(bases) == 3
    assert all(len(chain.rules) <= 3 for chain in bases)


@pytest.mark.parametrize(
    ("felix", "state", "expected"),
    [
        (FelixSettings(), CtState.INVALID, Fate.DROP),
        (FelixSettings(disable_conntrack_invalid_check=True), CtState.INVALID, Fate.ACCEPT),
        (FelixSettings(), CtState.ESTABLISHED, Fate.ACCEPT),
        (FelixSettings(), CtState.RELATED, Fate.ACCEPT),
        (FelixSettings(), CtState.NEW, Fate.ACCEPT),
    ],
)
def test_states_of_connections(felix, state, expected):
    assert fate(node(felix=felix), "cali-1", "eth0", ONE, STRANGER, state=state) is expected


def test_established_connections_outlive_a_denial():
    ruleset = node(policy("p", types=("Ingress", "Egress")))
    assert fate(ruleset, "cali-1", "eth0", ONE, STRANGER) is Fate.DROP
    established = {"state": CtState.ESTABLISHED}
    assert fate(ruleset, "cali-1", "eth0", ONE, STRANGER, **established) is Fate.ACCEPT


@pytest.mark.parametrize("prefixes", [("tap", "cali"), ("cali", "tap"), ("tap",)])
def test_every_prefix_of_the_setting_is_a_workload(prefixes):
    ruleset = node(felix=FelixSettings(interface_prefix=prefixes))
    for interface in ("tap1", "cali9"):
        assert fate(ruleset, interface, "eth0", ONE, STRANGER) is Fate.DROP
        assert fate(ruleset, "eth0", interface, STRANGER, ONE) is Fate.DROP
        assert fate(ruleset, interface, "", ONE, STRANGER, Hook.PREROUTING) is Fate.DROP
        assert fate(ruleset, interface, "", ONE, STRANGER, Hook.INPUT) is Fate.DROP


@pytest.mark.parametrize("kind", [130, 131, 132, 133, 135, 136])
def test_neighbour_discovery_reaches_the_node_before_policy(kind):
    ruleset = node(policy("p", types=("Ingress", "Egress")))
    link = Addr.parse("fe80::1")
    discovery = {"protocol": 58, "a": kind, "b": 0, "state": CtState.UNTRACKED}
    for hook in (Hook.PREROUTING, Hook.INPUT):
        assert fate(ruleset, "cali-1", "", link, SIX, hook, **discovery) is Fate.ACCEPT
    ping = discovery | {"a": 128}
    assert fate(ruleset, "cali-1", "", link, SIX, Hook.PREROUTING, **ping) is Fate.DROP
    assert fate(ruleset, "cali-1", "", SIX, SIX, Hook.INPUT, **ping) is Fate.DROP


@pytest.mark.parametrize("action", ["Accept", "Return"])
@pytest.mark.parametrize("loopback", ["127.0.0.0", "127.0.0.1", "127.255.255.255"])
def test_a_workload_that_may_reach_its_node_never_reaches_the_nodes_loopback(action, loopback):
    ruleset = node(felix=FelixSettings(default_endpoint_to_host_action=action))
    way = (ruleset, "cali-1", "", ONE)
    assert fate(*way, Addr.parse(loopback), Hook.PREROUTING) is Fate.DROP
    for near in ("126.255.255.255", "128.0.0.0", "192.0.2.4"):
        assert fate(*way, Addr.parse(near), Hook.PREROUTING) is Fate.ACCEPT
        assert fate(*way, Addr.parse(near), Hook.INPUT) is Fate.ACCEPT


def test_an_interface_that_nftables_cannot_name_stays_unknown():
    ruleset = node(pod("*", "10.0.0.9/32"), pod('"; drop', "10.0.0.8/32"))
    check(ruleset)
    assert "drop;" not in ruleset.text
    assert fate(ruleset, "cali-*", "eth0", Addr.parse("10.0.0.9"), STRANGER) is Fate.DROP


def test_reject_takes_the_place_of_drop_in_outcomes():
    ruleset = node(policy("p"), felix=FelixSettings(nftables_filter_deny_action="Reject"))
    check(ruleset)
    assert fate(ruleset, "eth0", "cali-1", STRANGER, ONE) is Fate.REJECT


WIRESERVER, METADATA = Addr.parse("168.63.129.16"), Addr.parse("169.254.169.254")
OPEN, SHUT = FelixSettings(pods_to_wireserver=True), FelixSettings(pods_to_instance_metadata=False)
REJECTING = FelixSettings(nftables_filter_deny_action="Reject")


@pytest.mark.parametrize(
    ("felix", "dst", "port", "expected"),
    [
        (FelixSettings(), WIRESERVER, 80, Fate.DROP),
        (FelixSettings(), WIRESERVER, 32526, Fate.DROP),
        (FelixSettings(), WIRESERVER, 53, Fate.ACCEPT),
        (FelixSettings(), METADATA, 80, Fate.ACCEPT),
        (REJECTING, WIRESERVER, 80, Fate.REJECT),
        (OPEN, WIRESERVER, 80, Fate.ACCEPT),
        (SHUT, METADATA, 80, Fate.DROP),
        (SHUT, METADATA, 443, Fate.ACCEPT),
        (SHUT, WIRESERVER, 80, Fate.DROP),
    ],
)
def test_azures_own_addresses(felix, dst, port, expected):
    ruleset = node(policy("p", types=("Egress",), egress=[allow()]), felix=felix)
    check(ruleset)
    assert fate(ruleset, "cali-1", "eth0", ONE, dst, b=port) is expected
    # also where the platform answers on the node itself
    there = replace(felix, default_endpoint_to_host_action="Accept")
    assert fate(node(felix=there), "cali-1", "", ONE, dst, Hook.INPUT, b=port) is expected
    # connections there are, other protocols, and what the node sends
    established = {"b": port, "state": CtState.ESTABLISHED}
    assert fate(ruleset, "cali-1", "eth0", ONE, dst, **established) is Fate.ACCEPT
    assert fate(ruleset, "cali-1", "eth0", ONE, dst, protocol=17, b=port) is Fate.ACCEPT
    assert fate(ruleset, "", "eth0", NODE_ADDR, dst, Hook.OUTPUT, b=port) is Fate.ACCEPT


def test_what_is_refused_of_the_platform_counts_and_is_told():
    ruleset = node(policy("p", types=("Egress",), egress=[allow()]), felix=SHUT)
    for dst, ref in (
        (WIRESERVER, RuleRef.wireserver()),
        (METADATA, RuleRef.instance_metadata()),
    ):
        sent = Packet("cali-1", "eth0", ONE, dst, 6, 1000, 80)
        passage = Simulator(ruleset).run(sent, Hook.FORWARD)
        assert passage.counted == passage.told == (counter_name(ref),)
        assert ruleset.counters[counter_name(ref)] == ref


def test_where_everything_of_the_platform_is_allowed_no_packet_pays():
    own = ("platform", "platform-koratPodsToWireserver")
    assert set(own) <= node().chains.keys()
    open_ = node(felix=OPEN)
    assert set(own).isdisjoint(open_.chains)
    assert len(open_.chains["from-workload"].rules) + 1 == len(node().chains["from-workload"].rules)


POOLS = (Pool(Prefix.parse("10.0.0.0/24"), True), Pool(Prefix.parse("10.9.0.0/16"), False))
VNET = (Prefix.parse("10.10.0.0/16"), Prefix.parse("10.10.3.0/24"))
NODE_ADDR = Addr.parse("192.0.2.4")


def nat_of(ruleset, dst, src=ONE, **fields):
    sent = Packet("", "eth0", src, Addr.parse(dst), fields.get("protocol", 6))
    return Simulator(ruleset).run(sent, Hook.POSTROUTING).nat


@pytest.mark.parametrize(
    ("dst", "translated"),
    [
        ("8.8.8.8", True),
        ("169.254.169.254", True),
        ("168.63.129.16", True),
        ("192.0.2.4", True),
        ("10.0.0.77", False),
        ("10.9.1.1", False),
        ("10.10.3.1", False),
        ("10.11.0.1", True),
    ],
)
def test_what_leaves_pools_and_network_is_translated(dst, translated):
    ruleset = node(pools=POOLS, untouched=VNET, hosts=(NODE_ADDR,))
    check(ruleset)
    assert nat_of(ruleset, dst) == (Nat(fully_random=True) if translated else None)
    assert nat_of(ruleset, dst, src=Addr.parse("10.9.0.1")) is None


def test_hosts_are_left_alone_when_the_setting_says_so():
    felix = FelixSettings(nat_outgoing_exclusions="IPPoolsAndHostIPs")
    ruleset = node(pools=POOLS, felix=felix, hosts=(NODE_ADDR,))
    assert nat_of(ruleset, str(NODE_ADDR)) is None
    assert nat_of(ruleset, "192.0.2.5") is not None


def test_ports_are_given_only_where_there_are_ports():
    ruleset = node(pools=POOLS, felix=FelixSettings(nat_port_range=(32000, 32010)))
    ports = Span(32000, 32010)
    assert nat_of(ruleset, "8.8.8.8") == Nat(ports=ports, fully_random=True)
    assert nat_of(ruleset, "8.8.8.8", protocol=17) == Nat(ports=ports, fully_random=True)
    assert nat_of(ruleset, "8.8.8.8", protocol=1) == Nat(fully_random=True)


def test_without_a_pool_that_asks_there_is_no_nat_chain():
    assert "postrouting" not in node(pools=(POOLS[1],)).chains
    assert "postrouting" in node(pools=(Pool(Prefix.parse("fd00::/64"), True),)).chains


REF = RuleRef.rule(Direction.EGRESS, "security", Key("GlobalNetworkPolicy", "", "gnp.one"), 2)
OTHER = RuleRef.rule(Direction.INGRESS, "default", Key("NetworkPolicy", "shop", "db"), 1)
DEFAULT = RuleRef.tier_default(Direction.INGRESS, "security")
NAMESPACED = RuleRef.rule(Direction.INGRESS, "default", Key("NetworkPolicy", "shop", "web"), 0)


@pytest.mark.parametrize(
    ("pattern", "ref", "text"),
    [
        ("calico-packet", REF, "calico-packet: "),
        ("%t/%k/%n", REF, "security/gnp/gnp.one: "),
        ("%p", REF, "gnp.one: "),
        ("%k %p", NAMESPACED, "np shop/web: "),
        ("%k %n", RuleRef.profile_rule(Direction.INGRESS, "kns.red", 0), "pro kns.red: "),
        ("100%% %x %", REF, "100%% %x %: "),
        ("", REF, ": "),
        ("x" * 300, REF, "x" * 125 + ": "),
    ],
)
def test_log_prefixes(pattern, ref, text):
    assert log_prefix(pattern, ref) == text


def test_an_outcome_logs_each_line_then_counts_then_decides():
    outcome = Outcome(Action.DENY, NAMESPACED, (REF, OTHER), passes=(DEFAULT,))
    chain = outcome_chain(outcome, OutcomeSettings(log_rate="10/second", log_burst=3))
    counts = " ".join(f"counter name {counter_name(r)}" for r in (DEFAULT, REF, OTHER))
    limited = 'limit rate 10/second burst 3 packets log prefix "calico-packet: "'
    assert [each.text for each in chain.rules] == [
        limited,
        limited,
        counts,
        f'counter name {counter_name(NAMESPACED)} drop comment "{NAMESPACED.text}"',
    ]
    allowed = replace(outcome, action=Action.ALLOW, logs=(), passes=())
    [only] = outcome_chain(allowed, OutcomeSettings(deny_log=DenyLog(1, "1/second", 1))).rules
    assert only.text.startswith(f"counter name {counter_name(NAMESPACED)} return ")


def test_a_denial_is_told_by_its_counters_name_as_often_as_the_setting_says():
    settings = OutcomeSettings(deny_log=DenyLog(7, "3/minute", 2))
    told, _ = outcome_chain(Outcome(Action.DENY, DEFAULT), settings).rules
    name = counter_name(DEFAULT)
    assert told.text == f'limit rate 3/minute burst 2 packets log prefix "{name}" group 7'


def test_the_deny_log_is_on_unless_the_setting_says_not():
    assert outcome_settings(FelixSettings()).deny_log == DenyLog(1, "10/second", 20)
    assert outcome_settings(FelixSettings(deny_log=False)).deny_log is None


def test_a_counter_is_its_rules_own_and_not_its_chains():
    """Two ways past one Pass rule are two chains that count it in one counter."""
    first, second = (Outcome(Action.ALLOW, ref, passes=(DEFAULT,)) for ref in (REF, NAMESPACED))
    outcomes = OutcomeMap(OutcomeSettings())
    outcomes.use(first)
    outcomes.use(second)
    outcomes.settle()
    refs = (DEFAULT, REF, NAMESPACED)
    assert dict(outcomes.counters) == {counter_name(ref): ref for ref in refs}
    outcomes.drop(first)
    outcomes.settle()
    assert dict(outcomes.counters) == {counter_name(ref): ref for ref in (DEFAULT, NAMESPACED)}


def test_different_outcomes_have_different_names():
    """Also when a rule that logged passes now: both may be there for a turn."""
    trails = ({}, {"logs": (REF,)}, {"passes": (REF,)}, {"staged": (REF,)})
    outcomes = [Outcome(a, r, **t) for a in Action for r in (REF, NAMESPACED) for t in trails]
    assert len({outcome_name(outcome) for outcome in outcomes}) == len(outcomes)


def test_a_rule_that_logged_and_passes_now_keeps_a_chain_to_be_led_to():
    def world(action):
        rules = [rule(action, protocol="TCP"), allow()]
        return [*PODS, policy("p", ingress=rules, types=("Ingress",)), policy("q", order=5.0)]

    state = NodeState(NODE, {})
    for action in ("Log", "Pass", "Log"):
        for each in world(action):
            state.set(each.key, each)
        check(state.intent().ruleset)


def test_equal_tables_are_one_number_whatever_the_workload():
    ruleset = node(policy("p"))
    assert len(set(ruleset.lookups["defaults-ingress-4"].elements.values())) == 1


def test_a_port_list_is_a_hash_and_a_default():
    ports = [80, 443, 8080]
    ruleset = node(policy("p", ingress=[allow(protocol="TCP", destination=who(ports=ports))]))
    listed = ruleset.lookups["ports"].elements
    assert {key[1:] for key in listed} == {(6, port) for port in ports}
    [table], [allowed] = {key[0] for key in listed}, set(listed.values())
    assert (allowed,) in ruleset.lookups["allowed"].elements
    assert (ruleset.lookups["others"].elements[table,],) not in ruleset.lookups["allowed"].elements
    assert ruleset.lookups["special"].elements == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"protocol": "TCP", "destination": who(ports=["80:90"])},
        {"protocol": "TCP", "source": who(ports=[80])},
        {"protocol": "ICMP", "icmp": Icmp(type=8)},
        {"protocol": "TCP", "destination": who(ports=list(range(1, 51)), not_ports=[])},
    ],
    ids=["span", "source", "icmp", "many"],
)
def test_a_table_that_asks_for_more_has_a_chain_of_its_own(fields):
    more = policy("q", ingress=[allow(protocol="UDP", destination=who(ports=list(range(1, 51))))])
    ruleset = node(policy("p", ingress=[allow(**fields)]), more)
    ends = {end.chain for end in ruleset.lookups["special"].elements.values()}
    assert ends
    assert ends <= ruleset.chains.keys()
    check(ruleset)


def test_a_peer_that_comes_is_one_line():
    let_in = policy("p", ingress=[allow(who(selector="app == 'z'"))])
    far = {"node": "there", "app": "z"}
    before = node(let_in, pod("z1", "10.0.0.50/32", **far))
    after = node(let_in, pod("z1", "10.0.0.50/32", **far), pod("z2", "10.0.0.51/32", **far))
    [line] = diff(before, after).splitlines()
    assert line.startswith("add element inet korat hosts-ingress-4 { 10.0.0.51 : ")


def test_a_policy_that_changes_leaves_chains_and_others_elements_alone():
    def table(port):
        return node(
            policy("p", ingress=[allow(protocol="TCP", destination=who(ports=[port]))]),
            policy("log", egress=[rule("Log"), allow()], selector="app == 'x'", types=("Egress",)),
        )

    changed = diff(table(80), table(81)).splitlines()
    assert not [line for line in changed if "chain" in line or "rule" in line]
    assert {line.split()[4] for line in changed} == {"defaults-ingress-4", "others", "ports"} | {
        "defaults-ingress-6"
    }
