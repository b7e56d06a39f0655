"""Both sides of CNI for tests: a runtime that starts the plugin, and an agent that answers it.

``FakeLinks`` stands in for the kernel where a test is not about the kernel.
"""

import asyncio
import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from korat.agent import cni
from korat.agent.hostlocal import HostLocal
from korat.agent.workload import Workloads
from korat.cni.install import install
from korat.core.errors import Conflict
from korat.core.model.pod import Container, ContainerPort, Pod, PodSpec
from korat.core.model.resource import Metadata
from korat.core.net.address import Prefix
from korat.drivers.kernel import namespace
from korat.drivers.kernel.veth import Seen, Veth
from korat.drivers.store.client import Client
from korat.drivers.store.memory import MemoryStore
from korat.ports import Store

POD_CIDR = Prefix.parse("10.10.128.0/24")
NETWORK = "k8s-pod-network"


def pod(name: str = "web", **labels: str) -> Pod:
    """A pod with one named port."""
    container = Container(name="c", ports=(ContainerPort(name="http", container_port=80),))
    return Pod(
        metadata=Metadata(name=name, namespace="shop", labels=labels),
        spec=PodSpec(node_name="vm1", containers=(container,)),
    )


def store_with(*pods: Pod) -> MemoryStore:
    """A store in memory that holds these pods."""
    store = MemoryStore()
    for each in pods:
        Client(store).create(each)
    return store


class FakeLinks:
    """Links that are only remembered; ``refuse`` makes the next creations fail."""

    def __init__(self) -> None:
        self.links: dict[str, Seen] = {}
        self.refuse: Exception | None = None

    def create(self, veth: Veth) -> Seen:
        if self.refuse:
            raise self.refuse
        if veth.host_name in self.links:
            raise Conflict(f"{veth.host_name} is there already")
        seen = Seen(
            owner=veth.owner,
            host_mac="ee:ee:ee:ee:ee:ee",
            up=True,
            mtu_bytes=veth.mtu_bytes or 1500,
            host_routes=frozenset(veth.addresses),
            pod_mac=f"02:00:00:00:00:{len(self.links):02x}",
            addresses=frozenset(veth.addresses),
            default_routes=veth.families,
        )
        self.links[veth.host_name] = seen
        return seen

    def read(self, host_name: str, *_: str) -> Seen | None:
        return self.links.get(host_name)

    def delete(self, host_name: str, owner: str = "") -> bool:
        seen = self.links.get(host_name)
        if seen is None or (owner and seen.owner and seen.owner != owner):
            return False
        del self.links[host_name]
        return True

    def owners(self) -> Mapping[str, str]:
        return {name: seen.owner for name, seen in self.links.items()}


def workloads(store: Store, links: Any = None, **changed: Any) -> Workloads:
    """Node vm1 with one pod CIDR, whose policy is always in the kernel at once."""
    parts: dict[str, Any] = {
        "node_name": "vm1",
        "store": store,
        "links": links or FakeLinks(),
        "ipam": HostLocal(lambda: [POD_CIDR]),
        "wait_programmed": lambda *_: True,
        "forget": lambda _: 0,
    }
    return Workloads(**{**parts, **changed})


@contextmanager
def agent_at(path: Path, work: Workloads, netns: str = "") -> Iterator[None]:
    """An agent that serves until the block ends, in a namespace of its own if one is named."""
    started = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []
    failures: list[BaseException] = []

    async def run() -> None:
        task = asyncio.ensure_future(cni.serve(path, work, started.set))
        loops.append((asyncio.get_running_loop(), task))
        with suppress(asyncio.CancelledError):
            await task

    def body() -> None:
        try:
            if netns:
                namespace.enter(netns)
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            failures.append(error)
            started.set()

    thread = threading.Thread(target=body)
    thread.start()
    assert started.wait(10)
    try:
        if failures:
            raise failures[0]
        yield
    finally:
        if not failures:
            loop, task = loops[0]
            loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
        assert not thread.is_alive()


@dataclass(frozen=True)
class Answer:
    """What the plugin said."""

    code: int
    out: Any
    err: str


@dataclass
class Runtime:
    """A container runtime: the installed plugin, and the configuration it gives it."""

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    program: Path = Path()

    def __post_init__(self) -> None:
        ipam = {"type": "host-local", "subnet": "usePodCidr", "dataDir": str(self.folder / "ipam")}
        options = {"agent_socket": str(self.socket), "ipam": ipam}
        self.program, conflist = install(
            self.folder / "bin", self.folder / "net", options, network=NETWORK
        )
        listed = json.loads(conflist.read_text())
        self.config = {**listed["plugins"][0], "name": listed["name"], "cniVersion": "1.0.0"}

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "agent.sock"

    @property
    def queue(self) -> Path:
        return self.folder / "run" / "cni-del"

    def call(
        self,
        command: str,
        container: str = "c1",
        *,
        pod_name: str = "web",
        netns: str = "/run/netns/none",
        ifname: str = "eth0",
        **config: Any,
    ) -> Answer:
        """Start the plugin as a runtime does; ``config`` changes the configuration."""
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns,
            "CNI_IFNAME": ifname,
            "CNI_PATH": str(self.program.parent),
        }
        if pod_name:
            env["CNI_ARGS"] = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod_name}"
        return self.raw(env, json.dumps({**self.config, **config}).encode())

    def raw(self, env: Mapping[str, str], stdin: bytes) -> Answer:
        """Start the plugin with exactly this."""
        done = subprocess.run(
            [self.program], env=dict(env), input=stdin, capture_output=True, check=False, timeout=60
        )
        out = json.loads(done.stdout) if done.stdout else None
        return Answer(done.returncode, out, done.stderr.decode())


def names(folder: Path) -> list[str]:
    """What is in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Whether the condition comes true in time; looks every few milliseconds."""
    waiting = threading.Event()
    for _ in range(int(timeout_s / 0.01)):
        if condition():
            return True
        waiting.wait(0.01)
    return condition()
