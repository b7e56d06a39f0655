"""Nodes that come to a running lab, go from it and reboot: everything follows, nothing is left."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from korat.drivers.kernel.namespace import run_in
from lab_world import SHOP, Lab, inside, lab, pods, processes_of

pytestmark = pytest.mark.lab

#: The issue's bound is 2 s; this is what two busy cores are given. The verbs wait for events.
CONVERGED_S = 10
ONLY_FRIENDS = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: only-friends, namespace: default}
spec:
  selector: app == 'server'
  ingress: [{action: Allow, source: {selector: app == 'friend'}}]
"""

HOST_POD = """
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: default}
spec:
  nodeName: vm2
  hostNetwork: true
  containers: [{name: c, image: none, ports: [{containerPort: 8080}]}]
"""


def until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def seconds_of(said: str) -> float:
    """How long a verb says that it took."""
    (found,) = re.findall(r", (\d+\.\d) s$", said, re.MULTILINE)
    return float(found)


def names(made: Lab) -> list[str]:
    return [node["name"] for node in made.status()["nodes"]]


def routes(made: Lab) -> dict[str, str]:
    rows = made.status()["routeTable"]["routes"]
    return {row["addressPrefix"]: row["nextHop"] for row in rows}


def all_allowed(made: Lab) -> bool:
    return set(made.probe().values()) == {"allowed"}


def azure_tells(made: Lab, vm: str, part: str = "compute/name") -> str:
    """What a VM learns of itself."""
    path = f"/metadata/instance/{part}?api-version=2021-12-13&format=text"

    def ask() -> str:
        with closing(http.client.HTTPConnection("169.254.169.254", timeout=5)) as connection:
            connection.request("GET", path, headers={"Metadata": "true"})
            return connection.getresponse().read().decode()

    return run_in(f"korat-{made.name}-{vm}", ask)


@pytest.fixture(scope="module")
def two() -> Iterator[Lab]:
    with lab("nodes", nodes=2) as made:
        made.apply(
            pods(
                ("default", "client", "vm1", {"app": "client"}),
                ("default", "friend", "vm1", {"app": "friend"}),
                ("default", "server", "vm2", {"app": "server"}),
            )
        )
        yield made


def test_a_node_that_comes_and_goes(two: Lab) -> None:
    """The pod that waited for it runs, everybody reaches everybody; then nothing of it is left."""
    two.apply(pods(("default", "waits", "vm3", {})))
    until(lambda: "there is no node vm3" in two.pod("default/waits")["message"], "no reason")

    came = two.run("lab", "node", "add").stderr
    assert came.startswith("vm3 is up at 10.10.0.6, ")
    assert seconds_of(came) < CONVERGED_S
    assert two.pod("default/waits")["phase"] == "Running"
    node = two.status()["nodes"][2]
    assert (node["name"], node["podCIDR"]) == ("vm3", "10.10.130.0/24")
    assert node["ipForwarding"] is True
    assert azure_tells(two, "vm3") == "vm3"
    assert routes(two)["10.10.130.0/24"] == "10.10.0.6"
    assert two.json("get", "felixconfiguration", "node.vm3")["spec"]
    assert all_allowed(two)

    address = two.pod("default/waits")["address"]
    gone = two.run("lab", "node", "remove", "vm3").stderr
    assert gone.splitlines()[1] == "its pods went with it: default/waits"
    assert seconds_of(gone) < CONVERGED_S
    assert names(two) == ["vm1", "vm2"]
    assert "10.10.130.0/24" not in routes(two)
    objects = ("nodes", "pods", "workloadendpoints", "felixconfigurations")
    stored = "".join(two.run("get", kind, "-A", "-o", "json").stdout for kind in objects)
    for word in ("vm3", "waits", address):
        assert word not in stored
    assert not [left for left in two.leftovers() if "vm3" in left or "waits" in left]
    assert not list(Path("/run/netns").glob(f"korat-{two.name}-vm3"))
    assert not Path(f"/run/korat/lab/{two.name}/nodes/vm3").exists()
    assert all_allowed(two)


def test_azure_tells_each_vm_what_it_is(two: Lab) -> None:
    assert [azure_tells(two, vm) for vm in ("vm1", "vm2")] == ["vm1", "vm2"]
    first = "network/interface/0/ipv4/ipAddress/0/privateIpAddress"
    assert azure_tells(two, "vm2", first) == two.status()["nodes"][1]["address"]
    assert two.status()["nodes"][1]["nicAddresses"] == []


