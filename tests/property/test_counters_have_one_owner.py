"""Law: every counter of a node's table has one owner, and everybody who can decide has a counter.

Both renderings count in the same names for whoever is in both.
"""

from hypothesis import given

from korat.core.model.felix import FelixSettings
from korat.core.policy.cluster import Cluster
from korat.core.policy.outcome import RuleRef
from korat.core.render.nft.node import NodeInput, render, render_slow
from korat.core.render.nft.outcome import counter_name
from korat.core.render.nft.ruleset import CounterMap
from korat.core.render.nft.statement import Counter
from korat.core.table.compile import compile_node
from strategies_policy import NODE, clusters


def used(ruleset):
    """The names that rules count in, or that maps lead them to."""
    maps = (lookup for lookup in ruleset.lookups.values() if isinstance(lookup, CounterMap))
    return {name for each in maps for name in each.elements.values()} | {
        statement.name
        for chain in ruleset.chains.values()
        for rule in chain.rules
        for statement in rule.statements
        if isinstance(statement, Counter) and statement.name
    }


@given(clusters())
def test_counters_are_named_after_their_owners_and_all_are_used(resources):
    cluster = Cluster.build(resources)
    policy = compile_node(cluster, NODE)
    node = NodeInput(policy, FelixSettings())
    local = [endpoint for endpoint in cluster.endpoints if endpoint.node == NODE]
    fast, slow = render(node), render_slow(node, cluster, local)
    for ruleset in (fast, slow):
        owners = ruleset.counters
        assert {name: counter_name(ref) for name, ref in owners.items()} == {n: n for n in owners}
        assert len({ref.text for ref in owners.values()}) == len(owners)
    deciding = {
        ref
        for lookups in policy.directions.values()
        for table in lookups.tables.values()
        for outcome in table.outcomes()
        for ref in outcome.counted
    }
    # The setting of Azure's wireserver decides too, whatever policies there are.
    assert set(fast.counters.values()) == deciding | {RuleRef.wireserver()}
    assert used(fast) == fast.counters.keys()
    # The plain sequence has counters of rules behind a tier that denies, too.
    assert fast.counters.keys() <= used(slow) <= slow.counters.keys()
