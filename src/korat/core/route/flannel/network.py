"""flannel's network configuration: the JSON that its etcd key or its ConfigMap holds, decoded.

Defaults and checks are flannel's own. What Azure's fabric, or korat, does not carry is refused
with the reason: a node that took it for something else would be cut off without a word.

Source: flannel's pkg/subnet/config.go and its documentation of backends.
"""

from dataclasses import dataclass

import msgspec

from korat.core.errors import Invalid, Problem
from korat.core.net.address import Addr, Family, Prefix

VXLAN, ALLOC = "vxlan", "alloc"

_WHERE = "flannel's network configuration"
_UDP = "udp"  # what flannel takes where no type is written
_VNIS = range(1, 1 << 24)
_PORTS = range(1, 65536)
_MTUS = range(576, 65536)
DEFAULT_PORT = 8472  # the Linux kernel's own, which flannel leaves to it
_FABRIC = "Azure's fabric delivers only what is for an address of the VM"
#: Why a backend is refused; what is not named here is unknown.
_REFUSED_BACKENDS = {
    "host-gw": f"{_FABRIC}, so routes through other nodes lead nowhere; use vxlan",
    _UDP: "is flannel's old way through user space; use vxlan",
    "ipip": "Azure's fabric drops IP protocol 4 (IPIP); use vxlan",
    "wireguard": "this version has no WireGuard tunnels; use vxlan",
    "ipsec": "this version has no IPsec tunnels; use vxlan",
    "extension": "korat runs no commands out of a configuration; use vxlan",
    "tencent-vpc": "is another cloud's; use alloc with a route table, or vxlan",
    "ali-vpc": "is another cloud's; use alloc with a route table, or vxlan",
    "aws-vpc": "is another cloud's; use alloc with a route table, or vxlan",
    "gce": "is another cloud's; use alloc with a route table, or vxlan",
}
#: How long a subnet's prefix is, where the network has room for it.
_LENGTHS = {Family.V4: 24, Family.V6: 64}
#: A network has four subnets at least, a subnet four addresses.
_SHARES = 2


@dataclass(frozen=True, slots=True)
class Subnets:
    """What one family's subnets are cut from: all of ``length``, from ``first`` to ``last``."""

    network: Prefix
    length: int
    first: Prefix
    last: Prefix

    def admits(self, subnet: Prefix | None) -> bool:
        """Whether a subnet is one of these."""
        return (
            subnet is not None
            and subnet.family is self.network.family
            and subnet.length == self.length
            and self.first.base <= subnet.base <= self.last.base
        )


@dataclass(frozen=True, slots=True)
class Vxlan:
    """The vxlan backend; ``mtu_bytes`` is what goes on the fabric, 0 where it is not written."""

    vni: int = 1
    port: int = DEFAULT_PORT
    mtu_bytes: int = 0
    learning: bool = False


@dataclass(frozen=True, slots=True)
class FlannelNetwork:
    """The whole configuration; a family that is not enabled is None, as ``vxlan`` with alloc."""

    ipv4: Subnets | None
    ipv6: Subnets | None
    vxlan: Vxlan | None

    @property
    def backend(self) -> str:
        """The backend's name as leases have it."""
        return ALLOC if self.vxlan is None else VXLAN

    def of(self, family: Family) -> Subnets | None:
        """One family's subnets."""
        return self.ipv4 if family is Family.V4 else self.ipv6


class _Backend(msgspec.Struct, frozen=True):
    type: str = msgspec.field(name="Type", default=_UDP)
    vni: int = msgspec.field(name="VNI", default=1)
    port: int = msgspec.field(name="Port", default=0)
    mtu: int = msgspec.field(name="MTU", default=0)
    gbp: bool = msgspec.field(name="GBP", default=False)
    learning: bool = msgspec.field(name="Learning", default=False)
    direct_routing: bool = msgspec.field(name="DirectRouting", default=False)


class _Config(msgspec.Struct, frozen=True):
    network: str = msgspec.field(name="Network", default="")
    ipv6_network: str = msgspec.field(name="IPv6Network", default="")
    enable_ipv4: bool = msgspec.field(name="EnableIPv4", default=True)
    enable_ipv6: bool = msgspec.field(name="EnableIPv6", default=False)
    subnet_len: int = msgspec.field(name="SubnetLen", default=0)
    subnet_min: str = msgspec.field(name="SubnetMin", default="")
    subnet_max: str = msgspec.field(name="SubnetMax", default="")
    ipv6_subnet_len: int = msgspec.field(name="IPv6SubnetLen", default=0)
    ipv6_subnet_min: str = msgspec.field(name="IPv6SubnetMin", default="")
    ipv6_subnet_max: str = msgspec.field(name="IPv6SubnetMax", default="")
    backend: _Backend = msgspec.field(name="Backend", default=_Backend())


_DECODER = msgspec.json.Decoder(_Config)


