"""Which host endpoint governs an interface of a node, and what its policies say of a packet.

The evaluator's part for hosts. A host endpoint has four sets of policies, each asked at its own
place: untracked before connection tracking, pre-DNAT before translation, normal for what a node
itself sends and takes, forward for what goes through it. Untracked and pre-DNAT policies that do
not decide leave the packet to the other sets; forward policies hinder nothing as long as there are
none; normal ones end as a workload's do, with the profiles. Failsafe ports come before policy, but
for forwarded packets, which are no way into the node.
Source: felix/dataplane/linux/endpoint_mgr.go (resolveHostEndpoints), felix/rules/endpoints.go and
dispatch.go, felix/calc/event_sequencer.go (tierInfoToProtoTierInfo).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from korat.core.model.failsafe import INBOUND, OUTBOUND, Failsafe
from korat.core.model.host import ALL_INTERFACES
from korat.core.net.address import Addr
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint
from korat.core.policy.evaluate import Judgement, Walk
from korat.core.policy.match import Packet, Scene
from korat.core.policy.outcome import Action, Direction, Outcome, PolicySet, RuleRef


class HostInterface(NamedTuple):
    """An interface of a node that is no workload's, and its addresses."""

    name: str
    addresses: frozenset[Addr]


class Failsafes(NamedTuple):
    """The ports of a node that policy does not close, to it and from it."""

    inbound: tuple[Failsafe, ...] = INBOUND
    outbound: tuple[Failsafe, ...] = OUTBOUND


#: Felix' own.
DEFAULT_FAILSAFES = Failsafes()


@dataclass(frozen=True, slots=True)
class Governors:
    """The host endpoint of each interface by name, and that of all others (``*``) if any."""

    named: Mapping[str, Endpoint]
    others: Endpoint | None

    def at(self, interface: str) -> Endpoint | None:
        """Who governs an interface."""
        return self.named.get(interface, self.others)

    @property
    def hosts(self) -> tuple[Endpoint, ...]:
        """All who govern an interface."""
        return (*self.named.values(), *([self.others] if self.others is not None else []))

    def __bool__(self) -> bool:
        return bool(self.named) or self.others is not None


def governors(
    cluster: Cluster, node: str, interfaces: Iterable[HostInterface], prefixes: tuple[str, ...]
) -> Governors:
    """Who governs the interfaces of a node; ``prefixes`` are those of workloads' interfaces.

    Of several the first by name has an interface. One that a host endpoint names is governed from
    its first packet, so it need not be there yet.
    """
    own = [host for host in cluster.hosts if host.node == node]
    present = {each.name: each.addresses for each in interfaces}
    named = {host.interface: frozenset[Addr]() for host in own} | present
    found = {
        name: host
        for name, addresses in sorted(named.items())
        if name not in ("", ALL_INTERFACES) and not name.startswith(prefixes)
        if (host := next((h for h in own if _claims(h, name, addresses)), None)) is not None
    }
    others = next((host for host in own if host.interface == ALL_INTERFACES), None)
    return Governors(found, others)


def _claims(host: Endpoint, name: str, addresses: frozenset[Addr]) -> bool:
    if host.interface:
        return host.interface == name
    return not addresses.isdisjoint(host.addresses)


def has_policies(cluster: Cluster, host: Endpoint, which: PolicySet) -> bool:
    """Whether any policy of a set selects a host endpoint, in whatever direction."""
    policies = (policy for tier in cluster.host_tiers for policy in tier.policies)
    return any(
        which in policy.sets and policy.directions and policy.selector.matches(host.labels)
        for policy in policies
    )


def untracked_at(cluster: Cluster, who: Governors, interface: str) -> Endpoint | None:
    """Whose untracked policies an interface has; those of ``*`` are not supported, as in Calico."""
    host = who.named.get(interface)
    return host if host and has_policies(cluster, host, PolicySet.UNTRACKED) else None


def pre_dnat_at(cluster: Cluster, who: Governors, interface: str) -> Endpoint | None:
    """Whose pre-DNAT policies an interface has: its own host endpoint's, else those of ``*``."""
    candidates = (who.named.get(interface), who.others)
    found = (h for h in candidates if h and has_policies(cluster, h, PolicySet.PRE_DNAT))
    return next(found, None)


class HostStep(NamedTuple):
    """One set of policies that was asked."""

    which: PolicySet
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class HostVerdict:
    """What host endpoints say of a packet, and the way to it; without steps nobody was asked."""

    steps: tuple[HostStep, ...]

    @property
    def action(self) -> Action:
        """What becomes of the packet; a denial is always the last step."""
        return self.steps[-1].judgement.outcome.action if self.steps else Action.ALLOW


