"""policy diff of host endpoints: whose traffic to, from and through nodes would turn."""

import json

import pytest

from korat.cli.policy_diff_host import spots_words
from korat.core.policy.host import HostInterface
from korat.core.policy.spot import Spot

CALICO = "apiVersion: projectcalico.org/v3\n"
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: shop, labels: {app: %s}}
spec: {nodeName: vm1, containers: [{name: c}]}
"""
NODE = (
    f"{CALICO}kind: Node\nmetadata: {{name: vm1}}\nspec: {{bgp: {{ipv4Address: 10.10.0.4/24}}}}\n"
)
OPEN = "profiles: [projectcalico-default-allow]"


def host(name, spec, node="vm1"):
    return (
        f"{CALICO}kind: HostEndpoint\nmetadata: {{name: {name}, labels: {{role: host}}}}\n"
        f"spec: {{node: {node}, {spec}}}\n"
    )


def policy(spec, name="hosts", kind="GlobalNetworkPolicy"):
    return (
        f"{CALICO}kind: {kind}\nmetadata: {{name: {name}}}\n"
        f"spec: {{selector: role == 'host', {spec}}}\n"
    )


SPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
PODS = [POD % (name, name) for name in ("web", "db")]
ETH0 = host("vm1-eth0", f"interfaceName: eth0, expectedIPs: [10.10.0.4], {OPEN}")
AUTO = host("vm1-auto-hep", f"interfaceName: '*', expectedIPs: [10.10.0.4], {OPEN}")
WORLD = (SPACE, *PODS, NODE)
ONLY_9100 = policy(
    "types: [Ingress], ingress: [{action: Allow, protocol: TCP, destination: {ports: [9100]}}]"
)
EVERY_WAY_IN = (
    "types: [Ingress], ingress: [{action: Deny, protocol: TCP, destination: {ports: [80]}}]"
)
TO_80 = ("TCP", "80")


def diff(korat, base, change, *words):
    files = korat.file("base.yaml", "---\n".join(base)), korat.file("change.yaml", change)
    return korat("policy", "diff", "--base", files[0], "-f", files[1], *words)


def told(result):
    """Each row in short."""
    assert result.code == (3 if json.loads(result.out) else 0), result.err
    return {
        (r["way"], r["interface"], r["peer"], *([] if r["ends"] == "any" else [*r["ends"]]),
         r["protocol"], r["ports"], r["after"])
        for r in json.loads(result.out)
    }  # fmt: skip


def changes(korat, base, change):
    result = diff(korat, (*WORLD, *base), change, "-o", "json")
    return told(result)


ANYONE = "anyone"
DENIED, ALLOWED = "deny", "allow"
UNTRACKED = "doNotTrack: true, applyOnForward: true, "
PRE_DNAT = "preDNAT: true, applyOnForward: true, "
FORWARD = "applyOnForward: true, "
THEN_ALLOW = f"{EVERY_WAY_IN[:-1]}, {{action: Allow}}]"
OUT = THEN_ALLOW.replace("Ingress", "Egress").replace("ingress", "egress")
#: What no outbound failsafe port answers.
NO_REPLY = (
    "TCP",
    ", ".join(
        f"80 from port {ports}"
        for ports in ("0-178", "180-2378", "2381-5472", "5474-6442", "6444-6665", "6668-65535")
    ),
)
#: Host endpoints, a policy, and what it turns.
CASES = {
    "normal policy is for the node": (
        [ETH0], policy(THEN_ALLOW), {("to node", "eth0", ANYONE, *TO_80, DENIED)}
    ),
    "of the star it is for all but workloads' interfaces": (
        [AUTO], policy(THEN_ALLOW), {("to node", "*", ANYONE, *TO_80, DENIED)}
    ),
    "normal policy of the way out": (
        [ETH0], policy(OUT), {("from node", "eth0", ANYONE, *TO_80, DENIED)}
    ),
    "forward policy is normal policy too": (
        [ETH0],
        policy(FORWARD + THEN_ALLOW),
        {(way, "eth0", ANYONE, *TO_80, DENIED) for way in ("to node", "forwarded in")},
    ),
    "forward policy of the way out": (
        [AUTO],
        policy(FORWARD + OUT),
        {("from node", "*", ANYONE, *TO_80, DENIED)}
        | {("forwarded out", name, ANYONE, *TO_80, DENIED) for name in ("*", "cali*")},
    ),
    "pre-DNAT policy comes before both": (
        [ETH0],
        policy(PRE_DNAT + EVERY_WAY_IN),
        {(way, "eth0", ANYONE, *TO_80, DENIED) for way in ("to node", "forwarded in")},
    ),
    "that of the star is for what workloads send as well": (
        [AUTO],
        policy(PRE_DNAT + EVERY_WAY_IN),
        {
            (way, name, ANYONE, *TO_80, DENIED)
            for way in ("to node", "forwarded in")
            for name in ("*", "cali*")
        },
    ),
    "untracked policy comes first, but after replies of failsafe ports": (
        [ETH0],
        policy(UNTRACKED + EVERY_WAY_IN),
        {(way, "eth0", ANYONE, *NO_REPLY, DENIED) for way in ("to node", "forwarded in")},
    ),
    "that of the star is not supported": ([AUTO], policy(UNTRACKED + EVERY_WAY_IN), set()),
    "a failsafe port stays open": (
        [ETH0], policy(THEN_ALLOW.replace("80", "22")), set()
    ),
    "but not for what is forwarded": (
        [ETH0],
        policy(FORWARD + THEN_ALLOW.replace("80", "22")),
        {("forwarded in", "eth0", ANYONE, "TCP", "22", DENIED)},
    ),
    "an earlier set makes a rule idle": (
        [ETH0, policy(PRE_DNAT + EVERY_WAY_IN, name="early")], policy(THEN_ALLOW), set()
    ),
    "an earlier set opens what a later one closes": (
        [ETH0, policy(THEN_ALLOW)],
        policy(PRE_DNAT + EVERY_WAY_IN.replace("Deny", "Allow"), name="early"),
        {("to node", "eth0", ANYONE, *TO_80, ALLOWED)},
    ),
    "who sends, and what is forwarded to whom": (
        [ETH0],
        policy(
            FORWARD + "types: [Ingress], ingress: [{action: Deny, protocol: TCP, source: "
            "{selector: app == 'web'}, destination: {selector: app == 'db'}}, {action: Allow}]"
        ),
        {("forwarded in", "eth0", "shop/web", "shop/db", "TCP", "any", DENIED)},
    ),
    "a rule that means the node's own address means all": (
        [ETH0],
        policy(THEN_ALLOW.replace("{ports", "{nets: [10.10.0.0/24], ports")),
        {("to node", "eth0", "anyone (IPv4)", *TO_80, DENIED)},
    ),
    "and one that means another node's means nobody": (
        [ETH0], policy(THEN_ALLOW.replace("{ports", "{nets: [10.10.0.5/32], ports")), set()
    ),
    "the node and itself, by the star": (
        [AUTO],
        policy(THEN_ALLOW.replace("{ports", "{nets: [127.0.0.0/8], ports")),
        {("to node", "*", "anyone (IPv4)", "127.0.0.0/8", *TO_80, DENIED)},
    ),
    "a policy that selects no host": (
        [ETH0], policy(THEN_ALLOW).replace("'host'", "'other'"), set()
    ),
    "a staged one is taken as enforced": (
        [ETH0],
        policy(THEN_ALLOW, kind="StagedGlobalNetworkPolicy"),
        {("to node", "eth0", ANYONE, *TO_80, DENIED)},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("base", "change", "expected"), CASES.values(), ids=CASES)
def test_what_turns(korat, base, change, expected):
    assert changes(korat, base, change) == expected


CLOSED_IN = {
    ("TCP", "0-21, 23-178, 180-2378, 2381-5472, 5474-6442, 6444-6665, 6668-65535"),
    ("UDP", "0-67, 69-65535"),
    ("any but TCP, UDP", "any"),
}
CLOSED_OUT = {
    ("TCP", "0-178, 180-2378, 2381-5472, 5474-6442, 6444-6665, 6668-65535"),
    ("UDP", "0-52, 54-66, 68-65535"),
    ("any but TCP, UDP", "any"),
}


def shut(name, after):
    """Rows of an interface that is shut, or opened again, but for failsafe ports."""
    return {
        (way, name, ANYONE, *traffic, after)
        for way, closed in (("to node", CLOSED_IN), ("from node", CLOSED_OUT))
        for traffic in closed
    }


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("interfaceName: eth0", "eth0"),
        ("interfaceName: '*'", "*"),
        ("expectedIPs: [10.10.0.4]", "10.10.0.4"),
    ],
)
def test_the_first_host_endpoint_of_an_interface_closes_it(korat, spec, name):
    assert changes(korat, [], host("new", spec)) == shut(name, DENIED)


def test_the_last_one_that_goes_opens_it(korat):
    closed = ETH0.replace(f", {OPEN}", "")
    files = korat.file("base.yaml", "---\n".join([*WORLD, closed])), korat.file("h.yaml", closed)
    result = korat("policy", "diff", "--base", files[0], "-f", files[1], "--delete", "-o", "json")
    assert told(result) == shut("eth0", ALLOWED)
    row = json.loads(result.out)[0]
    assert (row["endpoint"], row["node"]) == ("vm1-eth0", "vm1")
    assert row["afterRule"].endswith("no host endpoint")


def test_another_one_of_the_same_interface_changes_nothing_if_it_comes_later(korat):
    later = host("vm1-eth0-too", "interfaceName: eth0")
    assert changes(korat, [ETH0], later) == set()
    assert changes(korat, [later], ETH0) == shut("eth0", ALLOWED)


def test_under_the_star_a_host_endpoint_of_its_own_takes_over(korat):
    closed = host("vm1-eth0", "interfaceName: eth0")
    assert changes(korat, [AUTO], closed) == shut("eth0", DENIED)


def test_failsafe_ports_of_a_configuration_that_is_applied(korat):
    felix = (
        f"{CALICO}kind: FelixConfiguration\nmetadata: {{name: default}}\n"
        "spec: {failsafeInboundHostPorts: [{protocol: TCP, port: 22, net: 10.0.0.0/8}, "
        "{protocol: UDP, port: 68}, {protocol: TCP, port: 80}]}\n"
    )
    closed = host("vm1-eth0", "interfaceName: eth0")
    found = changes(korat, [closed], felix)
    assert ("to node", "eth0", ANYONE, *TO_80, ALLOWED) in found
    strangers = {row[2] for row in found if (row[3], row[4]) == ("TCP", "22")}
    assert {"shop/web", "shop/db", "anyone else (IPv4) but 10.0.0.0/8"} <= strangers
    assert {row[0] for row in found} == {"to node"}


def test_a_staged_policy_in_the_store(korat):
    text = "---\n".join([NODE, ETH0, policy(THEN_ALLOW, kind="StagedGlobalNetworkPolicy")])
    assert korat("apply", "-f", korat.file("all.yaml", text)).code == 0
    found = told(korat("policy", "diff", "--staged", "-o", "json"))
    assert found == {("to node", "eth0", ANYONE, *TO_80, DENIED)}


def test_yaml_has_the_same_rows(korat):
    result = diff(korat, (*WORLD, ETH0), policy(THEN_ALLOW), "-o", "yaml")
    assert result.code == 3
    assert "way: to node\n" in result.out
    assert "interface: eth0\n" in result.out


NO_HOST = "applyOnForward, preDNAT and doNotTrack say nothing here: there is no host endpoint\n"
BY_PACKET = "doNotTrack policy is compared packet by packet: "


@pytest.mark.parametrize(
    ("base", "change", "note"),
    [
        ([], policy(FORWARD + THEN_ALLOW), NO_HOST),
        ([], policy(THEN_ALLOW), ""),
        ([ETH0], policy(FORWARD + THEN_ALLOW), ""),
        ([ETH0], policy(UNTRACKED + EVERY_WAY_IN), BY_PACKET),
        ([ETH0], POD % ("web", "other"), ""),
    ],
    ids=["no host", "a plain policy", "forward", "untracked", "of pods"],
)
def test_what_is_said_beside(korat, base, change, note):
    result = diff(korat, (*WORLD, *base), change, "-o", "json")
    assert result.code in {0, 3}
    assert result.err.startswith(note) if note else not result.err


def test_the_screen(korat, monkeypatch):
    monkeypatch.chdir(korat.folder)
    change = policy(
        FORWARD + "types: [Ingress],\n  ingress: [\n  {action: Deny, protocol: TCP, source: "
        "{notNets: [10.0.0.0/8]}, destination: {selector: app == 'db', ports: [5432]}},\n"
        "  {action: Allow, protocol: TCP}]"
    )
    korat.file("base.yaml", "---\n".join([*WORLD, ETH0, AUTO.replace("vm1", "vm2")]))
    korat.file("change.yaml", change)
    found = korat("policy", "diff", "--base", "base.yaml", "-f", "change.yaml")
    assert (found.code, found.out) == (3, SCREEN)
    nothing = diff(korat, (*WORLD, ETH0), ETH0)
    assert (nothing.code, nothing.out) == (
        0,
        "no verdict changes: 2 pods and 1 host endpoint compared\n",
    )


SCREEN = """\
other verdicts for 2 of 2 host endpoints

