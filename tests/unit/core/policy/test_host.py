"""Host endpoints: who governs an interface, and what ends each of the four sets of policies."""

import pytest

from korat.core.model.failsafe import Failsafe
from korat.core.net.address import Addr, Prefix
from korat.core.net.port import PortRange
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import verdict
from korat.core.policy.host import Failsafes, HostInterface, HostNode, governors
from korat.core.policy.outcome import Action
from policy_world import NODE, allow, deny, host, packet, pod, policy, profile, rule, tier, who

PEER, HERE, BEYOND = "172.16.0.2", "172.16.0.1", "172.17.0.2"
INTERFACES = (
    HostInterface("eth0", frozenset({Addr.parse(HERE), Addr.parse("fd01::1")})),
    HostInterface("eth1", frozenset({Addr.parse("172.17.0.1")})),
    HostInterface("cali1", frozenset({Addr.parse("10.0.9.1")})),
)
ETH0 = host("eth0", role="host")
EVERY = host("*", role="host")


def governed(*hosts, interfaces=INTERFACES):
    found = governors(Cluster.build(hosts), NODE, interfaces, ("cali",))
    names = {interface: each.key.name for interface, each in found.named.items()}
    return names, found.others and found.others.key.name


GOVERNORS = {
    "by name": ([host("eth0", name="a")], {"eth0": "a"}, None),
    "by one of its addresses": ([host("", HERE, "1.1.1.1", name="a")], {"eth0": "a"}, None),
    "by an IPv6 address": ([host("", "fd01::1", name="a")], {"eth0": "a"}, None),
    "a name that differs is not found by address": (
        [host("eth9", HERE, name="a")],
        {"eth9": "a"},
        None,
    ),
    "the lowest name wins": (
        [host("eth0", name="b"), host("", HERE, name="a"), host("eth0", name="c")],
        {"eth0": "a"},
        None,
    ),
    "the star is for the others": (
        [host("*", name="a"), host("eth0", name="b")],
        {"eth0": "b"},
        "a",
    ),
    "of two stars the lowest name": ([host("*", name="b"), host("*", name="a")], {}, "a"),
    "another node's": ([host("eth0", name="a", node="there")], {}, None),
    "a workload's interface never by name": ([host("cali1", name="a")], {}, None),
    "a workload's interface never by address": ([host("", "10.0.9.1", name="a")], {}, None),
    "an interface that is not there yet": ([host("eth7", name="a")], {"eth7": "a"}, None),
}


@pytest.mark.parametrize(("hosts", "named", "others"), GOVERNORS.values(), ids=GOVERNORS)
def test_who_governs(hosts, named, others):
    assert governed(*hosts) == (named, others)


def node(*resources, failsafes=None):
    cluster = Cluster.build(resources)
    assert cluster.problems == ()
    who_governs = governors(cluster, NODE, INTERFACES, ("cali",))
    return HostNode(cluster, who_governs, failsafes or Failsafes())


def on_host(name="p", **fields):
    return policy(name, namespace="", selector="role == 'host'", **fields)


def said(found):
    """The last step of a way: its set, the verdict and who gave it."""
    if not found.steps:
        return "nobody was asked"
    step = found.steps[-1]
    outcome = step.judgement.outcome
    return f"{step.which.value} {outcome.action.value} {outcome.ref.text}"


TO, FROM = packet(PEER, HERE, b=7000), packet(HERE, PEER, b=7000)
NORMAL = {
    "no profile and no policy drops": ([ETH0], "deny {} no profile matched"),
    "the automatic one's profile allows": (
        [host("eth0", profiles=["projectcalico-default-allow"], role="host")],
        "allow {} Profile projectcalico-default-allow rule 0",
    ),
    "a missing profile denies": (
        [host("eth0", profiles=["gone"])],
        "deny {} Profile gone missing",
    ),
    "profiles after tiers": (
        [
            host("eth0", profiles=["p"], role="host"),
            profile("p", [allow()], [allow()]),
            on_host(ingress=[rule("Pass")], egress=[rule("Pass")]),
        ],
        "allow {} Profile p rule 0",
    ),
    "a policy brings its tier's default": ([ETH0, on_host()], "deny {} default tier default"),
    "an untracked or pre-DNAT policy brings none": (
        [
            host("eth0", profiles=["projectcalico-default-allow"], role="host"),
            on_host("u", do_not_track=True, apply_on_forward=True),
            on_host("d", pre_dnat=True, apply_on_forward=True, types=("Ingress",)),
        ],
        "allow {} Profile projectcalico-default-allow rule 0",
    ),
    "a policy of a namespace never selects a host": (
        [ETH0, policy(selector="", ingress=[allow()], egress=[allow()])],
        "deny {} no profile matched",
    ),
}