def read_network(text: str | bytes) -> FlannelNetwork:
    """Read the JSON.

    Raises:
        Invalid: with everything that is wrong with it, or refused.
    """
    try:
        config = _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid([Problem(_WHERE, "", None, str(error))]) from error
    problems: list[Problem] = []
    vxlan = _vxlan(config.backend, problems)
    ipv4 = _subnets(_ipv4(config), problems) if config.enable_ipv4 else None
    ipv6 = _subnets(_ipv6(config), problems) if config.enable_ipv6 else None
    if not config.enable_ipv4:
        # A lease's key in etcd begins with its IPv4 subnet, and flannel has none without one.
        problems.append(Problem(_WHERE, "EnableIPv4", False, "must be true: leases are IPv4's"))
    if problems:
        raise Invalid(problems)
    return FlannelNetwork(ipv4, ipv6, vxlan)


def _vxlan(backend: _Backend, problems: list[Problem]) -> Vxlan | None:
    if backend.type == ALLOC:
        return None
    found = []
    if backend.type != VXLAN:
        known = f"is no backend that korat knows; use {VXLAN} or {ALLOC}"
        rule = _REFUSED_BACKENDS.get(backend.type, known)
        problems.append(Problem(_WHERE, "Backend.Type", backend.type, rule))
        return None
    if backend.vni not in _VNIS:
        found.append(("VNI", backend.vni, f"must be {_VNIS[0]} to {_VNIS[-1]}"))
    if backend.port and backend.port not in _PORTS:
        found.append(("Port", backend.port, "must be 1 to 65535"))
    if backend.mtu and backend.mtu not in _MTUS:
        found.append(("MTU", backend.mtu, f"must be {_MTUS[0]} to {_MTUS[-1]}"))
    if backend.gbp:
        found.append(("GBP", True, "korat's tunnels carry no group policy; leave it out"))
    if backend.direct_routing:
        found.append(("DirectRouting", True, f"{_FABRIC}, within one subnet too; leave it out"))
    problems += [Problem(_WHERE, f"Backend.{key}", value, rule) for key, value, rule in found]
    port = backend.port or DEFAULT_PORT
    return Vxlan(backend.vni, port, backend.mtu, backend.learning)


@dataclass(frozen=True, slots=True)
class _Written:
    """One family's part as it is written; ``prefix`` is what its keys begin with."""

    family: Family
    prefix: str
    network: str
    length: int
    first: str
    last: str

    def fault(self, key: str, value: object, rule: str) -> Problem:
        """What is wrong with one of the keys."""
        return Problem(_WHERE, f"{self.prefix}{key}", value, rule)


def _ipv4(config: _Config) -> _Written:
    first, last = config.subnet_min, config.subnet_max
    return _Written(Family.V4, "", config.network, config.subnet_len, first, last)


def _ipv6(config: _Config) -> _Written:
    first, last = config.ipv6_subnet_min, config.ipv6_subnet_max
    return _Written(Family.V6, "IPv6", config.ipv6_network, config.ipv6_subnet_len, first, last)


def _subnets(written: _Written, problems: list[Problem]) -> Subnets | None:
    network = _prefix(written.network)
    if network is None or network.family is not written.family:
        rule = f"must be a CIDR of IPv{written.family.value} whose host bits are zero"
        problems.append(written.fault("Network", written.network, rule))
        return None
    length = _length(written, network, problems)
    if not length:
        return None
    size = 1 << (network.family.bits - length)
    # The first subnet would share its address with the network, so it is left out.
    ends = (
        ("SubnetMin", written.first, network.base + size),
        (
            "SubnetMax",
            written.last,
            network.last + 1 - size,
        ),
    )
    found = []
    for key, text, default in ends:
        base = default if not text else _inside(text, network)
        if base is None:
            problems.append(written.fault(key, text, f"must be an address of {network}"))
        elif base % size:
            rule = f"must be where a subnet of /{length} begins"
            problems.append(written.fault(key, text, rule))
        else:
            found.append(Prefix(network.family, base, length))
    return Subnets(network, length, *found) if len(found) == len(ends) else None


def _length(written: _Written, network: Prefix, problems: list[Problem]) -> int:
    """How long each subnet's prefix is; 0 where it cannot be."""
    most = network.family.bits - _SHARES  # a subnet has an address for the tunnel and for pods
    length = written.length or max(_LENGTHS[network.family], network.length + _SHARES)
    if network.length + _SHARES > most:
        rule = f"is too small for four subnets; its prefix may have {most - _SHARES} bits at most"
        problems.append(written.fault("Network", written.network, rule))
        return 0
    if not network.length + _SHARES <= length <= most:
        rule = f"must be {network.length + _SHARES} to {most}, so that there are four subnets"
        problems.append(written.fault("SubnetLen", written.length, rule))
        return 0
    return length


def _prefix(text: str) -> Prefix | None:
    try:
        return Prefix.parse(text, strict=True)
    except ValueError:
        return None


def _inside(text: str, network: Prefix) -> int | None:
    try:
        addr = Addr.parse(text)
    except ValueError:
        return None
    return addr.value if addr in network else None
