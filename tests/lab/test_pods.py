"""Pods that come, go, change their labels, and what they leave behind."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from korat.drivers.kernel.namespace import socket_in
from lab_world import Lab, inside, lab, pods

pytestmark = pytest.mark.lab

CLIENTS = pods(
    ("default", "client", "vm1", {"app": "client"}), ("default", "server", "vm2", {"app": "server"})
)
ONLY_FRIENDS = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: only-friends, namespace: default}
spec:
  selector: app == 'server'
  ingress: [{action: Allow, source: {selector: role == 'friend'}}]
"""


@pytest.fixture(scope="module")
def two() -> Iterator[Lab]:
    with lab("pods", nodes=2) as made:
        made.apply(CLIENTS)
        yield made


def test_a_pod_is_there_as_soon_as_apply_and_probe_say_so(two: Lab) -> None:
    two.apply(pods(("default", "late", "", {})))
    try:
        assert two.talks("default/late", "default/server")
        assert two.talks("default/server", "default/late")
        assert len(two.json("get", "workloadendpoint")["items"]) == 3
    finally:
        two.run("delete", "pod", "late")
    names = [pod["name"] for pod in two.status()["pods"]]
    assert "default/late" not in names


def test_pods_that_move_are_probed_where_they_moved_to(two: Lab) -> None:
    """They say that they run, as their old selves, until the kubelet looks at them."""
    text = ""
    for node, port in (("vm2", 81), ("vm1", 82), ("vm2", 83)):
        text = pods(*(("default", f"mover-{i}", node, {}) for i in range(12)), port=port)
        two.apply(text)
        found = two.probe("--port", "http", "--protocol", "TCP")
        moved = {result for pair, result in found.items() if "mover" in pair[0] + pair[1]}
        assert moved == {"allowed"}
    two.delete(text)


def test_a_deleted_pod_leaves_no_endpoint_address_route_or_connection(two: Lab) -> None:
    two.apply(pods(("default", "brief", "vm2", {})))
    assert two.talks("default/client", "default/brief")
    brief = two.pod("default/brief")
    vm2 = two.status()["nodes"][1]["netns"]
    assert brief["address"] in inside(vm2, "/usr/sbin/ip", "route")
    two.run("delete", "pod", "brief")
    deadline = time.monotonic() + 10
    while brief["address"] in inside(vm2, "/usr/sbin/ip", "route") or tracked(
        vm2, brief["address"]
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    names = [e["metadata"]["name"] for e in two.json("get", "workloadendpoint")["items"]]
    assert not [name for name in names if "brief" in name]
    assert not Path("/run/netns", brief["netns"]).exists()


def tracked(netns: str, address: str) -> bool:
    return f"={address} " in inside(netns, "/bin/cat", "/proc/net/nf_conntrack")


def test_new_labels_count_at_once(two: Lab) -> None:
    two.apply(ONLY_FRIENDS)
    try:
        assert not two.talks("default/client", "default/server")
        two.apply(pods(("default", "client", "vm1", {"app": "client", "role": "friend"})))
        deadline = time.monotonic() + 5
        while not two.talks("default/client", "default/server"):
            assert time.monotonic() < deadline
        two.apply(pods(("default", "client", "vm1", {"app": "client"})))
        while two.talks("default/client", "default/server"):
            assert time.monotonic() < deadline
    finally:
        two.delete(ONLY_FRIENDS)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_new_labels_of_a_pod_elsewhere_cut_its_live_connections_and_no_others(
    two: Lab, kind: socket.SocketKind
) -> None:
    friend = {"app": "client", "role": "friend"}
    two.apply(pods(*(("default", name, "vm1", friend) for name in ("client", "constant"))))
    two.apply(ONLY_FRIENDS)
    vm2 = two.status()["nodes"][1]["netns"]
    try:
        with Live(two, "client", kind, 8090) as cut, Live(two, "constant", kind, 8091) as kept:
            assert cut.works()
            assert kept.works()
            two.apply(pods(("default", "client", "vm1", {"app": "client"})))
            deadline = time.monotonic() + 5
            while tracked(vm2, cut.address):
                assert time.monotonic() < deadline
            assert not cut.works()
            assert kept.works()
    finally:
        two.delete(ONLY_FRIENDS)
        two.run("delete", "pod", "constant")
        two.apply(CLIENTS)


class Live:
    """A connection of a pod's to the server pod, at a port of its own."""

    def __init__(self, made: Lab, client: str, kind: socket.SocketKind, port: int) -> None:
        server, pod = made.pod("default/server"), made.pod(f"default/{client}")
        self.address = str(pod["address"])
        self._listener = socket_in(server["netns"], socket.AF_INET, kind)
        self._listener.bind(("", port))
        self._client = socket_in(pod["netns"], socket.AF_INET, kind)
        self._client.settimeout(3)
        self._server = self._listener
        if kind is socket.SOCK_STREAM:
            self._listener.listen()
            self._client.connect((server["address"], port))
            self._server, _ = self._listener.accept()
        else:
            self._client.connect((server["address"], port))

    def works(self) -> bool:
        """Whether a few octets arrive within half a second."""
        self._client.send(b"hello")
        self._server.settimeout(0.5)
        try:
            return self._server.recv(16) == b"hello"
        except TimeoutError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._client, self._server, self._listener):
            each.close()


def test_every_port_answers_with_the_pods_name(two: Lab) -> None:
    server = two.pod("default/server")
    client = two.pod("default/client")["netns"]

    def ask(words: bytes) -> bytes:
        with socket_in(client, socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.settimeout(3)
            connection.connect((server["address"], 80))
            connection.sendall(words)
            return b"".join(iter(lambda: connection.recv(4096), b""))

    assert ask(b"hello\n") == b"default/server\n"
    assert ask(b"") == b"default/server\n"
    answer = ask(b"GET / HTTP/1.1\r\nHost: server\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\ndefault/server\n")


def test_a_pod_on_no_node_stays_pending_and_says_why(two: Lab) -> None:
    two.apply(pods(("default", "lost", "vm9", {})))
    try:
        deadline = time.monotonic() + 10
        while not two.pod("default/lost")["message"]:
            assert time.monotonic() < deadline
        assert "there is no node vm9" in two.pod("default/lost")["message"]
        done = two.run("lab", "probe", "--to", "default/lost", check=False)
        assert done.returncode == 1
        assert "there is no node vm9" in done.stderr
        assert two.talks("default/client", "default/server")
    finally:
        two.run("delete", "pod", "lost")
