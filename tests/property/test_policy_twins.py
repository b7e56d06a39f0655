"""Law: the evaluator, the plain sequence and the verdict tables give one outcome.

Action, deciding rule and log trail agree for every packet at every local endpoint in both
directions; and what is compiled does not depend on the order of the resources.
"""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import judge
from korat.core.policy.outcome import Action, Direction
from korat.core.table.compile import compile_node
from korat.core.table.sequence import Sequences, facts, run
from strategies_policy import NODE, clusters, flows

#: Laws of the compiler's form, which any world shows as well as any other.
few = settings(max_examples=30)


def local(cluster):
    return [endpoint for endpoint in cluster.endpoints if endpoint.node == NODE]


def at(endpoint, direction, packet):
    """The packet as it would be at each of the endpoint's addresses of its family."""
    end = "dst" if direction is Direction.INGRESS else "src"
    return [replace(packet, **{end: addr}) for addr in endpoint.addresses_of(packet.family)]


def peer(direction, packet):
    return packet.src if direction is Direction.INGRESS else packet.dst


@given(clusters(), flows())
def test_evaluator_sequence_and_tables_agree(resources, sent):
    cluster = Cluster.build(resources)
    # Of the rules that are dealt, only some of a ClusterNetworkPolicy cannot be converted.
    assert {problem.where.split()[0] for problem in cluster.problems} <= {"ClusterNetworkPolicy"}
    policy, sequences = compile_node(cluster, NODE), Sequences(cluster)
    for endpoint in local(cluster):
        for direction in Direction:
            for flow in sent:
                placed = at(endpoint, direction, flow)
                outcomes = [judge(cluster, endpoint, direction, p).outcome for p in placed]
                for packet, outcome in zip(placed, outcomes, strict=True):
                    sequence = sequences.of(endpoint, direction, packet.family)
                    assert run(sequence, facts(cluster, sequence, packet)) == outcome
                if placed:
                    lookups = policy.directions[flow.family, direction]
                    number = lookups.classes.class_of(peer(direction, flow))
                    table = lookups.table(number, endpoint.interface)
                    check(table.lookup(flow.protocol, *flow.numbers), outcomes)


def check(found, outcomes):
    """A table speaks for all addresses of an endpoint: as one, or else for the strictest."""
    if len(set(outcomes)) == 1:
        assert found == outcomes[0]
    else:
        assert found in outcomes
        denied = any(outcome.action is Action.DENY for outcome in outcomes)
        assert found.action is (Action.DENY if denied else Action.ALLOW)


@few
@given(clusters(), st.randoms(use_true_random=False))
def test_the_order_of_resources_does_not_matter(resources, random):
    shuffled = list(resources)
    random.shuffle(shuffled)
    assert Cluster.build(shuffled) == Cluster.build(resources)
    assert compile_node(Cluster.build(shuffled), NODE) == compile_node(
        Cluster.build(resources), NODE
    )


@few
@given(clusters())
def test_tables_are_one_object_each_and_only_where_a_class_differs(resources):
    cluster = Cluster.build(resources)
    policy = compile_node(cluster, NODE)
    assert {e.interface for e in policy.endpoints} == {e.interface for e in local(cluster)}
    for (family, _), lookups in policy.directions.items():
        default = lookups.classes.default
        known = {interface for number, interface in lookups.tables if number == default}
        assert known == {e.interface for e in local(cluster) if e.addresses_of(family)}
        for (number, interface), table in lookups.tables.items():
            assert lookups.classes.has(number)
            assert number == default or table != lookups.tables[default, interface]
        tables = lookups.tables.values()
        assert len({id(table) for table in tables}) == len(set(tables))
