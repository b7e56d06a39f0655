"""Real packets to, from and through a node with host endpoints meet what the evaluator says.

Random clusters are loaded one after the other into one router (see ``nft_wire``), in both
renderings. Who comes out, how many come to the router itself, and the counter of every outcome must
be the ones expected; nothing is waited for.
"""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_world import Node, Way, outcomes_of, simple, through
from korat.core.policy.cluster import Cluster
from korat.core.policy.outcome import Action
from korat.core.render.nft.ruleset import Hook
from korat.core.render.nft.statement import CtState
from nft_wire import OWN, Probe, routers
from strategies_policy import NODE, clusters, packets

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def router():
    with routers("hdiff") as made:
        yield made


def owners(cluster):
    """Which local workload has an address; addresses that several have belong to none here."""
    local = [e for e in cluster.endpoints if e.node == NODE]
    several = Counter(addr for endpoint in local for addr in endpoint.addresses)
    return {a: e for e in local if simple(e) for a in e.addresses if several[a] == 1}


def denied(outcomes):
    return any(outcome.action is Action.DENY for outcome in outcomes)


class Trip:
    """A packet, the hooks that it meets, what the evaluator says of it, and where it comes out."""

    def __init__(self, node, router, own, flow, kind):
        ends = {addr.family: addr for addr in OWN}
        self.packet, self.iif, self.oif = flow, "eth0", router.way(flow.dst)
        way = Way(node.simulator, state=CtState.UNTRACKED)
        if kind == "in":
            self.packet, self.oif = replace(flow, dst=ends[flow.family]), ""
            way.meet(Hook.PREROUTING, self.packet, "eth0").meet(Hook.INPUT, self.packet, "eth0")
            outcomes = outcomes_of(node.host.into("eth0", self.packet))
        elif kind == "out":
            self.packet, self.iif = replace(flow, src=ends[flow.family]), ""
            way.meet(Hook.OUTPUT, self.packet, oif=self.oif)
            way.meet(Hook.POSTROUTING, self.packet, oif=self.oif)
            outcomes = outcomes_of(node.host.out_of(self.oif, self.packet))
        else:
            sender, receiver = own.get(flow.src), own.get(flow.dst)
            self.iif = sender.interface if sender else "eth0"
            way.meet(Hook.PREROUTING, flow, self.iif).meet(Hook.FORWARD, flow, self.iif, self.oif)
            way.meet(Hook.POSTROUTING, flow, self.iif, self.oif)
            outcomes = through(node, self.iif, self.oif, flow, sender, receiver)
        node.check(way, outcomes)
        self.passes, self.counted = not denied(outcomes), way.counted

    @property
    def probe(self):
        a, b = self.packet.numbers
        return Probe(self.iif, self.packet.src, self.packet.dst, self.packet.protocol, a, b)


@settings(max_examples=40)  # each is hundreds of packets
@given(resources=clusters(), drawn=st.lists(packets(), min_size=4, max_size=8))
def test_the_kernel_judges_hosts_as_the_evaluator(router, resources, drawn):
    cluster = Cluster.build(resources)
    own = owners(cluster)
    router.route({addr: endpoint.interface for addr, endpoint in own.items()})
    flows = [*drawn, *(replace(f, src=a) for f in drawn for a in own if a.family is f.family)]
    for index in (0, 1):
        node = Node(cluster, index)
        trips = [
            Trip(node, router, own, flow, kind)
            for flow in flows
            for kind in ("in", "out", "through")
        ]
        router.nft.apply(node.ruleset.text)
        router.taken()
        found = router.send([trip.probe for trip in trips])
        assert found == [trip.oif if trip.passes else "" for trip in trips]
        assert router.taken() == sum(trip.passes and not trip.oif for trip in trips)
        expected = Counter(name for trip in trips for name in trip.counted)
        counted = {name: count.packets for name, count in router.counters().items()}
        assert Counter({n: packets for n, packets in counted.items() if packets}) == expected
