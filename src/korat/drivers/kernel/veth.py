"""The link between a node and a pod: one veth pair, its addresses and its routes.

Calico's layout: the host's end has the MAC address ``ee:ee:ee:ee:ee:ee`` and answers ARP for
everything; the pod's end has a /32 (or /128) and a default route by the link-local next hop
169.254.1.1 (or the host end's own link-local address); the host has a route to each address.
Works in the namespace of the calling thread; the pod's namespace is a path. Who made a pair is
written into the host end's alias, so that a late deletion never takes a successor's link away.

Not for policy or for choosing addresses.
Source: Calico cni-plugin/pkg/dataplane/linux; rtnetlink(7).
"""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from korat.core.errors import (
    Conflict,
    Invalid,
    KoratError,
    NotFound,
    Problem,
    Unavailable,
    Unsupported,
)
from korat.core.net.address import Addr, Family
from korat.drivers.kernel import namespace, sysctl
from korat.drivers.kernel.family import AF

#: The origin of korat's routes in the kernel's tables, as Felix's is 80; not in iproute2's list.
ROUTE_PROTOCOL = 75

HOST_MAC = "ee:ee:ee:ee:ee:ee"
GATEWAY_V4 = Addr.parse("169.254.1.1")
#: What the kernel makes of ``HOST_MAC`` by EUI-64.
GATEWAY_V6 = Addr.parse("fe80::ecee:eeff:feee:eeee")

_NO_DAD = 0x02
_UP = 0x01
_OWN = Path("/proc/thread-self/ns/net")

_HOST_V4 = {
    "net/ipv4/conf/{}/route_localnet": 1,
    "net/ipv4/neigh/{}/proxy_delay": 0,
    "net/ipv4/conf/{}/proxy_arp": 1,
    "net/ipv4/conf/{}/forwarding": 1,
}
_HOST_V6 = {
    "net/ipv6/conf/{}/disable_ipv6": 0,
    "net/ipv6/conf/{}/accept_dad": 0,
    "net/ipv6/conf/{}/proxy_ndp": 1,
    "net/ipv6/conf/{}/forwarding": 1,
    "net/ipv6/conf/{}/accept_ra": 0,
}
_POD_V6 = {
    "net/ipv6/conf/all/disable_ipv6": 0,
    "net/ipv6/conf/default/disable_ipv6": 0,
    "net/ipv6/conf/lo/disable_ipv6": 0,
}


@dataclass(frozen=True, slots=True)
class Veth:
    """A pair to make. ``owner`` is at most 255 bytes; ``mtu_bytes`` 0 leaves the kernel's."""

    host_name: str
    netns: str
    ifname: str
    addresses: tuple[Addr, ...]
    owner: str
    mtu_bytes: int = 0
    ip_forward: bool = False

    @property
    def families(self) -> frozenset[Family]:
        """The IP versions it carries."""
        return frozenset(addr.family for addr in self.addresses)


@dataclass(frozen=True, slots=True)
class Seen:
    """A pair as the kernel has it; the pod's side is empty when the pod has no such link."""

    owner: str
    host_mac: str
    up: bool
    mtu_bytes: int
    host_routes: frozenset[Addr]
    pod_mac: str = ""
    addresses: frozenset[Addr] = frozenset()
    default_routes: frozenset[Family] = frozenset()


