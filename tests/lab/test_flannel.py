"""What is particular to flannel, in a whole lab: its leases in a real etcd, beside other flannels.

What all networking options must do is in ``test_networking_options``.
"""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from korat.drivers.kernel.namespace import run_in, socket_in
from lab_traffic import agent_of, until
from lab_world import SHOP, Lab, exchange, inside, lab

pytestmark = pytest.mark.lab

SUBNETS = "/coreos.com/network/subnets/"


@pytest.fixture(scope="module")
def shop() -> Iterator[Lab]:
    """Two nodes by korat, one with a flanneld."""
    with lab("fl", [SHOP], more=("--mode", "flannel", "--beside", "mixed")) as made:
        yield made


def etcdctl(made: Lab, *words: str) -> str:
    """What etcdctl says in the namespace of etcd's machine."""

    def run() -> str:
        done = subprocess.run(
            ["/usr/bin/etcdctl", "--endpoints=http://10.10.0.254:2379", *words],
            env={**os.environ, "ETCDCTL_API": "3"},
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        )
        return done.stdout

    return run_in(made.namespace("etcd"), run)


def leases(made: Lab) -> dict[str, str]:
    """Each node's subnet, by its address."""
    lines = etcdctl(made, "get", "--prefix", SUBNETS).splitlines()
    return {
        json.loads(value)["PublicIP"]: name.removeprefix(SUBNETS).replace("-", "/")
        for name, value in zip(lines[::2], lines[1::2], strict=True)
    }


def all_allowed(made: Lab) -> bool:
    return set(made.probe().values()) == {"allowed"}


def test_every_node_has_a_lease_and_pods_in_its_subnet(shop: Lab) -> None:
    held = leases(shop)
    for node in shop.status()["nodes"]:
        assert node["blocks"] == [held[node["address"]]]
        prefix = held[node["address"]].rpartition(".")[0]
        own = [pod["address"] for pod in shop.status()["pods"] if pod["node"] == node["name"]]
        assert own
        assert all(address.startswith(f"{prefix}.") for address in own)


def test_a_lease_that_somebody_deletes_is_taken_again(shop: Lab) -> None:
    before = leases(shop)
    key = SUBNETS + before["10.10.0.4"].replace("/", "-")
    etcdctl(shop, "del", key)
    until(lambda: leases(shop) == before, 10, "no lease again")
    until(lambda: all_allowed(shop), 10)


def test_while_etcd_is_away_packets_pass_and_policy_changes(shop: Lab) -> None:
    etcd = next(int(p["pid"]) for p in shop.status()["processes"] if p["role"] == "etcd")
    os.kill(etcd, signal.SIGSTOP)
    try:
        assert all_allowed(shop)
        old = agent_of(shop, "vm1")
        os.kill(old, signal.SIGKILL)
        until(lambda: agent_of(shop, "vm1") != old, 20)
        assert all_allowed(shop), "an agent that starts without etcd leaves the tunnel as it is"
    finally:
        os.kill(etcd, signal.SIGCONT)
    shop.run("lab", "node", "add")
    try:
        until(lambda: "10.10.0.7" in leases(shop), 10)
        assert all_allowed(shop)
    finally:
        shop.run("lab", "node", "remove", "vm4")


def test_who_has_no_lease_gets_nothing_into_the_tunnel(shop: Lab) -> None:
    """A packet to the tunnel's port from a machine that is no node is dropped, and counted."""

    def dropped() -> int:
        words = ("nft", "-j", "list", "chain", "inet", "korat", "vxlan-in")
        rules = json.loads(inside(shop.namespace("vm1"), *words))["nftables"]
        counters = [
            each["counter"]["packets"]
            for rule in rules
            if "no node" in rule.get("rule", {}).get("comment", "")
            for each in rule["rule"]["expr"]
            if "counter" in each
        ]
        (count,) = counters
        return int(count)

    before = dropped()
    with socket_in(shop.namespace("etcd"), socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"\x08" + bytes(60), ("10.10.0.4", 8472))
    until(lambda: dropped() == before + 1, 5)


@pytest.mark.parametrize("vm", ["vm1", "vm2"])
def test_no_pod_gets_anything_into_the_tunnel(shop: Lab, vm: str) -> None:
    """Neither where korat has the tunnel nor beside a flanneld: it would leave as its node's."""

    def dropped() -> int:
        words = ("nft", "-j", "list", "chain", "inet", "korat", "from-workload")
        rules = json.loads(inside(shop.namespace(vm), *words))["nftables"]
        return sum(
            int(each["counter"]["packets"])
            for rule in rules
            if rule.get("rule", {}).get("comment") == "VXLAN from a workload"
            for each in rule["rule"]["expr"]
            if "counter" in each
        )

    before = dropped()
    pod = next(p for p in shop.status()["pods"] if p["node"] == vm)
    with socket_in(pod["netns"], socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"\x08" + bytes(60), ("10.10.0.6", 8472))
    until(lambda: dropped() == before + 1, 5)


@pytest.mark.parametrize("vm", ["vm1", "vm2"])
def test_pods_are_known_by_their_nodes_address_outside(shop: Lab, vm: str) -> None:
    """By korat's rules, and by those of a flanneld."""
    node = next(n for n in shop.status()["nodes"] if n["name"] == vm)
    pod = next(p for p in shop.status()["pods"] if p["node"] == vm)
    etcd = shop.namespace("etcd")
    with socket_in(etcd) as server, socket_in(pod["netns"]) as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("10.10.0.254", 8200))
        server.listen(1)
        assert exchange(server, client, ("10.10.0.254", 8200)) == node["address"]


def test_node_status_tells_the_tunnel(shop: Lab) -> None:
    said = shop.run("node", "status").stdout
    assert "flannel.1" in said
    assert "Backend.MTU is 1400" in said
