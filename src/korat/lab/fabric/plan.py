"""What the fabric's kernel must hold so that it forwards like Azure, as one value that prints.

Azure looks a packet up in the effective routes of its *sender's* subnet. So each NIC is a port, an
interface of the fabric's namespace, and a rule selects its subnet's routing table by the port a
packet came in on. The kernel does the longest-prefix match; this module only says where each
effective route leads:

    VnetLocal         the port of the NIC that has the address, else the sink
    VirtualAppliance  the port of the NIC that has the next-hop address, else the sink
    Internet          the port of the internet
    None, Gateway     the sink

The sink is an interface to which nothing is ever sent: nftables drops what is routed there. A
blackhole route would do that too, but then the fabric would not answer ARP for those addresses, and
an unreachable route would answer with an ICMP error; Azure does the first and never the second.

Source: Azure's "Virtual network traffic routing" page.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from typing_extensions import override

from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.effective import EffectiveRoute, NextHop, State, select
from korat.lab.arm.view import NetworkView, NicView
from korat.lab.fabric.model import primary
from korat.lab.fabric.ruleset import INTERNET_PORT, SINK, edge_text, fabric_text
from korat.lab.fabric.switch import Switches

FABRIC_MAC = "12:34:56:78:9a:bc"
"""The hardware address that every Azure VM sees as its gateway's and its peers'."""

INTERNET_MAC = "12:34:56:00:00:10"
INTERNET_ADDRESS = Addr.parse("203.0.113.10")
INTERNET_TABLE = 1000
"""Where every address is at its NIC: for what comes from the internet, or from Azure itself."""

_OWN_PACKETS = "lo"

_Sender: TypeAlias = tuple[Prefix, tuple[EffectiveRoute, ...]]
_Owners: TypeAlias = Mapping[Addr, NicView]

_EVERYTHING = Prefix(Family.V4, 0, 0)
_INTERFACE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_RESERVED = {"lo", "all", "default", SINK, INTERNET_PORT}


@dataclass(frozen=True, slots=True)
class Port:
    """A NIC as a veth pair: ``device`` in the fabric, ``guest`` in the VM's namespace."""

    device: str
    vm: str
    guest: str
    mac: str
    address: Addr
    subnet: Prefix
    gateway: Addr

    @override
    def __str__(self) -> str:
        where = f"{self.vm} {self.guest} {self.mac}"
        return f"port {self.device} {where} {self.address}/{self.subnet.length} via {self.gateway}"


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """Packets that came in on ``device`` are looked up in ``table``."""

    device: str
    table: int

    @override
    def __str__(self) -> str:
        return f"rule iif {self.device} lookup {self.table}"


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """One route of a table; ``via`` is reached on ``device`` without being on its link.

    ``largest_packet`` is what goes by it in one piece; 0 for as much as the device takes.
    """

    table: int
    prefix: Prefix
    device: str
    via: Addr | None = None
    largest_packet: int = 0

    @override
    def __str__(self) -> str:
        via = f" via {self.via} onlink" if self.via else ""
        mtu = f" mtu {self.largest_packet}" if self.largest_packet else ""
        return f"route {self.prefix}{via} dev {self.device}{mtu} table {self.table}"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour: the fabric never asks a VM who has an address."""

    device: str
    address: Addr
    mac: str

    @override
    def __str__(self) -> str:
        return f"neighbour {self.address} {self.mac} dev {self.device}"


@dataclass(frozen=True, slots=True)
class FabricPlan:
    """All that the fabric's kernel must hold; two equal views have equal plans.

    ``ruleset`` is the nftables text of the fabric, ``edge`` that of the internet's namespace.
    """

    ports: tuple[Port, ...]
    rules: tuple[Rule, ...]
    routes: tuple[KernelRoute, ...]
    neighbours: tuple[Neighbour, ...]
    ruleset: str
    edge: str

    @override
    def __str__(self) -> str:
        kernel = (*self.ports, *self.rules, *self.routes, *self.neighbours)
        return "\n".join([*map(str, kernel), self.ruleset, self.edge])


def plan(view: NetworkView, switches: Switches | None = None) -> FabricPlan:
    """The plan for a network; IPv6 addresses are left out, and NICs without an IPv4 one."""
    allowed = switches or Switches()
    nics = [nic for nic in view.nics if primary(nic)]
    tables = _tables(nics)
    owners = _owners(view)
    routes = [
        _kernel_route(owners, number, route)
        for (_, effective), number in tables.items()
        for route in _complete(owners, effective)
    ]
    routes += [KernelRoute(INTERNET_TABLE, _EVERYTHING, SINK)]
    routes += [
        KernelRoute(INTERNET_TABLE, Prefix.of(addr), port_name(nic))
        for nic in nics
        for addr in v4(nic)
    ]
    neighbours = [Neighbour(port_name(nic), a, nic.mac) for nic in nics for a in v4(nic)]
    neighbours.append(Neighbour(INTERNET_PORT, INTERNET_ADDRESS, INTERNET_MAC))
    return FabricPlan(
        ports=tuple(_ports(nics)),
        rules=(
            *(Rule(device, INTERNET_TABLE) for device in (INTERNET_PORT, _OWN_PACKETS)),
            *(Rule(port_name(nic), tables[nic.subnet, nic.routes]) for nic in nics),
        ),
        routes=tuple(replace(r, largest_packet=allowed.largest_packet) for r in routes),
        neighbours=tuple(neighbours),
        ruleset=fabric_text(nics, port_name, allowed),
        edge=edge_text(nics),
    )


def port_name(nic: NicView) -> str:
    """The fabric's interface for a NIC: its own name, or a hash when that fits no interface."""
    if _INTERFACE_NAME.fullmatch(nic.name) and nic.name not in _RESERVED:
        return nic.name
    return "nic" + hashlib.sha1(nic.name.encode(), usedforsecurity=False).hexdigest()[:11]


