"""Failsafe ports: what host policy never cuts off, so that a node stays within reach.

A list of ``{protocol, port, net}``, or in the environment ``tcp:22,udp:68,tcp:10.0.0.0/8:443``; a
net is where the peer may be. An empty list, or ``none``, means that there are none.
Source: felix/config (PortListParam, FailsafeInboundHostPorts); FelixConfiguration (ProtoPort).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from korat.core.net.address import Prefix
from korat.core.net.port import PortRange, Protocol, protocol_number

_PARTS_MAX = 3


class Failsafe(NamedTuple):
    """A port that stays open; without ``net`` for every peer."""

    protocol: int
    ports: PortRange
    net: Prefix | None = None


def _plain(*pairs: tuple[Protocol, int]) -> tuple[Failsafe, ...]:
    return tuple(Failsafe(protocol, PortRange(port, port)) for protocol, port in pairs)


#: BGP, etcd, Typha, the API server.
_CLUSTER = tuple((Protocol.TCP, port) for port in (179, 2379, 2380, 5473, 6443, 6666, 6667))
#: Felix' own lists: to them SSH and DHCP, from them DNS and DHCP.
INBOUND = _plain((Protocol.TCP, 22), (Protocol.UDP, 68), *_CLUSTER)
OUTBOUND = _plain((Protocol.UDP, 53), (Protocol.UDP, 67), *_CLUSTER)


def failsafes(value: object) -> tuple[Failsafe, ...]:
    """The list of a FelixConfiguration that was found valid."""
    entries = value if isinstance(value, Iterable) else ()
    return tuple(_entry(entry) for entry in entries if isinstance(entry, Mapping))


def _entry(entry: Mapping[str, object]) -> Failsafe:
    net = entry.get("net")
    return Failsafe(
        protocol_number(str(entry.get("protocol", ""))),
        PortRange.parse(str(entry.get("port"))),
        Prefix.parse(str(net)) if net else None,
    )


def entries_of(text: str) -> list[dict[str, object]]:
    """The same list as a variable of the environment writes it; an entry may be a port alone.

    Raises:
        ValueError: an entry has too many parts, or its port is no number.
    """
    if text.strip().lower() == "none":
        return []
    return [_read(word.strip()) for word in text.split(",") if word.strip()]


def _read(word: str) -> dict[str, object]:
    before, bracket, rest = word.partition("[")
    net, _, after = rest.partition("]:")
    parts = (before + after if bracket else word).split(":")
    if len(parts) > _PARTS_MAX:
        raise ValueError(f"{word!r} is not protocol:net:port; put an IPv6 net in brackets")
    if len(parts) == _PARTS_MAX:
        net = parts[1]
    found: dict[str, object] = {
        "protocol": parts[0].upper() if len(parts) > 1 else "TCP",
        "port": int(parts[-1]),
    }
    return found | ({"net": net} if net else {})
