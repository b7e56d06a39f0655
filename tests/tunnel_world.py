"""Nodes on one wire with tunnels between them, in namespaces of the test's own.

Each node has a pod. What a node's tunnels should be comes from the plan, so these tests see what
the plan is worth on a real kernel.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pyroute2 import IPRoute

from korat.agent.overlay import Plans
from korat.agent.tunnel import Tunnels
from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.holding import Holding
from korat.core.route.tunnel import CALICO_TUNNELS
from korat.core.route.vtep import TunnelNode, derived_mac
from korat.core.route.vxlan import Link, Overlay, TunnelPool, TunnelSettings, plan
from korat.drivers.kernel import namespace, sysctl
from korat.drivers.kernel.address import links
from korat.drivers.kernel.vxlan import Tunnel

T = TypeVar("T")

WAIT_S = 5.0
NODES = {Family.V4: "10.80.0.{}/24", Family.V6: "fd80::{}/64"}
POOLS = {Family.V4: Prefix.parse("192.168.0.0/16"), Family.V6: Prefix.parse("fd00:10::/48")}
BLOCKS = {Family.V4: "192.168.{}.0/26", Family.V6: "fd00:10::{}:0/122"}


def addr(text: str) -> Addr:
    return Addr.parse_interface(text)


@dataclass
class Machine:
    """A node: its number is part of all its addresses."""

    number: int
    netns: str
    families: Sequence[Family]
    tunnels: Tunnels = field(default_factory=lambda: Tunnels(CALICO_TUNNELS))

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def pod_netns(self) -> str:
        return f"{self.netns}-pod"

    def inside(self, function: Callable[[], T]) -> T:
        return namespace.run_in(self.netns, function)

    def want(self, plans: Plans) -> None:
        """As the node's loop does it: in the node's namespace, and only there."""
        self.inside(lambda: self.tunnels.want(plans, 90.0))

    def node(self, family: Family) -> TunnelNode:
        own = NODES[family].format(self.number)
        tunnel = self.block(family).base + 1
        return TunnelNode(
            self.name,
            addr(own),
            Prefix.parse(own),
            Addr(family, tunnel),
            derived_mac(self.name, family),
        )

    def block(self, family: Family) -> Prefix:
        return Prefix.parse(BLOCKS[family].format(self.number))

    def pod(self, family: Family) -> Addr:
        return Addr(family, self.block(family).base + 2)

    def links(self) -> tuple[Link, ...]:
        found = self.inside(links)
        return tuple(
            Link(each.name, each.mtu_bytes, each.addresses, each.up, each.name == "eth0")
            for each in found
        )


@dataclass
class World:
    """All machines, and what each of them is told."""

    wire: str
    machines: list[Machine]
    settings: TunnelSettings = field(default_factory=TunnelSettings)
    mode: str = "Always"

    def plans(self, machine: Machine, among: Sequence[Machine] | None = None) -> Plans:
        peers = self.machines if among is None else among
        found = machine.links()
        return {
            family: plan(
                Overlay(
                    family,
                    machine.node(family),
                    [each.node(family) for each in peers if family in each.families],
                    [TunnelPool("pool", POOLS[family], self.mode)],
                    [Holding(each.block(family), each.name) for each in peers],
                    found,
                    self.settings,
                )
            )
            for family in machine.families
        }

    def tell(self, among: Sequence[Machine] | None = None) -> None:
        for machine in self.machines if among is None else among:
            machine.want(self.plans(machine, among))

    def state(self, machine: Machine, family: Family = Family.V4) -> object:
        return machine.inside(lambda: read(family))


def read(family: Family) -> object:
    with Tunnel(family, CALICO_TUNNELS[family]) as tunnel:
        return tunnel.read()


@contextlib.contextmanager
def world(
    count: int,
    families: Sequence[Family] = (Family.V4,),
    tag: str = "tun",
    wire: Callable[[str], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> Iterator[World]:
    """That many machines, their tunnels kept, each with a cable ``m<number>`` to the wire.

    The wire is a bridge, or what ``wire`` makes of the cables in its namespace.
    """
    prefix = f"kt-{os.getpid()}-{tag}"
    made = World(f"{prefix}-wire", [])
    try:
        namespace.create(made.wire)
        namespace.run_in(made.wire, bridge)
        for number in range(1, count + 1):
            machine = Machine(number, f"{prefix}-{number}", families)
            made.machines.append(machine)
            _machine(made.wire, machine, "wire" if wire is contextlib.nullcontext else "")
            machine.inside(machine.tunnels.start)
        with wire(made.wire):
            yield made
    finally:
        for machine in made.machines:
            machine.tunnels.close()
        for name in namespace.names(prefix):
            namespace.remove(name)


def bridge() -> None:
    """The wire: a bridge in the namespace of the calling thread."""
    with IPRoute() as ip:
        ip.link("add", ifname="wire", kind="bridge")
        ip.link("set", index=ip.link_lookup(ifname="wire")[0], state="up")


def _machine(wire: str, machine: Machine, master: str) -> None:
    namespace.create(machine.netns)
    namespace.create(machine.pod_netns)
    forwarding = {"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1}
    keeping = {"net/ipv4/conf/all/promote_secondaries": 1}
    sysctl.write(forwarding | keeping, machine.netns)
    cable(wire, f"m{machine.number}", machine.netns, "eth0", master=master)
    cable(machine.netns, "calipod", machine.pod_netns, "eth0")
    machine.inside(lambda: _addresses(machine))
    sysctl.write(
        {"net/ipv4/conf/calipod/proxy_arp": 1, "net/ipv4/neigh/calipod/proxy_delay": 0},
        machine.netns,
    )
    namespace.run_in(machine.pod_netns, lambda: _pod(machine))


def cable(here: str, name: str, there: str, peer: str, master: str = "") -> None:
    """A veth pair between two namespaces, both ends up."""

    def make() -> None:
        with IPRoute() as ip, namespace.path_of(there).open("rb") as far:
            ip.link(
                "add", ifname=name, kind="veth", peer={"ifname": peer, "net_ns_fd": far.fileno()}
            )
            index = ip.link_lookup(ifname=name)[0]
            more = {"master": ip.link_lookup(ifname=master)[0]} if master else {}
            ip.link("set", index=index, state="up", **more)

    namespace.run_in(here, make)
    namespace.run_in(there, lambda: up(peer))


def up(name: str) -> None:
    with IPRoute() as ip:
        for each in ("lo", name):
            ip.link("set", index=ip.link_lookup(ifname=each)[0], state="up")


def _addresses(machine: Machine) -> None:
    with IPRoute() as ip:
        index, pod = (ip.link_lookup(ifname=name)[0] for name in ("eth0", "calipod"))
        for family in machine.families:
            own = Prefix.parse(NODES[family].format(machine.number))
            address = str(addr(NODES[family].format(machine.number)))
            ip.addr("add", index=index, address=address, prefixlen=own.length, flags=2)
            if family is Family.V6:
                ip.addr("add", index=pod, address="fe80::1", prefixlen=64, flags=2)
            # Without a way to the pods' gateway the node would not answer for it.
            ip.route("add", dst="default", oif=index, family=2 if family is Family.V4 else 10)
            to = f"{machine.pod(family)}/{family.bits}"
            ip.route("add", dst=to, oif=pod, family=2 if family is Family.V4 else 10, proto=75)


def _pod(machine: Machine) -> None:
    with IPRoute() as ip:
        index = ip.link_lookup(ifname="eth0")[0]
        ip.link("set", index=index, mtu=1350 if Family.V6 not in machine.families else 1330)
        for family in machine.families:
            ip.addr(
                "add",
                index=index,
                address=str(machine.pod(family)),
                prefixlen=family.bits,
                flags=2,
            )
            if family is Family.V4:
                ip.route("add", dst="169.254.1.1/32", oif=index, scope="link")
                ip.route("add", dst="0.0.0.0/0", gateway="169.254.1.1", oif=index)
            else:
                ip.route("add", family=10, dst="::/0", gateway="fe80::1", oif=index)


def talks(sender: Machine, receiver: Machine, family: Family = Family.V4) -> bool:
    """Whether a TCP connection between two pods carries a question and its answer."""
    number = socket.AF_INET if family is Family.V4 else socket.AF_INET6
    server = namespace.socket_in(receiver.pod_netns, number)
    client = namespace.socket_in(sender.pod_netns, number)
    with server, client:
        server.settimeout(2)
        client.settimeout(2)
        server.bind((str(receiver.pod(family)), 0))
        server.listen(1)
        try:
            client.connect(server.getsockname()[:2])
            connection, _ = server.accept()
        except OSError:
            return False
        with connection:
            connection.settimeout(2)
            client.sendall(b"question")
            return connection.recv(64) == b"question"


def eventually(condition: Callable[[], bool], wait_s: float = WAIT_S) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + wait_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextlib.contextmanager
def captured(netns: str, interface: str) -> Iterator[list[bytes]]:
    """The frames that an interface sees meanwhile."""
    frames: list[bytes] = []
    done = threading.Event()

    def listen() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.bind((interface, 0))
        sock.settimeout(0.1)
        return sock

    sock = namespace.run_in(netns, listen)

    def collect() -> None:
        while not done.is_set():
            with contextlib.suppress(TimeoutError):
                frames.append(sock.recv(65535))

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        yield frames
        time.sleep(0.2)
    finally:
        done.set()
        thread.join()
        sock.close()
