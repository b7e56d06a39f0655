"""Host endpoints as base chains: policy of what the node itself sends, takes and passes on.

Each set of policies has chains of its own beside those of workloads, so that a packet between a
workload and the world passes, in this order, the forward policies of the way in, the workload's own
chains, and the forward policies of the way out. A node without host endpoints has none of them.

    host-raw-in        prerouting  -300   untracked policies of the way in
    host-pre-dnat      prerouting  -150   pre-DNAT policies
    host-forward-in    forward       -1   forward policies of the way in
    host-forward-out   forward        1   forward policies of the way out
    host-input         input          1   normal policies of the way in, but for workloads' packets
    host-raw-out       output      -300   untracked policies of the way out
    host-output        output         0   normal policies of the way out, but to workloads
    host-postrouting   postrouting -150   the same for what the node sends and DNAT has turned: only
                                          here is its interface the one that it will leave by

The mark says that a policy has accepted the packet already, or that it is forwarded. It is taken
away where packets begin, as a tunnel's outer packet inherits it. Replies of connections that were
cut are held up before policy of the other way could allow them (``cut``).
Source: felix/rules/static.go, endpoints.go and dispatch.go.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from korat.core.net.address import Family
from korat.core.policy.entity import Endpoint
from korat.core.policy.host import Governors, pre_dnat_at, untracked_at
from korat.core.policy.outcome import Direction, PolicySet
from korat.core.render.nft.cut import ask_cut
from korat.core.render.nft.key import NFPROTO, Field, Key, Type, is_interface_name
from korat.core.render.nft.outcome import OutcomeSettings
from korat.core.render.nft.peer_set import MemberSets, member_lookups, spanned
from korat.core.render.nft.ruleset import (
    Base,
    Chain,
    Hook,
    Lookup,
    Rule,
    Ruleset,
    VerdictMap,
    digest,
    rule,
)
from korat.core.render.nft.sequence import SequenceWriter
from korat.core.render.nft.statement import (
    ACCEPT,
    DROP,
    Counter,
    CtMatch,
    CtState,
    MapLookup,
    Match,
    Statement,
    Verdict,
    goto,
    jump,
)
from korat.core.render.nft.track import DnatMatch, MarkMatch, MarkSet, NoTrack
from korat.core.table.host import HostSequences, Place
from korat.core.table.member import Membership
from korat.core.table.predicate import Predicate

_RAW, _MANGLE, _FILTER = -300, -150, 0
_ESTABLISHED = rule(CtMatch((CtState.ESTABLISHED, CtState.RELATED)), ACCEPT)
_WAY = {Direction.INGRESS: Field.IIFNAME, Direction.EGRESS: Field.OIFNAME}
#: Outcomes of postrouting, where the kernel takes no reject, when others are rejected.
_DROPPED = "-dropped"


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Settings of host policy; ``mark`` is the bit, ``exempt`` are rules that let packets by.

    ``exempt`` are asked in the normal set only, before policy: the cluster's own tunnels, say.
    ``cuts`` says that replies of connections that were cut are held up.
    """

    drop_invalid: bool = True
    cuts: bool = False
    mark: int = 0x10000
    exempt_in: tuple[Rule, ...] = ()
    exempt_out: tuple[Rule, ...] = ()


class HostInput(NamedTuple):
    """What governs a node's own interfaces, and who is in the sets that it asks for."""

    sequences: HostSequences
    members: Membership


class HostRenderer:
    """Renders one state after the other; what stays the same is not made again.

    ``rules`` are the chains of the last one with the sets that never change, of all that it is the
    part in which a pod that comes or goes changes nothing.
    """

    def __init__(self) -> None:
        self.rules = Ruleset()
        self._named: Collection[tuple[Predicate, Family]] = ()
        self._made_of: tuple[object, ...] = ()
        self._last: tuple[Ruleset, Membership, Ruleset] | None = None

    def render(self, own: HostInput, settings: HostSettings, outcomes: OutcomeSettings) -> Ruleset:
        """The base chains of the node's host endpoints, and all that they lead to."""
        made_of = own.sequences, settings, outcomes, spanned(own.members)
        if self._made_of != made_of:
            sets = MemberSets(made_of[-1])
            self.rules = _rules(own.sequences, sets, settings, outcomes)
            self._named, self._made_of = sets.named, made_of
        rules, members = self.rules, own.members
        if self._last is None or self._last[0] is not rules or self._last[1] is not members:
            lookups = {**rules.lookups, **member_lookups(self._named, members)}
            self._last = rules, members, Ruleset(lookups, rules.chains, rules.counters)
        return self._last[2]


