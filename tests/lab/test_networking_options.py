"""Every networking option passes the same tests, from end to end, with real packets.

What differs between them is a row here: what the fabric sees, how large pods' packets may be, and
whether Azure has routes for them. Everything else must not show to a pod.
"""

import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from korat.lab.flanneld.launch import REAL
from lab_traffic import CHATTER, agent_of, captured, fragments, on_other_nodes, transfer, until
from lab_world import POLICIES, SHOP, Lab, explained, inside, lab, pods

pytestmark = pytest.mark.lab

TEN_MB = 10 << 20
#: What a node that comes or goes may take, with two busy cores; docs/modes.md has what it takes.
CONVERGED_S = 10
PODS_OWN = "pods' own addresses"


@dataclass(frozen=True)
class Option:
    """One networking option: how to ask for it, what the fabric sees of it, its pods' MTU."""

    mode: str
    seen: frozenset[str]
    mtu_bytes: int
    beside: str = ""
    #: A tunnel keeps its packets within what the fabric carries in one piece.
    tunnel: bool = False

    def __str__(self) -> str:
        return f"{self.mode}-{self.beside}" if self.beside else self.mode


CALICO, FLANNEL = "VXLAN between VMs at 4789", "VXLAN between VMs at 8472"
OPTIONS = [
    Option("udr", frozenset({PODS_OWN}), 1500),
    Option("vxlan", frozenset({CALICO}), 1350, tunnel=True),
    Option("flannel", frozenset({FLANNEL, "etcd"}), 1350, tunnel=True),
    Option("flannel", frozenset({FLANNEL, "etcd"}), 1350, "flanneld", tunnel=True),
    Option("flannel", frozenset({FLANNEL, "etcd"}), 1350, "mixed", tunnel=True),
    Option("azure-cni", frozenset({PODS_OWN}), 1500),
    Option("azure-cni", frozenset({PODS_OWN}), 1500, "azure-vnet"),
    Option("azure-cni", frozenset({PODS_OWN}), 1500, "azure-vnet-ipam"),
]


@dataclass(frozen=True)
class Running:
    """A lab of one option."""

    option: Option
    lab: Lab


@pytest.fixture(scope="module", params=OPTIONS, ids=str)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    """Three nodes; where there is a tunnel, on a fabric that carries 1400 bytes in one piece."""
    option: Option = request.param
    words: list[object] = ["--mode", option.mode]
    words += ["--beside", option.beside] if option.beside else []
    words += ["--largest-packet", 1400] if option.tunnel else []
    number = OPTIONS.index(option)
    # Who has a real flanneld may name it, to run in the place of the lab's own.
    environ = {REAL: os.environ[REAL]} if REAL in os.environ else {}
    with lab(f"opt{number}", [SHOP], environ=environ, more=words) as made:
        yield Running(option, made)


def all_allowed(made: Lab) -> bool:
    return set(made.probe().values()) == {"allowed"}


def test_all_pairs_talk_and_the_fabric_sees_what_it_should(running: Running) -> None:
    with captured(running.lab) as seen:
        assert all_allowed(running.lab)
    sent = {kind for kind, count in seen.items() if kind not in CHATTER and count}
    assert sent - {"etcd"} == running.option.seen - {"etcd"}
    assert sent <= running.option.seen
    main = next(iter(running.option.seen - {"etcd"}))
    assert seen[main] > 100


def test_policies_are_enforced_and_explained(running: Running) -> None:
    made = running.lab
    made.run("apply", "-f", POLICIES)
    try:
        tried = made.probe()
        assert Counter(tried.values())["denied"]
        assert tried == explained(made, tried)
    finally:
        made.run("delete", "-f", POLICIES)


def test_pods_have_room_for_what_the_way_carries_and_no_more(running: Running) -> None:
    made = running.lab
    for pod in made.status()["pods"]:
        (link,) = json.loads(inside(pod["netns"], "ip", "-j", "link", "show", "eth0"))
        assert link["mtu"] == running.option.mtu_bytes, pod["name"]
    before = fragments(made)
    assert transfer(made, *on_other_nodes(made), TEN_MB) == TEN_MB
    assert fragments(made) == before
    assert pings(made, running.option.mtu_bytes)
    assert not pings(made, running.option.mtu_bytes + 1)


def pings(made: Lab, size: int) -> bool:
    """Whether one packet of so many bytes gets from a pod to one of another node, and back."""
    sender, receiver = (made.pod(name) for name in on_other_nodes(made))
    words = ("ping", "-c1", "-W2", "-Mdo", f"-s{size - 28}", receiver["address"])
    said = inside(sender["netns"], "sh", "-c", f"{' '.join(words)} 2>&1 || true")
    return bool(re.search(r"\b1 received", said))


def test_a_node_comes_and_goes(running: Running) -> None:
    made = running.lab
    came = made.run("lab", "node", "add").stderr
    assert came.startswith("vm4 is up at 10.10.0.7, ")
    made.apply(pods(("shop", "late", "vm4", {})))
    until(lambda: set(made.probe("--to", "shop/late").values()) == {"allowed"}, CONVERGED_S)
    assert set(made.probe("--from", "shop/late").values()) == {"allowed"}
    address = made.pod("shop/late")["address"]
    gone = made.run("lab", "node", "remove", "vm4").stderr
    assert gone.splitlines()[1] == "its pods went with it: shop/late"
    assert address not in made.run("get", "workloadendpoints", "-A", "-o", "json").stdout
    assert all_allowed(made)


def test_an_agent_that_is_killed(running: Running) -> None:
    """Traffic goes on without it; what was asked meanwhile is enforced once it is back."""
    made = running.lab
    agent = agent_of(made, "vm2")
    os.kill(agent, signal.SIGKILL)
    db = made.pod("shop/db")
    others = [pod for pod in made.status()["pods"] if pod["node"] == "vm2"]
    assert others
    for pod in others:
        words = ("ping", "-c1", "-W2", db["address"])
        assert "1 received" in inside(pod["netns"], *words)
    made.run("apply", "-f", POLICIES)
    try:
        until(lambda: agent_of(made, "vm2") != agent, 20)
        tried = made.probe()
        assert tried == explained(made, tried)
    finally:
        made.run("delete", "-f", POLICIES)
    assert all_allowed(made)


def test_a_node_that_reboots(running: Running) -> None:
    """Its kernel and its /run are lost; its pods run anew and reach everybody."""
    made = running.lab
    before = {p["name"] for p in made.status()["pods"] if p["node"] == "vm2"}
    told = made.run("lab", "node", "reboot", "vm2").stderr
    assert told.startswith("vm2 is up again, ")
    until(lambda: all_allowed(made), CONVERGED_S)
    assert {p["name"] for p in made.status()["pods"] if p["node"] == "vm2"} == before


def test_policy_holds_from_a_pods_first_packet(running: Running) -> None:
    """No pod runs before its policy: one that may talk to nobody never gets a word out."""
    made = running.lab
    made.apply(SILENT)
    try:
        begun = time.monotonic()
        made.apply(pods(("shop", "silent", "vm1", {"app": "silent"})))
        results = made.probe("--from", "shop/silent")
        assert set(results.values()) == {"denied"}
        assert time.monotonic() - begun < 20
    finally:
        made.run("delete", "pod", "silent", "-n", "shop")
        made.delete(SILENT)


SILENT = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: silent, namespace: shop}
spec:
  selector: app == 'silent'
  types: [Egress]
  egress: [{action: Deny}]
"""