def test_a_pod_without_a_node_goes_to_the_new_one_and_with_it(two: Lab) -> None:
    done = two.json("lab", "node", "add", "--count", 2)
    assert done["nodes"] == ["vm3", "vm4"]
    two.apply(pods(("default", "anywhere", "", {})))
    two.probe("--to", "default/anywhere")
    assert two.pod("default/anywhere")["node"] == "vm3"
    gone = two.json("lab", "node", "remove", "vm3")
    assert (gone["nodes"], gone["pods"]) == (["vm3"], ["default/anywhere"])
    assert names(two) == ["vm1", "vm2", "vm4"]
    assert two.json("lab", "node", "add")["nodes"] == ["vm3"], "the lowest number that is free"
    assert all_allowed(two)
    for name in ("vm3", "vm4"):
        two.run("lab", "node", "remove", name)


def test_a_node_that_reboots(two: Lab) -> None:
    """Kernel and /run are lost, the disk is not; policy holds before the first pod runs."""
    two.apply(ONLY_FRIENDS)
    two.apply(HOST_POD)
    try:
        vm2 = two.status()["nodes"][1]["netns"]
        inside(vm2, "/usr/sbin/ip", "route", "add", "10.99.0.0/16", "dev", "lo")
        run_dir = Path(f"/run/korat/lab/{two.name}/nodes/vm2")
        (run_dir / "forgotten").touch()
        before = {made["role"]: made["pid"] for made in two.status()["processes"]}
        old = endpoint(two, "server")

        told = two.run("lab", "node", "reboot", "vm2").stderr
        assert told.startswith("vm2 is up again, ")
        assert told.splitlines()[1] == "its pods run anew: default/host, default/server"

        after = {made["role"]: made["pid"] for made in two.status()["processes"]}
        assert {role for role in before if before[role] != after[role]} == {"vm2"}
        assert "10.99" not in inside(vm2, "/usr/sbin/ip", "route")
        assert azure_tells(two, "vm2") == "vm2"
        assert not (run_dir / "forgotten").exists()
        new = endpoint(two, "server")
        assert new["containerID"] != old["containerID"]
        held = {file.name for file in (run_dir / "cni" / "networks").glob("*/10.*")}
        assert held == {two.pod("default/server")["address"]}, "DEL freed what the disk had kept"
        assert two.talks("default/friend", "default/server")
        assert not two.talks("default/client", "default/server")
        assert two.talks("default/server", "default/client")
        assert two.talks("default/client", "default/host", 8080)
    finally:
        two.delete(ONLY_FRIENDS)
        two.delete(HOST_POD)
    assert all_allowed(two)


def endpoint(made: Lab, pod: str) -> dict[str, str]:
    """The only endpoint of a pod."""
    items = made.json("get", "workloadendpoint")["items"]
    (found,) = [item["spec"] for item in items if item["spec"]["pod"] == pod]
    return dict(found)


def test_until_the_agent_is_ready_no_pod_runs(two: Lab) -> None:
    """Its pods are Pending at once, one that is new waits, one that is deleted leaves nothing."""
    two.apply(pods(("default", "doomed", "vm2", {})))
    assert two.talks("default/client", "default/doomed")
    netns = two.pod("default/server")["netns"]
    done: list[str] = []
    verb = threading.Thread(
        target=lambda: done.append(two.run("lab", "node", "reboot", "vm2").stderr)
    )
    verb.start()
    until(lambda: two.pod("default/server")["phase"] == "Pending", "the pod runs on", 10)
    assert not done
    two.apply(pods(("default", "new", "vm2", {})))
    two.run("delete", "pod", "doomed")
    ready = Path(f"/run/korat/lab/{two.name}/ready/vm2")
    while not ready.exists():
        assert not Path("/run/netns", netns).exists()
    verb.join()
    assert done
    assert all_allowed(two)
    names_ = [item["metadata"]["name"] for item in two.json("get", "workloadendpoint")["items"]]
    assert not [name for name in names_ if "doomed" in name]
    held = Path(f"/run/korat/lab/{two.name}/nodes/vm2/cni/networks").glob("*/10.*")
    assert len(list(held)) == 2
    two.run("delete", "pod", "new")


