"""Coming, going and being killed: a lab is there whole or not at all."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab_world import SHOP, Lab, inside, lab, processes_of

pytestmark = pytest.mark.lab

ONE_POD = """
apiVersion: v1
kind: Pod
metadata: {name: only, namespace: default}
spec: {containers: [{name: c, image: none, ports: [{containerPort: 80}]}]}
"""


def until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_down_leaves_nothing(tmp_path: Path) -> None:
    with lab("down", [SHOP], nodes=2) as made:
        assert made.leftovers()
        made.run("lab", "down")
        assert made.leftovers() == []
        again = made.run("lab", "down")
        assert "was not up" in again.stderr
        made.run("lab", "up", "--nodes", 1)
        assert made.status()["phase"] == "ready"
    assert made.leftovers() == []


def killed_up(made: Lab, after_s: float, *words: str) -> None:
    """``lab up``, killed; the point is to hit it anywhere."""
    environ = {**os.environ, "KORAT_LAB": made.name}
    command = [sys.executable, "-m", "korat", "lab", "up", "-f", str(SHOP), *words]
    process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    time.sleep(after_s)
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("after_s", "words"),
    [
        (0.7, ()),
        (1.2, ()),
        (2.0, ()),
        (1.5, ("--mode", "flannel", "--beside", "mixed")),
        (3.0, ("--mode", "flannel", "--beside", "mixed")),
        (2.5, ("--mode", "azure-cni", "--beside", "azure-vnet")),
    ],
)
def test_a_killed_lab_up_leaves_nothing(after_s: float, words: tuple[str, ...]) -> None:
    made = Lab(f"t{os.getpid() % 100000}kill")
    killed_up(made, after_s, *words)
    until(lambda: not processes_of(made.name), "the lab's processes live on")
    left = made.leftovers()
    made.run("lab", "down")
    assert left == []


@pytest.mark.parametrize("after_s", [0.3, 0.5, 0.9, 2.0])
def test_the_next_lab_up_need_not_wait_for_a_killed_one(after_s: float) -> None:
    made = Lab(f"t{os.getpid() % 100000}next")
    try:
        killed_up(made, after_s)
        made.run("lab", "up", "--nodes", 1)
        assert len(made.status()["nodes"]) == 1
    finally:
        made.run("lab", "down")
    assert made.leftovers() == []


def test_of_two_ups_at_the_same_time_one_wins_and_the_other_says_so() -> None:
    made = Lab(f"t{os.getpid() % 100000}twice")
    environ = {**os.environ, "KORAT_LAB": made.name}
    command = [sys.executable, "-m", "korat", "lab", "up", "--nodes", "1"]
    try:
        two = [
            subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) for _ in "ab"
        ]
        said = {process.communicate(timeout=120)[1]: process.returncode for process in two}
        assert sorted(said.values()) == [0, 1]
        assert "is up already; its nodes are vm1" in next(t for t, code in said.items() if code)
        assert made.status()["phase"] == "ready"
    finally:
        made.run("lab", "down")
    assert made.leftovers() == []


def test_a_killed_daemon_takes_its_children_along_and_the_next_lab_works() -> None:
    with lab("orphan", nodes=2) as made:
        processes = made.status()["processes"]
        daemon = next(p["pid"] for p in processes if p["role"] == "daemon")
        os.kill(daemon, signal.SIGKILL)
        until(lambda: not processes_of(made.name), "children outlive their daemon")
        for words in (["lab", "status"], ["lab", "probe"], ["get", "nodes"]):
            refused = made.run(*words, check=False)
            assert refused.returncode == 1
            assert refused.stderr.startswith(f"lab {made.name} is dead: its daemon ended; ")
        made.run("lab", "up", "--nodes", 1)
        assert len(made.status()["nodes"]) == 1
    assert made.leftovers() == []


def test_a_killed_agent_comes_back_and_policy_holds_meanwhile() -> None:
    """The kernel keeps the last policy; new pods wait for the new agent."""
    deny = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {selector: app == 'db', types: [Ingress]}
"""
    with lab("agent", [SHOP], nodes=2) as made:
        made.apply(deny)
        assert set(made.probe("--to", "shop/db").values()) == {"denied"}
        agents = [p for p in made.status()["processes"] if p["role"].startswith("vm")]
        for agent in agents:
            os.kill(agent["pid"], signal.SIGKILL)
        assert set(made.probe("--to", "shop/db").values()) == {"denied"}
        made.apply(ONE_POD)
        until(lambda: made.pod("default/only")["phase"] == "Running", "no pod without its agent")
        pids = {p["pid"] for p in made.status()["processes"]}
        assert not pids & {agent["pid"] for agent in agents}
        assert set(made.probe("--to", "shop/db").values()) == {"denied"}
        made.delete(deny)
        assert set(made.probe("--to", "shop/db").values()) == {"allowed"}