to the node by eth0 of vm1, * of vm2
└── ✘ now denied  everything but all TCP; UDP 68  from anyone
    ├── before  Profile projectcalico-default-allow rule 0: Allow
    └── after   no rule of tier default matches, which denies

through the node, in by eth0 of vm1, * of vm2, cali* of vm2
├── ✘ now denied  TCP 5432  from every pod, anyone else (IPv4) but 10.0.0.0/8  to shop/db
│   ├── before  no policy of the host endpoint decides, which allows
│   └── after   GlobalNetworkPolicy hosts rule 0: Deny TCP from not 10.0.0.0/8 to app == 'db', \
port 5432  change.yaml:6
└── ✘ now denied  everything but all TCP  from anyone
    ├── before  no policy of the host endpoint decides, which allows
    └── after   no rule of tier default matches, which denies
"""


def test_a_change_of_pods_and_nodes_counts_both(korat):
    everybody = policy(THEN_ALLOW).replace("role == 'host'", "all()")
    found = diff(korat, (*WORLD, ETH0), everybody)
    assert found.out.startswith("other verdicts for 2 of 2 pods and 1 of 1 host endpoint\n")


def test_pairs_that_are_too_many_are_one_sentence(korat):
    sides = [f"{{nets: [10.{i // 250}.{i % 250}.0/24]}}" for i in range(510)]
    rules = (f"{{action: Deny, source: {net}, destination: {net}}}" for net in sides)
    change = policy(f"{FORWARD} types: [Ingress], ingress: [{', '.join(rules)}]")
    result = diff(korat, (NODE, ETH0), change)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("the policies of host endpoints cannot be compared: more than ")
    assert result.err.count("\n") == 1


def spot(node, name):
    return Spot(node, HostInterface(name, frozenset()))


NODES = [f"vm{i}" for i in range(1, 7)]
EVERYWHERE = [*(spot(node, "eth0") for node in NODES), spot("vm1", "eth1")]


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        (EVERYWHERE[:1], "eth0 of vm1"),
        (EVERYWHERE[:3], "eth0 of vm1, vm2 and vm3"),
        (EVERYWHERE[:6], "eth0 of all 6 nodes compared"),
        (EVERYWHERE[:5], "eth0 of all 6 nodes compared but vm6"),
        (EVERYWHERE, "eth0 of all 6 nodes compared, eth1 of vm1"),
    ],
)
def test_interfaces_in_words(some, expected):
    assert spots_words(some, EVERYWHERE) == expected
