"""The beginning of a packet as it is on the wire: who sends what to whom.

For: telling a person of a packet that the kernel gave away. Not for: anything that decides.
Source: RFC 791, RFC 8200 section 4 (extension headers), and the first octets of each transport.
"""

from dataclasses import dataclass

from korat.core.net.address import Addr, Family
from korat.core.net.port import ICMP_PROTOCOLS, PORT_PROTOCOLS

#: Extension headers that say where the next header begins, by one octet in units of eight octets.
_EXTENSIONS = frozenset({0, 43, 60, 135})
_FRAGMENT = 44
_FRAGMENT_BYTES = 8
_V4_BYTES, _V6_BYTES = 20, 40
_OFFSET_MASK_V4, _OFFSET_MASK_V6 = 0x1FFF, 0xFFF8


@dataclass(frozen=True, slots=True)
class Header:
    """Addresses and protocol; the two numbers are ports, or type and code, or None if not there.

    A later fragment has none, nor has a protocol that knows no such numbers.
    """

    src: Addr
    dst: Addr
    protocol: int
    a: int | None = None
    b: int | None = None


def read_header(packet: bytes) -> Header | None:
    """The header of an IP packet, of which the end may be missing; None when it is none."""
    match packet[0] >> 4 if packet else 0:
        case 4 if len(packet) >= _V4_BYTES:
            return _v4(packet)
        case 6 if len(packet) >= _V6_BYTES:
            return _v6(packet)
        case _:
            return None


def _v4(packet: bytes) -> Header:
    src, dst = (Addr(Family.V4, _number(packet, at, 4)) for at in (12, 16))
    first = not _number(packet, 6, 2) & _OFFSET_MASK_V4
    start = (packet[0] & 0x0F) * 4
    return Header(src, dst, packet[9], *_numbers(packet[9], packet[start:] if first else b""))


def _v6(packet: bytes) -> Header:
    src, dst = (Addr(Family.V6, _number(packet, at, 16)) for at in (8, 24))
    protocol, rest, first = packet[6], packet[_V6_BYTES:], True
    while protocol in _EXTENSIONS | {_FRAGMENT} and len(rest) >= _FRAGMENT_BYTES:
        width = _FRAGMENT_BYTES
        if protocol == _FRAGMENT:
            first = first and not _number(rest, 2, 2) & _OFFSET_MASK_V6
        else:
            width += rest[1] * 8
        protocol, rest = rest[0], rest[width:]
    return Header(src, dst, protocol, *_numbers(protocol, rest if first else b""))


def _numbers(protocol: int, rest: bytes) -> tuple[int, int] | tuple[None, None]:
    if protocol in PORT_PROTOCOLS and len(rest) >= 4:  # noqa: PLR2004 -- two ports of two octets
        return _number(rest, 0, 2), _number(rest, 2, 2)
    if protocol in ICMP_PROTOCOLS and len(rest) >= 2:  # noqa: PLR2004 -- type and code
        return rest[0], rest[1]
    return None, None


def _number(data: bytes, start: int, width: int) -> int:
    return int.from_bytes(data[start : start + width])