@pytest.mark.parametrize(("resources", "expected"), NORMAL.values(), ids=NORMAL)
def test_normal_policy(resources, expected):
    made = node(*resources)
    assert said(made.into("eth0", TO)) == "normal " + expected.format("ingress")
    assert said(made.out_of("eth0", FROM)) == "normal " + expected.format("egress")


def test_no_host_endpoint_on_an_interface_means_that_nobody_is_asked():
    made = node(ETH0, on_host(ingress=[deny()], egress=[deny()], apply_on_forward=True))
    assert said(made.into("eth1", TO)) == "nobody was asked"
    assert said(made.out_of("eth1", FROM)) == "nobody was asked"
    assert said(made.through("eth1", "eth1", TO)) == "nobody was asked"


def test_a_workload_to_its_node_is_never_the_hosts_matter():
    made = node(EVERY, on_host(ingress=[deny()]))
    assert said(made.into("cali1", TO)) == "nobody was asked"


def test_the_star_does_not_police_the_nodes_way_to_its_workloads():
    made = node(EVERY, on_host(egress=[deny()]))
    assert said(made.out_of("cali1", FROM)) == "nobody was asked"
    assert (
        said(made.out_of("lo", FROM)) == "normal deny egress default GlobalNetworkPolicy p rule 0"
    )


FORWARD = {
    "none applies: allowed": ([ETH0, on_host(ingress=[deny()])], "forward allow egress undecided"),
    "no rule matches: the tier's default": (
        [ETH0, on_host(apply_on_forward=True, types=("Ingress",))],
        "forward deny ingress default tier default",
    ),
    "a tier that passes: allowed, without profiles": (
        [
            ETH0,
            tier("default", default="Pass"),
            on_host(apply_on_forward=True, types=("Ingress", "Egress")),
        ],
        "forward allow egress undecided",
    ),
    "no failsafes": (
        [ETH0, on_host(apply_on_forward=True, ingress=[deny()], types=("Ingress",))],
        "forward deny ingress default GlobalNetworkPolicy p rule 0",
    ),
}


@pytest.mark.parametrize(("resources", "expected"), FORWARD.values(), ids=FORWARD)
def test_forward_policy(resources, expected):
    assert said(node(*resources).through("eth0", "eth0", packet(PEER, BEYOND, b=22))) == expected


def test_what_pre_dnat_accepts_is_spared_the_way_in_but_not_the_way_out():
    before = on_host("b", pre_dnat=True, apply_on_forward=True, ingress=[allow()])
    after = on_host("a", apply_on_forward=True, ingress=[deny()], egress=[deny()])
    made = node(ETH0, before, after)
    assert (
        said(made.into("eth0", TO)) == "pre-DNAT allow ingress default GlobalNetworkPolicy b rule 0"
    )
    steps = made.through("eth0", "eth0", TO).steps
    assert [step.which.value for step in steps] == ["pre-DNAT", "forward"]
    assert steps[-1].judgement.outcome.ref.text == "egress default GlobalNetworkPolicy a rule 0"


def test_pre_dnat_policy_sees_the_original_destination_and_others_the_translated_one():
    asked = allow(destination=who(ports=[7000]), protocol="TCP")
    turned = packet(PEER, HERE, b=8000)
    before = on_host(pre_dnat=True, apply_on_forward=True, ingress=[asked], types=("Ingress",))
    assert node(ETH0, before).into("eth0", TO, turned).action is Action.ALLOW
    assert node(ETH0, on_host(ingress=[asked])).into("eth0", TO, turned).action is Action.DENY


