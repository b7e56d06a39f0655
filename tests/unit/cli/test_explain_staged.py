"""policy explain of staged policies: shown as what they would do, and they decide nothing."""

import json

import pytest

from cli_driver import policy

WORLD = """\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: []}
status: {podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {containers: []}
status: {podIPs: [{ip: 10.0.0.2}]}
---
"""
RULES = """
  selector: app == 'db'
  order: %s
  types: [Ingress]
  ingress:
    - action: Log
    - action: %s
      protocol: TCP
      destination: {ports: [80, 81]}"""


def staged(order, action, name="later"):
    text = policy(name, RULES % (order, action))
    return text.replace("kind: NetworkPolicy", "kind: StagedNetworkPolicy")


ENFORCED = policy("now", RULES % (20, "Allow"))
KUBERNETES = """\
apiVersion: projectcalico.org/v3
kind: StagedKubernetesNetworkPolicy
metadata: {name: kube, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
    - from: [{podSelector: {matchLabels: {app: web}}}]
      ports: [{port: 80}, {protocol: UDP, port: 53}]
"""


@pytest.fixture(name="explain")
def _explain(korat, monkeypatch):
    """Explains TCP from web to db, given these policies."""
    monkeypatch.chdir(korat.folder)

    def ask(*texts, port="80", words=()):
        korat.file("a.yaml", WORLD + "---\n".join(texts))
        ends = ("--from", "shop/web", "--to", "shop/db", "--port", port)
        return korat("policy", "explain", *ends, "-f", "a.yaml", *words)

    return ask


def ingress(result):
    assert (result.code, result.err) == (0, "")
    return json.loads(result.out)["ingress"]


def lines(result):
    text = result.out.partition("ingress  ")[2].splitlines()[1:]
    return [line.lstrip("│├└─ ") for line in text if line]


def test_a_staged_policy_before_the_one_that_decides(explain):
    texts = (staged(10, "Deny"), ENFORCED)
    found = ingress(explain(*texts, words=("-o", "json")))
    assert (found["action"], found["policy"]) == ("allow", "now")
    assert found["logged"] == ["ingress default NetworkPolicy shop/now rule 0"]
    assert found["staged"] == ["ingress default StagedNetworkPolicy shop/later rule 1"]
    (stage,) = found["trace"]
    assert [(p["policy"], p["staged"], p["would"]) for p in stage["policies"]] == [
        ("later", True, "deny"),
        ("now", False, None),
    ]
    assert lines(explain(*texts)) == [
        "tier default",
        "StagedNetworkPolicy shop/later  staged: would deny it",
        "rule 0: Log  - matched",
        "rule 1: Deny TCP to ports 80, 81  - matched  a.yaml:26",
        "NetworkPolicy shop/now",
        "rule 0: Log  - logs it, and goes on",
        "✔ allow  rule 1: Allow TCP to ports 80, 81  a.yaml:39",
    ]


@pytest.mark.parametrize(
    ("action", "words"),
    [("Allow", "would allow it"), ("Pass", "would pass it on to the next tier")],
)
def test_what_it_would_do(explain, action, words):
    said = lines(explain(staged(10, action), ENFORCED))
    assert said[1] == f"StagedNetworkPolicy shop/later  staged: {words}"
    assert said[-1].startswith("✔ allow  rule 1")


def test_a_staged_policy_that_does_not_match_leaves_it_to_the_next(explain):
    said = lines(explain(staged(10, "Deny").replace("80, 81", "82"), ENFORCED))
    assert said[1] == "StagedNetworkPolicy shop/later  staged: would leave it to the next policy"
    assert said[3] == "rule 1: Deny TCP to port 82  - the destination port is not 82"


def test_a_tier_of_staged_policies_alone_is_not_there_and_would_deny(explain):
    result = explain(staged(10, "Allow"), port="99")
    said = lines(result)
    assert said[1] == "StagedNetworkPolicy shop/later  staged: would deny it, as its tier does"
    assert said[4] == "nothing decided: on to the next tier"
    assert said[-1].startswith("✔ allow  rule 0: Allow")
    found = ingress(explain(staged(10, "Allow"), port="99", words=("-o", "json")))
    assert found["staged"] == ["ingress default StagedNetworkPolicy shop/later tier default"]
    assert found["trace"][0]["policies"][0]["would"] == "deny"
    assert found["reason"] == "profile rule"


def test_a_staged_pass_is_no_pass_of_the_tier(explain):
    said = lines(explain(staged(10, "Pass")))
    assert "nothing decided: on to the next tier" in said
    assert "passed on to the next tier" not in said


def test_kubernetes_staged_rules_have_their_words_and_their_line(explain):
    said = lines(explain(KUBERNETES))
    assert said[:3] == [
        "tier default",
        "StagedKubernetesNetworkPolicy shop/kube  staged: would allow it",
        "rule 0: Allow TCP from app == 'web' to port 80  - matched  a.yaml:23",
    ]


def test_a_denial_names_the_enforced_policy_to_look_at(explain):
    result = explain(staged(30, "Allow"), ENFORCED, port="99")
    assert result.out.splitlines()[-1].startswith("see it in: a.yaml:")
    found = ingress(explain(staged(30, "Allow"), ENFORCED, port="99", words=("-o", "json")))
    assert (found["policy"], found["action"]) == ("now", "deny")


def test_which_pods_a_staged_policy_selects_and_which_select_a_pod(korat, explain):
    explain(staged(10, "Deny"), ENFORCED, KUBERNETES)
    shown = korat("policy", "explain", "--policy", "later", "-f", "a.yaml")
    assert shown.out.splitlines()[:3] == [
        "StagedNetworkPolicy shop/later  a.yaml:17",
        "tier default, order 10; staged: counted, not enforced",
        'selects (app == "db" && projectcalico.org/namespace == "shop")',
    ]
    assert "└── shop/ db" in shown.out
    pod = korat("policy", "explain", "--pod", "shop/db", "-f", "a.yaml", "-o", "json")
    rows = json.loads(pod.out)["ingress"]
    assert [(row["policy"], row["staged"]) for row in rows] == [
        ("later", True),
        ("now", False),
        ("kube", True),
    ]
    explain(staged(10, "Deny"))
    alone = korat("policy", "explain", "--pod", "shop/db", "-f", "a.yaml").out
    assert "tier default  order 1000000; what it does not decide is passed on" in alone
    explain(ENFORCED, KUBERNETES)
    there = korat("policy", "explain", "--policy", "sknp/kube", "-f", "a.yaml")
    assert there.code == 0
