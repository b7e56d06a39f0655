"""Longest-prefix match: which route, of many, a destination takes.

For route tables of some thousand prefixes that change rarely: a table is a value, made anew when
the routes change. How equal prefixes rank is the caller's matter: the last one given stays.
"""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from korat.core.net.address import Addr, Family, Prefix

V = TypeVar("V")


class Lpm(Generic[V]):
    """A table from prefixes to values, asked by address.

    Complexity: one dictionary look-up per prefix length in use.
    """

    __slots__ = ("_entries", "_levels")

    def __init__(self, entries: Iterable[tuple[Prefix, V]] = ()) -> None:
        self._entries = dict(entries)
        by_length: dict[tuple[Family, int], dict[int, tuple[Prefix, V]]] = {}
        for prefix, value in self._entries.items():
            level = by_length.setdefault((prefix.family, prefix.length), {})
            level[prefix.base] = (prefix, value)
        #: Per family, the longest prefixes first: a mask and what lies under it.
        self._levels: dict[Family, list[tuple[int, dict[int, tuple[Prefix, V]]]]] = {
            family: [] for family in Family
        }
        for (family, length), level in sorted(by_length.items(), key=lambda item: -item[0][1]):
            mask = -1 << (family.bits - length)
            self._levels[family].append((mask, level))

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[Prefix, V]]:
        return iter(self._entries.items())

    def matches(self, addr: Addr) -> Iterator[tuple[Prefix, V]]:
        """Every entry that holds this address, the longest prefix first."""
        for mask, level in self._levels[addr.family]:
            entry = level.get(addr.value & mask)
            if entry is not None:
                yield entry

    def find(self, addr: Addr) -> tuple[Prefix, V] | None:
        """The entry with the longest prefix that holds this address."""
        return next(self.matches(addr), None)

    def covered(self, prefix: Prefix) -> Iterator[tuple[Prefix, V]]:
        """Every entry that lies wholly inside ``prefix``, sorted.

        Complexity: looks at every entry.
        """
        inside = sorted(own for own in self._entries if prefix.covers(own))
        return ((own, self._entries[own]) for own in inside)
