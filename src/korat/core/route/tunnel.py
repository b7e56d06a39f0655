"""A tunnel as one node's kernel holds it: its device, neighbours, forwarding entries, routes.

One value for what should be and for what is, so that ``tunnel_step`` compares two of a kind. It
prints as ``ip`` would show it, and a route says why it is there.
Not for which of them there should be (``vxlan``), nor for making them (``drivers.kernel.vxlan``).
Source: felix/dataplane/linux/vxlan_mgr.go, felix/routetable; ip-link(8), bridge(8).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from typing_extensions import override

from korat.core.net.address import Addr, Family, Prefix

#: The origin of cluster routes in the kernel's tables: Felix's own number, so that what Felix left
#: is swept where korat takes its place.
CLUSTER_PROTOCOL = 80
DEVICE_NAMES = {Family.V4: "vxlan.calico", Family.V6: "vxlan-v6.calico"}


@dataclass(frozen=True, slots=True)
class TunnelName:
    """By what one tunnel is known in the kernel: its device, and its routes' protocol number.

    What is on the device is the tunnel's, whoever made it. With ``everywhere`` all routes of the
    number are too, wherever they lead.
    """

    device: str
    protocol: int
    everywhere: bool


TunnelNames = Mapping[Family, TunnelName]

CALICO_TUNNELS: TunnelNames = {
    family: TunnelName(name, CLUSTER_PROTOCOL, everywhere=True)
    for family, name in DEVICE_NAMES.items()
}


@dataclass(frozen=True, slots=True)
class Device:
    """A VXLAN device; ``parent`` is the interface whose address is ``local``.

    ``addresses`` are all it has; as wanted, exactly the tunnel's. Without ``learning`` the kernel
    sends to none but the nodes it is told of. ``mtu_bytes`` and ``addresses`` can be changed while
    packets pass, all others take a new device. ``up`` is False of one that was found down.
    """

    name: str
    vni: int
    port: int
    local: Addr
    parent: str
    mac: str
    mtu_bytes: int
    addresses: frozenset[Addr]
    learning: bool = False
    up: bool = True

    @property
    def fixed(self) -> tuple[object, ...]:
        """What takes a new device to change."""
        return self.name, self.vni, self.port, self.local, self.parent, self.mac, self.learning

    @override
    def __str__(self) -> str:
        addresses = ", ".join(map(str, sorted(self.addresses))) or "no address"
        learning = "learning" if self.learning else "nolearning"
        return (
            f"link {self.name} vxlan id {self.vni} dstport {self.port} local {self.local} "
            f"dev {self.parent} {learning} address {self.mac} mtu {self.mtu_bytes} with {addresses}"
        )


class RouteKind(Enum):
    """How packets to a prefix leave this node."""

    TUNNEL = "via the tunnel"
    DIRECT = "on the tunnel's link"
    SUBNET = "as they are, within the subnet"
    BLACKHOLE = "not at all"


#: Routes of these kinds go when the device goes.
ON_DEVICE = frozenset({RouteKind.TUNNEL, RouteKind.DIRECT})


@dataclass(frozen=True, slots=True)
class TunnelRoute:
    """One route; ``device`` is the tunnel's or, within a subnet, its parent, and empty for none."""

    prefix: Prefix
    kind: RouteKind
    device: str = ""
    via: Addr | None = None
    mtu_bytes: int = 0
    reason: str = field(default="", compare=False)

    @override
    def __str__(self) -> str:
        if self.kind is RouteKind.BLACKHOLE:
            words = f"blackhole {self.prefix}"
        else:
            via = f" via {self.via} onlink" if self.via else ""
            mtu = f" mtu {self.mtu_bytes}" if self.mtu_bytes else ""
            words = f"{self.prefix}{via} dev {self.device}{mtu}"
        return f"route {words}  ({self.reason})" if self.reason else f"route {words}"


@dataclass(frozen=True, slots=True)
class TunnelState:
    """All of one family's tunnel on one node.

    ``neighbours`` says which MAC has which address inside, ``forwarding`` on which node a MAC is.
    """

    device: Device | None = None
    neighbours: Mapping[Addr, str] = field(default_factory=dict)
    forwarding: Mapping[str, Addr] = field(default_factory=dict)
    routes: Mapping[Prefix, TunnelRoute] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """The state as text, in a fixed order."""
        if self.device is not None:
            yield str(self.device)
        yield from (f"neighbour {a} {self.neighbours[a]}" for a in sorted(self.neighbours))
        yield from (f"forwarding {m} to {self.forwarding[m]}" for m in sorted(self.forwarding))
        yield from (str(self.routes[prefix]) for prefix in sorted(self.routes))

    @override
    def __str__(self) -> str:
        return "\n".join(self.lines())