@dataclass(frozen=True, slots=True)
class HostNode:
    """One node's own traffic: its interfaces' host endpoints and its failsafe ports.

    Which sets of policies are asked, in what order; ``judged`` asks each, here by the evaluator.
    """

    cluster: Cluster
    who: Governors
    failsafes: Failsafes = DEFAULT_FAILSAFES
    prefixes: tuple[str, ...] = ("cali",)

    def into(self, iif: str, sent: Packet, translated: Packet | None = None) -> HostVerdict:
        """To the node itself; ``translated`` is the packet after DNAT where that changed it.

        What comes from a workload is not asked for the node's normal policy.
        """
        steps = [*self._before_routing(iif, sent)]
        if not _over(steps) and not self._is_workload(iif):
            host = self.who.at(iif)
            steps += self._ask(host, PolicySet.NORMAL, Direction.INGRESS, translated or sent)
        return HostVerdict(tuple(steps))

    def out_of(self, oif: str, sent: Packet, translated: Packet | None = None) -> HostVerdict:
        """From the node itself; to its own workloads it may always send."""
        if self._is_workload(oif):
            return HostVerdict(())
        host = untracked_at(self.cluster, self.who, oif)
        steps = [*self._ask(host, PolicySet.UNTRACKED, Direction.EGRESS, sent)]
        if not _over(steps):
            host = self.who.at(oif)
            steps += self._ask(host, PolicySet.NORMAL, Direction.EGRESS, translated or sent)
        return HostVerdict(tuple(steps))

    def through(
        self, iif: str, oif: str, sent: Packet, translated: Packet | None = None
    ) -> HostVerdict:
        """Through the node, where workloads' own policies are asked too (not here).

        What a pre-DNAT or untracked policy accepted is spared the forward policies of the way in,
        not those of the way out.
        """
        steps = [*self._before_routing(iif, sent)]
        packet = translated or sent
        if not _over(steps):
            steps += self._ask(self.who.at(iif), PolicySet.FORWARD, Direction.INGRESS, packet)
        if not _denied(steps):
            steps += self._ask(self.who.at(oif), PolicySet.FORWARD, Direction.EGRESS, packet)
        return HostVerdict(tuple(steps))

    def _before_routing(self, iif: str, sent: Packet) -> Iterator[HostStep]:
        for which, find in ((PolicySet.UNTRACKED, untracked_at), (PolicySet.PRE_DNAT, pre_dnat_at)):
            asked = [*self._ask(find(self.cluster, self.who, iif), which, Direction.INGRESS, sent)]
            yield from asked
            if _over(asked):
                return

    def _ask(
        self, host: Endpoint | None, which: PolicySet, direction: Direction, packet: Packet
    ) -> Iterator[HostStep]:
        if host is not None:
            yield HostStep(which, self.judged(host, (which, direction), packet))

    def judged(
        self, host: Endpoint, where: tuple[PolicySet, Direction], packet: Packet
    ) -> Judgement:
        """What one set of a host endpoint's policies says of a packet."""
        return judge_host(self.cluster, self.failsafes, host, where, packet)

    def _is_workload(self, interface: str) -> bool:
        return interface.startswith(self.prefixes)


def _denied(steps: list[HostStep]) -> bool:
    return bool(steps) and steps[-1].judgement.outcome.action is Action.DENY


def _over(steps: list[HostStep]) -> bool:
    """Whether nobody else need be asked on the way in: denied, or accepted by a rule."""
    return bool(steps) and (_denied(steps) or steps[-1].judgement.outcome.ref.decides)


def judge_host(
    cluster: Cluster,
    failsafes: Failsafes,
    host: Endpoint,
    where: tuple[PolicySet, Direction],
    packet: Packet,
) -> Judgement:
    """Judge a packet by one set of a host endpoint's policies in one direction."""
    which, direction = where
    safe = _failsafe(failsafes, which, direction, packet)
    if safe is not None:
        return Judgement(host.key, Outcome(Action.ALLOW, safe), ())
    ends = which in (PolicySet.NORMAL, PolicySet.FORWARD)
    walk = Walk(direction, Scene.of(cluster, packet), open_ended=not ends)
    for tier in cluster.host_tiers:
        policies = [p for p in tier.policies if which in p.sets and p.applies(host, direction)]
        as_asked = replace(tier, denies=tier.denies and ends)
        outcome = walk.ask_tier(as_asked, policies) if policies else None
        if outcome is not None:
            break
    else:
        normal = which is PolicySet.NORMAL
        outcome = walk.ask_profiles(cluster, host.profiles) if normal else walk.leave_open()
    return Judgement(host.key, outcome, tuple(walk.stages))


def _failsafe(
    failsafes: Failsafes, which: PolicySet, direction: Direction, packet: Packet
) -> RuleRef | None:
    """The failsafe port that lets a packet by; before tracking also that of its conversation."""
    if which is PolicySet.FORWARD:
        return None
    ingress = direction is Direction.INGRESS
    peer = packet.src if ingress else packet.dst
    asked, answered = failsafes if ingress else failsafes[::-1]
    for index, each in enumerate(asked):
        if _is_at(each, packet.protocol, packet.dport, peer):
            return RuleRef.failsafe(direction, index)
    for index, each in enumerate(answered if which is PolicySet.UNTRACKED else ()):
        if _is_at(each, packet.protocol, packet.sport, peer):
            return RuleRef.failsafe(direction, index, reply=True)
    return None


def _is_at(entry: Failsafe, protocol: int, port: int, peer: Addr) -> bool:
    near = entry.net is None or peer in entry.net
    return entry.protocol == protocol and port in entry.ports and near
