"""A host endpoint's policies as plain sequences: failsafe ports, tiers, and what the set ends with.

Host endpoints are few and their traffic knows no constant end, so nodes try their rules one by one
instead of making tables of them. What a set leaves open ends in a step that lets it go on. Who else
is in the cluster is no matter of sequences, but of the sets that they ask (``member``).
Source: felix/rules/endpoints.go (endpointIptablesChain), static.go (failsafeInChain).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from korat.core.model.failsafe import Failsafe
from korat.core.model.key import Key
from korat.core.net.address import Family
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint, Policy, Tier
from korat.core.policy.host import Failsafes, HostNode
from korat.core.policy.outcome import Direction, PolicySet, RuleRef
from korat.core.policy.rule import NormalRule, Ports, RuleAction, Side
from korat.core.table.predicate import Predicate
from korat.core.table.sequence import Asked, Sequence, Stage, Step, profile_stages, tier_stage


class Place(NamedTuple):
    """Where a host endpoint is asked."""

    which: PolicySet
    direction: Direction
    family: Family


@dataclass(frozen=True, slots=True, eq=False)
class HostSequences:
    """All policy of a node's own interfaces: the sequences of every host endpoint's sets.

    ``node`` knows no more of the cluster than its host endpoints and their policies.
    """

    node: HostNode
    by_place: Mapping[tuple[Key, Place], Sequence]

    @classmethod
    def of(cls, node: HostNode) -> "HostSequences":
        """The sequences of every host endpoint that governs an interface."""
        places = [Place(*each) for each in product(PolicySet, Direction, Family)]
        places = [p for p in places if p[:2] != (PolicySet.PRE_DNAT, Direction.EGRESS)]
        return cls(
            node,
            {
                (host.key, place): host_sequence(node.cluster, node.failsafes, host, place)
                for host, place in product(node.who.hosts, places)
            },
        )

    def asked(self) -> frozenset[Predicate]:
        """Every predicate that is asked of any end."""
        found = (predicate for each in self.by_place.values() for predicate in _predicates(each))
        return frozenset(found)


def _predicates(sequence: Sequence) -> frozenset[Predicate]:
    asked = Asked.by(sequence)
    return asked.source | asked.destination


def host_sequence(cluster: Cluster, failsafes: Failsafes, host: Endpoint, place: Place) -> Sequence:
    """The stages of one set of a host endpoint's policies, in one direction."""
    return Sequence(
        place.family,
        place.direction,
        (
            *_failsafe_stages(failsafes, place),
            *_tier_stages(cluster.host_tiers, host, place),
            *_last_stages(cluster, host, place),
        ),
    )


def _tier_stages(tiers: Iterable[Tier], host: Endpoint, place: Place) -> Iterator[Stage]:
    ends = place.which in (PolicySet.NORMAL, PolicySet.FORWARD)
    for tier in tiers:
        policies = [policy for policy in tier.policies if _is_asked(policy, host, place)]
        if policies:
            asked = replace(tier, denies=tier.denies and ends)
            stage = tier_stage(asked, policies, place.direction, place.family)
            yield stage if ends else replace(stage, passing=None)


def _is_asked(policy: Policy, host: Endpoint, place: Place) -> bool:
    return place.which in policy.sets and policy.applies(host, place.direction)


def _last_stages(cluster: Cluster, host: Endpoint, place: Place) -> Iterator[Stage]:
    if place.which is PolicySet.NORMAL:
        yield from profile_stages(cluster, host.profiles, place.direction, place.family)
    else:
        yield Stage((Step(RuleRef.undecided(place.direction), _allow()),), None)


def _failsafe_stages(failsafes: Failsafes, place: Place) -> Iterator[Stage]:
    if place.which is PolicySet.FORWARD:
        return
    ingress = place.direction is Direction.INGRESS
    asked, answered = failsafes if ingress else failsafes[::-1]
    steps = [*_steps(asked, place, reply=False)]
    if place.which is PolicySet.UNTRACKED:
        # Before connection tracking, both halves of such a conversation come by.
        steps += _steps(answered, place, reply=True)
    if steps:
        yield Stage(tuple(steps), None)


def _steps(entries: Iterable[Failsafe], place: Place, *, reply: bool) -> Iterator[Step]:
    for index, each in enumerate(entries):
        if each.net is not None and each.net.family is not place.family:
            continue
        peer = Side(nets=(each.net,) if each.net else ())
        ports = Ports((each.ports,), ())
        ingress = place.direction is Direction.INGRESS
        source, destination = (peer, Side()) if ingress else (Side(), peer)
        if reply:
            source = replace(source, ports=ports)
        else:
            destination = replace(destination, ports=ports)
        ref = RuleRef.failsafe(place.direction, index, reply=reply)
        yield Step(ref, _allow(each.protocol, source, destination))


def _allow(
    protocol: int | None = None, source: Side | None = None, destination: Side | None = None
) -> NormalRule:
    return NormalRule(
        action=RuleAction.ALLOW,
        protocol=protocol,
        not_protocol=None,
        icmp=None,
        not_icmp=None,
        source=source or Side(),
        destination=destination or Side(),
    )
