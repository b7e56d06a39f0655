"""policy explain without a datastore: from files alone, with the line of the rule that decides."""

import io
import json

import pytest
import yaml
from rich.console import Console

from korat.cli.explain_screen import drawn
from korat.cli.policy_select import governed, governors
from korat.cli.policy_select_screen import pod_drawn, policy_drawn
from korat.cli.policy_source import INVENTED, read_snapshot
from korat.cli.question import Words, ask
from korat.core.net.address import Addr
from korat.core.policy.evaluate import verdict

POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: shop, labels: {app: %s}}
spec: {containers: [{name: c, ports: [{name: pg, containerPort: 5432}]}]}
"""
PODS = "---".join(POD % (name, name) for name in ("web", "cart", "db"))
SPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
# Each peer and each protocol is a rule of Calico's: four are line 10's, the last is line 12's.
KUBERNETES = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: db
  namespace: shop
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: x}}}, {ipBlock: {cidr: 192.0.2.0/24}}]
      ports: [{port: 1}, {protocol: UDP, port: 2}]
    - from: [{podSelector: {matchLabels: {app: cart}}}]
      ports:
        - port: pg
"""
CALICO = """\
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: early}
spec:
  order: 10
  defaultAction: Pass
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: db}
spec:
  tier: early
  order: 2.5
  selector: app in {'db', 'cart'}
  ingress:
    - {action: Pass, protocol: UDP}
    - action: Deny
      source: {selector: app == 'web'}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: raw}
spec: {doNotTrack: true, applyOnForward: true, ingress: [{action: Deny}]}
"""


@pytest.fixture(name="files")
def _files(korat):
    """A folder of files; they hold all that is needed."""
    korat.file("all/a.yaml", f"{SPACE}---{PODS}")
    korat.file("all/calico.yaml", CALICO)
    korat.file("all/kube.yaml", KUBERNETES)
    return str(korat.folder / "all")


def explain(korat, files, *words):
    return korat("policy", "explain", "-f", files, *words)


def answer(korat, files, *words):
    result = explain(korat, files, *words, "-o", "json")
    assert (result.code, result.err) == (0, "")
    assert not korat.path.exists()
    return json.loads(result.out)


@pytest.mark.parametrize(
    ("source", "port", "action", "place"),
    [
        ("shop/cart", "pg", "allow", "kube.yaml:12"),
        ("shop/cart", "1", "deny", ""),
        ("192.0.2.7", "1", "allow", "kube.yaml:10"),
        ("shop/web", "pg", "deny", "calico.yaml:17"),
    ],
)
def test_the_rule_that_decides_has_its_line(korat, files, source, port, action, place):
    found = answer(korat, files, "--from", source, "--to", "shop/db", "--port", port)["ingress"]
    said = (found["place"] or "").rpartition("/")[2]
    assert (found["action"], said) == (action, place)


def test_every_rule_of_the_trace_has_its_line(korat, files):
    found = answer(korat, files, "--from", "shop/cart", "--to", "shop/db", "--port", "pg")
    rules = found["ingress"]["trace"][1]["policies"][0]["rules"]
    lines = [int(rule["place"].rpartition(":")[2]) for rule in rules]
    assert lines == [10, 10, 10, 10, 12]


def test_a_tiers_default_has_the_tiers_line(korat):
    tier = CALICO.replace("defaultAction: Pass", "defaultAction: Deny")
    path = korat.file("a.yaml", f"{tier}---\n{SPACE}---{PODS}")
    found = answer(korat, path, "--from", "shop/db", "--to", "shop/cart", "--port", "1")
    assert (found["ingress"]["rule"], found["ingress"]["place"]) == (None, f"{path}:6")
    assert found["ingress"]["reason"] == "tier default"


def test_made_up_addresses_are_stable_and_told(korat, files):
    alone = korat.file("one.yaml", SPACE + "---" + POD % ("db", "db"))
    one, many = (
        answer(korat, each, "--from", "192.0.2.1", "--to", "shop/db", "--port", "1")["to"]
        for each in (alone, files)
    )
    assert one == many
    assert one["invented"]
    assert one["node"] is None
    assert Addr.parse(one["address"]) in INVENTED
    assert "(made up" in explain(korat, files, "--pod", "shop/db").out