class Veths:
    """The pairs of this node."""

    def create(self, veth: Veth) -> Seen:
        """Make the pair, whole or not at all.

        Raises:
            Conflict: a name is taken, or an address is routed to another interface.
            NotFound: the pod's namespace is gone.
            Invalid: the pod's namespace is the node's own.
        """
        with _errors(f"veth {veth.host_name} of {veth.netns}"), IPRoute() as host:
            index = _add_pair(host, veth)
            try:
                self._set_up(host, index, veth)
            except BaseException:
                # The pair goes with everything on it, in both namespaces.
                host.link("del", index=index)
                raise
        seen = self.read(veth.host_name, veth.netns, veth.ifname)
        if seen is None:
            raise NotFound(f"veth {veth.host_name} vanished while it was made")
        return seen

    def read(self, host_name: str, netns: str, ifname: str) -> Seen | None:
        """The pair as it is now, or None when the host has no such link."""
        with _errors(f"veth {host_name}"), IPRoute() as host:
            link = _link(host, host_name)
            if link is None:
                return None
            routes = frozenset(
                addr for family in Family for addr in _host_routes(host, link["index"], family)
            )
        try:
            with _errors(f"link {ifname} of {netns}"):
                pod = namespace.run_in(netns, lambda: _read_pod(ifname)) if netns else _PodSide()
        except (NotFound, Unsupported):
            pod = _PodSide()
        return Seen(
            owner=str(link.get_attr("IFLA_IFALIAS") or ""),
            host_mac=str(link.get_attr("IFLA_ADDRESS")),
            up=bool(link["flags"] & _UP) and pod.up,
            mtu_bytes=int(link.get_attr("IFLA_MTU")),
            host_routes=routes,
            pod_mac=pod.mac,
            addresses=pod.addresses,
            default_routes=pod.default_routes,
        )

    def delete(self, host_name: str, owner: str = "") -> bool:
        """Remove the pair, unless it has another owner than this; whether one was removed.

        A pair without any owner was not finished, and goes as well.
        """
        with _errors(f"veth {host_name}"), IPRoute() as host:
            link = _link(host, host_name)
            present = link and link.get_attr("IFLA_IFALIAS")
            if link is None or (owner and present and present != owner):
                return False
            with _missing_is_fine():
                host.link("del", index=link["index"])
            return True

    def owners(self) -> Mapping[str, str]:
        """The owner of every link of this node that has one, by the link's name."""
        with _errors("links"), IPRoute() as host:
            return {
                str(link.get_attr("IFLA_IFNAME")): str(link.get_attr("IFLA_IFALIAS"))
                for link in host.get_links()
                if link.get_attr("IFLA_IFALIAS")
            }

    def _set_up(self, host: IPRoute, index: int, veth: Veth) -> None:
        settings = _HOST_V4 | (_HOST_V6 if Family.V6 in veth.families else {})
        sysctl.write({key.format(veth.host_name): value for key, value in settings.items()})
        # The kernel takes an alias only from a link that is there.
        host.link("set", index=index, state="up", ifalias=veth.owner)
        if Family.V6 in veth.families:
            _add_host_link_local(host, index)
        namespace.run_in(veth.netns, lambda: _set_up_pod(veth))
        for addr in veth.addresses:
            _add_host_route(host, index, addr)


@dataclass(frozen=True, slots=True)
class _PodSide:
    """The pod's half of ``Seen``."""

    mac: str = ""
    up: bool = False
    addresses: frozenset[Addr] = frozenset()
    default_routes: frozenset[Family] = frozenset()


