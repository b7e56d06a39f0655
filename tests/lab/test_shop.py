"""The lab's main job: the shop comes up, policies decide, explain and probe agree."""

import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from korat.drivers.kernel.namespace import run_in
from korat.lab.state import LabPaths
from lab_world import POLICIES, SHOP, Lab, explained, inside, lab

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
        assert explained(shop, results) == results
        assert Counter(results.values()) == {"allowed": 76, "denied": 52}
    finally:
        shop.run("delete", "-f", POLICIES)
    assert set(shop.probe().values()) == {"allowed"}


HOSTS = """
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: vm2-eth0, labels: {role: node}}
spec: {node: vm2, interfaceName: eth0, expectedIPs: [10.10.0.5]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: to-the-node}
spec:
  selector: role == 'node'
  types: [Ingress]
  ingress:
    - {action: Allow, protocol: TCP, destination: {ports: [8088]}}
"""


def test_explain_agrees_with_what_nodes_and_pods_see_of_a_node(shop: Lab) -> None:
    """A failsafe port, an allowed one and another, from nodes, its own pods and pods elsewhere."""
    nodes = ("vm1", "vm2")
    pods = [next(p["name"] for p in shop.status()["pods"] if p["node"] == node) for node in nodes]
    asked = [(who, port) for who in ("vm1", *pods) for port in (22, 8088, 9999)]
    shop.apply(HOSTS)
    try:
        shop.probe()  # returns when every node enforces what is in the store
        seen = {each: arrives(shop, each[0], "10.10.0.5", each[1]) for each in asked}
        words = ("policy", "explain", "--to", "vm2")
        told = {
            (who, port): shop.json(*words, "--from", who, "--port", port)["verdict"] == "allow"
            for who, port in asked
        }
    finally:
        shop.delete(HOSTS)
    assert told == seen
    assert {each for each in asked if not seen[each]} == {("vm1", 9999), (pods[0], 9999)}


def arrives(shop: Lab, who: str, address: str, port: int) -> bool:
    """Whether a node's or a pod's connection is answered, be it that nobody listens."""
    if "/" in who:
        return shop.run("lab", "exec", who, "--", *CONNECT, address, port).stdout.strip() == "yes"
    return inside(shop.namespace(who), *CONNECT, address, str(port)).strip() == "yes"


CONNECT = (
    sys.executable,
    "-c",
    """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1.5).close()
except ConnectionRefusedError:
    pass
except TimeoutError:
    sys.exit(print("no"))
print("yes")
""",
)


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


def counted(shop: Lab, kind: str, name: str, *words: str) -> int:
    """An object's PACKETS."""
    lines = shop.run("get", kind, *words, "-o", "wide").stdout.splitlines()
    titles = lines[0].split()
    [row] = [line.split() for line in lines if line.startswith(f"{name} ")]
    assert titles[-2:] == ["PACKETS", "BYTES"]
    return int(row[-2])


def test_policies_count_connections_and_denials_are_logged_with_their_policy(shop: Lab) -> None:
    """Of a connection that policy allows, its first packet is counted: one probe, one packet."""
    shop.run("apply", "-f", POLICIES)
    database = ("networkpolicy", "knp.default.db-for-the-backend", "-n", "shop")
    metrics = ("globalnetworkpolicy", "metrics-for-monitoring")
    try:
        before = counted(shop, *database), counted(shop, *metrics), counted(shop, "tier", "default")
        for sender in ("shop/cart", "shop/catalog"):
            assert shop.talks(sender, "shop/db", 5432)
        assert counted(shop, *database) == before[0] + 2
        assert not shop.talks("shop/web", "shop/db", 5432)
        assert counted(shop, *database) == before[0] + 2
        assert counted(shop, "tier", "default") > before[2]
        assert not shop.talks("shop/web", "shop/cart", 9100)
        assert counted(shop, *metrics) > before[1]
        by_default = denied(shop, "shop/web", "shop/db", 5432)
        assert (by_default["tier"], by_default["rule"]) == ("default", "default")
        by_rule = denied(shop, "shop/web", "shop/cart", 9100)
        found = {name: by_rule[name] for name in ("tier", "kind", "name", "rule", "direction")}
        assert found == {
            "tier": "platform",
            "kind": "GlobalNetworkPolicy",
            "name": "metrics-for-monitoring",
            "rule": "1",
            "direction": "ingress",
        }
        assert by_rule["endpoint"].startswith("shop/")
    finally:
        shop.run("delete", "-f", POLICIES)


def denied(shop: Lab, sender: str, receiver: str, port: int) -> dict[str, Any]:
    """The last line of the deny log for this connection, from the receiver's node."""
    receiving = shop.pod(receiver)
    path = LabPaths(shop.name).log / f"{receiving['node']}.log"
    wanted = {
        "event": "denied",
        "src": shop.pod(sender)["address"],
        "dst": receiving["address"],
        "dst_port": port,
    }
    for _ in range(100):
        found = [json.loads(line) for line in path.read_text().splitlines() if "denied" in line]
        matching = [each for each in found if wanted.items() <= each.items()]
        if matching:
            return matching[-1]
        time.sleep(0.1)  # the kernel gathers packets for 100 ms before it tells of them
    raise AssertionError(f"no line with {wanted}")


def test_metrics_are_served_on_the_nodes_loopback_when_asked_for(shop: Lab) -> None:
    shop.apply(FELIX)
    try:
        page = scraped(shop, "vm1")
        assert 'felix_host{host="vm1"} 1.0' in page
        assert 'korat_policy_rule_packets_total{action="Allow"' in page
    finally:
        shop.delete(FELIX)


FELIX = """
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {prometheusMetricsEnabled: true, prometheusMetricsPort: 19091}
"""


def scraped(shop: Lab, vm: str) -> str:
    """The node's metrics page, read in its namespace."""

    def read() -> str:
        for _ in range(100):
            try:
                with urlopen("http://127.0.0.1:19091/metrics", timeout=5) as answer:
                    return str(answer.read(), "utf-8")
            except URLError:
                time.sleep(0.1)  # the observer looks at settings twice a second
        raise AssertionError("nobody serves metrics")

    return run_in(shop.namespace(vm), read)


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
