"""The sets in which plain sequences look the ends of a packet up.

An address predicate is one or two sets, of which an address must be in one; so is a named port or
a service, as sets of address, protocol and port. There are two ways to have them:

    ScannedSets  what a scan of the cluster finds, each set named by what is in it
    MemberSets   a set for each predicate, named by it, so that rules stay what they are whoever
                 comes and goes; filled apart, from the members that the compiler keeps

    hosts-HASH   single addresses                   nets-HASH   spans, which network sets have
    ports-HASH   address, protocol and port         set-HASH    fixed content

``hosts-`` and ``ports-`` are hashes and change an element at a time; ``nets-`` is only there while
there are any spans.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from korat.core.net.address import Addr, Family
from korat.core.net.interval import IntervalSet
from korat.core.policy.cluster import Cluster
from korat.core.render.nft.key import Key, Span, Type, key_text
from korat.core.render.nft.ruleset import Lookup, NamedSet, digest, sort_key
from korat.core.table.member import Members, Membership
from korat.core.table.predicate import (
    AddressPredicate,
    InNets,
    InService,
    OwnsPort,
    Predicate,
    Serves,
    addresses,
    owned_ports,
    service_addresses,
    service_ports,
)

_ADDRESS = {Family.V4: Type.IPV4, Family.V6: Type.IPV6}


class PeerSets(Protocol):
    """Names the sets of predicates; ``lookups`` are those whose content it knows."""

    @property
    def lookups(self) -> Mapping[str, Lookup]:
        """The sets that were named and belong to the rules."""

    def of_addresses(self, predicate: AddressPredicate, family: Family) -> tuple[str, ...]:
        """The sets of addresses in one of which an address is when the predicate holds."""

    def of_ports(self, owners: Collection[OwnsPort | Serves], family: Family) -> tuple[str, ...]:
        """The sets of addresses and ports in one of which both are when one of these holds."""


class _FixedSets:
    """Sets named by their content."""

    def __init__(self) -> None:
        self.lookups: dict[str, Lookup] = {}

    def add(self, types: tuple[Type, ...], keys: Iterable[Key], *, interval: bool) -> str:
        made = NamedSet(types, frozenset(keys), interval)
        words = (key_text(types, key) for key in sorted(made.elements, key=sort_key))
        name = f"set-{digest(*(kind.value for kind in types), *words)}"
        self.lookups[name] = made
        return name

    def add_spans(self, spans: IntervalSet, family: Family) -> str:
        keys = ((Span(*span),) for span in spans.spans)
        return self.add((_ADDRESS[family],), keys, interval=True)


class ScannedSets:
    """Implements ``PeerSets`` with what is in a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._fixed = _FixedSets()
        self.lookups: Mapping[str, Lookup] = self._fixed.lookups

    def of_addresses(self, predicate: AddressPredicate, family: Family) -> tuple[str, ...]:
        """One set."""
        if isinstance(predicate, InNets):
            found = IntervalSet.of_prefixes(predicate.nets)
        elif isinstance(predicate, InService):
            found = service_addresses(self._cluster, predicate.service, family)
        else:
            found = addresses(self._cluster, predicate.selector, family)
        return (self._fixed.add_spans(found, family),)

    def of_ports(self, owners: Collection[OwnsPort | Serves], family: Family) -> tuple[str, ...]:
        """One set for all of them."""
        owned = frozenset[tuple[Addr, int, int]]().union(*map(self._owned, owners))
        keys = ((a.value, protocol, port) for a, protocol, port in owned if a.family is family)
        return (self._fixed.add(_ported(family), keys, interval=False),)

    def _owned(self, owner: OwnsPort | Serves) -> frozenset[tuple[Addr, int, int]]:
        if isinstance(owner, OwnsPort):
            return owned_ports(self._cluster, owner)
        return service_ports(self._cluster, owner.service)


class MemberSets:
    """Implements ``PeerSets`` with sets that somebody else fills (``member_lookups``)."""

    def __init__(self, spanned: Collection[tuple[Predicate, Family]]) -> None:
        """``spanned`` are the predicates that have spans, of an IP version."""
        self._spanned = spanned
        self._fixed = _FixedSets()
        self.lookups: Mapping[str, Lookup] = self._fixed.lookups
        self.named: set[tuple[Predicate, Family]] = set()

    def of_addresses(self, predicate: AddressPredicate, family: Family) -> tuple[str, ...]:
        """That of single addresses, and that of spans where there are any."""
        if isinstance(predicate, InNets):
            return (self._fixed.add_spans(IntervalSet.of_prefixes(predicate.nets), family),)
        self.named.add((predicate, family))
        kinds = ("hosts", "nets") if (predicate, family) in self._spanned else ("hosts",)
        return tuple(_name(kind, predicate, family) for kind in kinds)

    def of_ports(self, owners: Collection[OwnsPort | Serves], family: Family) -> tuple[str, ...]:
        """One for each."""
        self.named.update((owner, family) for owner in owners)
        return tuple(_name("ports", owner, family) for owner in owners)


def spanned(members: Membership) -> frozenset[tuple[Predicate, Family]]:
    """The predicates that have spans."""
    return frozenset(
        (predicate, family)
        for family, sets in members.families.items()
        for predicate, found in sets.items()
        if found.spans
    )


def member_lookups(
    named: Iterable[tuple[Predicate, Family]], members: Membership
) -> dict[str, Lookup]:
    """The sets that ``MemberSets`` has named, with who is in them now."""
    return {
        name: lookup
        for predicate, family in named
        for name, lookup in _lookups(predicate, family, members.families[family][predicate])
    }


def _lookups(
    predicate: Predicate, family: Family, found: Members
) -> Iterable[tuple[str, NamedSet]]:
    if isinstance(predicate, OwnsPort | Serves):
        return [(_name("ports", predicate, family), NamedSet(_ported(family), found.keys))]
    address = (_ADDRESS[family],)
    made = [(_name("hosts", predicate, family), NamedSet(address, found.keys))]
    if found.spans:
        spans = frozenset((Span(*span),) for span in found.spans.spans)
        made.append((_name("nets", predicate, family), NamedSet(address, spans, interval=True)))
    return made


def _ported(family: Family) -> tuple[Type, ...]:
    return _ADDRESS[family], Type.PROTO, Type.PORT


def _name(kind: str, predicate: Predicate, family: Family) -> str:
    return f"{kind}-{digest(predicate.text, str(family))}"
