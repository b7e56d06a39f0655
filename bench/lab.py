"""A lab for each networking option, all up at the same time, and two pods in each to drive.

Every lab is brought up by the program, ``korat lab up``, has two nodes and a name that carries the
benchmark's number, ``ktPIDoN``. On the first node runs a pod that sends; on the second two that
answer: one of which nothing is said, and one of which a policy says who may ask it.
Not for what is measured in them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from bench.ends import SETTINGS, End, Ends
from bench.option import Option
from bench.process import BenchError, die_with_parent
from korat.core.errors import KoratError
from korat.core.net.address import Addr
from korat.drivers.kernel import namespace, sysctl
from korat.lab import sweep
from korat.lab.state import ROOT, LabPaths

NAMESPACE = "bench"
SENDER, OPEN, GUARDED = "sender", "open", "guarded"
NEAR, FAR = "vm1", "vm2"
PORT = 80
#: The label that says whom a pod that is started asks.
ASKS = "asks"

_UP_S = 180.0
_NOT_OURS = ("DATASTORE", "ETCD", "KORAT")


@dataclass(frozen=True, slots=True)
class Lab:
    """One lab that is up; ``addresses`` are its pods'."""

    option: Option
    paths: LabPaths
    addresses: Mapping[str, Addr] = field(default_factory=dict)
    machines: Mapping[str, Addr] = field(default_factory=dict)
    namespaces: Mapping[str, str] = field(default_factory=dict)

    @property
    def pods(self) -> Ends:
        """From a pod of one node to a pod of the other, as the option carries it."""
        near, far = (End(self.namespaces[pod], self.addresses[pod]) for pod in (SENDER, OPEN))
        return Ends(near, far, self._nodes)

    @property
    def vms(self) -> Ends:
        """From one node to the other, as the fabric carries it."""
        near, far = (End(self.paths.namespace(vm), self.machines[vm]) for vm in (NEAR, FAR))
        return Ends(near, far, self._nodes)

    @property
    def _nodes(self) -> tuple[str, ...]:
        return self.paths.namespace(NEAR), self.paths.namespace(FAR)


def name_of(pid: int, number: int) -> str:
    """The name of a lab of the benchmark with this process number."""
    return f"kt{pid}o{number}"


def names_of(pid: int) -> tuple[str, ...]:
    """The labs of the benchmark with this number, and what is left of any."""
    prefix = name_of(pid, 0)[:-1]
    rooms = (name.split("-")[1] for name in namespace.names(f"korat-{prefix}"))
    return tuple(sorted({*rooms, *(path.name for path in ROOT.glob(f"{prefix}*"))}))


def take_down(pid: int) -> None:
    """Take all of them down, running or dead."""
    for name in names_of(pid):
        with suppress(KoratError):  # the others are to go all the same
            sweep.down(LabPaths(name))


@contextmanager
def labs(options: tuple[Option, ...], say: Callable[[str], None]) -> Iterator[list[Lab]]:
    """The labs, up as long as the block lasts.

    Raises:
        BenchError: one does not come up; with its last words.
    """
    made = [Lab(o, LabPaths(name_of(os.getpid(), n))) for n, o in enumerate(options)]
    try:
        say(f"bringing {len(made)} labs up")
        for begun in [_begin(lab) for lab in made]:
            _await(begun)
        yield [_looked_at(lab) for lab in made]
    finally:
        take_down(os.getpid())


def run(lab: Lab, *words: str) -> str:
    """Run ``korat WORDS`` on this lab; returns what it prints.

    Raises:
        BenchError: it failed; with its last words.
    """
    return _await(_begin(lab, *words))


def _begin(lab: Lab, *words: str) -> "subprocess.Popen[str]":
    """Start the program: without words, to bring the lab up."""
    up = ("lab", "up", *lab.option.words, "--nodes", "2", "-f", "-")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_OURS)}
    process = subprocess.Popen(
        [sys.executable, "-m", "korat", *(words or up)],
        env={**environ, "KORAT_LAB": lab.paths.name},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - no other threads run here
    )
    if process.stdin is not None:
        process.stdin.write("" if words else manifest())
        process.stdin.close()
        process.stdin = None
    return process


def _await(process: "subprocess.Popen[str]") -> str:
    try:
        printed, said = process.communicate(timeout=_UP_S)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.wait()
        raise BenchError(f"a lab needs more than {_UP_S:.0f} s") from error
    if process.returncode:
        raise BenchError(f"korat lab: {said.strip()[-600:]}")
    return printed


def _looked_at(lab: Lab) -> Lab:
    """The same, with what is in the lab; its ends are made ready for a load."""
    found: dict[str, Any] = json.loads(run(lab, "lab", "status", "-o", "json"))
    pods = {pod["name"].partition("/")[2]: pod for pod in found["pods"]}
    seen = Lab(
        lab.option,
        lab.paths,
        {name: Addr.parse(pod["address"]) for name, pod in pods.items()},
        {vm["name"]: Addr.parse(vm["address"]) for vm in found["nodes"]},
        {name: pod["netns"] for name, pod in pods.items()},
    )
    for way in (seen.pods, seen.vms):
        for end in (way.client, way.server):
            sysctl.write(SETTINGS, end.netns)
    return seen


def manifest() -> str:
    """What is in each lab: three pods, and a policy of one of them and of those that ask it."""
    pods = [_pod(SENDER, NEAR, {}), _pod(OPEN, FAR, {}), _pod(GUARDED, FAR, {"answers": GUARDED})]
    asking, answering = f"{ASKS} == '{GUARDED}'", f"answers == '{GUARDED}'"
    to_port = {"ports": [PORT]}
    spec = {
        "selector": f"{asking} || {answering}",
        "types": ["Ingress", "Egress"],
        "ingress": [_allow({"selector": asking}, to_port)],
        "egress": [_allow({}, {"selector": answering, **to_port})],
    }
    policy = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "NetworkPolicy",
        "metadata": {"name": "guard", "namespace": NAMESPACE},
        "spec": spec,
    }
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    return "\n---\n".join(json.dumps(each) for each in (space, *pods, policy))


def _allow(source: Mapping[str, object], destination: Mapping[str, object]) -> dict[str, object]:
    return {"action": "Allow", "protocol": "TCP", "source": source, "destination": destination}


def _pod(name: str, node: str, labels: Mapping[str, str]) -> dict[str, object]:
    port = {"name": "http", "containerPort": PORT}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [port]}]},
    }
