"""The lab's main job: the shop comes up, policies decide, explain and probe agree."""

import itertools
import json
from collections.abc import Iterator

import pytest

from korat.cli.question import ask
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import verdict
from korat.drivers.store.client import Client
from korat.drivers.store.open import open_store
from lab_world import POLICIES, SHOP, Lab, lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def shop() -> Iterator[Lab]:
    with lab("shop", [SHOP]) as made:
        yield made


def test_nine_pods_on_three_nodes_are_up_in_time(shop: Lab) -> None:
    status = shop.status()
    assert (len(status["nodes"]), len(status["pods"])) == (3, 9)
    assert {pod["phase"] for pod in status["pods"]} == {"Running"}
    assert {pod["node"] for pod in status["pods"]} == {"vm1", "vm2", "vm3"}


def test_the_route_table_has_one_route_per_node(shop: Lab) -> None:
    status = shop.status()
    routes = {r["addressPrefix"]: r["nextHop"] for r in status["routeTable"]["routes"]}
    assert routes == {node["podCIDR"]: node["address"] for node in status["nodes"]}
    assert status["routeTable"]["subnets"] == ["nodes"]
    assert all(node["ipForwarding"] for node in status["nodes"])


def test_without_policies_everybody_talks_to_everybody(shop: Lab) -> None:
    results = shop.probe()
    names = {pod["name"] for pod in shop.status()["pods"]}
    assert {(s, r) for s, r, _, _ in results} == set(itertools.permutations(names, 2))
    assert set(results.values()) == {"allowed"}


def test_explain_agrees_with_what_probe_saw_for_every_pair(shop: Lab) -> None:
    """Each probe is a real connection; explain only reads the store."""
    shop.run("apply", "-f", POLICIES)
    try:
        results = shop.probe()
        environ = json.loads(shop.run("lab", "env", "-o", "json").stdout)
        objects = Client(open_store(environ)).read()
        cluster = Cluster.build(objects.by_key.values())
        for (sender, receiver, protocol, port), seen in results.items():
            asked = ask(objects, cluster, sender, receiver, protocol, str(port))
            said = verdict(cluster, asked.packet).action.value
            assert (said == "allow") == (seen == "allowed"), (sender, receiver, protocol, port)
        assert {"allowed", "denied"} == set(results.values())
    finally:
        shop.run("delete", "-f", POLICIES)
    assert set(shop.probe().values()) == {"allowed"}


def test_explain_prints_one_object(shop: Lab) -> None:
    shop.run("apply", "-f", POLICIES)
    try:
        words = ("--from", "shop/web", "--to", "shop/db", "--protocol", "TCP", "--port", 5432)
        said = shop.json("policy", "explain", *words)
        assert said["verdict"] == "deny"
        assert said["egress"]["action"] == "allow"
        ingress = said["ingress"]
        assert (ingress["action"], ingress["tier"]) == ("deny", "default")
        assert not shop.talks("shop/web", "shop/db", 5432)
    finally:
        shop.run("delete", "-f", POLICIES)


def test_get_prints_calicos_lists(shop: Lab) -> None:
    endpoints = shop.json("get", "workloadendpoint", "-A")
    assert endpoints["kind"] == "WorkloadEndpointList"
    assert endpoints["apiVersion"] == "projectcalico.org/v3"
    assert len(endpoints["items"]) == 9
    assert shop.json("get", "networkpolicy", "-A")["kind"] == "NetworkPolicyList"


def test_exec_runs_in_the_pods_network(shop: Lab) -> None:
    db = shop.pod("shop/db")
    done = shop.run("lab", "exec", "shop/web", "--", "ip", "-json", "route", "get", db["address"])
    assert json.loads(done.stdout)[0]["gateway"] == "169.254.1.1"
    assert shop.run("lab", "exec", "shop/nobody", "--", "true", check=False).returncode == 1
    assert shop.run("lab", "exec", "shop/web", "--", "false", check=False).returncode == 1


def test_a_lab_that_is_up_is_not_started_twice(shop: Lab) -> None:
    done = shop.run("lab", "up", check=False)
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0
    assert "is up already" in done.stderr
    assert set(shop.probe("--to", "shop/db").values()) == {"allowed"}
