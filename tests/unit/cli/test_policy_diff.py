"""policy diff: what it says, to people and to scripts, over the store and over files."""

import io
import json

import pytest
from rich.console import Console

from cli_driver import policy
from korat.cli.manifest import read
from korat.cli.policy_diff import Wanted, difference
from korat.cli.policy_diff_screen import drawn
from korat.core.model.kubernetes.workload import endpoint_of, interface_name

POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: shop, labels: {app: %s}}
spec: {containers: [{name: c, ports: [{name: pg, containerPort: 5432}]}]}
"""
NAMES = ("web", "cart", "db")
PODS = "---".join(POD % (name, name) for name in NAMES)
SPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
WORLD = f"{SPACE}---{PODS}"
ONLY_CART = policy(
    "only-cart",
    "\n  selector: app == 'db'\n  ingress:\n    - action: Allow\n      protocol: TCP\n"
    "      source: {selector: app == 'cart'}\n      destination: {ports: [pg]}",
)
OTHER_TEAM = (
    "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: ops}\nspec: {containers: []}\n"
)


@pytest.fixture(name="shop")
def _shop(korat):
    """Three running pods in the store, no policy."""
    assert korat("apply", "-f", korat.file("world.yaml", WORLD)).code == 0
    client = korat.client()
    for i, pod in enumerate(client.read(["Pod"]).of("Pod")):
        name = pod.metadata.name
        at = [f"10.0.0.{i + 1}/32"]
        client.create(endpoint_of(pod, f"vm{i}", "c", at, interface_name("shop", name), ""))
    client.store.close()
    return korat


def diff(korat, *words):
    return korat("policy", "diff", *words)


def told(result):
    """Each row in short."""
    assert (result.code, result.err) == (3, "")
    return {
        (r["direction"], r["endpoint"], r["peer"], r["protocol"], r["ports"], r["after"])
        for r in json.loads(result.out)
    }


EXPECTED = {
    ("ingress", "shop/db", "shop/web", "any", "any", "deny"),
    ("ingress", "shop/db", "anyone else", "any", "any", "deny"),
    ("ingress", "shop/db", "shop/cart", "any but TCP", "any", "deny"),
    ("ingress", "shop/db", "shop/cart", "TCP", "0-5431, 5433-65535", "deny"),
}


def test_against_the_store(shop):
    path = shop.file("p.yaml", ONLY_CART)
    stored = shop.stored()
    result = diff(shop, "-f", path, "-o", "json")
    assert told(result) == EXPECTED
    row = json.loads(result.out)[0]
    assert (row["before"], row["beforeRule"]) == ("allow", "ingress Profile kns.shop rule 0")
    assert (row["afterRule"], row["afterPlace"]) == ("ingress default tier default", None)
    assert shop.stored() == stored


def test_against_files_and_without_a_store(korat):
    base, path = korat.file("base.yaml", WORLD), korat.file("p.yaml", ONLY_CART)
    assert told(diff(korat, "--base", base, "-f", path, "-o", "json")) == EXPECTED
    assert not korat.path.exists()


def test_what_is_there_already_changes_nothing(shop):
    path = shop.file("p.yaml", ONLY_CART)
    shop("apply", "-f", path)
    result = diff(shop, "-f", path)
    assert (result.code, result.out, result.err) == (0, "no verdict changes: 3 pods compared\n", "")
    assert diff(shop, "-f", path, "-o", "json").out == "[]\n"


def test_deletion_is_the_way_back(shop):
    path = shop.file("p.yaml", ONLY_CART)
    missing = diff(shop, "-f", path, "--delete")
    assert (missing.code, missing.err) == (
        1,
        "resource does not exist: NetworkPolicy(shop/only-cart)\n",
    )
    shop("apply", "-f", path)
    back = {(*row[:-1], "allow") for row in EXPECTED}
    assert told(diff(shop, "-f", path, "--delete", "-o", "json")) == back
    assert "NetworkPolicy shop/only-cart" in shop.stored()


def test_a_pod_that_gets_another_label(shop):
    shop("apply", "-f", shop.file("p.yaml", ONLY_CART))
    moved = shop.file("web.yaml", POD % ("web", "cart"))
    assert told(diff(shop, "-f", moved, "-o", "json")) == {
        ("ingress", "shop/db", "shop/web", "TCP", "5432", "allow")
    }


def test_pods_that_do_not_run_are_not_compared_and_said(shop):
    path = shop.file("p.yaml", f"{ONLY_CART}---\n{OTHER_TEAM}")
    result = diff(shop, "-f", path, "-o", "json")
    assert result.code == 3
    assert "not compared, for they do not run both before and after: ops/x" in result.err
    assert "ops/x" not in result.out
    gone = diff(shop, "--delete", "-f", shop.file("web.yaml", POD % ("web", "web")))
    assert gone.code == 0
    assert gone.out == "no verdict changes: 2 pods compared\n"
    assert gone.err.endswith("after: shop/web\n")


STAGED = ONLY_CART.replace("kind: NetworkPolicy", "kind: StagedNetworkPolicy")
STAGED_KUBERNETES = """
apiVersion: projectcalico.org/v3
kind: StagedKubernetesNetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
    - from: [{podSelector: {matchLabels: {app: cart}}}]
      ports: [{port: 5432}]