def _add_pair(host: IPRoute, veth: Veth) -> int:
    fd = os.open(veth.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.path.samestat(os.fstat(fd), _OWN.stat()):
            raise Invalid([Problem("", "CNI_NETNS", veth.netns, "is the node's own namespace")])
        mtu = {"mtu": veth.mtu_bytes} if veth.mtu_bytes else {}
        peer = {"ifname": veth.ifname, "net_ns_fd": fd, **mtu}
        host.link("add", ifname=veth.host_name, kind="veth", address=HOST_MAC, peer=peer, **mtu)
    finally:
        os.close(fd)
    link = _link(host, veth.host_name)
    if link is None:
        raise NotFound(f"veth {veth.host_name} vanished while it was made")
    return int(link["index"])


def _set_up_pod(veth: Veth) -> None:
    """The pod's end; runs inside the pod's namespace."""
    sysctl.write({"net/ipv4/ip_forward": int(veth.ip_forward)})
    if Family.V6 in veth.families:
        own = {f"net/ipv6/conf/{veth.ifname}/disable_ipv6": 0}
        forwarding = {"net/ipv6/conf/all/forwarding": int(veth.ip_forward)}
        sysctl.write(_POD_V6 | own | forwarding)
    with IPRoute() as pod:
        link = _link(pod, veth.ifname)
        if link is None:
            raise NotFound(f"link {veth.ifname} vanished while it was made")
        index = link["index"]
        pod.link("set", index=1, state="up")
        pod.link("set", index=index, state="up")
        for addr in veth.addresses:
            flags = {"flags": _NO_DAD} if addr.family is Family.V6 else {}
            pod.addr("add", index=index, address=str(addr), prefixlen=addr.family.bits, **flags)
        if Family.V4 in veth.families:
            pod.route("add", dst=f"{GATEWAY_V4}/32", oif=index, scope="link")
            pod.route("add", dst="0.0.0.0/0", gateway=str(GATEWAY_V4), oif=index)
        if Family.V6 in veth.families:
            pod.route("add", family=AF[Family.V6], dst="::/0", gateway=str(GATEWAY_V6), oif=index)


def _add_host_link_local(host: IPRoute, index: int) -> None:
    """The address that the pod's IPv6 routes name; the kernel may have made it already."""
    try:
        host.addr("add", index=index, address=str(GATEWAY_V6), prefixlen=64, flags=_NO_DAD)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise


def _add_host_route(host: IPRoute, index: int, addr: Addr) -> None:
    scope = {"scope": "link"} if addr.family is Family.V4 else {}
    dst = f"{addr}/{addr.family.bits}"
    try:
        host.route("add", family=AF[addr.family], dst=dst, oif=index, proto=ROUTE_PROTOCOL, **scope)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
        # The node's loop also makes these routes, and may have been quicker.
        if addr not in _host_routes(host, index, addr.family):
            raise Conflict(
                f"this node routes {addr} to another interface already",
                f"see `ip route show {dst}`, and delete that route",
            ) from error


def _host_routes(host: IPRoute, index: int, family: Family) -> Iterator[Addr]:
    for route in host.get_routes(family=AF[family], oif=index, proto=ROUTE_PROTOCOL):
        if route["dst_len"] == family.bits:
            yield Addr.parse(route.get_attr("RTA_DST"))


def _read_pod(ifname: str) -> _PodSide:
    """The pod's end as it is; runs inside the pod's namespace."""
    with IPRoute() as pod:
        link = _link(pod, ifname)
        if link is None:
            return _PodSide()
        index = link["index"]
        found = (Addr.parse(a.get_attr("IFA_ADDRESS")) for a in pod.get_addr(index=index))
        return _PodSide(
            mac=str(link.get_attr("IFLA_ADDRESS")),
            up=bool(link["flags"] & _UP),
            addresses=frozenset(addr for addr in found if not _is_link_local(addr)),
            default_routes=frozenset(
                family
                for family in Family
                if any(r["dst_len"] == 0 for r in pod.get_routes(family=AF[family], oif=index))
            ),
        )


def _is_link_local(addr: Addr) -> bool:
    return addr.family is Family.V6 and addr.value >> 118 == 0xFE80 >> 6


def _link(route: IPRoute, name: str) -> Any:  # noqa: ANN401 - pyroute2's messages have no types
    try:
        return next(iter(route.link("get", ifname=name)), None)
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise


@contextmanager
def _missing_is_fine() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code not in (errno.ENODEV, errno.ENOENT):
            raise


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """Turn the kernel's refusals into korat's."""
    try:
        yield
    except NetlinkError as error:
        raise _translated(what, error.code, error) from error
    except OSError as error:
        raise _translated(what, error.errno or 0, error) from error


def _translated(what: str, code: int, error: Exception) -> KoratError:
    match code:
        case errno.EEXIST:
            return Conflict(f"{what}: an interface, address or route of that name is there already")
        case errno.ENOENT | errno.ENODEV | errno.ENOTDIR:
            return NotFound(f"{what}: the network namespace or interface does not exist")
        case errno.EPERM | errno.EACCES:
            return Unsupported(f"{what}: not permitted", "run as root, with CAP_NET_ADMIN")
        case errno.EINVAL | errno.EOPNOTSUPP:
            return Unsupported(f"{what}: the kernel refuses it: {error}")
        case _:
            return Unavailable(f"{what}: {error}")
