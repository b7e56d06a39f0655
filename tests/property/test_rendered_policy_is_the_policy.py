"""Law: the rendered chains say what the evaluator says, as tables and as the plain sequence.

Verdict, deciding rule, log lines and everything that is counted agree, for packets into, out of and
between local workloads; what is denied is told to NFLOG by the counter of who denied it.
"""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korat.core.model.felix import FelixSettings
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import judge
from korat.core.policy.outcome import Action, Direction
from korat.core.render.nft.node import NodeInput, render, render_slow
from korat.core.render.nft.outcome import counter_name, log_prefix, outcome_name
from korat.core.render.nft.ruleset import Hook
from korat.core.render.nft.simulate import Fate, Packet, Simulator
from korat.core.table.compile import compile_node
from korat.core.table.number import drawn
from strategies_policy import NODE, clusters, packets

FELIX = FelixSettings(log_prefix="%t %k %p")


def simple(endpoint):
    """A workload with one address of each family, so that its tables speak for it alone."""
    return len(endpoint.addresses) == len({addr.family for addr in endpoint.addresses})


def simulators(cluster):
    """Both renderings of the node, checked and ready."""
    local = [endpoint for endpoint in cluster.endpoints if endpoint.node == NODE]
    node = NodeInput(compile_node(cluster, NODE), FELIX)
    return Simulator(render(node)), Simulator(render_slow(node, cluster, local))


def expected(cluster, judged):
    """Fate, log lines, who counts, who is told, and the end's number or chain, by the evaluator."""
    logs, counted = [], Counter()
    for endpoint, direction, packet in judged:  # in hook order
        outcome = judge(cluster, endpoint, direction, packet).outcome
        logs += [log_prefix(FELIX.log_prefix, ref) for ref in outcome.logs]
        counted.update(map(counter_name, outcome.counted))
        bare = replace(outcome, logs=(), staged=(), passes=())
        ends = {drawn(outcome_name(outcome)), outcome_name(bare)}
        if outcome.action is Action.DENY:
            return (Fate.DROP, logs, counted, (counter_name(outcome.ref),)), ends
    return (Fate.ACCEPT, logs, counted, ()), ends


def seen(simulator, packet, iif, oif):
    a, b = packet.numbers
    passage = simulator.run(
        Packet(iif, oif, packet.src, packet.dst, packet.protocol, a, b), Hook.FORWARD
    )
    found = passage.fate, list(passage.logs), Counter(passage.counted), passage.told
    ends = [number for number in passage.numbers if number]
    return found, ends[-1] if ends else passage.chains[-1]


def ways(local, packet):
    """The packet from, to and between local workloads, at their own addresses."""
    for one in local:
        for mine in one.addresses_of(packet.family):
            out, into = replace(packet, src=mine), replace(packet, dst=mine)
            yield out, one.interface, "eth0", [(one, Direction.EGRESS, out)]
            yield into, "eth0", one.interface, [(one, Direction.INGRESS, into)]
            for other in local:
                for theirs in other.addresses_of(packet.family):
                    both = replace(packet, src=mine, dst=theirs)
                    judged = [(one, Direction.EGRESS, both), (other, Direction.INGRESS, both)]
                    yield both, one.interface, other.interface, judged


@pytest.mark.parametrize("index", [0, 1], ids=["tables", "sequence"])
@given(resources=clusters(), flows=st.lists(packets(), min_size=3, max_size=6))
def test_rendered_chains_judge_as_the_evaluator(index, resources, flows):
    cluster = Cluster.build(resources)
    local = [e for e in cluster.endpoints if e.node == NODE and simple(e)]
    simulator = simulators(cluster)[index]
    for flow in flows:
        for packet, iif, oif, judged in ways(local, flow):
            wanted, ends = expected(cluster, judged)
            found, end = seen(simulator, packet, iif, oif)
            assert found == wanted, (packet, iif, oif)
            assert end in ends


@settings(max_examples=max(20, settings().max_examples // 4))  # two rulesets each
@given(resources=clusters(), flows=st.lists(packets(), min_size=3, max_size=6))
def test_what_no_endpoint_has_is_dropped_both_ways(resources, flows):
    for simulator in simulators(Cluster.build(resources)):
        for flow in flows:
            assert seen(simulator, flow, "calighost", "eth0")[0][0] is Fate.DROP
            assert seen(simulator, flow, "eth0", "calighost")[0][0] is Fate.DROP
            (fate, *_), end = seen(simulator, flow, "eth0", "eth1")
            assert (fate, end) == (Fate.ACCEPT, "forward")
