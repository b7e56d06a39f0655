"""policy explain: the words that are understood, the JSON that scripts read, the screen."""

import json

import msgspec
import pytest
import yaml

from cli_driver import Korat, policy
from korat.cli.rule_text import rule_text
from korat.core.model.kubernetes.workload import endpoint_of, interface_name
from korat.core.model.pod import Pod, PodSpec, PodStatus
from korat.core.model.policy import Rule
from korat.core.model.resource import Metadata

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: shop, labels: {app: %s}}
spec: {containers: [{name: c, ports: [{name: pg, containerPort: 5432}]}]}
"""
ONLY_CART = "{selector: app == 'db', ingress: [{action: Log}, {action: Allow, protocol: TCP, source: {selector: app == 'cart'}, destination: {ports: [pg]}}]}"  # noqa: E501 - one rule
DENIED_BY = (
    "kind: GlobalNetworkPolicy\napiVersion: projectcalico.org/v3\nmetadata: {name: no-web}\n"
    "spec: {order: 1, selector: app == 'web', egress: [{action: Deny, protocol: UDP}, "
    "{action: Pass}]}\n"
)


@pytest.fixture(name="shop")
def _shop(korat: Korat):
    """Three pods with addresses, one without, and two policies."""
    names = ("web", "cart", "db")
    text = "---".join(PODS % (name, name) for name in (*names, "late"))
    more = f"{text}\n---\n{policy('only-cart', ONLY_CART)}---\n{DENIED_BY}"
    assert korat("apply", "-f", korat.file("a.yaml", more)).code == 0
    client = korat.client()
    for i, pod in enumerate(client.read(["Pod"]).of("Pod")):
        name = pod.metadata.name
        if name in names:
            at = [f"10.0.0.{i + 1}/32"]
            device = interface_name("shop", name)
            client.create(endpoint_of(pod, f"vm{i}", "c", at, device, "02:00:00:00:00:01"))
    client.store.close()
    return korat


def explain(korat, source, target, *words):
    return korat("policy", "explain", "--from", source, "--to", target, *words)


def answer(korat, *words):
    result = explain(korat, *words, "-o", "json")
    assert (result.code, result.err) == (0, "")
    return json.loads(result.out)


@pytest.mark.parametrize(
    ("source", "target", "words", "verdict"),
    [
        ("shop/cart", "shop/db", ("--port", "5432"), "allow"),
        ("shop/cart", "shop/db", ("--port", "pg"), "allow"),
        ("shop/cart", "shop/db", ("--port", "80"), "deny"),
        ("shop/web", "shop/db", ("--port", "pg"), "deny"),
        ("10.0.0.1", "10.0.0.2", ("--port", "5432"), "allow"),
        ("shop/db", "shop/web", ("--port", "9", "--protocol", "udp"), "allow"),
        ("shop/web", "203.0.113.10", ("--port", "9", "--protocol", "UDP"), "deny"),
        ("203.0.113.10", "shop/db", ("--protocol", "ICMP"), "deny"),
        ("203.0.113.10", "shop/web", ("--protocol", "ICMP"), "allow"),
    ],
)
def test_verdicts(shop, source, target, words, verdict):
    assert answer(shop, source, target, *words)["verdict"] == verdict


def test_the_object_for_scripts(shop):
    found = answer(shop, "shop/cart", "shop/db", "--port", "pg")
    assert (found["protocol"], found["port"]) == ("TCP", 5432)
    assert found["to"] == {
        "name": "shop/db",
        "address": "10.0.0.2",
        "invented": False,
        "node": "vm1",
        "hostEndpoint": None,
    }
    ingress = found["ingress"]
    assert {name: ingress[name] for name in ("action", "tier", "kind", "namespace", "policy")} == {
        "action": "allow",
        "tier": "default",
        "kind": "NetworkPolicy",
        "namespace": "shop",
        "policy": "only-cart",
    }
    assert (ingress["rule"], ingress["reason"]) == (1, "rule")
    assert ingress["logged"] == ["ingress default NetworkPolicy shop/only-cart rule 0"]
    assert found["egress"]["reason"] == "profile rule"
    same = explain(shop, "shop/cart", "shop/db", "--port", "pg", "-o", "yaml")
    assert yaml.safe_load(same.out) == found


def test_the_trace_says_why_each_rule_did_not_match(shop):
    ingress = answer(shop, "shop/web", "shop/db", "--port", "pg")["ingress"]
    assert (ingress["policy"], ingress["rule"]) == ("only-cart", None)
    assert ingress["reason"] == "tier default"
    (stage,) = ingress["trace"]
    log, allow = stage["policies"][0]["rules"]
    assert (log["matched"], log["why"]) == (True, None)
    assert not allow["matched"]
    assert allow["why"].startswith("the source does not match")


def test_a_side_without_policy(shop):
    egress = answer(shop, "203.0.113.10", "shop/web", "--port", "1")["egress"]
    assert (egress["action"], egress["reason"], egress["trace"]) == ("allow", "not a workload", [])


def test_a_pod_in_its_nodes_network_is_no_workload(shop):
    host = Pod(
        metadata=Metadata(name="proxy", namespace="shop"),
        spec=PodSpec(node_name="vm1", host_network=True),
        status=PodStatus(phase="Running", pod_ip="192.0.2.4"),
    )
    client = shop.client()
    client.create(host)
    client.store.close()
    found = answer(shop, "shop/proxy", "shop/db", "--port", "pg")
    sender = {"name": "shop/proxy", "address": "192.0.2.4", "invented": False, "node": None}
    sender["hostEndpoint"] = None
    assert found["from"] == sender
    assert (found["egress"]["reason"], found["verdict"]) == ("not a workload", "deny")


def test_the_screen(shop):
    result = explain(shop, "shop/web", "shop/db", "--port", "pg")
    assert (
        result.out
        == """\