def test_what_others_do_to_korats_table_is_mended() -> None:
    with lab("mend", [SHOP], nodes=1) as made:
        made.apply("""
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {selector: app == 'db', types: [Ingress]}
""")
        assert set(made.probe("--to", "shop/db").values()) == {"denied"}
        vm = made.status()["nodes"][0]["netns"]
        inside(vm, "/usr/sbin/nft", "flush", "chain", "inet", "korat", "forward")
        until(lambda: set(made.probe("--to", "shop/db").values()) == {"denied"}, "not mended", 10)
        inside(vm, "/usr/sbin/nft", "delete", "table", "inet", "korat")
        until(lambda: set(made.probe("--to", "shop/db").values()) == {"denied"}, "not mended", 10)


REFUSED = {
    "no nodes": (["--nodes", "0"], "--nodes"),
    "a pod range outside the network": (
        ["--cluster-cidr", "10.99.0.0/16"],
        "inside the virtual network",
    ),
    "a pod range over the subnet": (["--cluster-cidr", "10.10.0.0/17"], "overlaps the subnet"),
    "a subnet outside the network": (["--subnet", "10.9.0.0/24"], "inside the virtual network"),
    "no address": (["--vnet", "ten"], "must be a CIDR"),
    "too many nodes": (["--nodes", "90", "--subnet", "10.10.0.0/28"], "has room for 11"),
    "IPIP": (["--mode", "ipip"], "drops IP protocol 4"),
    "who does no part of a mode": (["--beside", "flanneld"], "is for other modes"),
    "packets no fabric carries": (["--largest-packet", "100"], "must be 576 to 1500"),
    "no mode": (["--mode", "magic"], "must be one of: udr"),
    "no file": (["-f", "/does/not/exist.yaml"], "exist.yaml"),
}


@pytest.mark.parametrize(("words", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_options_touch_nothing(words: list[str], sentence: str) -> None:
    made = Lab(f"t{os.getpid() % 100000}bad")
    done = made.run("lab", "up", *words, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.strip().count("\n") == 0, done.stderr
    assert made.leftovers() == []


def test_flannel_without_etcd_touches_nothing_and_says_how_to_get_it(tmp_path: Path) -> None:
    made = Lab(f"t{os.getpid() % 100000}bad", {"PATH": str(tmp_path)})
    done = made.run("lab", "up", "--mode", "flannel", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "etcd is not installed: apt-get install etcd-server",
        "etcdctl is not installed: apt-get install etcd-client",
    ]
    assert made.leftovers() == []


V3 = "apiVersion: projectcalico.org/v3\nmetadata: {name: x}\n"
MANIFESTS = {
    "no YAML": ("kind: [", "bad.yaml:8: is not YAML"),
    "a pod on no node": (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {nodeName: vm9}",
        "spec.nodeName 'vm9': there is no such node; the lab's nodes are vm1, vm2, vm3",
    ),
    "an unknown kind": ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}", "Deployment"),
    "an unknown field": (f"{V3}kind: NetworkPolicy\nspec: {{selektor: all()}}", "selector"),
    "a bad selector": (f"{V3}kind: NetworkPolicy\nspec: {{selector: a = 'b'}}", "spec.selector"),
    "an IPIP pool": (
        f"{V3}kind: IPPool\nspec: {{cidr: 10.10.128.0/17, ipipMode: Always}}",
        "vxlanMode: Always",
    ),
    "a pool that is encapsulated at times": (
        f"{V3}kind: IPPool\nspec: {{cidr: 192.168.0.0/16, vxlanMode: CrossSubnet}}",
        "within one subnet too; write `vxlanMode: Always`",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), MANIFESTS.values(), ids=MANIFESTS.keys())
def test_bad_manifests_touch_nothing(text: str, sentence: str, tmp_path: Path) -> None:
    made = Lab(f"t{os.getpid() % 100000}bad")
    file = tmp_path / "bad.yaml"
    file.write_text(f"{ONE_POD}---\n{text}\n")
    done = made.run("lab", "up", "-f", file, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert made.leftovers() == []


#: Everything is imported before root is given up: this checkout may be readable by root alone.
AS_NOBODY = """
import contextlib, io, os, sys
from korat.cli import lab
from korat.cli.main import run
with contextlib.redirect_stderr(io.StringIO()):
    run(["lab", "status"])
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(run(["lab", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("words", [["up"], ["down"], ["probe"], ["exec", "a/b", "--", "true"]])
def test_without_root_one_sentence_says_so(words: list[str]) -> None:
    command = [sys.executable, "-c", AS_NOBODY, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "needs root" in done.stderr
    assert done.stderr.strip().count("\n") == 0