def v4(nic: NicView) -> tuple[Addr, ...]:
    """The IPv4 addresses of a NIC."""
    return tuple(addr for addr in nic.addresses if addr.family is Family.V4)


def _owners(view: NetworkView) -> _Owners:
    """Whose each address is, the first NIC's where two claim one, as ``model.owner`` has it."""
    claims = [(addr, nic) for nic in view.nics for addr in v4(nic)]
    return {**dict(claims), **dict(reversed(claims))}


def _tables(nics: Iterable[NicView]) -> dict[_Sender, int]:
    """The routing tables by whose they are: the subnet's base address is a table's number.

    Subnets of two networks may have the same prefix and other routes; then numbers count up.
    """
    found: dict[_Sender, int] = {}
    for nic in nics:
        same = sum(subnet == nic.subnet for subnet, _ in found)
        found.setdefault((nic.subnet, nic.routes), nic.subnet.base + same)
    return found


def _ports(nics: Iterable[NicView]) -> Iterator[Port]:
    of_vm: dict[str, int] = {}
    for nic in nics:
        addr = primary(nic)
        if addr:
            number = of_vm.get(nic.vm, 0)
            of_vm[nic.vm] = number + 1
            gateway = Addr(Family.V4, nic.subnet.first + 1)
            guest = f"eth{number}"
            yield Port(port_name(nic), nic.vm, guest, nic.mac, addr, nic.subnet, gateway)


def _complete(owners: _Owners, routes: Iterable[EffectiveRoute]) -> Iterator[EffectiveRoute]:
    """Effective routes as the kernel needs them: active IPv4 ones, and one per VnetLocal address.

    The kernel prefers the longest prefix, so an address may get a route of its own only where
    VnetLocal is what Azure selects for it: a user route may steer packets within a subnet.
    """
    active = [r for r in routes if r.state is State.ACTIVE and r.prefix.family is Family.V4]
    chosen: dict[Prefix, EffectiveRoute] = {_EVERYTHING: EffectiveRoute(_EVERYTHING, NextHop.NONE)}
    chosen |= {route.prefix: route for route in sorted(active, key=lambda r: r.source.value)}
    given = tuple(chosen.values())
    for addr in owners:
        route = select(given, addr)
        if route and route.next_hop_type is NextHop.VNET_LOCAL:
            own = Prefix.of(addr)
            chosen[own] = EffectiveRoute(own, NextHop.VNET_LOCAL)
    yield from chosen.values()


def _kernel_route(owners: _Owners, table: int, route: EffectiveRoute) -> KernelRoute:
    match route.next_hop_type:
        case NextHop.INTERNET:
            return KernelRoute(table, route.prefix, INTERNET_PORT, INTERNET_ADDRESS)
        case NextHop.VIRTUAL_APPLIANCE:
            hop = route.next_hop_ip
            if hop and hop in owners:
                return KernelRoute(table, route.prefix, port_name(owners[hop]), hop)
        case NextHop.VNET_LOCAL if route.prefix.length == Family.V4.bits:
            addr = Addr(Family.V4, route.prefix.base)
            if addr in owners:
                return KernelRoute(table, route.prefix, port_name(owners[addr]))
        case NextHop.VNET_LOCAL | NextHop.NONE | NextHop.GATEWAY:
            pass
    return KernelRoute(table, route.prefix, SINK)