✘ denied  shop/web → shop/db  TCP 5432

egress  leaving shop/web  10.0.0.4 on vm3
├── tier default
│   ├── GlobalNetworkPolicy no-web
│   │   ├── rule 0: Deny UDP  - the protocol is not UDP
│   │   └── rule 1: Pass  - matched
│   └── passed on to the next tier
└── profiles
    └── Profile kns.shop
        └── ✔ allow  rule 0: Allow

ingress  entering shop/db  10.0.0.2 on vm1
└── tier default
    ├── NetworkPolicy shop/only-cart
    │   ├── rule 0: Log  - logs it, and goes on
    │   └── rule 1: Allow TCP from app == 'cart' to port pg  - the source is somebody else
    └── ✘ deny  no rule matched, and tier default denies what its policies do not decide

see it with: korat get networkpolicy only-cart -n shop -o yaml
"""
    )


@pytest.mark.parametrize(
    ("source", "target", "words", "expected"),
    [
        ("shop/wep", "shop/db", (), "there is no pod shop/wep; did you mean shop/web?"),
        ("zoo/lion", "shop/db", (), "there is no pod zoo/lion; "),
        ("shop/late", "shop/db", (), "pod shop/late has no address yet; "),
        ("nobody", "shop/db", (), "--from 'nobody': give NAMESPACE/POD, an address, "),
        ("shop/web", "10.0.0.300", (), "--to '10.0.0.300': give NAMESPACE/POD, an address, "),
        ("shop/web", "fd00::1", ("--port", "1"), "'shop/web': has no address of the same IP "),
        ("shop/web", "shop/db", (), "--port is needed for TCP"),
        ("shop/web", "shop/db", ("--port", "0"), "--port '0': ports go from 1 to 65535"),
        ("shop/web", "shop/db", ("--port", "x"), ("shop/db names no TCP port x; there "
         "are pg (5432)")),
        ("shop/web", "1.1.1.1", ("--port", "x"), "1.1.1.1 names no TCP port x; give a number"),
        ("shop/web", "shop/db", ("--protocol", "ICMP", "--port", "1"), "--port '1': ICMP has no "),
        ("shop/web", "shop/db", ("--protocol", "FOO"), "--protocol 'FOO': is neither TCP, UDP, "),
        ("shop/web", "shop/db", ("--protocol", "256"), "--protocol '256': is neither TCP, UDP, "),
        ("shop/web", "shop/db", ("--port", "1", "--icmp-type", "8"),
         "--icmp-type '8': TCP has none"),
        ("shop/web", "shop/db", ("--protocol", "ICMP", "--icmp-type", "256"),
         "--icmp-type '256': must be a number up to 255"),
        ("shop/web", "shop/db", ("--protocol", "ICMP", "--icmp-code", "1"),
         "--icmp-code '1': needs --icmp-type"),
        ("shop/web", "shop/db", ("--protocol", "ICMP", "--source-port", "1"),
         "--source-port '1': ICMP has no ports"),
        ("shop/web", "shop/db", ("--port", "1", "--source-port", "70000"),
         "--source-port '70000': ports go from 1 to 65535"),
        ("shop/web", "shop/db", ("--port", "1", "--ip-version", "5"),
         "--ip-version '5': must be 4 or 6"),
        ("shop/web", "shop/db", ("--port", "1", "--ip-version", "6"),
         "--ip-version '6': shop/web has no IPv6 address"),
        ("shop/web", "shop/db", ("--protocol", "ICMPv6"),
         "--protocol 'ICMPv6': shop/web has no IPv6 address"),
        ("shop/web", "shop/db", ("--protocol", "ICMP", "--ip-version", "6"),
         "--ip-version '6': ICMP is IPv4's"),
        ("fd00::1", "shop/db", ("--protocol", "58"),
         "--protocol '58': shop/db has no IPv6 address"),
        ("shop/web", "shop/db", ("-o", "xml"), "-o 'xml': no such output format; there are json"),
    ],
)  # fmt: skip
def test_one_sentence(shop, source, target, words, expected):
    result = explain(shop, source, target, *words)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(expected)
    assert result.err.count("\n") == 1


NUMBERED = policy(
    "numbers",
    """
  selector: app == 'db'
  ingress:
    - {action: Allow, protocol: ICMP, icmp: {type: 8, code: 0}}
    - {action: Allow, protocol: ICMPv6, icmp: {type: 128}}
    - {action: Allow, protocol: UDP, source: {ports: [53, pg]}}
    - {action: Allow, ipVersion: 6, protocol: TCP, destination: {ports: [80]}}
