"""What is particular to the networking option vxlan, in a whole lab.

What all options must do is in ``test_networking_options``.
"""

import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from korat.drivers.kernel.namespace import path_of, run_in
from lab_traffic import agent_of, fragments, on_other_nodes, transfer, until
from lab_world import SHOP, Lab, inside, lab, pods

pytestmark = pytest.mark.lab

MODE = ("--mode", "vxlan")
#: What a change at one node may take until all others have followed it.
CONVERGED_S = 2.0
POOL = "default-ipv4-ippool"


@pytest.fixture(scope="module")
def shop() -> Iterator[Lab]:
    """Three nodes, on a fabric that carries 1400 bytes in one piece."""
    with lab("vx", [SHOP], more=(*MODE, "--largest-packet", 1400)) as made:
        yield made


def test_nothing_of_azures_is_needed(shop: Lab) -> None:
    status = shop.status()
    assert status["routeTable"] == {"name": "", "subnets": [], "routes": []}
    assert [node["ipForwarding"] for node in status["nodes"]] == [False] * 3
    assert [node["podCIDR"] for node in status["nodes"]] == [""] * 3
    for node in status["nodes"]:
        assert node["tunnel"]["mtu"] == 1350
        assert "fabric fragments packets above 1400" in node["tunnel"]["mtu_reason"]
        assert node["tunnel"]["fault"] == ""
        assert node["tunnel"]["problems"] == []
        assert node["blocks"]


def test_with_felixs_own_mtu_the_fabric_would_have_to_fragment() -> None:
    """What Calico detects, 1450, is what the tests of all options would find out."""
    environ = {"FELIX_VXLANMTU": "1450"}
    with lab("vxm", [SHOP], 2, environ, (*MODE, "--largest-packet", 1400)) as made:
        assert made.status()["nodes"][0]["tunnel"]["mtu_reason"] == "vxlanMTU is set"
        assert transfer(made, *on_other_nodes(made), 1 << 20) == 1 << 20
        assert fragments(made) > 0


def test_ten_nodes() -> None:
    rows = [("grid", f"pod-{n}", f"vm{n % 10 + 1}", {}) for n in range(20)]
    with lab("vxt", nodes=10, more=MODE) as made:
        made.apply(pods(*rows))
        results = made.probe()
    assert Counter(results.values()) == {"allowed": 20 * 19}


def leads_to(made: Lab, vm: str, address: str) -> bool:
    """Whether a node's tunnel sends anything to a VM."""
    return f"dst {address} " in inside(
        made.namespace(vm), "bridge", "fdb", "show", "dev", "vxlan.calico"
    )


@pytest.mark.timed
def test_a_node_that_goes_and_comes_is_followed_within_two_seconds(shop: Lab) -> None:
    address = next(n["address"] for n in shop.status()["nodes"] if n["name"] == "vm3")
    before = shop.pod("shop/web")["address"]
    others = ("vm1", "vm2")
    shop.run("delete", "node", "vm3")
    until(lambda: not any(leads_to(shop, vm, address) for vm in others), CONVERGED_S)
    # An agent says who it is when it starts: the lab starts it again.
    agent = agent_of(shop, "vm3")
    os.kill(agent, signal.SIGKILL)
    until(lambda: "vm3" in shop.run("get", "nodes").stdout, 20)
    until(lambda: all(leads_to(shop, vm, address) for vm in others), CONVERGED_S)
    assert set(shop.probe("--to", "shop/db").values()) == {"allowed"}
    assert shop.pod("shop/web")["address"] == before


@pytest.mark.timed
def test_nodes_that_are_added_and_removed_are_followed_within_two_seconds(shop: Lab) -> None:
    """As with user-defined routes, without a route: what a new node needs comes from the others."""
    others = ("vm1", "vm2", "vm3")
    shop.run("lab", "node", "add")
    address = next(n["address"] for n in shop.status()["nodes"] if n["name"] == "vm4")
    until(lambda: all(leads_to(shop, vm, address) for vm in others), CONVERGED_S)
    shop.apply(pods(("shop", "late", "vm4", {})))
    assert set(shop.probe("--to", "shop/late").values()) == {"allowed"}
    assert set(shop.probe("--from", "shop/late").values()) == {"allowed"}
    shop.run("lab", "node", "remove", "vm4")
    until(lambda: not any(leads_to(shop, vm, address) for vm in others), CONVERGED_S)
    assert shop.status()["routeTable"]["routes"] == []
    assert set(shop.probe().values()) == {"allowed"}


def test_a_pool_that_changes_its_encapsulation_loses_no_address(shop: Lab) -> None:
    before = {pod["name"]: pod["address"] for pod in shop.status()["pods"]}
    shop.run("patch", "ippool", POOL, "-p", '{"spec": {"vxlanMode": "Never"}}')
    until(lambda: all(node["tunnel"] is None for node in shop.status()["nodes"]), 10)
    for vm in ("vm1", "vm2", "vm3"):
        assert "vxlan.calico" not in inside(shop.namespace(vm), "ip", "-br", "link")
    assert "denied" in shop.probe("--to", "shop/db").values()
    shop.run("patch", "ippool", POOL, "-p", '{"spec": {"vxlanMode": "Always"}}')
    until(lambda: all(node["tunnel"] for node in shop.status()["nodes"]), 10)
    assert set(shop.probe().values()) == {"allowed"}
    assert {pod["name"]: pod["address"] for pod in shop.status()["pods"]} == before


def test_a_device_that_somebody_removes_comes_back(shop: Lab) -> None:
    inside(shop.namespace("vm1"), "ip", "link", "del", "vxlan.calico")
    until(lambda: "vxlan.calico" in inside(shop.namespace("vm1"), "ip", "-br", "link"), 5)
    assert set(shop.probe("--to", "shop/db").values()) == {"allowed"}


def test_checksums_were_tried_on_every_node(shop: Lab) -> None:
    def offloads() -> set[str]:
        return {node["tunnel"]["offload"] for node in shop.status()["nodes"]}

    until(lambda: offloads() == {"on"}, 30)


def test_what_leaves_the_tunnels_world_has_its_nodes_address(shop: Lab) -> None:
    """Nobody outside knows pods: neither the internet nor another VM would find the way back."""
    sender = shop.status()["pods"][0]
    other = next(n for n in shop.status()["nodes"] if n["name"] != sender["node"])
    own = next(n for n in shop.status()["nodes"] if n["name"] == sender["node"])
    server = run_in(str(path_of(other["netns"])), socket.socket)
    client = run_in(str(path_of(sender["netns"])), socket.socket)
    with server, client:
        server.bind((other["address"], 0))
        server.listen(1)
        server.settimeout(5)
        client.settimeout(5)
        client.connect(server.getsockname())
        connection, peer = server.accept()
        connection.close()
    assert peer[0] == own["address"]


def test_a_node_reaches_pods_of_other_nodes_with_any_of_its_addresses(shop: Lab) -> None:
    pod = shop.pod("shop/db")
    node = next(n for n in shop.status()["nodes"] if n["name"] != pod["node"])
    for source in (node["address"], node["tunnel"]["address"]):
        sock = run_in(str(path_of(node["netns"])), socket.socket)
        with sock:
            sock.settimeout(5)
            sock.bind((source, 0))
            sock.connect((pod["address"], 5432))
