"""The namespaces and cables of the lab's network: the fabric, the VMs, the internet.

    vm1 eth0 ──── vm1-nic ┐                  ┌ internet ──── eth0 203.0.113.10 (internet)
    vm2 eth0 ──── vm2-nic ┤ fabric (routes)  ┤
    vm3 eth0 ──── vm3-nic ┘                  └ sink (nothing passes)

Every NIC has its own cable into the fabric and the fabric is a router without addresses, but for
Azure's own: there is no common link, so no VM ever sees another's frames. ``proxy_arp`` answers ARP
for whatever address is not behind the asker's own port. Which packets go where is ``apply``'s.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from korat.core.errors import Unavailable, Unsupported
from korat.core.net.address import Addr, Prefix
from korat.drivers.kernel import namespace, sysctl
from korat.drivers.kernel.nft import Nft
from korat.lab.fabric.plan import FABRIC_MAC, INTERNET_ADDRESS, INTERNET_MAC, Port
from korat.lab.fabric.platform import ADDRESSES
from korat.lab.fabric.ruleset import INTERNET_PORT, SINK, ttl_text

_T = TypeVar("_T")

_FABRIC_SETTINGS = {
    "net/ipv4/ip_forward": 1,
    # Which sources may come in where is nftables' business; the tables are per port anyway.
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv4/conf/all/send_redirects": 0,
    "net/ipv4/conf/default/send_redirects": 0,
    "net/ipv4/conf/default/proxy_arp": 1,
}
_VM_SETTINGS = {
    "net/ipv4/ip_forward": 1,
    # A new namespace takes these from the host; the lab must not depend on it.
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
}
_NO_IPV6 = {"net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1}

_LOOPBACK = 1  # the index that lo has in every namespace
_SINK_END = f"{SINK}-end"
_INTERNET = Port(
    device=INTERNET_PORT,
    vm="",
    guest="eth0",
    mac=INTERNET_MAC,
    address=INTERNET_ADDRESS,
    subnet=Prefix.parse(f"{INTERNET_ADDRESS}/24"),
    gateway=Addr.parse("203.0.113.1"),
)


@dataclass(frozen=True, slots=True)
class SeenPort:
    """A port that is in the kernel; an empty alias means that its maker did not finish it."""

    device: str
    alias: str

    @property
    def vm(self) -> str:
        """The VM that the port belongs to, the alias's third word; empty when it does not tell."""
        return "".join(self.alias.split()[2:3])


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one lab's namespaces."""

    lab: str

    @property
    def prefix(self) -> str:
        """What the names of all the lab's namespaces begin with, its pods' too."""
        return f"korat-{self.lab}-"

    @property
    def fabric(self) -> str:
        """The namespace that forwards."""
        return f"{self.prefix}fabric"

    @property
    def internet(self) -> str:
        """The namespace of everything that is not the virtual network."""
        return f"{self.prefix}internet"

    def vm(self, vm: str) -> str:
        """The namespace of a virtual machine."""
        return f"{self.prefix}{vm}"


def build(names: Names) -> None:
    """Make the fabric without any VM.

    Raises:
        Conflict: this lab's fabric is there already.
        Unsupported: not root, or the kernel lacks something.
    """
    namespace.create(names.fabric)
    sysctl.write(_FABRIC_SETTINGS, names.fabric)
    with suppress(Unsupported):  # a kernel without IPv6 needs none turned off
        sysctl.write(_NO_IPV6, names.fabric)
    with_netlink(names.fabric, _add_sink)
    with_netlink(names.fabric, _add_platform)
    load(names.fabric, ttl_text())
    namespace.create(names.internet)
    plug(names.fabric, _INTERNET, names.internet)


def plug(fabric: str, port: Port, guest: str) -> None:
    """Make the port's cable and set the guest's end up as Azure's DHCP would.

    The port's description becomes its alias at the very end: a port without one was left half-made.
    """
    with _opened(guest) as fd:
        peer = {"ifname": port.guest, "address": port.mac, "net_ns_fd": fd}

        def cable(ip: IPRoute) -> None:
            ip.link("add", ifname=port.device, kind="veth", address=FABRIC_MAC, peer=peer)
            # Otherwise the kernel waits up to 0.8 s before it answers for another.
            sysctl.write({f"net/ipv4/neigh/{port.device}/proxy_delay": 0})

        with_netlink(fabric, cable)
    with_netlink(guest, lambda ip: _configure_guest(ip, port))
    with_netlink(
        fabric,
        lambda ip: ip.link("set", index=_index(ip, port.device), state="up", ifalias=str(port)),
    )


