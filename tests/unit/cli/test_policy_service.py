"""Rules with services in policy explain, test and diff: from files, and over a store."""

import json

import pytest
from msgspec.structs import replace

from korat.core.model.kubernetes.endpointslice import wanted_slices
from korat.core.model.kubernetes.workload import endpoint_of, interface_name
from korat.core.model.pod import PodStatus

POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: shop, labels: {app: %s}}
spec: {containers: [{name: c, ports: [{name: pg, containerPort: 5432}]}]}
"""
PODS = "---".join(POD % (name, name) for name in ("web", "cart", "db"))
SPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: store, namespace: shop}
spec: {selector: {app: db}, ports: [{port: 80, targetPort: pg}]}
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: store-1, namespace: shop, labels: {kubernetes.io/service-name: store}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.5]}]
ports: [{port: 9}]
"""
POLICY = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: to-store, namespace: shop}
spec:
  selector: app == 'web'
  egress:
    - action: Allow
      destination: {services: {name: store}}
"""
WORLD = f"{SPACE}---{PODS}---{SERVICE}"


def explained(korat, text, target, port):
    """Whether web may, and why the rule did not match."""
    path = korat.file("a.yaml", text)
    words = ("--from", "shop/web", "--to", target, "--port", port, "-o", "json")
    result = korat("policy", "explain", "-f", path, *words)
    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out)["egress"]
    return found["action"], found["trace"][0]["policies"][0]["rules"][0]["why"]


@pytest.mark.parametrize(
    ("slices", "target", "port", "expected"),
    [
        ("", "shop/db", "pg", ("allow", None)),
        ("", "shop/db", "80", ("deny", "the destination port is none of service shop/store")),
        ("", "shop/cart", "pg", ("deny", "the destination is no endpoint of service shop/store")),
        (SLICE, "shop/db", "pg", ("deny", "the destination is no endpoint of service shop/store")),
        (SLICE, "192.0.2.5", "9", ("allow", None)),
    ],
)
def test_explain_from_files(korat, slices, target, port, expected):
    """Slices that are written count; where there are none, they are those of the files' pods."""
    found = explained(korat, "---".join(filter(None, (WORLD, POLICY, slices))), target, port)
    assert found == expected


def test_explain_says_the_service_in_words(korat):
    path = korat.file("a.yaml", f"{WORLD}---{POLICY}")
    words = ("--from", "shop/web", "--to", "shop/db", "--port", "pg")
    assert "Allow to service store" in korat("policy", "explain", "-f", path, *words).out


def test_policy_test_from_files(korat):
    path = korat.file("a.yaml", f"{WORLD}---{POLICY}")
    cases = korat.file(
        "cases.yaml",
        "- {from: shop/web, to: shop/db, port: pg, expect: allow}\n"
        "- {from: shop/web, to: shop/cart, port: pg, expect: deny}\n",
    )
    result = korat("policy", "test", cases, "-f", path)
    assert (result.code, result.err) == (0, "")


@pytest.fixture(name="shop")
def _shop(korat):
    """Three running pods, a service and its slice, as a lab keeps them."""
    assert korat("apply", "-f", korat.file("w.yaml", f"{WORLD}---{POLICY}")).code == 0
    client = korat.client()
    for i, pod in enumerate(client.read(["Pod"]).of("Pod")):
        ip = f"10.0.0.{i + 1}"
        name = pod.metadata.name
        device = interface_name("shop", name)
        client.create(endpoint_of(pod, f"vm{i}", "c", [f"{ip}/32"], device, ""))
        client.update(replace(pod, status=PodStatus(phase="Running", pod_ip=ip)))
    for each in wanted_slices(client.read().by_key.values()).values():
        client.create(each)
    client.store.close()
    return korat


def diff(korat, *words):
    result = korat("policy", "diff", *words, "-o", "json")
    assert result.err == ""
    rows = json.loads(result.out)
    return {(r["endpoint"], r["peer"], r["protocol"], r["ports"], r["after"]) for r in rows}


def test_diff_follows_what_a_service_would_become(shop):
    same = shop.file("same.yaml", SERVICE)
    assert diff(shop, "-f", same) == set()
    other = shop.file("other.yaml", SERVICE.replace("app: db", "app: cart"))
    assert diff(shop, "-f", other) == {
        ("shop/web", "shop/db", "TCP", "5432", "deny"),
        ("shop/web", "shop/cart", "TCP", "5432", "allow"),
    }
    assert diff(shop, "-f", same, "--delete") == {
        ("shop/web", "shop/db", "TCP", "5432", "deny"),
    }
    relabelled = shop.file("pod.yaml", (POD % ("cart", "cart")).replace("app: cart", "app: db"))
    assert diff(shop, "-f", relabelled) == {("shop/web", "shop/cart", "TCP", "5432", "allow")}


def test_diff_of_files_alone(korat):
    base = korat.file("base.yaml", f"{WORLD}---{POLICY}")
    other = korat.file("other.yaml", SERVICE.replace("targetPort: pg", "targetPort: 81"))
    words = ("-f", other, "--base", base)
    assert diff(korat, *words) == {
        ("shop/web", "shop/db", "TCP", "5432", "deny"),
        ("shop/web", "shop/db", "TCP", "81", "allow"),
    }
