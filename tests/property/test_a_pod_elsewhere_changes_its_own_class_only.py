"""Law: a pod that comes on another node moves its own addresses to a class, and nothing else.

So a node's kernel is told of it by an element or two, however large the cluster is.
"""

from dataclasses import replace

from hypothesis import given

from korat.core.net.address import Addr
from korat.core.policy.cluster import Cluster
from korat.core.table.compile import compile_node
from strategies_policy import ADDRESSES, NODE, STRANGERS, clusters, dealers

newcomers = dealers.map(lambda dealer: dealer.endpoint(9))


@given(clusters(), newcomers)
def test_a_pod_elsewhere_changes_its_own_class_only(resources, newcomer):
    cluster = Cluster.build([*resources, newcomer])
    here = [e for e in cluster.endpoints if e.key != newcomer.key]
    there = [replace(e, node="there") for e in cluster.endpoints if e.key == newcomer.key]
    before = compile_node(replace(cluster, endpoints=tuple(here)), NODE)
    after = compile_node(replace(cluster, endpoints=(*here, *there)), NODE)
    own = {addr for endpoint in there for addr in endpoint.addresses}
    assert before.endpoints == after.endpoints
    for side, lookups in before.directions.items():
        changed = after.directions[side]
        family = side[0]
        for addr in map(Addr.parse, (*ADDRESSES[family], *STRANGERS[family])):
            if addr not in own:
                assert changed.classes.class_of(addr) == lookups.classes.class_of(addr)
        for number, interface in {*lookups.tables, *changed.tables}:
            if lookups.classes.has(number) and changed.classes.has(number):
                found = changed.table(number, interface)
                assert found == lookups.table(number, interface) or shares(here, own, interface)


def shares(endpoints, addrs, interface):
    """Whether a local endpoint has one of the addresses: then it is judged by other labels too."""
    return any(e.interface == interface and not addrs.isdisjoint(e.addresses) for e in endpoints)
