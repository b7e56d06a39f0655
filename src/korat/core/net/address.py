"""IP addresses and prefixes as integers with a family.

Korat holds an address in this one way; text is parsed here at the edge and printed here at the
edge. An ``Addr`` is a tuple, so that it hashes and compares at C speed.
"""

import ipaddress
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from typing_extensions import override

#: Clusters have many addresses, and this is five times as fast as the library's parser.
_V4 = re.compile(r"\.".join([r"(0|[1-9][0-9]{0,2})"] * 4))
_OCTET_LAST = 255


class Family(IntEnum):
    """The IP version; the value is the number users write."""

    V4 = 4
    V6 = 6

    @property
    def bits(self) -> int:
        """Width of an address of this family."""
        return 32 if self is Family.V4 else 128


class Addr(NamedTuple):
    """One address. Sorts by family, then number."""

    family: Family
    value: int

    @classmethod
    def parse(cls, text: str) -> "Addr":
        """Read ``10.0.0.1`` or ``fd00::1``.

        Raises:
            ValueError: the text is not an IP address.
        """
        parts = _V4.fullmatch(text)
        if parts is not None:
            a, b, c, d = map(int, parts.groups())
            if max(a, b, c, d) <= _OCTET_LAST:
                return cls(Family.V4, a << 24 | b << 16 | c << 8 | d)
        parsed = ipaddress.ip_address(text)
        return cls(Family(parsed.version), int(parsed))

    @classmethod
    def parse_interface(cls, text: str) -> "Addr":
        """Read the address of an interface, ``10.0.0.1/24`` or without its mask.

        Raises:
            ValueError: what stands before the mask is not an IP address.
        """
        return cls.parse(text.partition("/")[0])

    @override
    def __str__(self) -> str:
        if self.family is Family.V4:
            v = self.value
            return f"{v >> 24}.{v >> 16 & 255}.{v >> 8 & 255}.{v & 255}"
        return str(ipaddress.IPv6Address(self.value))


@dataclass(frozen=True, slots=True, order=True)
class Prefix:
    """A CIDR block.

    Invariant: the host bits of ``base`` are zero.
    """

    family: Family
    base: int
    length: int

    def __post_init__(self) -> None:
        if not 0 <= self.length <= self.family.bits or self.base & self.host_mask:
            raise ValueError(f"not a prefix: {self.base:#x}/{self.length}")

    @classmethod
    def parse(cls, text: str, *, strict: bool = False) -> "Prefix":
        """Read ``10.0.0.0/8``, or a bare address as the block of just that address.

        Host bits are cleared, as Calico's sets allow them; ``strict`` refuses them.

        Raises:
            ValueError: the text is not a CIDR.
        """
        parsed = ipaddress.ip_network(text, strict=strict)
        return cls(Family(parsed.version), int(parsed.network_address), parsed.prefixlen)

    @classmethod
    def of(cls, addr: Addr) -> "Prefix":
        """The block of just one address."""
        return cls(addr.family, addr.value, addr.family.bits)

    @property
    def host_mask(self) -> int:
        """Ones where the host part is."""
        return (1 << (self.family.bits - self.length)) - 1

    @property
    def first(self) -> int:
        """The lowest address, as a number."""
        return self.base

    @property
    def last(self) -> int:
        """The highest address, as a number."""
        return self.base | self.host_mask

    def __contains__(self, addr: Addr) -> bool:
        return addr.family is self.family and self.base <= addr.value <= self.last

    def covers(self, other: "Prefix") -> bool:
        """Whether every address of ``other`` is in this one."""
        return self.family is other.family and self.first <= other.first and other.last <= self.last

    def overlaps(self, other: "Prefix") -> bool:
        """Whether any address is in both."""
        return self.family is other.family and self.first <= other.last and other.first <= self.last

    @override
    def __str__(self) -> str:
        return f"{Addr(self.family, self.base)}/{self.length}"
