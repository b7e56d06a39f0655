"""The examples do what their comments and the README say: everybody before, few after."""

from pathlib import Path

import pytest

from korat.core.model.kubernetes.workload import endpoint_of
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import verdict
from korat.core.policy.match import Packet
from korat.core.policy.outcome import Action

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PORTS = {"http": 8080, "postgres": 5432, "redis": 6379, "metrics": 9100}


@pytest.fixture
def korat(korat):
    """The program with the shop in its store, every pod with an address."""
    done = korat("apply", "-f", str(EXAMPLES / "shop.yaml"))
    assert (done.code, done.err) == (0, "")
    client = korat.client()
    for i, pod in enumerate(client.read(["Pod"]).of("Pod")):
        client.create(endpoint_of(pod, "vm1", "c", [f"10.0.0.{i + 1}/32"], f"cali{i}", ""))
    client.store.close()
    return korat


def allowed(korat):
    """Every (from, to, port) that policy lets through."""
    client = korat.client()
    cluster = Cluster.build(client.read().by_key.values())
    client.store.close()
    addresses = {
        f"{e.key.namespace}/{e.key.name.removeprefix('vm1-k8s-').removesuffix('-eth0')}": address
        for e in cluster.endpoints
        for address in e.addresses
    }
    return {
        (source.replace("--", "-"), target.replace("--", "-"), port)
        for source, src in addresses.items()
        for target, dst in addresses.items()
        for port, number in PORTS.items()
        if verdict(cluster, Packet(src, dst, 6, 40000, number)).action is Action.ALLOW
    }


def test_nine_pods_that_all_may_talk(korat):
    assert len(allowed(korat)) == 9 * 9 * len(PORTS)


@pytest.mark.parametrize(
    ("source", "target", "port", "expected"),
    [
        ("shop/cart", "shop/db", "postgres", True),
        ("shop/web", "shop/db", "postgres", False),
        ("shop/cart", "shop/db", "redis", False),
        ("shop/payment", "shop/cache", "redis", True),
        ("monitoring/grafana", "shop/cache", "redis", False),
        ("monitoring/prometheus", "shop/db", "metrics", True),
        ("monitoring/grafana", "shop/db", "metrics", False),
        ("shop/web-2", "shop/cart", "http", True),
        ("shop/web", "shop/cart", "metrics", False),
        ("shop/db", "shop/web", "http", True),
    ],
)
def test_two_policies_make_a_difference(korat, source, target, port, expected):
    assert korat("apply", "-f", str(EXAMPLES / "policies.yaml")).code == 0
    assert ((source, target, port) in allowed(korat)) is expected


def test_the_policies_go_again(korat):
    before = allowed(korat)
    korat("apply", "-f", str(EXAMPLES / "policies.yaml"))
    assert 0 < len(allowed(korat)) < len(before)
    assert korat("delete", "-f", str(EXAMPLES / "policies.yaml")).code == 0
    assert allowed(korat) == before


@pytest.mark.parametrize(
    ("source", "target", "port", "expected"),
    [
        ("monitoring/grafana", "shop/db", "postgres", False),
        ("monitoring/grafana", "shop/db", "metrics", True),
        ("shop/cart", "shop/db", "postgres", True),
        ("shop/cart", "monitoring/grafana", "http", False),
        ("monitoring/prometheus", "monitoring/grafana", "http", True),
        ("shop/cart", "shop/web", "metrics", True),
    ],
)
def test_guardrails_of_an_administrator(korat, source, target, port, expected):
    assert korat("apply", "-f", str(EXAMPLES / "guardrails.yaml")).code == 0
    assert ((source, target, port) in allowed(korat)) is expected


def test_what_a_team_allows_is_behind_the_admin_tier_and_before_the_baseline(korat):
    korat("apply", "-f", str(EXAMPLES / "guardrails.yaml"))
    opened = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
    opened += "metadata: {name: open, namespace: %s}\nspec: {podSelector: {}, ingress: [{}]}\n"
    both = "---\n".join(opened % namespace for namespace in ("shop", "monitoring"))
    korat("apply", "-f", korat.file("open.yaml", both))
    found = allowed(korat)
    assert ("shop/cart", "monitoring/grafana", "http") in found
    assert ("monitoring/grafana", "shop/db", "postgres") not in found


def test_the_guardrails_staged_policy_is_as_its_comment_says_when_it_is_in_force(korat):
    text = (EXAMPLES / "guardrails.yaml").read_text("utf-8").split("---")[2]
    real = text.replace("kind: Staged", "kind: ").replace("  stagedAction: Set\n", "")
    before = allowed(korat)
    assert korat("apply", "-f", korat.file("real.yaml", real)).code == 0
    gone = before - allowed(korat)
    assert {target for _, target, _ in gone} == {"shop/web", "shop/web-2"}
    assert korat("delete", "-f", korat.file("real.yaml", real)).code == 0
    assert korat("apply", "-f", korat.file("staged.yaml", text)).code == 0
    assert allowed(korat) == before