def observe_ports(fabric: str) -> list[SeenPort]:
    """The ports of VMs that the fabric has."""
    own = {"lo", SINK, _SINK_END, INTERNET_PORT}

    def read(ip: IPRoute) -> list[SeenPort]:
        links = [(str(link.get("ifname")), link.get("ifalias")) for link in ip.get_links()]
        return [SeenPort(name, str(alias or "")) for name, alias in links if name not in own]

    return with_netlink(fabric, read)


def unplug(fabric: str, devices: Sequence[str]) -> None:
    """Take these cables out, both ends; routes and neighbours on them go too."""

    def remove(ip: IPRoute) -> None:
        for device in devices:
            ip.link("del", index=_index(ip, device))

    if devices:
        with_netlink(fabric, remove)


def ensure_vm(name: str) -> None:
    """Make a VM's namespace unless it is there; it forwards for its pods."""
    if not namespace.exists(name):
        namespace.create(name)
    sysctl.write(_VM_SETTINGS, name)


def sweep(lab: str) -> None:
    """Remove every namespace of this lab, whoever made it and however that ended.

    Cables go with their namespaces. A lab whose name goes on with a dash keeps its own.
    """
    names = Names(lab)
    fabrics = (name for name in namespace.names(names.prefix) if name.endswith("-fabric"))
    others = tuple(name.removesuffix("fabric") for name in fabrics if name != names.fabric)
    # The fabric goes last: as long as it is there, a shorter lab's sweep knows this one.
    for name in sorted(namespace.names(names.prefix), key=lambda name: name == names.fabric):
        if not name.startswith(others):
            namespace.remove(name)


def with_netlink(name: str, function: Callable[[IPRoute], _T]) -> _T:
    """Call ``function`` inside the namespace with a netlink socket of it.

    Raises:
        Unavailable: the kernel refused a request; its own words follow.
    """

    def inside() -> _T:
        with IPRoute() as ip:
            return function(ip)

    try:
        return namespace.run_in(name, inside)
    except NetlinkError as error:
        raise Unavailable(f"namespace {name}: the kernel refused a request: {error}") from error


def load(name: str, ruleset: str) -> None:
    """Apply nftables text inside the namespace, in one transaction."""

    def inside() -> None:
        with Nft() as nft:
            nft.apply(ruleset)

    namespace.run_in(name, inside)


def _add_sink(ip: IPRoute) -> None:
    # A kernel without any local address takes no gateway for a unicast address.
    ip.link("set", index=_LOOPBACK, state="up")
    ip.link("add", ifname=SINK, kind="veth", peer={"ifname": _SINK_END})
    for name in (SINK, _SINK_END):
        ip.link("set", index=_index(ip, name), state="up")


def _add_platform(ip: IPRoute) -> None:
    """Azure's own addresses are the fabric's: no route of a NIC's table comes before them."""
    for addr in ADDRESSES:
        ip.addr("add", index=_LOOPBACK, address=str(addr), prefixlen=addr.family.bits)


def _configure_guest(ip: IPRoute, port: Port) -> None:
    ip.link("set", index=_LOOPBACK, state="up")
    index = _index(ip, port.guest)
    ip.addr("add", index=index, address=str(port.address), prefixlen=port.subnet.length)
    ip.link("set", index=index, state="up")
    # The first NIC's default route has metric 0, each further one's is behind it.
    metric = int(port.guest.removeprefix("eth"))
    ip.route("add", dst="default", gateway=str(port.gateway), oif=index, priority=metric)


def _index(ip: IPRoute, name: str) -> int:
    (index,) = ip.link_lookup(ifname=name)
    return int(index)


@contextmanager
def _opened(name: str) -> Iterator[int]:
    fd = os.open(namespace.path_of(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