def test_addresses_and_nodes_of_a_cluster_that_was_dumped_are_kept(korat):
    text = (
        SPACE
        + "---"
        + POD % ("db", "db")
        + ("status: {podIP: 10.1.2.3, podIPs: [{ip: 10.1.2.3}, {ip: fd00::1}]}")
    )
    dumped = text.replace("containers:", "nodeName: n1, containers:").replace(
        "name: db,", 'name: db, resourceVersion: "77",'
    )
    path = korat.file("a.yaml", dumped)
    found = answer(korat, path, "--pod", "shop/db")
    assert (found["addresses"], found["invented"], found["node"]) == (
        ["10.1.2.3", "fd00::1"],
        False,
        "n1",
    )
    bad = korat.file("b.yaml", dumped.replace("10.1.2.3", "10.1.2"))
    result = explain(korat, bad, "--pod", "shop/db")
    assert (result.code, result.err) == (
        1,
        "Pod shop/db: status.podIP '10.1.2': is not an IP address\n",
    )


def test_what_was_not_declared_is_said_and_makes_no_difference(korat):
    path = korat.file("a.yaml", PODS)
    result = explain(korat, path, "--from", "shop/web", "--to", "shop/db", "--port", "1")
    assert "✔ allowed" in result.out
    (line,) = result.err.splitlines()
    assert line.endswith(": no Namespace shop was declared, so it was created without labels")


def test_the_policies_of_a_pod_in_the_order_in_which_they_are_asked(korat, files):
    found = answer(korat, files, "--pod", "shop/db")
    told = ("tier", "tierOrder", "tierDefaultAction", "kind", "namespace", "policy", "order")
    assert [[row[name] for name in told] for row in found["ingress"]] == [
        ["early", 10, "Pass", "GlobalNetworkPolicy", None, "db", 2.5],
        ["default", 1_000_000, "Deny", "NetworkPolicy", "shop", "knp.default.db", 1000],
    ]
    assert [(row["rules"], row["staged"]) for row in found["ingress"]] == [(2, False), (5, False)]
    assert [row["place"].rpartition("/")[2] for row in found["ingress"]] == [
        "calico.yaml:8",
        "kube.yaml:1",
    ]
    assert found["egress"] == []
    assert found["profiles"] == ["kns.shop", "ksa.shop.default"]
    assert answer(korat, files, "--pod", "shop/web")["ingress"] == []
    same = explain(korat, files, "--pod", "shop/db", "-o", "yaml")
    assert yaml.safe_load(same.out) == found


@pytest.mark.parametrize("word", ["gnp/db", "GlobalNetworkPolicy/db"])
def test_the_pods_of_a_policy(korat, files, word):
    found = answer(korat, files, "--policy", word)
    assert (found["kind"], found["policy"], found["tier"], found["order"]) == (
        "GlobalNetworkPolicy",
        "db",
        "early",
        2.5,
    )
    assert found["ingress"] == {
        "governed": True,
        "rules": 2,
        "pods": ["shop/cart", "shop/db"],
        "hosts": [],
    }
    assert found["egress"] == {"governed": False, "rules": 0, "pods": [], "hosts": []}


