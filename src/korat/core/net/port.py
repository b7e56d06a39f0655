"""Ports and transport protocols as Calico's users write them.

Source: projectcalico.org/v3 numorstring: a port is a number or ``"first:last"``; a protocol is a
name in any case, or a number. Which values a rule may hold is validation's matter, not this one's.
"""

from dataclasses import dataclass
from enum import IntEnum

from typing_extensions import override

from korat.core.net.address import Family

PORT_LAST = 65535
PROTOCOL_LAST = 255


class Protocol(IntEnum):
    """The protocols that have a name in Calico's API, by IANA number."""

    ICMP = 1
    TCP = 6
    UDP = 17
    ICMPV6 = 58
    SCTP = 132
    UDPLITE = 136


_NAMES = {
    Protocol.TCP: "TCP",
    Protocol.UDP: "UDP",
    Protocol.ICMP: "ICMP",
    Protocol.ICMPV6: "ICMPv6",
    Protocol.SCTP: "SCTP",
    Protocol.UDPLITE: "UDPLite",
}
_NUMBERS = {name.lower(): number for number, name in _NAMES.items()}

#: The names that there are, as Calico writes them.
PROTOCOL_NAMES = tuple(_NAMES.values())

#: What a rule's ``ports`` can be used with.
PROTOCOLS_WITH_PORTS = frozenset({Protocol.TCP, Protocol.UDP, Protocol.SCTP})
NAMES_WITH_PORTS = tuple(_NAMES[protocol] for protocol in sorted(PROTOCOLS_WITH_PORTS))

#: Whose packets begin with source and destination port.
PORT_PROTOCOLS = PROTOCOLS_WITH_PORTS | {Protocol.UDPLITE}
#: Whose packets begin with type and code.
ICMP_PROTOCOLS = frozenset({Protocol.ICMP, Protocol.ICMPV6})


def icmp_protocol(family: Family) -> Protocol:
    """An IP version's own ICMP."""
    return Protocol.ICMP if family is Family.V4 else Protocol.ICMPV6


def protocol_number(protocol: int | str) -> int:
    """The number of ``TCP``, ``tcp``, ``6`` or ``"6"``.

    Raises:
        ValueError: no such protocol.
    """
    number = _NUMBERS.get(protocol.lower()) if isinstance(protocol, str) else protocol
    if number is None and isinstance(protocol, str) and protocol.isascii() and protocol.isdigit():
        number = int(protocol)
    if number is None or not 0 <= number <= PROTOCOL_LAST:
        raise ValueError(f"{protocol!r} is neither {', '.join(PROTOCOL_NAMES)} nor 0-255")
    return int(number)


def protocol_name(number: int) -> str:
    """The name of a protocol number, or the number in text when it has none."""
    name = next((name for known, name in _NAMES.items() if known == number), None)
    return name or str(number)


def canonical_protocol(protocol: int | str) -> int | str:
    """The form that Calico stores: a name in its proper case, a number as a number.

    An unknown name stays as it is; validation refuses it with the field's name.
    """
    if isinstance(protocol, int):
        return protocol
    number = _NUMBERS.get(protocol.lower())
    if number is not None:
        return _NAMES[number]
    if protocol.isascii() and protocol.isdigit() and int(protocol) <= PROTOCOL_LAST:
        return int(protocol)
    return protocol


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """Ports ``first`` to ``last``, both included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last <= PORT_LAST:
            raise ValueError(f"not a port range: {self.first}:{self.last}")

    @classmethod
    def parse(cls, text: int | str) -> "PortRange":
        """Read ``80``, ``"80"`` or ``"80:90"``.

        Raises:
            ValueError: the text is not a port or a range; a port's name is not one either.
        """
        first, colon, last = str(text).partition(":")
        if not (first.isascii() and first.isdigit()):
            raise ValueError(f"{text!r} is not a port or a range of ports such as 80:90")
        if colon and not (last.isascii() and last.isdigit()):
            raise ValueError(f"{text!r} is not a range of ports such as 80:90")
        low = int(first)
        high = int(last) if colon else low
        if not low <= high <= PORT_LAST:
            raise ValueError(f"ports are 1 to {PORT_LAST}, the lower one first")
        return cls(low, high)

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    @override
    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}:{self.last}"
