"""A node with host endpoints in all engines, and the way of a packet through its chains."""

from collections import Counter
from dataclasses import dataclass, field

from korat.core.model.failsafe import Failsafe
from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.interval import IntervalSet
from korat.core.net.port import PortRange
from korat.core.pmap import PSet
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import judge
from korat.core.policy.host import Failsafes, HostInterface, HostNode, governors
from korat.core.policy.outcome import Action, Direction
from korat.core.render.nft.host import HostInput
from korat.core.render.nft.node import NodeInput, host_sequences, render, render_slow
from korat.core.render.nft.outcome import counter_name, log_prefix
from korat.core.render.nft.simulate import Fate, Packet, Simulator
from korat.core.render.nft.statement import CtState
from korat.core.table.compile import compile_node
from korat.core.table.member import Members, Membership
from korat.core.table.predicate import (
    HasLabels,
    InNets,
    InService,
    OwnsPort,
    owned_ports,
    service_ports,
)
from strategies_policy import HOST_ADDRESSES, NODE

SAFE = Failsafes(
    (
        Failsafe(6, PortRange(81, 81)),
        Failsafe(17, PortRange(80, 82), Prefix.parse("10.0.0.0/30")),
        Failsafe(6, PortRange(1, 1), Prefix.parse("fd00::/126")),
    ),
    (Failsafe(6, PortRange(90, 91)), Failsafe(17, PortRange(53, 53))),
)
FELIX = FelixSettings(
    log_prefix="%t %k %p",
    failsafe_inbound_host_ports=SAFE.inbound,
    failsafe_outbound_host_ports=SAFE.outbound,
)
INTERFACES = (
    HostInterface("eth0", frozenset(map(Addr.parse, HOST_ADDRESSES.values()))),
    HostInterface("eth1", frozenset({Addr.parse("10.0.0.7")})),
    HostInterface("lo", frozenset()),
    HostInterface("cali1", frozenset({Addr.parse("10.0.0.6")})),
)
HOSTS = ("eth0", "eth1", "lo")


def scanned(cluster, predicate, family):
    """Of whom a predicate is true, by looking at everybody."""
    singles, wide = set(), []
    if isinstance(predicate, HasLabels):
        matches = predicate.selector.matches
        singles = {a for e in cluster.owners if matches(e.labels) for a in e.addresses}
        nets = [net for group in cluster.sets if matches(group.labels) for net in group.nets]
        singles |= {Addr(net.family, net.base) for net in nets if net.length == net.family.bits}
        wide = [n for n in nets if n.length < n.family.bits and n.family is family]
    elif isinstance(predicate, InService):
        slices = cluster.services.get(predicate.service, ())
        singles = {addr for each in slices for addr in each.addresses}
    else:
        owned = (
            owned_ports(cluster, predicate)
            if isinstance(predicate, OwnsPort)
            else service_ports(cluster, predicate.service)
        )
        keys = ((a.value, protocol, port) for a, protocol, port in owned if a.family is family)
        return Members(PSet(keys), IntervalSet())
    keys = ((addr.value,) for addr in singles if addr.family is family)
    return Members(PSet(keys), IntervalSet.of_prefixes(wide))


def membership(cluster, sequences):
    """The members of all sets that sequences ask."""
    asked = [each for each in sequences.asked() if not isinstance(each, InNets)]
    return Membership({f: {each: scanned(cluster, each, f) for each in asked} for f in Family})


def host_input(cluster, node, interfaces, felix):
    """What governs a node's own interfaces; None where nothing does."""
    sequences = host_sequences(cluster, node, interfaces, felix)
    return None if sequences is None else HostInput(sequences, membership(cluster, sequences))


@dataclass
class Way:
    """A packet on its way through the hooks of a simulated node."""

    simulator: Simulator
    mark: int = 0
    state: CtState = CtState.NEW
    passed: bool = True
    logs: list = field(default_factory=list)
    counted: list = field(default_factory=list)

    def meet(self, hook, packet, iif="", oif="", *, translated=False):
        if not self.passed:
            return self
        ends = (packet.src, packet.dst, packet.protocol, *packet.numbers)
        seen = Packet(iif, oif, *ends, self.state, mark=self.mark, translated=translated)
        passage = self.simulator.run(seen, hook)
        self.mark = passage.mark
        self.state = CtState.UNTRACKED if passage.untracked else self.state
        self.passed = passage.fate is Fate.ACCEPT
        self.logs += passage.logs
        self.counted += passage.counted
        return self


@dataclass
class Node:
    """One node's engines."""

    cluster: Cluster
    index: int

    def __post_init__(self):
        own = host_input(self.cluster, NODE, INTERFACES, FELIX)
        made = NodeInput(compile_node(self.cluster, NODE), FELIX, own=own)
        self.local = [e for e in self.cluster.endpoints if e.node == NODE]
        slow = render_slow(made, self.cluster, self.local)
        self.ruleset = slow if self.index else render(made)
        self.simulator = Simulator(self.ruleset)
        who = governors(self.cluster, NODE, INTERFACES, ("cali",))
        self.host = HostNode(self.cluster, who, SAFE)

    def check(self, way, outcomes):
        """The way ended as these outcomes say, and left their traces."""
        denied = any(outcome.action is Action.DENY for outcome in outcomes)
        assert way.passed is not denied
        assert way.logs == [
            log_prefix(FELIX.log_prefix, ref) for outcome in outcomes for ref in outcome.logs
        ]
        counted = (ref for outcome in outcomes for ref in outcome.counted)
        assert Counter(way.counted) == Counter(map(counter_name, counted))


def outcomes_of(verdict):
    return [step.judgement.outcome for step in verdict.steps]


def simple(endpoint):
    """A workload with one address of each family, so that its tables speak for it alone."""
    return len(endpoint.addresses) == len({addr.family for addr in endpoint.addresses})


def places(node, packet):
    """The node's own interfaces and those of its workloads, with the workloads."""
    yield from ((name, None, None) for name in HOSTS)
    for endpoint in node.local:
        if simple(endpoint):
            for addr in endpoint.addresses_of(packet.family):
                yield endpoint.interface, endpoint, addr


def through(node, iif, oif, packet, sender, receiver):
    """Hosts' policies around those of the workloads, up to the first denial."""
    steps = node.host.through(iif, oif, packet).steps
    said = [(step.judgement.outcome, step.judgement.outcome.ref.direction) for step in steps]
    leaving = [outcome for outcome, way in said if way is Direction.EGRESS]
    outcomes = [outcome for outcome, way in said if way is Direction.INGRESS]
    for endpoint, direction in ((sender, Direction.EGRESS), (receiver, Direction.INGRESS)):
        if endpoint is not None:
            outcomes.append(judge(node.cluster, endpoint, direction, packet).outcome)
    outcomes += leaving
    for number, outcome in enumerate(outcomes):
        if outcome.action is Action.DENY:
            return outcomes[: number + 1]
    return outcomes
