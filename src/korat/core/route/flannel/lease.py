"""Leases of flannel's subnets, in the very strings that flannel keeps them in.

A lease says which subnet is whose, where its node is reached, and the tunnel's MAC there. In etcd
it is one key, named by its subnets, with a JSON value; a key without a lease of etcd's is a
reservation. Kubernetes has the same pieces as annotations of a Node.

Not for which subnet a node takes; that is ``choice``.
Source: flannel's pkg/subnet and pkg/lease (keys, LeaseAttrs), pkg/backend/vxlan (BackendData).
"""

import re
from dataclasses import dataclass

import msgspec

from korat.core.net.address import Addr, Family, Prefix

#: How long a lease lasts that is not renewed.
LEASE_S = 24 * 3600.0

_KEY = re.compile(r"([0-9.]+)-([0-9]{1,2})(?:&([0-9a-fA-F:]+)-([0-9]{1,3}))?")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class TunnelEnd:
    """Where one family's packets for a subnet go: the node's address, and its tunnel's MAC."""

    node: Addr
    vni: int
    mac: str


@dataclass(frozen=True, slots=True)
class Holder:
    """What a node says of itself in its lease, whichever subnet that is for."""

    public_ip: Addr
    backend: str
    ends: tuple[TunnelEnd, ...] = ()

    def lease(self, subnet: Prefix, subnet6: Prefix | None) -> "Lease":
        """The node's lease of these subnets."""
        return Lease(subnet, subnet6, self.public_ip, self.backend, self.ends)


@dataclass(frozen=True, slots=True)
class Lease:
    """One node's subnets; ``ends`` has an entry for each family that has a tunnel.

    ``public_ip`` is by whom the lease is known; ``backend`` is the type's name. A lease of another
    backend than vxlan has no ends here, and no packets go to it through the tunnel.
    """

    subnet: Prefix
    subnet6: Prefix | None
    public_ip: Addr
    backend: str
    ends: tuple[TunnelEnd, ...] = ()

    @property
    def key(self) -> str:
        """The last part of its name in etcd."""
        return lease_key(self.subnet, self.subnet6)

    def subnet_of(self, family: Family) -> Prefix | None:
        """One family's subnet."""
        return self.subnet if family is Family.V4 else self.subnet6

    def end_of(self, family: Family) -> TunnelEnd | None:
        """One family's end of the tunnel."""
        return next((end for end in self.ends if end.node.family is family), None)


@dataclass(frozen=True, slots=True)
class Held:
    """This node's lease, and in how many seconds it ends; never, where it is a reservation."""

    lease: Lease
    left_s: float


class _BackendData(msgspec.Struct, frozen=True):
    """Flannel takes this apart by its text, so the order of the keys matters."""

    vni: int = msgspec.field(name="VNI", default=0)
    mac: str = msgspec.field(name="VtepMAC", default="")


class _Attributes(msgspec.Struct, frozen=True, omit_defaults=False):
    public_ip: str = msgspec.field(name="PublicIP")
    public_ipv6: str | None = msgspec.field(name="PublicIPv6", default=None)
    backend: str = msgspec.field(name="BackendType", default="")
    data: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="BackendData", default=msgspec.UNSET)
    data6: msgspec.Raw | msgspec.UnsetType = msgspec.field(
        name="BackendV6Data", default=msgspec.UNSET
    )


_DECODER = msgspec.json.Decoder(_Attributes)
_DATA_DECODER = msgspec.json.Decoder(_BackendData | None)
_VXLAN = "vxlan"


def lease_key(subnet: Prefix, subnet6: Prefix | None) -> str:
    """A lease's name: ``10.5.34.0-24``, with IPv6 ``10.5.34.0-24&fc00::-64``."""
    parts = [subnet] if subnet6 is None else [subnet, subnet6]
    return "&".join(f"{Addr(part.family, part.base)}-{part.length}" for part in parts)


def subnets_of_key(name: str) -> tuple[Prefix, Prefix | None]:
    """The subnets that a lease's name tells.

    Raises:
        ValueError: it is no lease's name.
    """
    match = _KEY.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} names no subnet")
    subnet = Prefix.parse(f"{match[1]}/{match[2]}", strict=True)
    subnet6 = Prefix.parse(f"{match[3]}/{match[4]}", strict=True) if match[3] else None
    return subnet, subnet6


def lease_value(lease: Lease) -> str:
    """A lease's value."""
    end, end6 = lease.end_of(Family.V4), lease.end_of(Family.V6)
    attributes = _Attributes(
        str(lease.public_ip),
        str(end6.node) if end6 else None,
        lease.backend,
        _data(end),
        _data(end6),
    )
    return msgspec.json.encode(attributes).decode()


def read_lease(name: str, value: str | bytes) -> Lease:
    """Read a lease from its name and its value.

    Raises:
        ValueError: it is none.
    """
    subnet, subnet6 = subnets_of_key(name)
    found = _DECODER.decode(value)
    public_ip = Addr.parse(found.public_ip)
    if found.backend != _VXLAN:
        return Lease(subnet, subnet6, public_ip, found.backend)
    ends = [_end(public_ip, found.data)]
    if found.public_ipv6 is not None and subnet6 is not None:
        ends.append(_end(Addr.parse(found.public_ipv6), found.data6))
    return Lease(
        subnet, subnet6, public_ip, found.backend, tuple(end for end in ends if end is not None)
    )


def _data(end: TunnelEnd | None) -> msgspec.Raw | msgspec.UnsetType:
    if end is None:
        return msgspec.UNSET
    return msgspec.Raw(msgspec.json.encode(_BackendData(end.vni, end.mac)))


def _end(node: Addr, data: msgspec.Raw | msgspec.UnsetType) -> TunnelEnd | None:
    """What the backend tells of itself; None where it says nothing."""
    found = None if data is msgspec.UNSET else _DATA_DECODER.decode(data)
    if found is None:
        return None
    mac = found.mac.lower()
    if _MAC.fullmatch(mac) is None:
        raise ValueError(f"VtepMAC {found.mac!r} is no MAC address")
    return TunnelEnd(node, found.vni, mac)
