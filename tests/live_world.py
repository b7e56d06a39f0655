"""A node that runs the real loop, with two pods and the world outside, both IP versions.

pod one (cali-1) ──┐
pod two (cali-2) ──┤ node ──── outside
"""

import contextlib
import os
import queue
import socket
import struct
import threading
from contextlib import ExitStack

from pyroute2 import IPRoute

from korat.agent.connections import Looked
from korat.agent.feed import Batch
from korat.agent.intent import NodeState
from korat.agent.kernel import NodeKernel
from korat.agent.loop import NodeLoop
from korat.core.model.codec import dump
from korat.core.model.config import FelixConfiguration
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr, Family
from korat.drivers.kernel import namespace, sysctl
from korat.drivers.kernel.conntrack import Conntrack
from korat.drivers.kernel.nft import Nft
from korat.ports import Record
from policy_world import NODE, open_namespace, pod

ONE = {4: "10.0.0.1", 6: "fd00::1"}
TWO = {4: "10.0.0.2", 6: "fd00::2"}
OUT = {4: "203.0.113.10", 6: "2001:db8::10"}
HERE = {4: "10.10.0.4", 6: "fd00:10::4"}
#: What others translate to pod two.
SERVICE = {4: "10.96.0.1", 6: "fd00:96::1"}
PLACES = {"one": ONE, "two": TWO, "out": OUT, "node": HERE}
PODS = (
    open_namespace("red"),
    pod("1", *ONE.values(), app="x"),
    pod("2", *TWO.values(), app="y"),
)
WAIT_S = 5.0
_MAC = "02:00:00:00:00:01"
_EVERYWHERE = {
    "net/ipv6/conf/default/accept_dad": 0,
    "net/ipv6/conf/all/accept_dad": 0,
    "net/ipv6/conf/default/disable_ipv6": 0,
    "net/ipv6/conf/all/disable_ipv6": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv4/conf/all/rp_filter": 0,
}
_SERVICE = f"""
add table inet kt-service
add chain inet kt-service to {{ type nat hook prerouting priority -100; }}
add rule inet kt-service to ip daddr {SERVICE[4]} dnat ip to {TWO[4]}
add rule inet kt-service to ip6 daddr {SERVICE[6]} dnat ip6 to {TWO[6]}
"""
_AF = {4: socket.AF_INET, 6: socket.AF_INET6}
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def settings(**spec):
    """Felix's settings of the whole cluster."""
    return FelixConfiguration(metadata=Metadata(name="default"), spec=spec)


