"""subnet.env: the file by which flannel tells a node's other programs its subnet.

Source: flannel's pkg/subnet/subnet.go (WriteSubnetFile, ReadCIDRFromSubnetFile).
"""

from dataclasses import dataclass

from korat.core.net.address import Addr, Prefix

#: Where flannel writes it, and everybody reads it.
DEFAULT_PATH = "/run/flannel/subnet.env"

_NETWORK, _SUBNET = "FLANNEL_NETWORK", "FLANNEL_SUBNET"
_NETWORK6, _SUBNET6 = "FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET"
_MTU, _MASQUERADE = "FLANNEL_MTU", "FLANNEL_IPMASQ"
_MTUS = range(68, 65536)


@dataclass(frozen=True, slots=True)
class SubnetEnv:
    """What the file says; ``mtu_bytes`` is what pods' links have room for."""

    network: Prefix
    subnet: Prefix
    mtu_bytes: int
    masquerade: bool
    network6: Prefix | None = None
    subnet6: Prefix | None = None

    @property
    def subnets(self) -> tuple[Prefix, ...]:
        """The node's subnets."""
        return (self.subnet,) if self.subnet6 is None else (self.subnet, self.subnet6)


def write_env(env: SubnetEnv) -> str:
    """The file's text; each subnet stands with its first address, as a bridge would have it."""
    lines = [f"{_NETWORK}={env.network}", f"{_SUBNET}={_first(env.subnet)}"]
    if env.network6 is not None and env.subnet6 is not None:
        lines += [f"{_NETWORK6}={env.network6}", f"{_SUBNET6}={_first(env.subnet6)}"]
    lines += [f"{_MTU}={env.mtu_bytes}", f"{_MASQUERADE}={str(env.masquerade).lower()}"]
    return "".join(f"{line}\n" for line in lines)


def read_env(text: str) -> SubnetEnv:
    """Read the file's text.

    Raises:
        ValueError: something is missing or malformed.
    """
    pairs = (line.partition("=") for line in text.splitlines())
    found = {key.strip(): value.strip() for key, equals, value in pairs if equals}
    missing = [key for key in (_NETWORK, _SUBNET, _MTU) if key not in found]
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing")
    mtu = found[_MTU]
    if not mtu.isdecimal() or int(mtu) not in _MTUS:
        raise ValueError(f"{_MTU} {mtu!r} is no MTU")
    network6, subnet6 = found.get(_NETWORK6), found.get(_SUBNET6)
    return SubnetEnv(
        Prefix.parse(found[_NETWORK]),
        Prefix.parse(found[_SUBNET]),
        int(mtu),
        found.get(_MASQUERADE) == "true",
        Prefix.parse(network6) if network6 and subnet6 else None,
        Prefix.parse(subnet6) if network6 and subnet6 else None,
    )


def _first(subnet: Prefix) -> str:
    return f"{Addr(subnet.family, subnet.base + 1)}/{subnet.length}"