"""


def staged(action, kind="StagedNetworkPolicy", name="only-cart"):
    space = "" if "Global" in kind else ", namespace: shop"
    return (
        f"apiVersion: projectcalico.org/v3\nkind: {kind}\n"
        f"metadata: {{name: {name}{space}}}\nspec: {{stagedAction: {action}}}\n"
    )


@pytest.mark.parametrize("text", [STAGED, STAGED_KUBERNETES], ids=["calico", "kubernetes"])
def test_a_staged_policy_is_taken_as_enforced(shop, text):
    path = shop.file("s.yaml", text)
    result = diff(shop, "-f", path, "-o", "json")
    assert told(result) == EXPECTED
    assert shop("apply", "-f", path).code == 0
    assert told(diff(shop, "-f", path, "-o", "json")) == EXPECTED
    assert told(diff(shop, "--staged", "-o", "json")) == EXPECTED
    assert diff(shop, "-f", path, "--delete").code == 0


def test_a_staged_policys_rule_has_its_line(korat):
    base = korat.file("base.yaml", WORLD + "---\n" + ONLY_CART.replace("'cart'", "'web'"))
    for text, line in ((STAGED, "    - action: Allow"), (STAGED_KUBERNETES, "    - from: [{podS")):
        path = korat.file("s.yaml", text)
        rows = json.loads(diff(korat, "--base", base, "-f", path, "-o", "json").out)
        places = {row["afterPlace"] for row in rows if row["after"] == "allow"}
        number = [each.startswith(line) for each in text.splitlines()].index(True) + 1
        assert places == {f"{path}:{number}"}


def test_a_staged_policy_replaces_the_enforced_one_of_its_name(shop):
    shop("apply", "-f", shop.file("p.yaml", ONLY_CART))
    other = shop.file("s.yaml", STAGED.replace("'cart'", "'web'"))
    expected = {
        ("ingress", "shop/db", "shop/cart", "TCP", "5432", "deny"),
        ("ingress", "shop/db", "shop/web", "TCP", "5432", "allow"),
    }
    assert told(diff(shop, "-f", other, "-o", "json")) == expected
    shop("apply", "-f", other)
    assert told(diff(shop, "--staged", "-o", "json")) == expected
    assert diff(shop, "-f", shop.file("p.yaml", ONLY_CART)).code == 0


@pytest.mark.parametrize(
    ("text", "action"),
    [
        (ONLY_CART, staged("Delete")),
        (
            (
                "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: g}\n"
                "spec: {selector: app == 'db', ingress: [{action: Allow, protocol: TCP, source: "
                "{selector: app == 'cart'}, destination: {ports: [pg]}}]}\n"
            ),
            staged("Delete", "StagedGlobalNetworkPolicy", "g"),
        ),
        (
            STAGED_KUBERNETES.replace("projectcalico.org/v3", "networking.k8s.io/v1")
            .replace("Staged", "")
            .replace("KubernetesNet", "Net"),
            staged("Delete", "StagedKubernetesNetworkPolicy", "db"),
        ),
    ],
    ids=["network policy", "global", "kubernetes"],
)
def test_a_staged_deletion_takes_the_enforced_policy_away(shop, text, action):
    assert shop("apply", "-f", shop.file("p.yaml", text)).code == 0
    back = {(*row[:-1], "allow") for row in EXPECTED}
    assert told(diff(shop, "-f", shop.file("s.yaml", action), "-o", "json")) == back


def test_what_staged_policies_do_not_change_is_said(shop):
    nothing = diff(shop, "-f", shop.file("s.yaml", staged("Delete")))
    assert (nothing.code, nothing.err) == (
        0,
        (
            "StagedNetworkPolicy shop/only-cart deletes nothing: "
            "there is no NetworkPolicy shop/only-cart\n"
        ),
    )
    for action in ("Learn", "Ignore"):
        text = STAGED.replace("spec:", f"spec:\n  stagedAction: {action}")
        ignored = diff(shop, "-f", shop.file("s.yaml", text))
        assert (ignored.code, ignored.err) == (
            0,
            f"StagedNetworkPolicy shop/only-cart is left out: its stagedAction is {action}\n",
        )


def test_what_is_staged_in_the_store_changes_nothing_unless_wanted(shop):
    shop("apply", "-f", shop.file("s.yaml", STAGED))
    other = shop.file("web.yaml", POD % ("web", "web"))
    assert diff(shop, "-f", other).code == 0
    assert told(diff(shop, "-f", other, "--staged", "-o", "json")) == EXPECTED
    assert diff(shop, "--delete").code == 2
    assert diff(shop, "--delete", "--staged").code == 2


def crowd(count):
    """Pods in three namespaces, each of one of five apps."""
    spaces, apps = ("shop", "bank", "ops"), ("web", "cart", "db", "cache", "api")
    text = [f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {n}}}\n" for n in spaces]
    for i in range(count):
        pod = POD % (f"{apps[i % 5]}-{i}", apps[i % 5])
        text.append(pod.replace("namespace: shop", f"namespace: {spaces[i // 5 % 3]}"))
    return "---\n".join(text)


@pytest.mark.parametrize(("count", "most"), [(5, 9), (300, 10)])
def test_the_screen_of_many_pods_is_one_that_a_person_reads(korat, monkeypatch, count, most):
    """Alike pods are one group and namespaces stand for their pods, so it does not grow."""
    monkeypatch.chdir(korat.folder)
    korat.file("base.yaml", crowd(count))
    korat.file("p.yaml", ONLY_CART)
    found = difference(Wanted(read(["p.yaml"]), read(["base.yaml"]), offline=True))
    paper = io.StringIO()
    Console(file=paper, width=80).print(drawn(found))
    lines = paper.getvalue().splitlines()
    assert lines[0].startswith("other verdicts for ")
    assert lines[0].endswith(f" of {count} pods")
    assert len(lines) <= most, paper.getvalue()
    assert max(map(len, lines)) <= 80


def test_the_screen(korat, monkeypatch):
    monkeypatch.chdir(korat.folder)
    korat.file("base.yaml", WORLD)
    korat.file("p.yaml", ONLY_CART)
    assert (
        diff(korat, "--base", "base.yaml", "-f", "p.yaml").out
        == """\
