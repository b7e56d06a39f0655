"""What policy says between two ends: workloads, nodes' own addresses, or strangers.

For ``explain`` and for users' tests, which know no interfaces: an address of a node is taken to be
on the interface whose host endpoint expects it, else on one that ``*`` governs; and what a node
forwards for its workloads comes and goes by the interface of its first address.
Not for what a kernel holds; there ``host`` is asked with real interfaces.
Source: felix/rules/static.go (which chains a packet meets between which ends).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from korat.core.model.felix import FelixSettings
from korat.core.model.host import ALL_INTERFACES
from korat.core.net.address import Addr
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint
from korat.core.policy.evaluate import Judgement, Verdict, judge
from korat.core.policy.host import Failsafes, Governors, HostNode, HostStep
from korat.core.policy.match import Packet
from korat.core.policy.outcome import Action, Direction, Outcome, PolicySet, RuleRef
from korat.core.policy.platform import PlatformAccess

#: Names for interfaces of which only is known on which side of the node they are.
_FABRIC, _WORKLOAD = "fabric", "cali"


class End(NamedTuple):
    """One end: its workload if it is one's, or the node whose own address it is."""

    workload: Endpoint | None
    node: str

    @property
    def place(self) -> str:
        """The node it is on; empty when that is not known."""
        return self.workload.node if self.workload is not None else self.node


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A cluster with its nodes' addresses, the main one first, and their settings."""

    cluster: Cluster
    nodes: Mapping[str, tuple[Addr, ...]]
    felix: Callable[[str], FelixSettings]

    def end(self, addr: Addr) -> End:
        """Who has an address."""
        workload = self.cluster.endpoint_at(addr)
        if workload is not None:
            return End(workload, "")
        known = (name for name, addresses in self.nodes.items() if addr in addresses)
        expected = (host.node for host in self.cluster.hosts if addr in host.addresses)
        return End(None, next(known, next(expected, "")))

    def governor(self, node: str, addr: Addr | None) -> Endpoint | None:
        """The host endpoint of the interface that has an address."""
        return self._governors(node, addr).at(_FABRIC)

    def between(self, packet: Packet) -> Verdict:
        """Judge a packet by the policy of both its ends and of the nodes on its way."""
        source, destination = self.end(packet.src), self.end(packet.dst)
        same = bool(source.place) and source.place == destination.place
        if same and source.workload is None:
            return Verdict(None, None)  # A node and its own workloads, or itself.
        if same and destination.workload is not None:
            return self._within(source, destination, packet)
        leaving, entering = self._leaving(source, packet), None
        if same and source.workload is not None:
            entering = self._to_host(source.workload)
        else:
            entering = self._entering(destination, packet)
        return Verdict(leaving, entering)

    def _leaving(self, source: End, packet: Packet) -> Judgement | None:
        if source.workload is None:
            if not source.node:
                return None
            return _joined(self._node(source.node, packet.src).out_of(_FABRIC, packet).steps)
        own = self._egress(source.workload, packet)
        node = self._node(source.place)
        return _around(own, node.through(_WORKLOAD, _FABRIC, packet).steps)

    def _entering(self, destination: End, packet: Packet) -> Judgement | None:
        if destination.workload is None:
            if not destination.node:
                return None
            return _joined(self._node(destination.node, packet.dst).into(_FABRIC, packet).steps)
        own = judge(self.cluster, destination.workload, Direction.INGRESS, packet)
        node = self._node(destination.place)
        return _around(own, node.through(_FABRIC, _WORKLOAD, packet).steps)

    def _within(self, source: End, destination: End, packet: Packet) -> Verdict:
        """Between two workloads of one node."""
        sides: list[Judgement] = []
        if source.workload is not None:
            sides.append(self._egress(source.workload, packet))
        if destination.workload is not None:
            sides.append(judge(self.cluster, destination.workload, Direction.INGRESS, packet))
        steps = self._node(source.place).through(_WORKLOAD, _WORKLOAD, packet).steps
        egress, ingress = sides
        way_in = [s for s in steps if s.judgement.outcome.ref.direction is Direction.INGRESS]
        way_out = [s for s in steps if s.judgement.outcome.ref.direction is Direction.EGRESS]
        return Verdict(_around(egress, way_in), _around(ingress, way_out))

    def _egress(self, workload: Endpoint, packet: Packet) -> Judgement:
        """Before a workload's policy its node's settings are asked about Azure's platform."""
        access = PlatformAccess.of(self.felix(workload.node))
        setting = access.refuses(packet.dst, packet.protocol, packet.dport)
        if setting is not None:
            return Judgement(workload.key, Outcome(Action.DENY, setting), ())
        return judge(self.cluster, workload, Direction.EGRESS, packet)

    def _to_host(self, workload: Endpoint) -> Judgement:
        action = self.felix(workload.node).default_endpoint_to_host_action
        verdict = Action.DENY if action == "Drop" else Action.ALLOW
        return Judgement(workload.key, Outcome(verdict, RuleRef.to_host()), ())

    def _node(self, node: str, addr: Addr | None = None) -> HostNode:
        felix = self.felix(node)
        safe = Failsafes(felix.failsafe_inbound_host_ports, felix.failsafe_outbound_host_ports)
        return HostNode(self.cluster, self._governors(node, addr), safe, (_WORKLOAD,))

    def _governors(self, node: str, addr: Addr | None) -> Governors:
        own = [host for host in self.cluster.hosts if host.node == node]
        others = next((host for host in own if host.interface == ALL_INTERFACES), None)
        main = addr or next(iter(self.nodes.get(node, ())), None)
        named = (h for h in own if h.interface != ALL_INTERFACES and main in h.addresses)
        found = next(named, None)
        return Governors({_FABRIC: found} if found else {}, others)


def _joined(steps: Iterable[HostStep]) -> Judgement | None:
    """Several sets of policies as one judgement; None when nobody was asked."""
    found = list(steps)
    if not found:
        return None
    last = found[-1].judgement
    stages = tuple(
        stage if step.which is PolicySet.NORMAL else replace(stage, which=step.which.value)
        for step in found
        for stage in step.judgement.stages
    )
    logs = tuple(ref for step in found for ref in step.judgement.outcome.logs)
    return Judgement(last.endpoint, replace(last.outcome, logs=logs), stages)


def _around(own: Judgement, steps: Iterable[HostStep]) -> Judgement:
    """A workload's judgement between those of its node: the first that denies decides."""
    denied = [step for step in steps if step.judgement.outcome.action is Action.DENY]
    ways = [step.judgement.outcome.ref.direction for step in denied]
    before = Direction.INGRESS in ways
    if not denied or (own.outcome.action is Action.DENY and not before):
        return own
    return _joined(denied) or own
