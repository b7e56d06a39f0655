"""The addresses of this machine's interfaces, read once; not for changing them.

Source: linux/rtnetlink.h (RTM_GETLINK, RTM_GETADDR), linux/if_addr.h, linux/if_link.h.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pyroute2 import IPRoute

from korat.core.net.address import Addr, Family
from korat.core.route.vxlan import Link
from korat.drivers.kernel import nfnetlink
from korat.drivers.kernel.rtnetlink import (
    ADDRESS_HEADER,
    FAMILIES,
    LINK_HEADER,
    RouteSocket,
)


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """One global address of one interface that is up, with its prefix length."""

    interface: str
    address: Addr
    prefix_length: int


_IFF_UP = 1
_SCOPE_GLOBAL = 0
_GETLINK, _GETADDR = 18, 22
_ADDRESS, _LOCAL = 1, 2
_IFNAME, _MTU = 3, 4
_MAC_BYTES = 6
_NUMBER = struct.Struct("=I")


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
    with RouteSocket() as wire:
        return frozenset(addr for _, addr in _addresses(wire))


def all_addresses() -> dict[str, frozenset[Addr]]:
    """Every interface, up or not, with all its addresses."""
    return {link.name: link.addresses for link in links()}


def links() -> tuple[Link, ...]:
    """Every interface with its MTU, whether it is up, and its addresses."""
    addresses: dict[int, set[Addr]] = {}
    with RouteSocket() as wire:
        found = [_link(body) for body in wire.dump(_GETLINK, LINK_HEADER.pack(0, 0, 0, 0, 0))]
        for index, addr in _addresses(wire):
            addresses.setdefault(index, set()).add(addr)
    return tuple(
        Link(name, mtu_bytes, frozenset(addresses.get(index, ())), up=up)
        for index, name, mtu_bytes, up in found
    )


def addresses_by_mac() -> dict[str, frozenset[Addr]]:
    """The addresses of this machine's links by their MAC, ``00:0d:3a:01:02:03``.

    Links of one MAC count as one, as a VM's link and the device that speeds it up do; those
    without, the loopback link too, are under the empty text.
    """
    found: dict[str, set[Addr]] = {}
    with RouteSocket() as wire:
        macs = dict(map(_mac, wire.dump(_GETLINK, LINK_HEADER.pack(0, 0, 0, 0, 0))))
        for mac in macs.values():
            found.setdefault(mac, set())
        for index, addr in _addresses(wire):
            found.setdefault(macs.get(index, ""), set()).add(addr)
    return {mac: frozenset(addrs) for mac, addrs in found.items()}


def _mac(body: bytes) -> tuple[int, str]:
    """Index and MAC; empty for links that have none."""
    _, _, index, _, _ = LINK_HEADER.unpack_from(body)
    hardware = dict(nfnetlink.attributes(body, LINK_HEADER.size)).get(_ADDRESS, b"")
    plain = len(hardware) == _MAC_BYTES and any(hardware)
    return index, hardware.hex(":") if plain else ""


def _link(body: bytes) -> tuple[int, str, int, bool]:
    """Index, name, MTU and whether it is up."""
    _, _, index, flags, _ = LINK_HEADER.unpack_from(body)
    parts = dict(nfnetlink.attributes(body, LINK_HEADER.size))
    name = parts[_IFNAME].rstrip(b"\0").decode(errors="surrogateescape")
    return index, name, int(_NUMBER.unpack(parts[_MTU])[0]), bool(flags & _IFF_UP)


def _addresses(wire: RouteSocket) -> Iterator[tuple[int, Addr]]:
    """Each address with its interface; of a point-to-point link IFA_ADDRESS is the other end's."""
    for body in wire.dump(_GETADDR, ADDRESS_HEADER.pack(0, 0, 0, 0, 0)):
        family = FAMILIES.get(body[0])
        if family is not None:
            parts = dict(nfnetlink.attributes(body, ADDRESS_HEADER.size))
            own = parts.get(_LOCAL) or parts[_ADDRESS]
            yield ADDRESS_HEADER.unpack_from(body)[4], Addr(family, int.from_bytes(own))


def of_family(
    addresses: tuple[InterfaceAddress, ...], family: Family
) -> tuple[InterfaceAddress, ...]:
    """Those of one family."""
    return tuple(entry for entry in addresses if entry.address.family is family)