def test_two_at_once_come_one_after_the_other(two: Lab) -> None:
    environ = {**os.environ, "KORAT_LAB": two.name}
    command = [sys.executable, "-m", "korat", "lab", "node", "add"]
    both = [subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert sorted(line.split(",")[0] for line in said) == [
        "vm3 is up at 10.10.0.6",
        "vm4 is up at 10.10.0.7",
    ]
    assert all_allowed(two)
    for name in ("vm3", "vm4"):
        two.run("lab", "node", "remove", name)


REFUSED = {
    "an unknown node": (["remove", "vm22"], "there is no node vm22; did you mean vm2?"),
    "another": (["reboot", "web"], "there is no node web; the lab's nodes are vm1, vm2"),
    "too many": (["add", "--count", "99"], "at most 100 nodes, and this one has 2"),
    "none": (["add", "--count", "0"], "--count 0: must be 1 or more"),
    "no format": (["remove", "vm2", "-o", "xml"], "no such output format"),
}


@pytest.mark.parametrize(("words", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_is_one_sentence_and_changes_nothing(
    two: Lab, words: list[str], sentence: str
) -> None:
    before = two.status()
    done = two.run("lab", "node", *words, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.strip().count("\n") == 0, done.stderr
    assert two.status() == before


def test_a_node_that_does_not_come_up_is_taken_out_again(two: Lab) -> None:
    """Its Node is somebody else's already; then a stale Node has its address."""
    node = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: vm3}\n"
    two.apply(node)
    refused = two.run("lab", "node", "add", check=False)
    assert refused.stderr == (
        "the store has a Node vm3 already; delete it with: korat delete node vm3\n"
    )
    assert two.json("get", "node", "vm3")
    two.delete(node)
    stale = """
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: stale}
spec: {bgp: {ipv4Address: 10.10.0.7/24}}
"""
    two.apply(stale)
    failed = two.run("lab", "node", "add", "--count", 2, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("vm4 ended: ")
    assert "node stale has the address 10.10.0.7 too" in failed.stderr
    assert names(two) == ["vm1", "vm2"]
    assert "vm" not in two.run("get", "nodes").stdout.replace("vm1", "").replace("vm2", "")
    assert not [left for left in two.leftovers() if "vm3" in left or "vm4" in left]
    two.delete(stale)
    assert two.run("lab", "node", "add").stderr.startswith("vm3 is up")
    assert all_allowed(two)
    two.run("lab", "node", "remove", "vm3")


def test_the_last_node_stays() -> None:
    with lab("last", nodes=1) as made:
        done = made.run("lab", "node", "remove", "vm1", check=False)
        assert done.returncode == 1
        assert "vm1 is the lab's only node; take the lab down with: korat lab down" in done.stderr
        assert names(made) == ["vm1"]


def started(made: Lab, *words: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "KORAT_LAB": made.name}
    command = [sys.executable, "-m", "korat", "lab", "node", *words]
    return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)


def node_comes(made: Lab, name: str) -> Callable[[], bool]:
    return Path("/run/netns", made.namespace(name)).exists


@pytest.mark.parametrize("after_s", [0.0, 0.6])
def test_a_daemon_killed_in_the_middle_of_an_add_leaves_nothing(after_s: float) -> None:
    with lab("midadd", nodes=1) as made:
        daemon = next(p["pid"] for p in made.status()["processes"] if p["role"] == "daemon")
        verb = started(made, "add", "--count", "2")
        until(node_comes(made, "vm3"), "no node comes")
        time.sleep(after_s)
        os.kill(daemon, signal.SIGKILL)
        said = verb.communicate(timeout=30)[1]
        assert "ended before its answer" in said or "is up at" in said, said
        until(lambda: not processes_of(made.name), "children outlive their daemon")
        made.run("lab", "down")
        assert made.leftovers() == []
        made.run("lab", "up", "--nodes", 1)
        assert names(made) == ["vm1"]
    assert made.leftovers() == []


@pytest.mark.parametrize("words", [("add",), ("reboot", "vm1"), ("remove", "vm2")])
def test_a_lab_goes_down_in_the_middle_of_a_change(words: tuple[str, ...]) -> None:
    with lab("middown", [SHOP], nodes=2) as made:
        log = Path(f"/run/korat/lab/{made.name}/log/daemon.log")
        verb = started(made, *words)
        until(lambda: '"asked"' in log.read_text(), "nobody asks")
        made.run("lab", "down")
        assert made.leftovers() == []
        assert "Traceback" not in verb.communicate(timeout=30)[1]


def test_a_verb_that_is_interrupted_harms_nobody(two: Lab) -> None:
    verb = started(two, "add")
    until(node_comes(two, "vm3"), "no node comes")
    verb.kill()
    verb.communicate()
    assert json.loads(two.run("lab", "node", "remove", "vm3", "-o", "json").stdout)["nodes"]
    assert names(two) == ["vm1", "vm2"]
    assert all_allowed(two)
