"""A host with two networks and a workload, each in a namespace of its own, and sockets in all.

    peer 172.16.0.2 -- eth0 172.16.0.1 [ host ] 172.17.0.1 eth1 -- 172.17.0.2 far
                                         cali1 -- 10.0.0.1 pod

A datagram is sent, then another over a flow that was established before any rule was loaded: the
kernel works packets off in order on the processor that sent them, so once the second has come, the
first has come or was dropped. Nothing is waited for longer than that.
"""

import os
import socket
from contextlib import contextmanager

from pyroute2 import IPRoute

from korat.drivers.kernel import namespace, sysctl
from korat.drivers.kernel.nft import Nft

HOST, HOST_FAR, PEER, FAR, POD = (
    "172.16.0.1",
    "172.17.0.1",
    "172.16.0.2",
    "172.17.0.2",
    "10.0.0.1",
)
_GATEWAY = "10.0.9.1"
_SITES = {HOST: "host", HOST_FAR: "host", PEER: "peer", FAR: "far", POD: "pod"}
_FENCE_PORT = 9
_SETTINGS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
}
#: Without a rule that asks for it the kernel tracks no connection.
_TRACKING = """
add table inet kt-tracking
add chain inet kt-tracking in { type filter hook prerouting priority 0; }
add chain inet kt-tracking out { type filter hook output priority 0; }
add rule inet kt-tracking in ct state new
add rule inet kt-tracking out ct state new
"""


class World:
    """The four namespaces, and the host's nftables."""

    def __init__(self, names, nft):
        self.names = names
        self.nft = nft
        self._fences = {}
        self._sockets = []

    def socket(self, site, port=0, kind=socket.SOCK_DGRAM):
        """A socket at an address, bound to it."""
        made = namespace.socket_in(self.names[_SITES[site]], socket.AF_INET, kind)
        self._sockets.append(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((site, port))
        made.settimeout(5)
        return made

    def load(self, *texts):
        """Forget what was loaded, establish a flow between each two ends, and load these rules."""
        self.nft.apply(f"flush ruleset\n{_TRACKING}")
        self.close()
        for here in (HOST, PEER, FAR, POD):
            server = self.socket(here, _FENCE_PORT)
            for there in (HOST, PEER, FAR, POD):
                if there != here:
                    client = self.socket(there)
                    client.connect((here, _FENCE_PORT))
                    client.send(b"?")
                    _, source = server.recvfrom(1)
                    server.sendto(b"!", source)
                    client.recv(1)
                    self._fences[there, here] = client, server
        for text in texts:
            self.nft.apply(text)

    def arrives(self, src, dst, port, lands=None, sport=0):
        """Whether a datagram comes to ``lands`` (address and port), or else to where it is sent."""
        at = lands or (dst, port)
        server, client = self.socket(*at), self.socket(src, sport)
        try:
            client.sendto(b"probe", (dst, port))
        except PermissionError:
            return False  # what the kernel tells a sender whose output was dropped
        finally:
            client.close()
        asked, asking = self._fences[self._end(src), self._end(at[0])]
        asked.send(b"?")
        asking.recv(1)
        server.setblocking(False)
        try:
            return server.recv(9) == b"probe"
        except BlockingIOError:
            return False
        finally:
            server.close()

    @staticmethod
    def _end(address):
        return HOST if address == HOST_FAR else address

    def connects(self, src, dst, port):
        """Whether a TCP connection comes to stand and carries a byte back."""
        listener, client = (
            self.socket(dst, port, socket.SOCK_STREAM),
            self.socket(src, 0, socket.SOCK_STREAM),
        )
        listener.listen()
        client.connect((dst, port))
        accepted, _ = listener.accept()
        accepted.send(b"!")
        got = client.recv(1) == b"!"
        for each in (listener, client, accepted):
            each.close()
        return got

    def close(self):
        """Close every socket."""
        for each in self._sockets:
            each.close()
        self._sockets, self._fences = [], {}


@contextmanager
def hosts(suffix):
    """A host and its surroundings."""
    names = {site: f"kt-{os.getpid()}-{suffix}-{site}" for site in set(_SITES.values())}
    processors = os.sched_getaffinity(0)
    world = None
    try:
        for name in names.values():
            namespace.create(name)
            sysctl.write(_SETTINGS, name)
        namespace.run_in(names["host"], lambda: _cable(names))
        for site, gateway in (("peer", HOST), ("far", HOST_FAR), ("pod", _GATEWAY)):
            _settle(names[site], next(a for a, s in _SITES.items() if s == site), gateway)
        os.sched_setaffinity(0, {min(processors)})
        with namespace.run_in(names["host"], Nft) as nft:
            world = World(names, nft)
            yield world
    finally:
        os.sched_setaffinity(0, processors)
        if world is not None:
            world.close()
        for name in names.values():
            namespace.remove(name)


def _cable(names):
    with IPRoute() as ip:
        ip.link("set", index=1, state="up")
        for interface, own, length, site in (
            ("eth0", HOST, 24, "peer"),
            ("eth1", HOST_FAR, 24, "far"),
            ("cali1", _GATEWAY, 32, "pod"),
        ):
            there = {"ifname": "eth0", "net_ns_fd": names[site]}
            ip.link("add", ifname=interface, kind="veth", peer=there)
            index = ip.link_lookup(ifname=interface)[0]
            ip.addr("add", index=index, address=own, prefixlen=length)
            ip.link("set", index=index, state="up")
        ip.route("add", dst=f"{POD}/32", oif=ip.link_lookup(ifname="cali1")[0])


def _settle(name, address, gateway):
    def inside():
        with IPRoute() as ip:
            index = ip.link_lookup(ifname="eth0")[0]
            ip.addr("add", index=index, address=address, prefixlen=32 if address == POD else 24)
            ip.link("set", index=1, state="up")
            ip.link("set", index=index, state="up")
            if address == POD:
                ip.route("add", dst=f"{gateway}/32", oif=index, scope=253)
            ip.route("add", dst="default", gateway=gateway)

    namespace.run_in(name, inside)