@pytest.mark.parametrize("word", ["shop/db", "np/db", "np/shop/db", "knp.default.db"])
def test_a_kubernetes_policy_by_its_authors_name(korat, files, word):
    found = answer(korat, files, "--policy", word)
    assert (found["kind"], found["policy"]) == ("NetworkPolicy", "knp.default.db")
    assert found["ingress"]["pods"] == ["shop/db"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--policy", "db"), ("--policy 'db': could be any of GlobalNetworkPolicy/db, "
         "NetworkPolicy/shop/knp.default.db; say which")),
        (("--policy", "dbs"), "there is no policy dbs; did you mean db?"),
        (("--policy", "zoo/lion"),
         "there is no policy zoo/lion; give NAME, NS/NAME or KIND/NS/NAME"),
        (("--policy", "raw"), ("GlobalNetworkPolicy raw selects no pod: it is for hosts: it is not "
         "tracked, or comes before DNAT")),
        (("--pod", "db"), "--pod 'db': give NAMESPACE/POD"),
        (("--pod", "shop/dbs"), "there is no pod shop/dbs; did you mean shop/db, shop/web?"),
    ],
)  # fmt: skip
def test_one_sentence(korat, files, words, expected):
    result = explain(korat, files, *words)
    assert (result.code, result.out, result.err) == (1, "", f"{expected}\n")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--from", "shop/web"),
        ("--to", "shop/web"),
        ("--pod", "shop/db", "--policy", "db"),
        ("--pod", "shop/db", "--from", "shop/db", "--to", "shop/web"),
    ],
)
def test_wrong_usage(korat, files, words):
    result = explain(korat, files, *words)
    assert (result.code, result.out) == (2, "")
    assert "give --from and --to, or --pod, or --policy" in result.err


def test_a_pod_in_its_nodes_network_has_no_policies(korat):
    host = POD.replace("containers", "hostNetwork: true, nodeName: n, containers") % ("p", "p")
    path = korat.file("a.yaml", f"{SPACE}---{host}status: {{podIP: 192.0.2.4}}")
    result = explain(korat, path, "--pod", "shop/p")
    assert result.code == 1
    assert result.err == (
        "shop/p shares its node's network, and policy for workloads passes it by\n"
    )


@pytest.mark.parametrize("width", [60, 80, 120])
def test_screens_hold_on_any_width(files, width):
    snapshot = read_snapshot([files])
    asked = ask(snapshot.objects, snapshot.cluster, Words("shop/web", "shop/db", "TCP", "pg"))
    screens = [
        drawn(asked, [verdict(snapshot.cluster, each.packet) for each in asked], snapshot),
        pod_drawn(governors(snapshot, "shop/db")),
        policy_drawn(governed(snapshot, "gnp/db")),
    ]
    for screen in screens:
        paper = io.StringIO()
        Console(file=paper, width=width).print(screen)
        lines = paper.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert "…" not in paper.getvalue()


def test_the_screens(korat, files, monkeypatch):
    monkeypatch.chdir(files)
    assert explain(korat, ".", "--pod", "shop/db").out.splitlines()[1:] == [
        "",
        "ingress  2 policies",
        "├── tier early  order 10; what it does not decide is passed on",
        "│   └── 1. GlobalNetworkPolicy db  2 rules, order 2.5  calico.yaml:8",
        "├── tier default  order 1000000; what it does not decide is denied",
        "│   └── 2. NetworkPolicy shop/knp.default.db  5 rules, order 1000  kube.yaml:1",
        "└── then the profiles kns.shop, ksa.shop.default",
        "",
        "egress  0 policies",
        "└── then the profiles kns.shop, ksa.shop.default",
    ]
    assert explain(korat, ".", "--policy", "gnp/db").out == (
        "GlobalNetworkPolicy db  calico.yaml:8\n"
        "tier early, order 2.5\n"
        'selects app in {"cart", "db"}\n'
        "\n"
        "ingress  2 pods, 2 rules\n"
        "└── shop/ cart db\n"
        "\n"
        "egress  is not this policy's matter\n"
    )


def test_a_pod_that_has_ended_has_no_address(korat):
    """A dump still shows the address that another pod may have by now."""
    done = POD % ("job", "job") + "status: {phase: Succeeded, podIP: 10.1.2.3}"
    live = POD % ("db", "db") + "status: {phase: Running, podIP: 10.1.2.3}"
    path = korat.file("a.yaml", f"{SPACE}---{done}\n---{live}")
    result = explain(korat, path, "--pod", "shop/job")
    assert (result.code, result.err) == (1, "pod shop/job has ended and has no address any more\n")
    assert answer(korat, path, "--pod", "shop/db")["addresses"] == ["10.1.2.3"]
