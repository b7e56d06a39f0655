"""Statements about a packet's connection tracking and its mark.

A mark is one bit of the packet that rules of an earlier hook leave for those of a later one. The
other bits are others', so only this one is set, taken away or looked at.
Source: nft(8), meta and ct expressions, notrack statement.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NoTrack:
    """The packet belongs to no connection from here on; only before tracking (priority -200)."""

    @property
    def text(self) -> str:
        """As nftables reads it."""
        return "notrack"


@dataclass(frozen=True, slots=True)
class DnatMatch:
    """The packet's connection has its destination translated."""

    @property
    def text(self) -> str:
        """As nftables reads it."""
        return "ct status dnat"


@dataclass(frozen=True, slots=True)
class MarkMatch:
    """The packet has the bit."""

    bit: int

    @property
    def text(self) -> str:
        """As nftables reads it."""
        return f"meta mark & {self.bit:#010x} == {self.bit:#010x}"


@dataclass(frozen=True, slots=True)
class MarkSet:
    """Gives the packet the bit, or takes it away."""

    bit: int
    on: bool = True

    @property
    def text(self) -> str:
        """As nftables reads it."""
        if self.on:
            return f"meta mark set meta mark | {self.bit:#010x}"
        return f"meta mark set meta mark & {0xFFFFFFFF & ~self.bit:#010x}"


TrackStatement = NoTrack | DnatMatch | MarkMatch | MarkSet