def _rules(
    policy: HostSequences, sets: MemberSets, settings: HostSettings, outcomes: OutcomeSettings
) -> Ruleset:
    plain = SequenceWriter(sets, outcomes)
    parts = [_Writer(policy, settings, plain).ruleset()]
    dropping = replace(outcomes, reject=False)
    late = SequenceWriter(sets, dropping, _DROPPED if outcomes.reject else "")
    parts.append(_Writer(policy, settings, late).postrouting())
    parts += [Ruleset(sets.lookups, each.chains, each.counters) for each in (plain, late)]
    return Ruleset(
        {name: lookup for part in parts for name, lookup in part.lookups.items()},
        {name: chain for part in parts for name, chain in part.chains.items()},
        {name: ref for part in parts for name, ref in part.counters.items()},
    )


@dataclass(slots=True)
class _Dispatch:
    """Where a base chain leads: an interface's own chain, and that of all other interfaces."""

    own: Mapping[str, Endpoint]
    others: Endpoint | None


class _Writer:
    """Writes the base chains and, once each, the chains that they lead to."""

    def __init__(
        self, policy: HostSequences, settings: HostSettings, sequences: SequenceWriter
    ) -> None:
        self._policy = policy
        self._cluster, self._who = policy.node.cluster, policy.node.who
        self._settings = settings
        self._sequences = sequences
        self._lookups: dict[str, Lookup] = {}
        self._chains: dict[str, Chain] = {}
        self._marked = rule(MarkMatch(settings.mark), ACCEPT)
        self._unmark = rule(MarkSet(settings.mark, on=False))
        self._cuts = ask_cut(CtMatch((CtState.NEW,))) if settings.cuts else ()

    def ruleset(self) -> Ruleset:
        """All but what is done in postrouting."""
        own = {name: host for name in self._who.named if (host := self._untracked(name))}
        if own:
            raw = _Dispatch(own, None)
            for direction, name in ((Direction.INGRESS, "in"), (Direction.EGRESS, "out")):
                rules = self._leading(f"host-raw-{name}", PolicySet.UNTRACKED, direction, raw)
                self._begin(direction, rules)
        else:
            self._begin(Direction.INGRESS, [])
            self._begin(Direction.EGRESS, [])
        self._pre_dnat()
        self._forward()
        self._normal()
        return Ruleset(self._lookups, self._chains)

    def postrouting(self) -> Ruleset:
        """Normal policy for what the node itself sends, where DNAT has turned it."""
        workloads = [rule(match, ACCEPT) for match in self._workloads(Field.OIFNAME)]
        rules = self._leading(
            "host-postrouting", PolicySet.NORMAL, Direction.EGRESS, self._everyone(), DnatMatch()
        )
        base = Base("filter", Hook.POSTROUTING, _MANGLE)
        self._chains["host-postrouting"] = Chain(
            (_ESTABLISHED, self._marked, *workloads, *rules), base
        )
        return Ruleset(self._lookups, self._chains)

    def _untracked(self, interface: str) -> Endpoint | None:
        return untracked_at(self._cluster, self._who, interface)

    def _begin(self, direction: Direction, rules: Iterable[Rule]) -> None:
        """Where packets begin: others' marks do not count; a workload's are none of these."""
        ingress = direction is Direction.INGRESS
        hook, name = (Hook.PREROUTING, "host-raw-in") if ingress else (Hook.OUTPUT, "host-raw-out")
        self._chains[name] = Chain((self._unmark, *rules), Base("filter", hook, _RAW))

    def _pre_dnat(self) -> None:
        found = {name: pre_dnat_at(self._cluster, self._who, name) for name in self._who.named}
        own = {name: host for name, host in found.items() if host is not None}
        others = pre_dnat_at(self._cluster, Governors({}, self._who.others), "")
        if not own and others is None:
            return
        way = _Dispatch(own, others)
        rules = self._leading("host-pre-dnat", PolicySet.PRE_DNAT, Direction.INGRESS, way)
        self._chains["host-pre-dnat"] = Chain(
            (_ESTABLISHED, self._marked, *rules), Base("filter", Hook.PREROUTING, _MANGLE)
        )

    def _forward(self) -> None:
        """What was accepted before is spared the way in; then the mark says: forwarded."""
        marks = {
            Direction.INGRESS: ("host-forward-in", self._marked, _FILTER - 1),
            Direction.EGRESS: ("host-forward-out", rule(MarkSet(self._settings.mark)), _FILTER + 1),
        }
        for direction, (name, mark, priority) in marks.items():
            rules = self._leading(name, PolicySet.FORWARD, direction, self._everyone())
            base = Base("filter", Hook.FORWARD, priority)
            cuts = self._cuts if direction is Direction.INGRESS else ()
            self._chains[name] = Chain((_ESTABLISHED, *cuts, mark, *rules), base)

    def _normal(self) -> None:
        turned = rule(DnatMatch(), ACCEPT)
        for direction, name, base, first in (
            (Direction.INGRESS, "host-input", Base("filter", Hook.INPUT, _FILTER + 1), ()),
            (Direction.EGRESS, "host-output", Base("filter", Hook.OUTPUT, _FILTER), (turned,)),
        ):
            ingress = direction is Direction.INGRESS
            exempt = self._settings.exempt_in if ingress else self._settings.exempt_out
            workloads = [rule(match, ACCEPT) for match in self._workloads(_WAY[direction])]
            rules = self._leading(name, PolicySet.NORMAL, direction, self._everyone())
            self._chains[name] = Chain(
                (_ESTABLISHED, *workloads, *self._cuts, self._marked, *first, *exempt, *rules), base
            )

    def _everyone(self) -> _Dispatch:
        return _Dispatch(self._who.named, self._who.others)

    def _workloads(self, way: Field) -> Iterable[Match]:
        return (Match(way, (f"{p}*",)) for p in self._policy.node.prefixes)

    def _leading(
        self, name: str, which: PolicySet, direction: Direction, to: _Dispatch, *when: Statement
    ) -> list[Rule]:
        """The rules that lead a base chain's packets to the chains of their interface."""
        ways: dict[Key, Verdict] = {
            (interface,): goto(self._chain(which, direction, host))
            for interface, host in to.own.items()
            if is_interface_name(interface)
        }
        self._lookups[name] = VerdictMap((Type.IFNAME,), ways)
        rules = [rule(*when, MapLookup((_WAY[direction],), name))]
        if to.others is not None:
            rules.append(rule(*when, goto(self._chain(which, direction, to.others))))
        return rules

    def _chain(self, which: PolicySet, direction: Direction, host: Endpoint) -> str:
        """One set of a host endpoint's policies, of both IP versions."""
        rules: list[Rule] = []
        if which is not PolicySet.UNTRACKED and self._settings.drop_invalid:
            invalid = CtMatch((CtState.INVALID,))
            rules.append(rule(invalid, Counter(), DROP, comment="invalid connection"))
        for family in Family:
            sequence = self._policy.by_place[host.key, Place(which, direction, family)]
            to = jump(self._sequences.sequence(sequence))
            rules.append(rule(Match(Field.NFPROTO, (NFPROTO[family],)), to))
        accepted: tuple[Statement, ...] = ()
        if which in (PolicySet.UNTRACKED, PolicySet.PRE_DNAT):
            accepted = (MarkSet(self._settings.mark),)
        if which is PolicySet.UNTRACKED:
            accepted = (NoTrack(), *accepted)
        rules.append(rule(*accepted, ACCEPT))
        name = f"host-{digest(*(each.text for each in rules))}"
        self._chains[name] = Chain(tuple(rules))
        return name
