"""What is not certain about Azure's fabric, as named switches with the defaults korat believes.

Source: Azure's virtual network FAQ lists TCP, UDP, ICMP, ESP and AH as carried, IPIP and GRE as
blocked; it is silent on the others. Microsoft's page on TCP/IP performance tuning says that the
virtual network fragments packets above 1400 bytes, and drops fragments that come out of order.
"""

from dataclasses import dataclass

from korat.core.net.address import Addr, Prefix
from korat.core.net.port import Protocol

#: Protocols that only a fabric has to do with, by IANA number.
IPIP, SIX_IN_FOUR, GRE, ESP, AH = 4, 41, 47, 50, 51

_CARRIED = frozenset({Protocol.ICMP, Protocol.TCP, Protocol.UDP, ESP, AH})

UNICAST_ONLY = (Prefix.parse("224.0.0.0/4"), Prefix.parse("255.255.255.255/32"))
"""Destinations that no Azure network carries: multicast and broadcast."""


@dataclass(frozen=True, slots=True)
class Switches:
    """Which IP protocols the fabric carries besides TCP, UDP, ICMP, ESP and AH; how much at once.

    ``largest_packet`` is the size above which a packet arrives in fragments, and not at all if it
    may not be fragmented, without a word to its sender: 1400 to be on the safe side of what is
    documented. With 0, the default, fragmentation happens inside the fabric and is not seen, as on
    a good day.

    ``ipip`` and ``gre`` are documented as blocked; that ``sctp`` and ``six_in_four`` are too is
    inferred from their absence in the list of what is carried.
    """

    ipip: bool = False
    gre: bool = False
    six_in_four: bool = False
    sctp: bool = False
    largest_packet: int = 0

    @property
    def carried(self) -> frozenset[int]:
        """The protocol numbers that the fabric carries."""
        optional = {
            IPIP: self.ipip,
            GRE: self.gre,
            SIX_IN_FOUR: self.six_in_four,
            Protocol.SCTP: self.sctp,
        }
        return _CARRIED | {protocol for protocol, on in optional.items() if on}


def is_unicast(addr: Addr) -> bool:
    """Whether the fabric would carry a packet to this address at all."""
    return not any(addr in prefix for prefix in UNICAST_ONLY)