other verdicts for 1 of 3 pods

entering shop/db
├── ✘ now denied  everything but TCP 5432  from shop/cart
│   ├── before  Profile kns.shop rule 0: Allow  base.yaml:1
│   └── after   no rule of tier default matches, which denies
└── ✘ now denied  everything  from shop/web, anyone else
    ├── before  Profile kns.shop rule 0: Allow  base.yaml:1
    └── after   no rule of tier default matches, which denies
"""
    )
    assert (
        diff(korat, "--base", "base.yaml", "--base", "p.yaml", "-f", "p.yaml", "--delete").code == 3
    )
    wider = ONLY_CART.replace("app == 'cart'", "app != 'db'")
    korat.file("q.yaml", wider)
    assert (
        diff(korat, "--base", "base.yaml", "--base", "p.yaml", "-f", "q.yaml").out
        == """\
other verdicts for 1 of 3 pods

entering shop/db
└── ✔ now allowed  TCP 5432  from shop/web
    ├── before  no rule of tier default matches, which denies
    └── after   NetworkPolicy shop/only-cart rule 0: Allow TCP from app != 'db' to port pg  q.yaml:7
"""
    )


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_screen_holds_on_any_width(korat, width):
    base, path = korat.file("base.yaml", WORLD), korat.file("p.yaml", ONLY_CART)
    found = difference(Wanted(read([path]), read([base]), offline=True))
    paper = io.StringIO()
    Console(file=paper, width=width).print(drawn(found))
    assert max(map(len, paper.getvalue().splitlines())) <= width
    assert "…" not in paper.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            policy("p", "{tier: nope}"),
            "NetworkPolicy shop/p: spec.tier 'nope': there is no such tier",
        ),
        (policy("p", "{ordr: 1}"), "failed to execute command: "),
        ("# nothing", "failed to execute command: No resources specified"),
    ],
)
def test_one_sentence(shop, text, expected):
    result = diff(shop, "-f", shop.file("p.yaml", text))
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(expected)
    assert result.err.count("\n") == 1


def test_wrong_usage(korat):
    result = diff(korat)
    assert (result.code, result.out) == (2, "")
    assert "give -f FILE or --staged" in result.err


def test_ports_that_cannot_be_compared_are_one_sentence(korat):
    lists = [f"{{ports: {list(range(at, at + 100, 2))}}}" for at in range(1, 1000, 100)]
    rules = [f"{{action: Allow, protocol: TCP, source: {p}, destination: {p}}}" for p in lists]
    spec = f"{{ingress: [{', '.join(rules)}]}}"
    base, path = korat.file("base.yaml", WORLD), korat.file("p.yaml", policy("p", spec))
    result = diff(korat, "--base", base, "-f", path)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("the policies cannot be compared: more than ")
    assert result.err.count("\n") == 1
