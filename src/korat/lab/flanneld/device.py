"""The VM's side: its outer interface, the tunnel device, what leads to each peer, masquerading.

By ``ip``, ``bridge`` and ``nft``; each call is one object as flanneld makes it.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import structlog

from korat.core.errors import KoratError, NotFound, Unavailable
from korat.lab.flanneld.contract import OVERHEAD_BYTES, Lease, Network
from korat.lab.flanneld.program import run

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outer:
    """The interface that carries the tunnel, and the address that others reach it at."""

    name: str
    mtu: int
    public_ip: IPv4Address


def outer(iface: str, public_ip: str) -> Outer:
    """The interface of that name or address, else the public address's, else the default route's.

    Raises:
        NotFound: there is none, or it has no IPv4 address.
    """
    wanted = iface or public_ip or _default_interface()
    for link in _json("-4", "addr", "show"):
        addresses = [str(each["local"]) for each in link["addr_info"]]
        if addresses and wanted in (link["ifname"], *addresses):
            own = wanted if wanted in addresses else addresses[0]
            return Outer(link["ifname"], int(link["mtu"]), IPv4Address(public_ip or own))
    raise NotFound(f"no interface {wanted or 'with a default route'} that has an IPv4 address")


def _default_interface() -> str:
    routes = _json("-4", "route", "show", "default")
    return next((str(route["dev"]) for route in routes), "")


def device(network: Network, through: Outer) -> str:
    """Make ``flannel.<VNI>`` or keep one that fits; its MAC, which a kept device keeps."""
    name = f"flannel.{network.vni}"
    wanted = {
        "id": network.vni,
        "local": str(through.public_ip),
        "link": through.name,
        "port": network.port,
    }
    there = _link(name)
    if there and wanted != {key: _vxlan(there).get(key) for key in wanted}:
        log.warning("the device is another one's, and made again", device=name)
        run("ip", "link", "del", name)
        there = {}
    if not there:
        mtu = (network.outer_mtu or through.mtu) - OVERHEAD_BYTES
        vxlan = ("id", str(network.vni), "local", wanted["local"], "dev", through.name)
        port = ("dstport", str(network.port), "nolearning")
        run("ip", "link", "add", name, "mtu", str(mtu), "type", "vxlan", *map(str, vxlan), *port)
    with contextlib.suppress(OSError):  # a kernel without IPv6
        Path(f"/proc/sys/net/ipv6/conf/{name}/accept_ra").write_text("0")
    return str(_link(name)["address"])


def configure(network: Network, subnet: IPv4Network) -> None:
    """Give the device its subnet's first address, and no other of the network; set it up."""
    name, own = f"flannel.{network.vni}", f"{subnet.network_address}/32"
    for link in _json("-4", "addr", "show", "dev", name):
        for each in link["addr_info"]:
            address = f"{each['local']}/{each['prefixlen']}"
            if address != own and IPv4Address(each["local"]) in network.network:
                run("ip", "addr", "del", address, "dev", name)
    run("ip", "addr", "replace", own, "dev", name)
    run("ip", "link", "set", name, "up")


def add(name: str, peer: Lease) -> None:
    """Lead to a peer's subnet; what fails takes the rest back, and the peer is passed over."""
    gateway = str(peer.subnet.network_address)
    neighbour = ("neigh", "replace", gateway, "lladdr", peer.mac, "nud", "permanent", "dev", name)
    route = ("route", "replace", str(peer.subnet), "via", gateway, "dev", name, "onlink")
    try:
        run("ip", *neighbour)
        run("bridge", "fdb", "replace", *_entry(name, peer), "permanent")
        run("ip", *route)
    except Unavailable as error:
        log.error("no way to a peer", subnet=str(peer.subnet), why=str(error))
        remove(name, peer)


def remove(name: str, peer: Lease) -> None:
    """Lead there no more; each of the three is tried, whatever the others do."""
    gateway = str(peer.subnet.network_address)
    for words in (
        ("ip", "route", "del", str(peer.subnet), "via", gateway, "dev", name),
        ("bridge", "fdb", "del", *_entry(name, peer)),
        ("ip", "neigh", "del", gateway, "dev", name),
    ):
        try:
            run(*words)
        except KoratError as error:
            log.warning("not removed", why=str(error))


def _entry(name: str, peer: Lease) -> tuple[str, ...]:
    return (peer.mac, "dev", name, "dst", str(peer.public_ip), "self")


def masquerade(network: Network, subnet: IPv4Network) -> None:
    """What leaves the network has the node's address; inside it nothing is changed."""
    cluster = str(network.network)
    run(
        "nft",
        "-f",
        "-",
        text=f"""
        table ip flannel-ipv4
        delete table ip flannel-ipv4
        table ip flannel-ipv4 {{
          chain postrtg {{
            type nat hook postrouting priority srcnat; policy accept;
            meta mark 0x4000 return
            ip saddr {subnet} ip daddr {cluster} return
            ip saddr {cluster} ip daddr {subnet} return
            ip saddr != {subnet} ip daddr {cluster} return
            ip saddr {cluster} ip daddr != 224.0.0.0/4 masquerade fully-random
            ip saddr != {cluster} ip daddr {cluster} masquerade fully-random
          }}
        }}
        """,
    )


def _link(name: str) -> Mapping[str, Any]:
    """A link's state; nothing when there is no such link."""
    return next((link for link in _json("-d", "link", "show") if link["ifname"] == name), {})


def _vxlan(link: Mapping[str, Any]) -> Mapping[str, Any]:
    info = link.get("linkinfo", {})
    return info.get("info_data", {}) if info.get("info_kind") == "vxlan" else {}


def _json(*words: str) -> Sequence[Mapping[str, Any]]:
    found = json.loads(run("ip", "-j", *words) or "[]")
    return [each for each in found if isinstance(each, dict) and each]
