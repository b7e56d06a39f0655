"""A whole lab for tests, used as its users do: through the program ``korat``.

Each has its own name, so that tests run beside a developer's lab, and is taken down at the end.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from korat.cli.question import Words, ask
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import verdict
from korat.core.policy.outcome import Action
from korat.drivers.kernel.namespace import run_in
from korat.drivers.store.client import Client
from korat.drivers.store.open import open_store

ROOT = Path(__file__).resolve().parents[1]
SHOP = ROOT / "examples" / "shop.yaml"
POLICIES = ROOT / "examples" / "policies.yaml"


@dataclass
class Lab:
    """One lab by name; ``environ`` is added to the environment of every command."""

    name: str
    environ: Mapping[str, str] = field(default_factory=dict)

    def run(
        self, *words: object, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run ``korat WORDS``."""
        environ = {
            k: v for k, v in os.environ.items() if not k.startswith(("DATASTORE", "ETCD", "KORAT"))
        }
        done = subprocess.run(
            [sys.executable, "-m", "korat", *map(str, words)],
            env={**environ, **self.environ, "KORAT_LAB": self.name},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
        return done

    def json(self, *words: object) -> Any:
        """Run a command with ``-o json`` and read its answer."""
        return json.loads(self.run(*words, "-o", "json").stdout)

    def apply(self, manifest: str) -> None:
        self.run("apply", "-f", "-", stdin=manifest)

    def delete(self, manifest: str) -> None:
        self.run("delete", "-f", "-", stdin=manifest)

    def probe(self, *words: object) -> dict[tuple[str, str, str, int], str]:
        """(from, to, protocol, port) -> allowed, denied or refused."""
        return {
            (p["from"], p["to"], p["protocol"], p["port"]): p["result"]
            for p in self.json("lab", "probe", *words)
        }

    def talks(self, sender: str, receiver: str, port: object = 80) -> bool:
        """Whether one TCP connection works."""
        results = self.probe(
            "--from", sender, "--to", receiver, "--protocol", "TCP", "--port", port
        )
        assert len(results) == 1, results
        return set(results.values()) == {"allowed"}

    def namespace(self, what: str) -> str:
        return f"korat-{self.name}-{what}"

    def status(self) -> Any:
        return self.json("lab", "status")

    def pod(self, name: str) -> Any:
        return next(pod for pod in self.status()["pods"] if pod["name"] == name)

    def leftovers(self) -> list[str]:
        """What of this lab is still on the machine."""
        found = [str(p) for p in Path("/run/netns").glob(f"korat-{self.name}-*")]
        found += [str(p) for p in Path("/run/korat/lab").glob(self.name)]
        mounts = Path("/proc/self/mounts").read_text()
        found += [line for line in mounts.splitlines() if f"korat-{self.name}-" in line]
        return found + processes_of(self.name)


def explained(
    made: Lab, tried: Iterable[tuple[str, str, str, int]], **more: str
) -> dict[tuple[str, str, str, int], str]:
    """What ``policy explain`` says of each probe, from what the store of the lab holds."""
    environ = json.loads(made.run("lab", "env", "-o", "json").stdout)
    store = open_store(environ)
    try:
        objects = Client(store).read()
    finally:
        store.close()
    cluster = Cluster.build(objects.by_key.values())
    said = {}
    for sender, receiver, protocol, port in tried:
        words = Words(sender, receiver, protocol, str(port or ""), **more)
        (question,) = ask(objects, cluster, words)
        allowed = verdict(cluster, question.packet).action is Action.ALLOW
        said[sender, receiver, protocol, port] = "allowed" if allowed else "denied"
    return said


def processes_of(lab: str) -> list[str]:
    """The command lines of live processes that belong to a lab."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            environ = (path / "environ").read_bytes()
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        daemon = b"korat.lab.daemon" in words and lab.encode() in words
        child = f"/run/korat/lab/{lab}/".encode() in environ and b"korat" in b" ".join(words)
        if state not in "ZX" and (daemon or child):
            found.append(f"{path.name}: {b' '.join(words).decode()}")
    return found


@contextmanager
def lab(
    suffix: str,
    files: Sequence[Path] = (),
    nodes: int = 3,
    environ: Mapping[str, str] | None = None,
    more: Sequence[object] = (),
) -> Iterator[Lab]:
    """A lab that is up, and down again afterwards; ``more`` are further words for ``lab up``."""
    made = Lab(f"t{os.getpid() % 100000}{suffix}", environ or {})
    words = [word for file in files for word in ("-f", str(file))]
    try:
        made.run("lab", "up", "--nodes", nodes, *words, *more)
        yield made
    finally:
        made.run("lab", "down", check=False)


def pods(*rows: tuple[str, str, str, dict[str, str]], port: int = 80) -> str:
    """A manifest of pods: (namespace, name, node, labels), each with one TCP port."""
    documents = []
    for namespace, name, node, labels in rows:
        container = {
            "name": "c",
            "image": "none",
            "ports": [{"name": "http", "containerPort": port}],
        }
        spec: dict[str, Any] = {"containers": [container]}
        if node:
            spec["nodeName"] = node
        meta = {"name": name, "namespace": namespace, "labels": labels}
        documents.append(
            json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        )
    return "\n---\n".join(documents)


def inside(netns: str, *words: str) -> str:
    """Run a program in a network namespace and return what it prints."""

    def run() -> str:
        done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=10)
        return done.stdout

    return run_in(netns, run)


def exchange(server: socket.socket, client: socket.socket, address: tuple[str, int]) -> str | None:
    """Connect and return whom the server sees, or None when nothing arrives."""
    client.settimeout(2)
    server.settimeout(2)
    try:
        client.connect(address)
        connection, peer = server.accept()
    except OSError:
        return None
    connection.close()
    return str(peer[0])
