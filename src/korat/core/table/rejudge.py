"""What a node's policy says of connections that are under way already.

For: cutting, after a change, just those that would not be let in any more. Forward policy sees a
packet before its source is translated and after its destination is, so a tracked connection means
to policy: from its original source to the source of its replies, ports alike. What a node begins
itself is not judged, for a node always reaches its own workloads.

Not for: replies that come without their connection (``korat.core.render.nft.cut`` holds those up).
Source: net/netfilter/nf_conntrack_core.c (tuples), felix/rules/static.go.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.port import ICMP_PROTOCOLS, PORT_PROTOCOLS
from korat.core.pmap import differences
from korat.core.policy.outcome import Action, Direction, Outcome, RuleRef
from korat.core.policy.platform import EVERYTHING, PlatformAccess
from korat.core.table.value import (
    Cell,
    DirectionPolicy,
    LocalEndpoint,
    NodePolicy,
    PeerClasses,
    VerdictTable,
)

#: Pairs of tables whose comparison is remembered, and of cells beyond which none is made.
_COMPARED, _PAIRS = 512, 20_000


class Tuple(NamedTuple):
    """One direction of a connection; ``a`` and ``b`` are its ports, or ICMP type and code."""

    src: Addr
    dst: Addr
    a: int = 0
    b: int = 0


class Connection(NamedTuple):
    """A tracked connection: how its first packet came, and how replies to it come.

    ``master`` is the original direction of the connection that announced this one, as FTP's does.
    """

    protocol: int
    original: Tuple
    reply: Tuple
    master: Tuple | None = None

    @property
    def family(self) -> Family:
        """Its IP version."""
        return self.original.src.family


@dataclass(frozen=True, slots=True)
class Places:
    """Behind which interfaces a connection's ends may be.

    ``interfaces`` are those of each workload's address, ``lent`` the prefixes that workloads may
    use as sources beside their own, ``own`` the node's addresses.
    """

    interfaces: Mapping[Addr, tuple[str, ...]]
    lent: tuple[tuple[Prefix, str], ...] = ()
    own: frozenset[Addr] = frozenset()

    @classmethod
    def of(
        cls,
        endpoints: Iterable[LocalEndpoint],
        own: frozenset[Addr],
        prefixes: tuple[str, ...],
        *,
        spoofing_allowed: bool = False,
    ) -> "Places":
        """Those of endpoints whose interface begins with a prefix; no others are policed."""
        policed = [each for each in endpoints if each.interface.startswith(prefixes)]
        found: defaultdict[Addr, list[str]] = defaultdict(list)
        for endpoint in policed:
            for addr in endpoint.addresses:
                found[addr].append(endpoint.interface)
        lent = ((p, each.interface) for each in policed for p in each.spoof_allowed)
        return cls(
            {addr: tuple(names) for addr, names in found.items()},
            tuple(lent) if spoofing_allowed else (),
            own,
        )

    @property
    def all(self) -> frozenset[Addr] | None:
        """One end at least of every connection; None where it may be any address."""
        return None if self.lent else frozenset(self.interfaces)

    def senders(self, addr: Addr) -> tuple[str, ...]:
        """The interfaces by which packets with this source may come."""
        if addr in self.own:
            return ()
        found = self.interfaces.get(addr, ())
        if not self.lent:
            return found
        return (*found, *(name for prefix, name in self.lent if addr in prefix))

    def receivers(self, addr: Addr) -> tuple[str, ...]:
        """The interfaces by which packets to this address may leave."""
        return self.interfaces.get(addr, ())


def rejudge(
    policy: NodePolicy,
    places: Places,
    connection: Connection,
    platform: PlatformAccess = EVERYTHING,
) -> Outcome | None:
    """What the policy says of the connection's first packet, if it came now.

    What the platform refuses comes before policy. None when no workload of this node is judged for
    it. Where an address is behind several interfaces, a connection is denied when each of them
    would deny it: only then it surely is.
    """
    src, dst = connection.original.src, connection.reply.src
    if src in places.own:
        return None
    found = None
    senders = places.senders(src)
    setting = _refuses(platform, connection) if senders else None
    if setting is not None:
        return Outcome(Action.DENY, setting)
    sides = (
        (Direction.EGRESS, senders, dst),
        (Direction.INGRESS, places.receivers(dst), src),
    )
    for direction, names, peer in sides:
        lookups = policy.directions.get((src.family, direction))
        if not names or lookups is None:
            continue
        outcomes = [_lookup(lookups, direction, name, peer, connection) for name in names]
        found = next((o for o in outcomes if o.action is Action.ALLOW), outcomes[0])
        if found.action is Action.DENY:
            break
    return found


def _refuses(platform: PlatformAccess, connection: Connection) -> RuleRef | None:
    to = connection.reply
    return platform.refuses(to.src, connection.protocol, to.a)


def refused_now(before: PlatformAccess, now: PlatformAccess) -> frozenset[Addr]:
    """The addresses of the platform that workloads are refused and were not before."""
    return frozenset(s.address for s in now.refused if s not in before.refused)


def _lookup(
    lookups: DirectionPolicy, direction: Direction, name: str, peer: Addr, connection: Connection
) -> Outcome:
    table = lookups.table(lookups.classes.class_of(peer), name)
    if table is None:
        return Outcome(Action.DENY, RuleRef.no_profile_matched(direction))
    return table.lookup(connection.protocol, *numbers(connection))


def numbers(connection: Connection) -> tuple[int, int]:
    """What policy sees as source and destination port, or as ICMP type and code."""
    if connection.protocol in ICMP_PROTOCOLS:
        return connection.original.a, connection.original.b
    return connection.original.a, connection.reply.a


def guarded(connection: Connection) -> bool:
    """Whether the other end's next packet could be taken for a new connection of its own.

    That is so where there are ports to exchange. Where both are the same, as those of two
    WireGuard ends, neither end is the client, and policy of the other way may decide.
    """
    return connection.protocol in PORT_PROTOCOLS and connection.reply.a != connection.reply.b


@dataclass(frozen=True, slots=True)
class Affected:
    """Whose connections a change of policy may have denied: all of an interface's, or a peer's."""

    interfaces: frozenset[str] = frozenset()
    peers: frozenset[Addr] = frozenset()

    def addresses(self, places: Places) -> frozenset[Addr] | None:
        """One end at least of each of these connections; None where it may be any address."""
        if any(name in self.interfaces for _, name in places.lent):
            return None
        own = (a for a, names in places.interfaces.items() if not self.interfaces.isdisjoint(names))
        return frozenset((*own, *self.peers))


def affected(old: NodePolicy, new: NodePolicy) -> Affected:
    """At least every end to which the new policy denies something that the old one allowed.

    Complexity: what is not shared between the two, and the CIDRs of both if those differ.
    """
    known = {endpoint.interface: endpoint for endpoint in old.endpoints}
    interfaces = {e.interface for e in new.endpoints if known.get(e.interface) != e}
    peers: set[Addr] = set()
    for place, after in new.directions.items():
        before = old.directions.get(place)
        if before is None:
            interfaces.update(endpoint.interface for endpoint in new.endpoints)
        elif before is not after:
            change = _Change(before, after, [endpoint.interface for endpoint in new.endpoints], {})
            interfaces.update(change.interfaces(place[0]))
            peers.update(change.peers(place[0]))
    return Affected(frozenset(interfaces), frozenset(peers))


@dataclass(frozen=True, slots=True)
class _Change:
    """One family and direction, before and after; ``seen`` keeps what was worked out."""

    old: DirectionPolicy
    new: DirectionPolicy
    names: list[str]
    seen: dict[tuple[int, int], tuple[str, ...]]

    def interfaces(self, family: Family) -> Iterator[str]:
        """Where a table changed, or a whole range of peers has another one."""
        before, after = self.old.classes, self.new.classes
        if before.default != after.default:
            yield from self.names
            return
        changed = [change.key for change in differences(self.old.tables, self.new.tables)]
        changed = [at for at in changed if _denies_more(self.old.table(*at), self.new.table(*at))]
        if any(number != after.default for number, _ in changed):
            # Of a class that came or went all peers are in another one than before, if in any.
            changed = [at for at in changed if before.has(at[0]) and after.has(at[0])]
        yield from (name for _, name in changed)
        if before.nets is not after.nets:
            for pair in _pairs(before, after, family):
                yield from self._denied_more(pair)

    def peers(self, family: Family) -> Iterator[Addr]:
        """Single addresses that some interface treats in another way now."""
        before, after = self.old.classes, self.new.classes
        for (value,), *_ in differences(before.hosts, after.hosts):
            addr = Addr(family, value)
            if self._denied_more((before.class_of(addr), after.class_of(addr))):
                yield addr

    def _denied_more(self, pair: tuple[int, int]) -> tuple[str, ...]:
        """The interfaces at which leaving one class for the other is to lose something."""
        found = self.seen.get(pair)
        if found is None:
            old, new = pair
            found = self.seen[pair] = tuple(
                name
                for name in self.names
                if _denies_more(self.old.table(old, name), self.new.table(new, name))
            )
        return found


def _denies_more(old: VerdictTable | None, new: VerdictTable | None) -> bool:
    """Whether something was allowed that is not any more; a table that is not there allows none."""
    if old is new or old is None:
        return False
    return new is None or _compared(old, new)


@lru_cache(maxsize=_COMPARED)
def _compared(old: VerdictTable, new: VerdictTable) -> bool:
    if _loses(old.other, new.other):
        return True
    for protocol in {number for table in (old, new) for number, _ in table.protocols}:
        before, after = old.cells(protocol), new.cells(protocol)
        if len(before) * len(after) > _PAIRS or any(
            _loses(b.outcome, a.outcome) and _meet(b, a) for b in before for a in after
        ):
            return True
    return False


def _loses(before: Outcome, after: Outcome) -> bool:
    return before.action is Action.ALLOW and after.action is Action.DENY


def _meet(one: Cell, two: Cell) -> bool:
    return (
        one.a_first <= two.a_last
        and two.a_first <= one.a_last
        and one.b_first <= two.b_last
        and two.b_first <= one.b_last
    )


def _pairs(before: PeerClasses, after: PeerClasses, family: Family) -> set[tuple[int, int]]:
    """The classes that addresses have, and those they had, as far as nets and defaults say."""
    cuts = {0}
    for first, last, _ in (*before.nets, *after.nets):
        cuts.update((first, last + 1))
    ends = [cut for cut in cuts if cut < 1 << family.bits]
    return {(_of_nets(before, cut), _of_nets(after, cut)) for cut in ends}


def _of_nets(classes: PeerClasses, value: int) -> int:
    at = bisect_right(classes.nets, value, key=itemgetter(0)) - 1
    inside = at >= 0 and value <= classes.nets[at][1]
    return classes.nets[at][2] if inside else classes.default
