"""What flannel's nodes agree on, as text: the configuration, the leases, and ``subnet.env``.

Pure, and on purpose written with the standard library alone: see the package.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from korat.core.errors import Invalid, Problem

#: How many free subnets are drawn from.
FREE_MAX = 100
#: What VXLAN over IPv4 adds to a packet, in bytes.
OVERHEAD_BYTES = 50
DEFAULT_PORT = 8472

_KEY = re.compile(r"(\d+\.\d+\.\d+\.\d+)-(\d+)(?:&[a-f\d:]+-\d+)?$")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
#: A subnet is a /24, or a quarter of a network that has no room for four of those.
_SUBNET_LEN = 24
_QUARTER = 2
_SUBNET_LEN_MAX = 30
_REFUSED = ("directrouting", "gbp", "learning")


@dataclass(frozen=True, slots=True)
class Network:
    """The network's configuration; ``outer_mtu`` is None when the interface's is meant."""

    network: IPv4Network
    subnet_len: int
    first: IPv4Address
    last: IPv4Address
    vni: int
    port: int
    outer_mtu: int | None

    def fits(self, subnet: IPv4Network) -> bool:
        """Whether the configuration could give this subnet away."""
        inside = self.first <= subnet.network_address <= self.last
        return inside and subnet.prefixlen == self.subnet_len

    def subnets(self) -> Iterator[IPv4Network]:
        """Every subnet it gives away, lowest first."""
        step = 1 << (32 - self.subnet_len)
        for base in range(int(self.first), int(self.last) + 1, step):
            yield IPv4Network((base, self.subnet_len))


@dataclass(frozen=True, slots=True)
class Lease:
    """One node's part of the network: where it is, and its tunnel's MAC when it has one."""

    key: str
    subnet: IPv4Network
    public_ip: IPv4Address
    backend: str
    mac: str


def network_of(text: str) -> Network:
    """The configuration in ``text``, flannel's JSON.

    Raises:
        Invalid: it is none, or asks for what the stand-in leaves out.
    """
    try:
        raw = _lower(json.loads(text))
        backend = _lower(raw.get("backend") or {})
        network = IPv4Network(raw["network"])
        length = int(raw.get("subnetlen") or max(_SUBNET_LEN, network.prefixlen + _QUARTER))
        size = 1 << (32 - length)
        first = IPv4Address(raw.get("subnetmin") or network.network_address + size)
        last = IPv4Address(raw.get("subnetmax") or network.broadcast_address + 1 - size)
        vni, port = int(backend.get("vni", 1)), int(backend.get("port") or DEFAULT_PORT)
        mtu = int(backend["mtu"]) if "mtu" in backend else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Invalid(
            [Problem("flannel's configuration", "", text, f"cannot be read: {error}")]
        ) from error
    if backend.get("type") != "vxlan":
        raise _refused("Backend.Type", backend.get("type"), "the stand-in has vxlan alone")
    if raw.get("enableipv6") or not raw.get("enableipv4", True):
        raise _refused("EnableIPv6", None, "the stand-in has IPv4, and nothing else")
    for name in _REFUSED:
        if backend.get(name):
            raise _refused(f"Backend.{name}", True, "the stand-in does not have it")
    if (
        not network.prefixlen + _QUARTER <= length <= _SUBNET_LEN_MAX
        or int(first) % size
        or int(last) % size
    ):
        raise _refused(
            "SubnetLen", length, "subnets begin at multiples of their size, four at least"
        )
    return Network(network, length, first, last, vni, port, mtu)


def _lower(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object under lower-case names, since flanneld does not look at their case."""
    return {name.lower(): each for name, each in value.items()}


def _refused(field: str, value: object, rule: str) -> Invalid:
    return Invalid([Problem("flannel's configuration", field, value, rule)])


def key_of(prefix: str, subnet: IPv4Network) -> str:
    """Where a subnet's lease is: ``/coreos.com/network/subnets/10.5.34.0-24``."""
    return f"{prefix}/subnets/{subnet.network_address}-{subnet.prefixlen}"


def value_of(public_ip: IPv4Address, vni: int, mac: str) -> str:
    """A node's lease, with the names in flanneld's order and no blanks."""
    value = {
        "PublicIP": str(public_ip),
        "PublicIPv6": None,
        "BackendType": "vxlan",
        "BackendData": {"VNI": vni, "VtepMAC": mac},
    }
    return json.dumps(value, separators=(",", ":"))


def lease_of(key: str, value: str) -> Lease | None:
    """The lease in a key and its value; None when flanneld would pass it over."""
    found = _KEY.search(key)
    try:
        raw = json.loads(value)
        subnet = IPv4Network(f"{found[1]}/{found[2]}") if found else None
        public_ip = IPv4Address(raw["PublicIP"])
        data = raw.get("BackendData") or {}
        backend, mac = str(raw.get("BackendType", "")), str(data.get("VtepMAC", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if subnet is None:
        return None
    return Lease(key, subnet, public_ip, backend, mac if _MAC.fullmatch(mac) else "")


def free(network: Network, leases: Iterable[Lease]) -> Sequence[IPv4Network]:
    """The first subnets that overlap no lease, a hundred at most."""
    taken = [lease.subnet for lease in leases]
    found: list[IPv4Network] = []
    for subnet in network.subnets():
        if not any(subnet.overlaps(other) for other in taken):
            found.append(subnet)
        if len(found) == FREE_MAX:
            break
    return found


def previous_subnet(subnet_env: str) -> IPv4Network | None:
    """The subnet that an earlier ``subnet.env`` names."""
    for line in subnet_env.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "FLANNEL_SUBNET":
            try:
                return IPv4Interface(value.strip()).network
            except ValueError:
                return None
    return None


def subnet_env(network: Network, subnet: IPv4Network, mtu: int, *, ip_masq: bool) -> str:
    """What CNI plugins read: the subnet by its first usable address."""
    return (
        f"FLANNEL_NETWORK={network.network}\n"
        f"FLANNEL_SUBNET={subnet.network_address + 1}/{subnet.prefixlen}\n"
        f"FLANNEL_MTU={mtu}\n"
        f"FLANNEL_IPMASQ={'true' if ip_masq else 'false'}\n"
    )