def test_an_interface_without_pre_dnat_policy_of_its_own_has_the_stars():
    """As in Calico, where the dispatch of pre-DNAT chains knows those interfaces only."""
    closed = policy(
        "p",
        namespace="",
        selector="role == 'star'",
        pre_dnat=True,
        apply_on_forward=True,
        ingress=[deny()],
    )
    made = node(host("eth0", name="a", role="host"), host("*", name="b", role="star"), closed)
    assert (
        said(made.into("eth0", TO)) == "pre-DNAT deny ingress default GlobalNetworkPolicy p rule 0"
    )


def test_untracked_policy_of_the_star_is_not_supported():
    closed = on_host(do_not_track=True, apply_on_forward=True, ingress=[deny()])
    open_star = host("*", profiles=["projectcalico-default-allow"], role="host")
    assert node(open_star, closed).into("eth1", TO).action is Action.ALLOW


def test_untracked_policy_judges_each_half_of_a_conversation_for_itself():
    asked = allow(protocol="TCP", destination=who(ports=[7000]))
    made = node(ETH0, on_host(do_not_track=True, apply_on_forward=True, ingress=[asked]))
    assert made.into("eth0", TO).action is Action.ALLOW
    reply = packet(HERE, PEER, a=7000, b=40000)
    assert said(made.out_of("eth0", reply)) == "normal deny egress no profile matched"


SAFE = Failsafes(
    (
        Failsafe(6, PortRange(22, 22)),
        Failsafe(17, PortRange(68, 69), Prefix.parse("172.16.0.0/24")),
    ),
    (Failsafe(17, PortRange(53, 53)),),
)
FAILSAFES = {
    "to the node": ("in", packet(PEER, HERE, b=22), "normal allow ingress failsafe 0"),
    "by another protocol": ("in", packet(PEER, HERE, 17, b=22), "deny"),
    "from the net": ("in", packet(PEER, HERE, 17, b=69), "normal allow ingress failsafe 1"),
    "from elsewhere": ("in", packet("9.9.9.9", HERE, 17, b=69), "deny"),
    "from the node": ("out", packet(HERE, PEER, 17, b=53), "normal allow egress failsafe 0"),
    "a port of the other list": ("out", packet(HERE, PEER, b=22), "deny"),
}


@pytest.mark.parametrize(("way", "sent", "expected"), FAILSAFES.values(), ids=FAILSAFES)
def test_failsafes(way, sent, expected):
    made = node(ETH0, on_host(ingress=[deny()], egress=[deny()]), failsafes=SAFE)
    found = made.into("eth0", sent) if way == "in" else made.out_of("eth0", sent)
    assert expected in said(found)
    open_all = node(ETH0, on_host(ingress=[deny()]), failsafes=Failsafes((), ()))
    assert open_all.into("eth0", sent).action is Action.DENY


def test_before_tracking_both_halves_of_a_failsafe_conversation_pass():
    rules = {"ingress": [deny()], "egress": [deny()]}
    made = node(ETH0, on_host(do_not_track=True, apply_on_forward=True, **rules), failsafes=SAFE)
    assert made.into("eth0", packet(PEER, HERE, b=22)).action is Action.ALLOW
    half = made.out_of("eth0", packet(HERE, PEER, a=22, b=40000))
    assert half.steps[0].judgement.outcome.ref.text == "egress failsafe reply 0"
    other = made.into("eth0", packet(PEER, HERE, 17, a=53, b=40000))
    assert other.steps[0].judgement.outcome.ref.text == "ingress failsafe reply 0"


def test_rules_of_workloads_know_hosts_by_their_addresses_labels_and_ports():
    friend = host("eth0", PEER, node="there", ports=[("web", "TCP", 80)], profiles=["lent"], a="b")
    lent = profile("lent", role="friend")
    sender = policy(
        "w",
        namespace="",
        selector="app == 'x'",
        egress=[allow(None, who(selector="role == 'friend' && a == 'b'", ports=["web"]))],
        types=("Egress",),
    )
    cluster = Cluster.build([pod("1", "10.0.0.1", app="x"), friend, lent, sender])
    assert verdict(cluster, packet("10.0.0.1", PEER, b=80)).action is Action.ALLOW
    assert verdict(cluster, packet("10.0.0.1", PEER, b=81)).action is Action.DENY
    assert verdict(cluster, packet("10.0.0.1", "172.16.0.3", b=80)).action is Action.DENY