class World:
    """The namespaces, the agent's loop in the node's, and sockets anywhere."""

    def __init__(self, stack: ExitStack) -> None:
        self.prefix = f"kt-{os.getpid()}-live"
        for place in PLACES:
            namespace.create(self.name(place))
            stack.callback(namespace.remove, self.name(place))
            sysctl.write(_EVERYWHERE, self.name(place))
        sysctl.write({"net/ipv6/conf/all/forwarding": 1}, self.name("node"))
        for interface, place in (("cali-1", "one"), ("cali-2", "two"), ("eth0", "out")):
            self._link(interface, place)
        self.nft = stack.enter_context(namespace.run_in(self.name("node"), Nft))
        self.tracked = stack.enter_context(namespace.run_in(self.name("node"), Conntrack))
        self.nft.apply(_SERVICE)
        self.looked: queue.Queue[Looked] = queue.Queue()
        self.revision = 0
        stack.callback(self.stop)
        self.start()

    def name(self, place: str) -> str:
        return f"{self.prefix}-{place}"

    def _link(self, interface: str, place: str) -> None:
        # Both ends have one hardware address and no ARP: what one sends is always the other's.
        there = {"ifname": "eth0", "net_ns_fd": self.name(place), "address": _MAC}
        own = HERE if place == "out" else {4: "169.254.1.1"}

        def here() -> None:
            with IPRoute() as ip:
                ip.link("add", ifname=interface, kind="veth", peer=there, address=_MAC)
                index = _up(ip, interface, own)
                if place == "out":
                    for family in (4, 6):
                        _default(ip, family, index)

        def beyond() -> None:
            with IPRoute() as ip:
                _up(ip, "lo", {})
                index = _up(ip, "eth0", PLACES[place])
                for family in (4, 6):
                    _default(ip, family, index)

        namespace.run_in(self.name("node"), here)
        namespace.run_in(self.name(place), beyond)

    def start(self) -> None:
        """Start the agent's loop, as after a restart: it knows nothing."""
        self._kernel = namespace.run_in(
            self.name("node"), lambda: NodeKernel(on_looked=self.looked.put)
        )
        self.loop = NodeLoop(lambda: NodeState(NODE, {}), self._kernel)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        def inside() -> None:
            self._kernel.prepare()
            self.loop.run()

        namespace.run_in(self.name("node"), inside)

    def stop(self) -> None:
        """End the agent; the kernel stays as it is."""
        self.loop.stop()
        self._thread.join()
        self._kernel.close()
        with contextlib.suppress(queue.Empty):
            while True:
                self.looked.get_nowait()

    def enforce(self, *resources) -> Looked:
        """Enforce these policies and no others; returns what became of live connections."""
        self.revision += 1
        every = [*PODS, *resources]
        records = {r.key: Record(r.key, dump(r), self.revision) for r in every}
        self.loop.deliver(Batch(records, self.revision, full=True))
        assert self.loop.wait_applied(self.revision, WAIT_S)
        return self.looked.get(timeout=WAIT_S)

    def socket(self, place: str, kind: str, family: int, port: int = 0) -> socket.socket:
        """A bound socket; for TCP one that may take the address of a connection before it."""
        sock = namespace.socket_in(self.name(place), _AF[family], KINDS[kind])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.settimeout(WAIT_S)
        sock.bind((PLACES[place][family], port))
        return sock

    def entries(self, *addresses: str) -> list:
        """The tracked connections from or to these."""
        wanted = [Addr.parse(address) for address in addresses]
        return list(self.tracked.entries(wanted))

    def dropped(self, comment: str) -> int:
        """How many packets the rules with this comment have counted."""
        return sum(
            statement["counter"]["packets"]
            for each in self.nft.list_json()
            if each.get("rule", {}).get("comment") == comment
            for statement in each["rule"]["expr"]
            if "counter" in statement
        )


class Talk:
    """A connection between two places: a client and what its server answers with."""

    def __init__(self, world: World, kind, family, client, server, *, to=None, port=8080, own=0):
        """``to`` is the address that the client uses, the server's own without it."""
        self.kind, self.port = kind, port
        self.listener = world.socket(server, kind, family, port)
        self.client = world.socket(client, kind, family, own)
        self.own_port = self.client.getsockname()[1]
        self.server = self.listener
        self.target = (to or PLACES[server][family], port)
        if kind == "tcp":
            self.listener.listen()
            self.client.connect(self.target)
            self.server, self.seen = self.listener.accept()
            self.server.settimeout(WAIT_S)
        else:
            self.client.connect(self.target)
            self.client.send(b"first")
            _, self.seen = self.listener.recvfrom(16)
        assert self.works()

    def ask(self) -> bool:
        """Whether what the client says arrives."""
        return self._heard(self.client.send, self.server)

    def answer(self) -> bool:
        """Whether what the server says arrives."""
        send = self.server.send
        if self.kind == "udp":
            send = lambda data: self.server.sendto(data, self.seen)  # noqa: E731 -- beside its twin
        return self._heard(send, self.client)

    def works(self) -> bool:
        """Whether it works both ways."""
        return self.ask() and self.answer()

    @staticmethod
    def _heard(send, receiver) -> bool:
        # A packet is worked off before send returns, so that nothing is to be waited for.
        send(b"hello")
        receiver.setblocking(False)
        try:
            return receiver.recv(16) == b"hello"
        except BlockingIOError:
            return False
        finally:
            receiver.settimeout(WAIT_S)

    def close(self) -> None:
        # Not a sign of it goes on the wire.
        for sock in {self.client, self.server, self.listener}:
            if self.kind == "tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _up(ip: IPRoute, interface: str, addresses) -> int:
    index = ip.link_lookup(ifname=interface)[0]
    ip.link("set", index=index, arp=False, state="up")
    for family, address in addresses.items():
        ip.addr("add", index=index, address=address, prefixlen=Family(family).bits)
    return index


def _default(ip: IPRoute, family: int, index: int) -> None:
    ip.route("add", family=_AF[family], dst={4: "0.0.0.0/0", 6: "::/0"}[family], oif=index)
