"""What host endpoints' policies say of connections that are under way already.

For: cutting, after a change, what the node itself talks or passes on and would not any more. Host
policy has no tables, so its sequences are run, with what the members of their sets say of the ends.
Where nothing but members has changed, only connections of those who came or went are concerned.
Where policy depends on the interface, that is the one by which the kernel would send to the end.

Not for: what workloads' policies say (``rejudge``), connections that were never tracked, and what
nobody answered yet, as broadcasts: policy is asked about each packet of it anyway.
Source: felix/rules/static.go (which chains a packet meets).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product

from typing_extensions import override

from korat.core.model.key import Key
from korat.core.net.address import Addr
from korat.core.net.port import ICMP_PROTOCOLS
from korat.core.pmap import set_differences
from korat.core.policy.entity import Endpoint
from korat.core.policy.evaluate import Judgement
from korat.core.policy.host import HostNode, HostVerdict
from korat.core.policy.match import Packet
from korat.core.policy.outcome import Action, Direction, PolicySet
from korat.core.table.host import HostSequences, Place
from korat.core.table.member import Membership
from korat.core.table.rejudge import Connection, Places, numbers
from korat.core.table.sequence import Asked, Sequence, run

#: By which interface the kernel would send to an address, from one of its own if that is given.
Route = Callable[[Addr, Addr | None], str | None]
#: Stands for an interface of which only is known that no host endpoint of its own governs it.
_SOME = ""
_LOOPBACK = "lo"
#: Where policy sees the destination as it was sent, which is no source of a tracked connection.
_UNTRANSLATED = (PolicySet.UNTRACKED, PolicySet.PRE_DNAT)


def regrouped(sequences: HostSequences, old: Membership, new: Membership) -> frozenset[Addr] | None:
    """The addresses of which the same policy may say something else now; None where that is any.

    Each connection that it may deny now has one of them as original or reply source.
    Complexity: what is not shared between the two.
    """
    if old is new:
        return frozenset()
    found: set[Addr] = set()
    as_sent = {
        predicate
        for (_, place), sequence in sequences.by_place.items()
        if place.which in _UNTRANSLATED
        for predicate in Asked.by(sequence).destination
    }
    for family, sets in new.families.items():
        before = old.families[family]
        for predicate, after in sets.items():
            if predicate not in before or before[predicate] is after:
                continue
            keys = [each.key for each in set_differences(before[predicate].keys, after.keys)]
            if before[predicate].spans != after.spans or (keys and predicate in as_sent):
                return None
            found.update(Addr(family, key[0]) for key in keys)
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SequencedNode(HostNode):
    """A node whose policies are asked one step after the other; ``known`` is what steps ask."""

    by_place: Mapping[tuple[Key, Place], Sequence]
    members: Membership
    known: dict[tuple[Key, Place], Asked] = field(default_factory=dict)

    @override
    def judged(
        self, host: Endpoint, where: tuple[PolicySet, Direction], packet: Packet
    ) -> Judgement:
        at = host.key, Place(*where, packet.family)
        sequence = self.by_place[at]
        asked = self.known.get(at)
        if asked is None:
            asked = self.known[at] = Asked.by(sequence)
        outcome = run(sequence, asked.facts(packet, self.members.holds))
        return Judgement(host.key, outcome, ())


class HostJudge:
    """Judges connections by one node's host policy; made for one look at them."""

    def __init__(
        self, sequences: HostSequences, members: Membership, places: Places, route: Route
    ) -> None:
        of = sequences.node
        self._node = _SequencedNode(
            of.cluster,
            of.who,
            of.failsafes,
            of.prefixes,
            by_place=sequences.by_place,
            members=members,
        )
        self._places = places
        self._route = route
        self._found: dict[tuple[Addr, Addr | None], tuple[str, ...]] = {}

    def denies(self, connection: Connection) -> bool:
        """Whether host policy would not let in the connection's first packet now.

        Where several interfaces come into question each of them has to deny it.
        """
        sent, translated = _packets(connection)
        node, own = self._node, self._places.own
        if sent.src in own:
            if translated.dst in own:
                leaving = node.out_of(_LOOPBACK, sent, translated)
                # It is translated before it comes by the loopback interface.
                return _denied(leaving) or _denied(node.into(_LOOPBACK, translated))
            ways = self._to(translated.dst, sent.src)
            return all(_denied(node.out_of(oif, sent, translated)) for oif in ways)
        arriving = self._from(sent.src, translated.dst)
        if translated.dst in own:
            return all(_denied(node.into(iif, sent, translated)) for iif in arriving)
        ways = self._to(translated.dst, None)
        return all(
            _denied(node.through(iif, oif, sent, translated))
            for iif, oif in product(arriving, ways)
        )

    def _from(self, src: Addr, dst: Addr) -> tuple[str, ...]:
        own = dst if dst in self._places.own else None
        return self._places.senders(src) or self._toward(src, own)

    def _to(self, dst: Addr, own: Addr | None) -> tuple[str, ...]:
        return self._places.receivers(dst) or self._toward(dst, own)

    def _toward(self, addr: Addr, own: Addr | None) -> tuple[str, ...]:
        """The interfaces that count for an address beyond them, which may be any."""
        if not self._node.who.named:
            return (_SOME,)
        found = self._found.get((addr, own))
        if found is None:
            name = self._route(addr, own)
            found = (name,) if name else (*self._node.who.named, _SOME)
            self._found[addr, own] = found
        return found


def _denied(verdict: HostVerdict) -> bool:
    return verdict.action is Action.DENY


def _packets(connection: Connection) -> tuple[Packet, Packet]:
    """The first packet as it was sent, and with its destination translated."""
    original, reply, protocol = connection.original, connection.reply, connection.protocol
    if protocol in ICMP_PROTOCOLS:
        kind, code = numbers(connection)
        sent = Packet(original.src, original.dst, protocol, icmp_type=kind, icmp_code=code)
        return sent, replace(sent, dst=reply.src)
    sent = Packet(original.src, original.dst, protocol, original.a, original.b)
    return sent, replace(sent, dst=reply.src, dport=reply.a)