""",
)


@pytest.fixture(name="dual")
def _dual(shop):
    """The pods of the shop with an address of each IP version, and rules that tell them apart."""
    client = shop.client()
    shop("delete", "networkpolicy", "only-cart", "-n", "shop")
    shop("delete", "gnp", "no-web")
    for i, stored in enumerate(client.read(["WorkloadEndpoint"]).of("WorkloadEndpoint")):
        both = (f"10.0.0.{i + 1}/32", f"fd00::{i + 1}/128")
        ports = tuple(msgspec.structs.replace(port, protocol="UDP") for port in stored.spec.ports)
        spec = msgspec.structs.replace(stored.spec, ip_networks=both, ports=ports)
        client.update(msgspec.structs.replace(stored, spec=spec))
    client.store.close()
    assert shop("apply", "-f", shop.file("n.yaml", NUMBERED)).code == 0
    return shop


@pytest.mark.parametrize(
    ("words", "verdicts"),
    [
        (("--protocol", "ICMP"), {"4": "allow"}),
        (("--protocol", "ICMP", "--icmp-type", "8", "--icmp-code", "1"), {"4": "deny"}),
        (("--protocol", "ICMP", "--icmp-type", "0"), {"4": "deny"}),
        (("--protocol", "1", "--ip-version", "4"), {"4": "allow"}),
        (("--protocol", "icmpv6"), {"6": "allow"}),
        (("--protocol", "ICMPv6", "--icmp-type", "128", "--icmp-code", "9"), {"6": "allow"}),
        (("--protocol", "ICMPv6", "--icmp-type", "129"), {"6": "deny"}),
        (("--protocol", "UDP", "--port", "9"), {"4": "deny", "6": "deny"}),
        (("--protocol", "UDP", "--port", "9", "--source-port", "53"), {"4": "allow", "6": "allow"}),
        (("--protocol", "UDP", "--port", "9", "--source-port", "pg"), {"4": "allow", "6": "allow"}),
        (("--port", "80"), {"4": "deny", "6": "allow"}),
        (("--port", "80", "--ip-version", "6"), {"6": "allow"}),
        (("--port", "80", "--ip-version", "4"), {"4": "deny"}),
    ],
)
def test_icmp_source_ports_and_both_ip_versions(dual, words, verdicts):
    found = answer(dual, "shop/web", "shop/db", *words)
    assert found["ipVersions"] == verdicts
    version = min(verdicts)
    assert (found["ipVersion"], found["verdict"]) == (int(version), verdicts[version])
    assert found["to"]["address"] == {"4": "10.0.0.2", "6": "fd00::2"}[version]


def test_the_numbers_for_scripts(dual):
    names = ("protocol", "port", "sourcePort", "icmpType", "icmpCode")
    ping = answer(dual, "shop/web", "shop/db", "--protocol", "58")
    assert [ping[name] for name in names] == ["ICMPv6", None, None, 128, 0]
    tcp = answer(dual, "shop/web", "shop/db", "--port", "80")
    assert [tcp[name] for name in names] == ["TCP", 80, 49152, None, None]
    gre = answer(dual, "shop/web", "shop/db", "--protocol", "47")
    assert [gre[name] for name in names] == ["47", None, None, None, None]


@pytest.mark.parametrize(
    ("words", "head", "foot"),
    [
        (("--protocol", "ICMP"), "✔ allowed  shop/web → shop/db  ICMP type 8", None),
        (("--protocol", "ICMP", "--icmp-type", "3", "--icmp-code", "4"),
         "✘ denied  shop/web → shop/db  ICMP type 3 code 4", None),
        (("--protocol", "UDP", "--port", "53", "--source-port", "53"),
         "✔ allowed  shop/web → shop/db  UDP 53 from port 53",
         "over IPv6 it is allowed too; --ip-version 6 says why"),
        (("--port", "80"), "✘ denied  shop/web → shop/db  TCP 80",
         "over IPv6 it is allowed; --ip-version 6 says why"),
        (("--protocol", "47"), "✘ denied  shop/web → shop/db  protocol 47",
         "over IPv6 it is denied too; --ip-version 6 says why"),
    ],
)  # fmt: skip
def test_the_screen_says_what_was_asked(dual, words, head, foot):
    lines = explain(dual, "shop/web", "shop/db", *words).out.splitlines()
    assert lines[0] == head
    assert [line for line in lines if line.startswith("over ")] == ([foot] if foot else [])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{action: Allow}", "Allow"),
        ("{action: Deny, ipVersion: 4, notProtocol: TCP}", "Deny IPv4 not TCP"),
        ("{action: Allow, protocol: ICMP, icmp: {type: 8, code: 0}, notICMP: {type: 3}}",
         "Allow ICMP type 8 code 0 not type 3"),
        ("{action: Allow, source: {nets: [10.0.0.0/8], notNets: [10.1.0.0/16]}}",
         "Allow from 10.0.0.0/8, not 10.1.0.0/16"),
        ("{action: Pass, destination: {ports: [80, '90:99', dns], notPorts: [95]}}",
         "Pass to ports 80, 90:99, dns, not port 95"),
        ("{action: Allow, source: {selector: \"projectcalico.org/orchestrator == 'k8s'\"}}",
         "Allow from any pod"),
        (("{action: Allow, source: {selector: \"projectcalico.org/orchestrator == 'k8s' && a == "
         "'b'\", namespaceSelector: all()}}"), "Allow from a == 'b', namespaces all()"),
        ("{action: Allow, source: {notSelector: x, serviceAccounts: {names: [a, b]}}}",
         "Allow from not x, accounts a, b"),
        ("{action: Allow, source: {serviceAccounts: {names: [a], selector: has(x)}}}",
         "Allow from accounts a with has(x)"),
        ("{action: Allow, destination: {services: {name: s}}}", "Allow to service s"),
        ("{action: Allow, source: {services: {name: s, namespace: shop}}}",
         "Allow from service shop/s"),
    ],
)  # fmt: skip
def test_a_rule_in_words(rule, expected):
    assert expected == rule_text(msgspec.convert(yaml.safe_load(rule), Rule))
