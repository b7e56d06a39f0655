"""Law: of host endpoints' traffic the evaluator, the sequence and the rendered chains say the same.

Each set of policies alone, and whole ways of packets: to the node, from it and through it, with and
without a translated destination, beside the chains of workloads.
"""

from dataclasses import replace

import pytest
from hypothesis import given

from host_world import HOSTS, SAFE, Node, Way, outcomes_of, places, through
from korat.core.net.address import Family
from korat.core.policy.cluster import Cluster
from korat.core.policy.host import judge_host
from korat.core.policy.outcome import Direction, PolicySet
from korat.core.render.nft.ruleset import Hook
from korat.core.table.host import Place, host_sequence
from korat.core.table.sequence import facts, run
from strategies_policy import clusters, flows


@given(clusters(), flows())
def test_evaluator_and_sequence_agree_in_every_set(resources, sent):
    cluster = Cluster.build(resources)
    for host in cluster.hosts:
        for which in PolicySet:
            for direction in Direction:
                made = {
                    family: host_sequence(cluster, SAFE, host, Place(which, direction, family))
                    for family in Family
                }
                for packet in sent:
                    said = judge_host(cluster, SAFE, host, (which, direction), packet).outcome
                    sequence = made[packet.family]
                    assert run(sequence, facts(cluster, sequence, packet)) == said


def translations(sent):
    """Each packet as it is, and with the destination of the next one of its family."""
    for number, packet in enumerate(sent):
        yield packet, None
        other = sent[number - 1].dst
        if other.family is packet.family and other != packet.dst:
            yield packet, replace(packet, dst=other)


both = pytest.mark.parametrize("index", [0, 1], ids=["tables", "sequence"])


@both
@given(resources=clusters(), sent=flows(5))
def test_to_the_node(index, resources, sent):
    node = Node(Cluster.build(resources), index)
    for packet, turned in translations(sent):
        for iif in HOSTS:
            way = Way(node.simulator).meet(Hook.PREROUTING, packet, iif)
            way.meet(Hook.INPUT, turned or packet, iif, translated=turned is not None)
            node.check(way, outcomes_of(node.host.into(iif, packet, turned)))


@both
@given(resources=clusters(), sent=flows(5))
def test_from_the_node(index, resources, sent):
    node = Node(Cluster.build(resources), index)
    for packet, turned in translations(sent):
        for oif in (*HOSTS, "cali1"):
            way = Way(node.simulator)
            # Until it is routed again, a packet that DNAT turned keeps the interface it had.
            way.meet(Hook.OUTPUT, packet, oif=oif, translated=turned is not None)
            way.meet(Hook.POSTROUTING, turned or packet, oif=oif, translated=turned is not None)
            node.check(way, outcomes_of(node.host.out_of(oif, packet, turned)))


@both
@given(resources=clusters(), sent=flows(3))
def test_through_the_node(index, resources, sent):
    node = Node(Cluster.build(resources), index)
    for flow in sent:
        for iif, sender, src in places(node, flow):
            for oif, receiver, dst in places(node, flow):
                packet = replace(flow, src=src or flow.src, dst=dst or flow.dst)
                way = Way(node.simulator).meet(Hook.PREROUTING, packet, iif)
                way.meet(Hook.FORWARD, packet, iif, oif).meet(Hook.POSTROUTING, packet, iif, oif)
                node.check(way, through(node, iif, oif, packet, sender, receiver))
