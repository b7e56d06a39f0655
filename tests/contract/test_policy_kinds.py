"""The verbs for staged policies and Kubernetes' cluster policies, and what explain says of them."""

import json

import pytest

from korat.drivers.tally import Tally, TallyServer

STAGED = "apiVersion: projectcalico.org/v3\nkind: Staged"
NAMED = "metadata: {name: p, namespace: shop}\n"
RULES = "ingress: [{action: Deny, protocol: TCP}]"
KUBERNETES = "podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]"
CLUSTER = """\
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: p}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {}}
  ingress:
    - name: open
      action: Accept
      from: [{namespaces: {matchLabels: {team: a}}}, {pods: {podSelector: {}}}]
      protocols: [{tcp: {destinationPort: {number: 80}}}]
    - name: closed
      action: Deny
      from: [{namespaces: {}}]
"""
MANIFESTS = {
    "StagedNetworkPolicy": f"{STAGED}NetworkPolicy\n{NAMED}spec: {{order: 5, {RULES}}}\n",
    "StagedGlobalNetworkPolicy": (
        f"{STAGED}GlobalNetworkPolicy\nmetadata: {{name: p}}\nspec: {{{RULES}}}\n"
    ),
    "StagedKubernetesNetworkPolicy": (
        f"{STAGED}KubernetesNetworkPolicy\n{NAMED}spec: {{{KUBERNETES}}}\n"
    ),
    "ClusterNetworkPolicy": CLUSTER,
}
#: The table of each, PACKETS and BYTES a dash since no agent is here to count them.
TABLES = {
    "StagedNetworkPolicy": ("snp", "NAMESPACE NAME TIER ORDER SELECTOR", "shop p default 5"),
    "StagedGlobalNetworkPolicy": ("sgnp", "NAME TIER ORDER SELECTOR", "p default"),
    "StagedKubernetesNetworkPolicy": ("sknp", "NAMESPACE NAME PODSELECTOR", "shop p <all>"),
    "ClusterNetworkPolicy": ("cnp", "NAME TIER PRIORITY", "p Admin 10"),
}
PODS = """\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {containers: []}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop}
spec: {containers: []}
"""


@pytest.fixture(name="path")
def _path(korat, kind):
    return korat.file("a.yaml", MANIFESTS[kind])


@pytest.mark.parametrize("kind", MANIFESTS)
def test_each_kind_comes_is_shown_and_goes(korat, kind, path):
    done = f"1 '{kind}' resource(s)\n"
    assert korat("validate", "-f", path).code == 0
    assert korat("create", "-f", path).out == f"Successfully created {done}"
    assert korat("apply", "-f", path).out == f"Successfully applied {done}"
    word, titles, cells = TABLES[kind]
    table = f"{titles} PACKETS BYTES {cells} - -"
    assert korat("get", word, "-A", "-o", "wide").out.split() == table.split()
    for output in ("yaml", "json"):
        before = korat("get", word, "-A", "-o", output)
        assert korat("apply", "-f", "-", stdin=before.out).code == 0
        assert korat("get", word, "-A", "-o", output) == before
    assert korat("delete", "-f", path).out == f"Successfully deleted {done}"
    assert not any(each.startswith(kind) for each in korat.stored())


@pytest.mark.parametrize("kind", MANIFESTS)
def test_each_kind_is_patched(korat, kind, path):
    korat("apply", "-f", path)
    spec = {"priority": 20} if kind == "ClusterNetworkPolicy" else {"stagedAction": "Ignore"}
    word, namespace = (
        TABLES[kind][0],
        () if "Global" in kind or spec == {"priority": 20} else ("-n", "shop"),
    )
    result = korat("patch", word, "p", *namespace, "-p", json.dumps({"spec": spec}))
    assert result.code == 0, result.err
    found = json.loads(korat("get", word, "p", *namespace, "-o", "json").out)
    assert spec.items() <= found["spec"].items()


@pytest.mark.parametrize("kind", MANIFESTS)
def test_faults_are_told_by_their_place(korat, kind):
    wrong = MANIFESTS[kind].replace("spec:", "spek:")
    result = korat("validate", "-f", korat.file("a.yaml", wrong))
    assert result.code == 1
    assert "spek" in result.err


@pytest.mark.parametrize("kind", [kind for kind in MANIFESTS if kind.startswith("Staged")])
def test_staged_policies_are_seen_and_decide_nothing(korat, kind):
    path = korat.file("b.yaml", f"{PODS}---\n{MANIFESTS[kind]}")
    found = json.loads(korat("policy", "explain", "-f", path, "--pod", "shop/db", "-o", "json").out)
    (row,) = found["ingress"]
    assert (row["kind"], row["policy"], row["staged"]) == (kind, "p", True)
    assert row["place"] == f"{path}:11"


def test_a_cluster_policy_is_found_under_both_of_its_names(korat):
    path = korat.file("b.yaml", f"{PODS}---\n{CLUSTER}")
    words = ("policy", "explain", "-f", path, "-o", "json")
    found = json.loads(korat(*words, "--policy", "cnp/p").out)
    assert found["ingress"]["pods"] == ["shop/db", "shop/web"]
    assert found["egress"]["governed"] is False
    (row,) = json.loads(korat(*words, "--pod", "shop/db").out)["ingress"]
    assert (row["kind"], row["tier"], row["rules"]) == (
        "KubernetesClusterNetworkPolicy",
        "kube-admin",
        3,
    )
    assert row["place"] == f"{path}:11"


def test_a_staged_deletion_selects_nobody(korat):
    manifest = f"{STAGED}NetworkPolicy\n{NAMED}spec: {{stagedAction: Delete}}\n"
    path = korat.file("b.yaml", f"{PODS}---\n{manifest}")
    result = korat("policy", "explain", "-f", path, "--policy", "snp/shop/p")
    assert "it stages the deletion of the policy of this name" in result.err


@pytest.mark.parametrize(("port", "line"), [("80", 19), ("81", 23)])
def test_a_cluster_policys_rule_has_its_place_and_words(korat, port, line):
    path = korat.file("b.yaml", f"{PODS}---\n{CLUSTER}")
    words = ("--from", "shop/web", "--to", "shop/db", "--port", port, "-o", "json")
    found = json.loads(korat("policy", "explain", "-f", path, *words).out)["ingress"]
    assert (found["policy"], found["tier"]) == ("p", "kube-admin")
    assert found["place"] == f"{path}:{line}"
    assert found["trace"][0]["policies"][0]["rules"]


def test_a_rule_that_failed_closed_has_the_place_of_what_was_written(korat):
    rule = "  egress:\n    - {action: Pass, to: [{nodes: {}}]}\n"
    path = korat.file("b.yaml", f"{PODS}---\n{CLUSTER}{rule}")
    words = ("--from", "shop/web", "--to", "shop/db", "--port", "80", "-o", "json")
    found = json.loads(korat("policy", "explain", "-f", path, *words).out)["egress"]
    assert (found["action"], found["place"]) == ("deny", f"{path}:27")


def test_what_the_agent_counted_of_a_cluster_policy_is_shown(korat):
    """The agent counts it under Calico's name of the kind."""
    path = korat.file("a.yaml", CLUSTER)
    korat("apply", "-f", path)
    kind = "KubernetesClusterNetworkPolicy"
    tally = Tally("ingress", "kube-admin", kind, "", "p", "0", "Allow", False, 3, 180)
    server = TallyServer(korat.folder, lambda: [tally])
    try:
        assert korat("get", "cnp", "-o", "wide").out.split()[-2:] == ["3", "180"]
    finally:
        server.close()
