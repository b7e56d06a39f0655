"""The laws of the plan for user-defined routes, on networks where everything collides."""

from hypothesis import given

from korat.core.net.address import Addr
from korat.core.route.effective import effective_routes, select
from korat.core.route.network import Network, same_id
from korat.core.route.podcidr import UdrNode, UdrSettings
from korat.core.route.step import Associate, DeleteRoute
from korat.core.route.udr import plan
from strategies_route import OTHER_TABLE, applied, networks, node_lists, settings_values

Nodes = tuple[UdrNode, ...]


@given(node_lists(), networks(), settings_values)
def test_an_applied_plan_leaves_nothing_to_plan(
    nodes: Nodes, network: Network, settings: UdrSettings
):
    first = plan(nodes, network, settings)
    second = plan(nodes, applied(network, first.steps), settings)
    assert second.steps == ()
    assert second.problems == first.problems


@given(node_lists(), networks(), settings_values)
def test_foreign_routes_survive(nodes: Nodes, network: Network, settings: UdrSettings):
    before = network.table.routes if network.table else ()
    after = applied(network, plan(nodes, network, settings).steps)
    left = after.table.routes if after.table else ()
    for route in before:
        if not settings.in_cluster(route.prefix):
            assert route in left


@given(node_lists(), networks(), settings_values)
def test_node_subnets_then_carry_every_pod_cidr_to_its_node(
    nodes: Nodes, network: Network, settings: UdrSettings
):
    result = plan(nodes, network, settings)
    after = applied(network, result.steps)
    by_name = {node.name: node for node in nodes}
    faulty = {problem.where for problem in result.problems}
    sound = [node for node in by_name.values() if f"Node {node.name}" not in faulty]
    assert {r.prefix for r in result.routes} == {cidr for node in sound for cidr in node.pod_cidrs}
    for vantage in result.vantages:
        subnet = next(s for s in after.subnets if s.name == vantage.subnet)
        assert same_id(subnet.table_id, settings.table_id)
        assert after.table is not None
        routes = effective_routes(after.prefixes, after.table.routes)
        for node in sound:
            for cidr in node.pod_cidrs:
                for end in (cidr.first, cidr.last):
                    found = select(routes, Addr(cidr.family, end))
                    assert found is not None
                    assert found.next_hop_ip in node.addresses
                    nic = next(n for n in after.interfaces if found.next_hop_ip in n.addresses)
                    assert nic.ip_forwarding


@given(node_lists(), networks(), settings_values)
def test_no_subnet_is_taken_from_another_table(
    nodes: Nodes, network: Network, settings: UdrSettings
):
    after = applied(network, plan(nodes, network, settings).steps)
    was = {subnet.id for subnet in network.subnets if subnet.table_id == OTHER_TABLE}
    assert {subnet.id for subnet in after.subnets if subnet.table_id == OTHER_TABLE} == was


@given(node_lists(), networks(), settings_values)
def test_faulty_nodes_lose_no_route(nodes: Nodes, network: Network, settings: UdrSettings):
    result = plan(nodes, network, settings)
    faulty = {problem.where for problem in result.problems}
    held = {cidr for n in nodes if f"Node {n.name}" in faulty for cidr in n.pod_cidrs}
    deleted = {step.route.prefix for step in result.steps if isinstance(step, DeleteRoute)}
    assert not held & deleted


@given(node_lists(), networks(), settings_values)
def test_the_plan_prints_every_step_and_reason(
    nodes: Nodes, network: Network, settings: UdrSettings
):
    result = plan(nodes, network, settings)
    lines = str(result).splitlines()
    expected = len(result.steps) + len(result.problems) + len(result.warnings)
    assert len(lines) == expected + (not result.steps)


@given(node_lists(), networks(), settings_values)
def test_the_order_of_nodes_does_not_matter(nodes: Nodes, network: Network, settings: UdrSettings):
    assert plan(nodes, network, settings) == plan(tuple(reversed(nodes)), network, settings)


@given(node_lists(), networks(), settings_values)
def test_associations_are_for_subnets_with_node_nics_only(
    nodes: Nodes, network: Network, settings: UdrSettings
):
    addresses = {addr for node in nodes for addr in node.addresses}
    homes = {
        subnet_id.lower()
        for nic in network.interfaces
        if addresses & set(nic.addresses)
        for subnet_id in nic.subnet_ids
    }
    for step in plan(nodes, network, settings).steps:
        if isinstance(step, Associate):
            assert step.subnet_id.lower() in homes
