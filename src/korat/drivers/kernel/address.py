"""The addresses of this machine's interfaces, read once; not for changing them.

Source: linux/rtnetlink.h (RTM_GETADDR), linux/if_addr.h.
"""

import struct
from dataclasses import dataclass

from pyroute2 import IPRoute

from korat.core.net.address import Addr, Family
from korat.core.route.vxlan import Link
from korat.drivers.kernel import nfnetlink
from korat.drivers.kernel.family import AF


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """One global address of one interface that is up, with its prefix length."""

    interface: str
    address: Addr
    prefix_length: int


_IFF_UP = 1
_SCOPE_GLOBAL = 0
_NETLINK_ROUTE = 0
_NEWADDR, _GETADDR = 20, 22
_ADDRESS, _LOCAL = 1, 2
#: Family, prefix length, flags, scope; then the interface.
_HEADER = struct.Struct("=4BI")
_QUEUE_BYTES = 1 << 20
_FAMILIES = {number: family for family, number in AF.items()}


def interface_addresses() -> tuple[InterfaceAddress, ...]:
    """Global addresses of interfaces that are up, in the kernel's order of interfaces."""
    with IPRoute() as ip:
        names = {
            link["index"]: link.get_attr("IFLA_IFNAME")
            for link in ip.get_links()
            if link["flags"] & _IFF_UP
        }
        return tuple(
            InterfaceAddress(
                interface=names[entry["index"]],
                address=Addr.parse(entry.get_attr("IFA_ADDRESS")),
                prefix_length=entry["prefixlen"],
            )
            for entry in sorted(ip.get_addr(), key=lambda entry: int(entry["index"]))
            if entry["index"] in names and entry["scope"] == _SCOPE_GLOBAL
        )


def own_addresses() -> frozenset[Addr]:
    """Every address of this machine, whatever its scope and however its interface is.

    Asked at every look at live connections, and so without a library, which takes 20 times as long.
    """
    found: set[Addr] = set()
    with nfnetlink.open_socket(_QUEUE_BYTES, _NETLINK_ROUTE) as sock:
        sock.send(nfnetlink.message(_GETADDR, nfnetlink.DUMP, _HEADER.pack(0, 0, 0, 0, 0)))
        while True:
            for message in nfnetlink.messages(nfnetlink.received(sock) or b""):
                if message.kind in (nfnetlink.DONE, nfnetlink.ERROR):
                    return frozenset(found)
                if message.kind == _NEWADDR and message.body[0] in _FAMILIES:
                    found.add(_own(message.body))


def _own(body: bytes) -> Addr:
    """The address of one message; of a point-to-point link IFA_ADDRESS is the other end's."""
    parts = dict(nfnetlink.attributes(body, _HEADER.size))
    return Addr(_FAMILIES[body[0]], int.from_bytes(parts.get(_LOCAL) or parts[_ADDRESS]))


def all_addresses() -> dict[str, frozenset[Addr]]:
    """Every interface, up or not, with all its addresses."""
    with IPRoute() as ip:
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in ip.get_links()}
        found: dict[str, set[Addr]] = {name: set() for name in names.values()}
        for entry in ip.get_addr():
            # Of a point-to-point link IFA_ADDRESS is the other end's.
            own = entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS")
            if entry["index"] in names:
                found[names[entry["index"]]].add(Addr.parse(own))
    return {name: frozenset(addresses) for name, addresses in found.items()}


def links() -> tuple[Link, ...]:
    """Every interface with its MTU, whether it is up, and its addresses."""
    addresses = all_addresses()
    with IPRoute() as ip:
        found = [(str(link.get_attr("IFLA_IFNAME")), link) for link in ip.get_links()]
    return tuple(
        Link(
            name,
            int(link.get_attr("IFLA_MTU")),
            addresses.get(name, frozenset()),
            up=bool(link["flags"] & _IFF_UP),
        )
        for name, link in found
    )


def of_family(
    addresses: tuple[InterfaceAddress, ...], family: Family
) -> tuple[InterfaceAddress, ...]:
    """Those of one family."""
    return tuple(entry for entry in addresses if entry.address.family is family)
