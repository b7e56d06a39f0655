"""The networking option vxlan in a whole lab: no route table, and IP forwarding off."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from korat.drivers.kernel.namespace import path_of, run_in
from lab_world import POLICIES, SHOP, Lab, explained, inside, lab, pods

pytestmark = pytest.mark.lab

MODE = ("--mode", "vxlan")
#: What a change at one node may take until all others have followed it.
CONVERGED_S = 2.0
TEN_MB = 10 << 20
IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
POOL = "default-ipv4-ippool"


@pytest.fixture(scope="module")
def shop() -> Iterator[Lab]:
    """Three nodes, on a fabric that carries 1400 bytes in one piece."""
    with lab("vx", [SHOP], more=(*MODE, "--largest-packet", 1400)) as made:
        yield made


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until it comes true; fails when it takes longer."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def captured(made: Lab) -> Iterator[Counter[str]]:
    """What all VMs send into the fabric meanwhile, by what it is."""
    seen: Counter[str] = Counter()
    done = threading.Event()
    nics = [node["nic"] for node in made.status()["nodes"]]
    sockets = run_in(made.namespace("fabric"), lambda: [listener(nic) for nic in nics])
    threads = [threading.Thread(target=collect, args=(s, seen, done)) for s in sockets]
    for thread in threads:
        thread.start()
    try:
        yield seen
        time.sleep(0.2)
    finally:
        done.set()
        for thread, sock in zip(threads, sockets, strict=True):
            thread.join()
            sock.close()


def listener(nic: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.bind((nic, 0))
    sock.settimeout(0.05)
    return sock


def collect(sock: socket.socket, seen: Counter[str], done: threading.Event) -> None:
    while not done.is_set():
        with contextlib.suppress(TimeoutError):
            frame, (_, _, kind, _, _) = sock.recvfrom(256)
            if kind != socket.PACKET_OUTGOING:
                seen[what(frame)] += 1


def what(frame: bytes) -> str:
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ARP:
        return "ARP"
    if kind == IPV6 and (frame[22:24] == b"\xfe\x80" or not any(frame[22:38])):
        return "IPv6 on the link"
    if kind != IPV4:
        return f"{kind:#06x}"
    at = 14 + (frame[14] & 15) * 4
    port = int.from_bytes(frame[at + 2 : at + 4], "big")
    ends = [".".join(map(str, frame[i : i + 4])) for i in (26, 30)]
    if all(end.startswith("10.10.0.") for end in ends) and (frame[23], port) == (17, 4789):
        return "VXLAN between VMs"
    return f"protocol {frame[23]} port {port} from {ends[0]} to {ends[1]}"


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


def test_all_pairs_talk_and_the_fabric_sees_only_vxlan_between_vms(shop: Lab) -> None:
    with captured(shop) as seen:
        assert set(shop.probe().values()) == {"allowed"}
    # ARP is how a guest asks the fabric where everybody is. A guest's kernel also looks for IPv6
    # routers on its link now and then, of its own accord.
    assert set(seen) - {"ARP", "IPv6 on the link"} == {"VXLAN between VMs"}
    assert seen["VXLAN between VMs"] > 100


def test_policies_are_enforced_across_nodes(shop: Lab) -> None:
    shop.run("apply", "-f", POLICIES)
    try:
        tried = shop.probe()
        assert Counter(tried.values())["denied"]
        assert tried == explained(shop, tried)
    finally:
        shop.run("delete", "-f", POLICIES)


def test_a_pods_interface_has_room_for_what_the_tunnel_carries(shop: Lab) -> None:
    for pod in shop.status()["pods"]:
        (link,) = json.loads(inside(pod["netns"], "ip", "-j", "link", "show", "eth0"))
        assert link["mtu"] == 1350, pod["name"]


def fragments(made: Lab) -> int:
    """How many fragments the fabric has had to make."""
    names, values = [
        line.split()
        for line in inside(made.namespace("fabric"), "cat", "/proc/net/snmp").splitlines()
        if line.startswith("Ip:")
    ]
    return int(values[names.index("FragCreates")])


def transfer(made: Lab, sender: str, receiver: str, size: int) -> int:
    """Send so many bytes each way over one TCP connection, with DF set; returns what came back."""
    there, here = made.pod(receiver), made.pod(sender)

    def open_in(pod: dict[str, str]) -> socket.socket:
        def make() -> socket.socket:
            sock = socket.socket()
            sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
            sock.settimeout(20)
            return sock

        return run_in(str(path_of(pod["netns"])), make)

    with open_in(there) as server, open_in(here) as client:
        server.bind((there["address"], 0))
        server.listen(1)

        def echo() -> None:
            connection, _ = server.accept()
            connection.settimeout(20)
            with connection:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)

        thread = threading.Thread(target=echo)
        thread.start()
        client.connect(server.getsockname())
        feeder = threading.Thread(target=feed, args=(client, size))
        feeder.start()
        got = 0
        while data := client.recv(1 << 16):
            got += len(data)
        feeder.join()
        thread.join()
    return got


def feed(sock: socket.socket, size: int) -> None:
    block = bytes(1 << 16)
    for _ in range(size // len(block)):
        sock.sendall(block)
    sock.shutdown(socket.SHUT_WR)


def on_other_nodes(made: Lab) -> tuple[str, str]:
    found = made.status()["pods"]
    first = found[0]
    return first["name"], next(p["name"] for p in found if p["node"] != first["node"])


def test_big_transfers_pass_without_a_fragment(shop: Lab) -> None:
    before = fragments(shop)
    assert transfer(shop, *on_other_nodes(shop), TEN_MB) == TEN_MB
    assert fragments(shop) == before


def test_with_felixs_own_mtu_the_fabric_would_have_to_fragment() -> None:
    """What Calico detects, 1450, is what the test before this one would find out."""
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


def agent_of(made: Lab, vm: str) -> int:
    return next(int(p["pid"]) for p in made.status()["processes"] if p["role"] == vm)


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


def test_nodes_that_are_added_removed_and_rebooted(shop: Lab) -> None:
    """As with user-defined routes, without a route: what a new node needs comes from the others."""
    others = ("vm1", "vm2", "vm3")
    shop.run("lab", "node", "add")
    address = next(n["address"] for n in shop.status()["nodes"] if n["name"] == "vm4")
    until(lambda: all(leads_to(shop, vm, address) for vm in others), CONVERGED_S)
    shop.apply(pods(("shop", "late", "vm4", {})))
    assert set(shop.probe("--to", "shop/late").values()) == {"allowed"}
    assert set(shop.probe("--from", "shop/late").values()) == {"allowed"}
    shop.run("lab", "node", "reboot", "vm4")
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
