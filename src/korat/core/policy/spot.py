"""Interfaces of nodes as far as host endpoints speak of them, for whoever sees no real node.

A host endpoint names its interface, or knows it by addresses, or means all others by ``*``. Of an
address that a named interface is expected to have it is taken to be there; what other addresses
host endpoints have in common are one interface's. ``*`` governs also the interfaces of the node's
own workloads, where less is asked; they are one more spot.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from typing_extensions import override

from korat.core.model.host import ALL_INTERFACES
from korat.core.net.address import Addr
from korat.core.policy.entity import Endpoint
from korat.core.policy.host import HostInterface

#: Where a node talks to itself.
LOOPBACK = "lo"


class Spot(NamedTuple):
    """An interface of a node; one without a known name is named by its first address."""

    node: str
    interface: HostInterface

    @override
    def __str__(self) -> str:
        return f"{self.interface.name} of {self.node}"

    @property
    def is_loopback(self) -> bool:
        """Whether it may be, or stand for, the loopback interface."""
        return self.interface.name in (ALL_INTERFACES, LOOPBACK)


def spots(hosts: Iterable[Endpoint], prefixes: Callable[[str], tuple[str, ...]]) -> list[Spot]:
    """The spots that host endpoints speak of; ``prefixes`` are those of a node's workloads'."""
    of_node: defaultdict[str, list[Endpoint]] = defaultdict(list)
    for host in hosts:
        of_node[host.node].append(host)
    return [
        Spot(node, interface)
        for node, own in sorted(of_node.items())
        for interface in _interfaces(own, prefixes(node))
    ]


def _interfaces(own: Iterable[Endpoint], prefixes: tuple[str, ...]) -> Iterator[HostInterface]:
    named: defaultdict[str, set[Addr]] = defaultdict(set)
    for host in own:
        if not host.interface.startswith(prefixes):
            named[host.interface].update(host.addresses)
    everywhere = named.pop(ALL_INTERFACES, None) is not None
    named.pop("", None)
    for name in sorted(named):
        yield HostInterface(name, frozenset(named[name]))
    known = frozenset[Addr]().union(*named.values())
    nameless = [frozenset(host.addresses) - known for host in own if not host.interface]
    for addresses in _joined(nameless):
        yield HostInterface(str(min(addresses)), addresses)
    if everywhere:
        yield HostInterface(ALL_INTERFACES, frozenset())
        yield HostInterface(f"{prefixes[0]}{ALL_INTERFACES}", frozenset())


def _joined(groups: Iterable[frozenset[Addr]]) -> list[frozenset[Addr]]:
    """The groups with those that have members in common made one, by their first addresses."""
    found: list[frozenset[Addr]] = []
    for group in filter(None, groups):
        apart = [each for each in found if each.isdisjoint(group)]
        found = [*apart, group.union(*(each for each in found if each not in apart))]
    return sorted(found, key=min)
