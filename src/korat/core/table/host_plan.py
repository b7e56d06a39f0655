"""Which sets of a host endpoint's policies a packet meets, as plans to be painted.

What ``core/policy/host.py`` judges packet by packet: in which order the sets are asked at an
interface, who governs it, what ends them. Alike host endpoints share plans.
Source: felix/rules/static.go (which chains a packet meets).
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import Enum

from korat.core.model.felix import FelixSettings
from korat.core.net.address import Family
from korat.core.policy.between import Surroundings
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint
from korat.core.policy.host import (
    Failsafes,
    Governors,
    governors,
    pre_dnat_at,
    untracked_at,
)
from korat.core.policy.outcome import Direction, PolicySet
from korat.core.policy.spot import Spot
from korat.core.table.atom import Atoms
from korat.core.table.host import Place, host_sequence
from korat.core.table.lower import Block, Lowering
from korat.core.table.matches import SelectorMatches
from korat.core.table.plan import Lowered, LoweredStage, LoweredTrial, Plan
from korat.core.table.sequence import Sequence, Stage, Step
from korat.core.table.truth import Truths


class Way(Enum):
    """What a packet does at an interface of a node."""

    TO_NODE = "to node"
    FROM_NODE = "from node"
    FORWARDED_IN = "forwarded in"
    FORWARDED_OUT = "forwarded out"

    @property
    def direction(self) -> Direction:
        """Which rules of policies are asked."""
        out = self in (Way.FROM_NODE, Way.FORWARDED_OUT)
        return Direction.EGRESS if out else Direction.INGRESS

    @property
    def is_own(self) -> bool:
        """Whether one end of the packet is the node itself."""
        return self in (Way.TO_NODE, Way.FROM_NODE)


#: A set of policies and whose it is.
_Asked = tuple[PolicySet, Endpoint]


class HostPolicy:
    """Who is asked what at the interfaces of a cluster's nodes."""

    def __init__(self, around: Surroundings) -> None:
        self.cluster = _of_hosts(around.cluster)
        self._around = around
        self._felix: dict[str, FelixSettings] = {}
        self._who: dict[Spot, Governors] = {}

    def felix(self, node: str) -> FelixSettings:
        """The settings of a node."""
        found = self._felix.get(node)
        if found is None:
            found = self._felix[node] = self._around.felix(node)
        return found

    def failsafes(self, node: str) -> Failsafes:
        """The failsafe ports of a node."""
        felix = self.felix(node)
        return Failsafes(felix.failsafe_inbound_host_ports, felix.failsafe_outbound_host_ports)

    def governors(self, spot: Spot) -> Governors:
        """Who governs a spot, among others of its node."""
        found = self._who.get(spot)
        if found is None:
            prefixes = self.felix(spot.node).interface_prefix
            found = governors(self.cluster, spot.node, [spot.interface], prefixes)
            self._who[spot] = found
        return found

    def asked(self, spot: Spot, way: Way) -> Iterator[_Asked]:
        """The sets that a packet meets, in order."""
        who, name = self.governors(spot), spot.interface.name
        is_workload = name.startswith(self.felix(spot.node).interface_prefix)
        if way is Way.FROM_NODE and is_workload:
            return  # To its own workloads a node may always send.
        early = way is not Way.FORWARDED_OUT
        untracked = untracked_at(self.cluster, who, name) if early else None
        if untracked is not None:
            yield PolicySet.UNTRACKED, untracked
        coming = way.direction is Direction.INGRESS
        pre_dnat = pre_dnat_at(self.cluster, who, name) if coming else None
        if pre_dnat is not None:
            yield PolicySet.PRE_DNAT, pre_dnat
        governor = who.at(name)
        if governor is not None and not (way.is_own and is_workload):
            yield PolicySet.NORMAL if way.is_own else PolicySet.FORWARD, governor


class HostPlans:
    """The plans of one family; ``atoms`` are all that they ask of addresses."""

    def __init__(self, policy: HostPolicy, family: Family) -> None:
        self.atoms = Atoms()
        self._truths = Truths(policy.cluster, family)
        self._policy = policy
        self._family = family
        self._lowering = Lowering(self.atoms, family, self._truths)
        self._made: dict[tuple[object, ...], Plan] = {}

    def plans(self, spot: Spot, way: Way) -> tuple[Plan, ...]:
        """The plans of the sets that a packet meets, in order."""
        safe = self._policy.failsafes(spot.node)
        place = (way.direction, self._family)
        return tuple(
            self._plan(host, safe, Place(which, *place))
            for which, host in self._policy.asked(spot, way)
        )

    def items(self) -> Iterator[tuple[int, int, int]]:
        """What is true of addresses, in the bits of the plans made so far."""
        return self._truths.items(self.atoms.born)

    def _plan(self, host: Endpoint, safe: Failsafes, place: Place) -> Plan:
        tiers = self._policy.cluster.host_tiers
        own = [
            policy.key
            for tier in tiers
            for policy in tier.policies
            if place.which in policy.sets and policy.applies(host, place.direction)
        ]
        key = place, tuple(own), host.profiles, safe
        found = self._made.get(key)
        if found is None:
            sequence = host_sequence(self._policy.cluster, safe, host, place)
            found = self._made[key] = _lowered(sequence, self._lowering)
        return found


def _of_hosts(cluster: Cluster) -> Cluster:
    """The cluster with only those policies of hosts that any host endpoint has."""
    every = [policy for tier in cluster.host_tiers for policy in tier.policies]
    matches = SelectorMatches({policy.selector for policy in every})
    wanted = frozenset(s for host in cluster.hosts for s in matches.of(host.labels))
    tiers = (
        replace(tier, policies=tuple(p for p in tier.policies if p.selector in wanted))
        for tier in cluster.host_tiers
    )
    return replace(cluster, host_tiers=tuple(tier for tier in tiers if tier.policies))


def _lowered(sequence: Sequence, lowering: Lowering) -> Plan:
    blocks: list[Block] = []

    def lower(steps: Iterable[Step]) -> Block:
        blocks.append(lowering.block(steps))
        return blocks[-1]

    def rules(stage: Stage) -> Iterator[Lowered]:
        for step in stage.steps:
            if isinstance(step, Step):
                yield from lower([step]).rules
            else:
                yield LoweredTrial(lower(step.steps).rules, step.miss)

    stages = [
        LoweredStage(sequence.direction, rules(stage), stage.end, stage.passing)
        for stage in sequence.stages
    ]
    return Plan.of(sequence.direction, stages, blocks)
