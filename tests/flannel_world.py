"""Nodes with flannel's side of korat, on one wire in namespaces of the test's own.

Their leases are kept in memory here, so that a test says what etcd would; the kernel is real.
"""

import contextlib
import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pyroute2 import IPRoute

from korat.agent.flannel import FlannelNode
from korat.agent.settings import node_settings
from korat.core.errors import NotFound, Unavailable
from korat.core.model.felix import FelixSettings
from korat.core.route.flannel.choice import Pair, choose
from korat.core.route.flannel.lease import Held, Holder, Lease
from korat.core.route.flannel.network import FlannelNetwork, read_network
from korat.drivers.kernel import namespace
from korat.drivers.kernel.address import links
from korat.drivers.store.client import Client, initialize
from korat.drivers.store.memory import MemoryStore
from tunnel_world import bridge, cable

T = TypeVar("T")

ADDRESS, ADDRESS6 = "10.80.0.{}", "fd80::{}"
NETWORK = {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "MTU": 1400}}
FELIX = FelixSettings()
_NO_DAD = 0x02


class Kept:
    """What etcd holds: the configuration and all leases; everybody who follows is told."""

    def __init__(self, left_s: float = math.inf) -> None:
        self.changed = threading.Condition()
        self.config = json.dumps(NETWORK)
        self.leases: dict[str, Lease] = {}
        self.left_s = left_s
        self.renewals = 0
        #: Called once, in the middle of the next ``acquire``.
        self.meanwhile: Callable[[], None] | None = None
        self.fault: Unavailable | None = None
        self.refusals = self.answers = 0
        self.on_close: Callable[[], None] = lambda: None

    def put(self, lease: Lease) -> None:
        with self.changed:
            self.leases[lease.key] = lease
            self.changed.notify_all()

    def remove(self, key: str) -> None:
        with self.changed:
            del self.leases[key]
            self.changed.notify_all()


class Leases:
    """One node's way to what is kept; implements ``ports.SubnetLeases``."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def network(self) -> FlannelNetwork:
        if self._kept.fault is not None:
            self._kept.refusals += 1
            raise self._kept.fault
        return read_network(self._kept.config)

    def acquire(self, holder: Holder, previous: Pair | None) -> Held:
        with self._kept.changed:
            every = list(self._kept.leases.values())
            pairs = [(each.subnet, each.subnet6) for each in every]
            found = choose(
                self.network(), every, pairs, holder.public_ip, previous, lambda _count: 0
            )
            if found.stale is not None:
                self._kept.leases.pop(found.stale.key, None)
            lease = holder.lease(found.subnet, found.subnet6)
            self._kept.put(lease)
        meanwhile, self._kept.meanwhile = self._kept.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return Held(lease, self._kept.left_s)

    def renew(self, lease: Lease) -> Held:
        with self._kept.changed:
            if lease.key not in self._kept.leases:
                raise NotFound(f"lease {lease.key} is gone")
            self._kept.renewals += 1
            self._kept.put(lease)
            return Held(lease, self._kept.left_s)

    def watch(self) -> "Watch":
        return Watch(self._kept)

    def close(self) -> None:
        self._kept.on_close()


class Watch:
    """Implements ``ports.LeaseWatch``."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._told: list[Lease] | None = None
        self._closed = False

    def poll(self, timeout_s: float) -> Sequence[Lease] | None:
        def news() -> bool:
            return self._closed or self._told != list(self._kept.leases.values())

        with self._kept.changed:
            if not self._kept.changed.wait_for(news, timeout_s) or self._closed:
                return None
            self._told = list(self._kept.leases.values())
            self._kept.answers += 1
            return list(self._told)

    def close(self) -> None:
        with self._kept.changed:
            self._closed = True
            self._kept.changed.notify_all()


@dataclass
class Machine:
    """A node with one NIC; the loop's part is played by ``refresh``."""

    number: int
    netns: str
    root: Path
    kept: Kept
    node: FlannelNode = field(init=False)
    address: str = ""
    address6: str = ""
    #: The loop is one thread.
    turn: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.address = self.address or ADDRESS.format(self.number)

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def env(self) -> Path:
        return self.root / self.name / "flannel" / "subnet.env"

    def inside(self, function: Callable[[], T]) -> T:
        return namespace.run_in(self.netns, function)

    def start(self) -> None:
        run_dir = self.root / self.name
        run_dir.mkdir(exist_ok=True)
        environ = {
            "NODENAME": self.name,
            "IP": f"{self.address}/24",
            "IP6": f"{self.address6}/64" if self.address6 else "none",
            "KORAT_RUN_DIR": str(run_dir),
            "CLUSTER_TYPE": "k8s,canal",
            "FLANNELD_ETCD_ENDPOINTS": "http://127.0.0.1:1",
            "FLANNELD_SUBNET_FILE": str(self.env),
        }
        settings = node_settings(environ)
        assert settings.flannel is not None
        flannel = replace(settings.flannel, margin_s=1.0)
        self.node = FlannelNode(settings, flannel, lambda: Leases(self.kept))
        store = MemoryStore()
        initialize(Client(store), "test")
        announced = (f"{self.address}/24", f"{self.address6}/64" if self.address6 else "")
        self.inside(lambda: self.node.start(store, announced, self.refresh))
        self.refresh()  # the loop's first turn

    def refresh(self) -> None:
        """As the loop does when it is told to look again."""

        def look() -> None:
            with self.turn:
                plans = self.node.tunnels.plans(FELIX, links(), ())
                self.node.want(plans, 90.0)

        self.inside(look)

    def stop(self) -> None:
        self.node.close()


@contextlib.contextmanager
def world(count: int, root: Path, kept: Kept, *, dual: bool = False) -> Iterator[list[Machine]]:
    """That many machines that run, each with ``eth0`` on one bridge; ``dual``: with IPv6 too."""
    tag = f"kf-{os.getpid()}"
    wire = f"{tag}-wire"
    machines: list[Machine] = []
    try:
        namespace.create(wire)
        namespace.run_in(wire, bridge)
        for number in range(1, count + 1):
            machine = Machine(number, f"{tag}-{number}", root, kept)
            machine.address6 = ADDRESS6.format(number) if dual else ""
            namespace.create(machine.netns)
            cable(wire, f"m{number}", machine.netns, "eth0", master="wire")
            machine.inside(lambda own=machine: give("eth0", f"{own.address}/24"))
            if dual:
                machine.inside(lambda own=machine: give("eth0", f"{own.address6}/64"))
            machine.start()
            machines.append(machine)
        yield machines
    finally:
        for machine in machines:
            machine.stop()
        for name in namespace.names(tag):
            namespace.remove(name)


def give(device: str, address: str) -> None:
    """Add an address to an interface of the calling thread's namespace."""
    with IPRoute() as ip:
        text, _, length = address.partition("/")
        index = ip.link_lookup(ifname=device)[0]
        flags = {"flags": _NO_DAD} if ":" in text else {}
        ip.addr("add", index=index, address=text, prefixlen=int(length), **flags)


def take(device: str, address: str) -> None:
    """Take an address from an interface of the calling thread's namespace."""
    with IPRoute() as ip:
        text, _, length = address.partition("/")
        index = ip.link_lookup(ifname=device)[0]
        ip.addr("del", index=index, address=text, prefixlen=int(length))
