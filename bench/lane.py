"""A node with pods, in network namespaces: what packets are driven through.

    client pod           node                     server pod
    10.65.0.2/32  eth0 - caliclient  caliserver - eth0  10.65.0.3/32
                            |
                          eth0 10.10.0.4/24
                            |
                          wire                    (the rest of the cluster, one raw socket)

The links are those that korat's own CNI makes. Several lanes stand side by side with the same
addresses, each with a ruleset of its own, and are driven in turn. Names begin ``kt-PID-`` like
those of the tests, so whatever sweeps after those sweeps here.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyroute2 import IPRoute

from bench.ends import SETTINGS, End, Ends
from korat.core.net.address import Addr
from korat.drivers.kernel import namespace, sysctl
from korat.drivers.kernel.veth import Veth, Veths

CLIENT, SERVER = Addr.parse("10.65.0.2"), Addr.parse("10.65.0.3")
CLIENT_INTERFACE, SERVER_INTERFACE = "caliclient", "caliserver"
NODE_ADDRESS = "10.10.0.4/24"
WIRE_GATEWAY = "10.10.0.1"
NODE_MAC, WIRE_MAC = "02:00:00:00:00:04", "02:00:00:00:00:01"

_NODE = {
    "net/ipv4/ip_forward": 1,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv4/conf/all/send_redirects": 0,
}
_WIRE = {"net/ipv4/ip_forward": 0}


@dataclass(frozen=True, slots=True)
class Lane:
    """The namespaces of one node."""

    tag: str
    owner: int  # the process that sweeps

    @property
    def node(self) -> str:
        """The node's namespace."""
        return self._name("node")

    @property
    def client(self) -> str:
        """The client pod's."""
        return self._name("client")

    @property
    def server(self) -> str:
        """The server pod's."""
        return self._name("server")

    @property
    def wire(self) -> str:
        """The rest of the cluster's."""
        return self._name("wire")

    @property
    def names(self) -> tuple[str, ...]:
        """All four."""
        return self.node, self.client, self.server, self.wire

    @property
    def ends(self) -> Ends:
        """The two pods, as a load drives them."""
        return Ends(End(self.client, CLIENT), End(self.server, SERVER), (self.node,))

    def _name(self, role: str) -> str:
        return f"kt-{self.owner}-b{self.tag}-{role}"


@contextmanager
def lane(tag: str) -> Iterator[Lane]:
    """A node with its two driven pods and its wire, as long as the block lasts."""
    made = Lane(tag, os.getpid())
    try:
        for name in made.names:
            namespace.create(name)
        sysctl.write(_NODE, made.node)
        sysctl.write(_WIRE, made.wire)
        for name in (made.client, made.server):
            sysctl.write(SETTINGS, name)
        namespace.run_in(made.node, lambda: _cable(made))
        yield made
    finally:
        for name in made.names:
            namespace.remove(name)


def _cable(made: Lane) -> None:
    """In the node's namespace: the pods' links and the wire."""
    pods = ((CLIENT_INTERFACE, made.client, CLIENT), (SERVER_INTERFACE, made.server, SERVER))
    for interface, name, addr in pods:
        path = str(namespace.path_of(name))
        Veths().create(Veth(interface, path, "eth0", (addr,), owner="bench"))
    with IPRoute() as ip:
        there = {"ifname": "eth0", "net_ns_fd": made.wire, "address": WIRE_MAC}
        ip.link("add", ifname="eth0", kind="veth", peer=there, address=NODE_MAC)
        index = ip.link_lookup(ifname="eth0")[0]
        ip.link("set", index=1, state="up")
        address, _, length = NODE_ADDRESS.partition("/")
        ip.addr("add", index=index, address=address, prefixlen=int(length))
        ip.link("set", index=index, state="up")
        # Nobody answers ARP on the wire: it is a raw socket.
        ip.neigh("add", dst=WIRE_GATEWAY, lladdr=WIRE_MAC, ifindex=index, state=0x80)
        ip.route("add", dst="0.0.0.0/0", gateway=WIRE_GATEWAY)
    namespace.run_in(made.wire, _up)


def _up() -> None:
    with IPRoute() as ip:
        ip.link("set", index=ip.link_lookup(ifname="eth0")[0], state="up")


def add_idle_links(made: Lane, interfaces: tuple[str, ...]) -> None:
    """Links of pods that carry no traffic; the pods' ends all lie in one namespace."""

    def add() -> None:
        with IPRoute() as ip:
            for number, name in enumerate(interfaces):
                there = {"ifname": f"p{number}", "net_ns_fd": made.wire}
                ip.link("add", ifname=name, kind="veth", peer=there)
                ip.link("set", index=ip.link_lookup(ifname=name)[0], state="up")

    namespace.run_in(made.node, add)
