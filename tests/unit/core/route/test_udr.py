"""The plan for user-defined routes, case by case; its laws are in tests/property."""

from dataclasses import replace

import pytest

from korat.core.net.address import Addr, Prefix
from korat.core.route.effective import NextHop, TableRoute
from korat.core.route.network import Interface, Network, RouteTable, Subnet
from korat.core.route.podcidr import Placement, UdrNode, UdrSettings, route_name
from korat.core.route.udr import UdrPlan, plan

TABLE = "/g/routeTables/korat-routes"
SUBNET = Subnet("/vnet/subnets/nodes", "nodes", (Prefix.parse("10.10.0.0/24"),))
SETTINGS = UdrSettings(TABLE, "westeurope", (Prefix.parse("10.10.128.0/17"),))
DUAL = replace(SETTINGS, cluster_cidrs=(*SETTINGS.cluster_cidrs, Prefix.parse("fd00:8000::/32")))


def _nic(number: int, *, forwarding: bool = False) -> Interface:
    address = Addr.parse(f"10.10.0.{number + 3}")
    return Interface(
        f"/nics/vm{number}-nic", f"vm{number}-nic", (address,), (SUBNET.id,), forwarding
    )


def _node(number: int, *cidrs: str) -> UdrNode:
    pods = tuple(Prefix.parse(cidr) for cidr in cidrs or (f"10.10.{127 + number}.0/24",))
    return UdrNode(f"vm{number}", (Addr.parse(f"10.10.0.{number + 3}"),), pods)


def _route(name: str, prefix: str, ip: str) -> TableRoute:
    return TableRoute(name, Prefix.parse(prefix), NextHop.VIRTUAL_APPLIANCE, Addr.parse(ip))


NETWORK = Network(
    "/vnet", "westeurope", (Prefix.parse("10.10.0.0/16"),), (SUBNET,), (_nic(1), _nic(2))
)
DONE = replace(
    NETWORK,
    subnets=(replace(SUBNET, table_id=TABLE),),
    interfaces=(_nic(1, forwarding=True), _nic(2, forwarding=True)),
    table=RouteTable(
        TABLE,
        (
            _route("vm1", "10.10.128.0/24", "10.10.0.4"),
            _route("vm2", "10.10.129.0/24", "10.10.0.5"),
        ),
    ),
)


def _cluster(cidr: str) -> UdrSettings:
    return replace(SETTINGS, cluster_cidrs=(Prefix.parse(cidr),))


def _with_routes(*routes: TableRoute) -> Network:
    assert DONE.table is not None
    return replace(DONE, table=replace(DONE.table, routes=routes))


def _lines(nodes: list[UdrNode], network: Network, settings: UdrSettings = SETTINGS) -> list[str]:
    return str(plan(nodes, network, settings)).splitlines()


def test_from_nothing_to_everything_in_this_order():
    assert _lines([_node(2), _node(1)], NETWORK) == [
        "+ create route table korat-routes in westeurope",
        "+ add route vm1: 10.10.128.0/24 -> 10.10.0.4",
        "+ add route vm2: 10.10.129.0/24 -> 10.10.0.5",
        "~ enable IP forwarding on NIC vm1-nic",
        "~ enable IP forwarding on NIC vm2-nic",
        "+ associate route table korat-routes with subnet nodes",
    ]


def test_a_right_network_needs_nothing():
    result = plan([_node(1), _node(2)], DONE, SETTINGS)
    assert result.empty
    assert str(result) == "korat-routes: nothing to change"


@pytest.mark.parametrize(
    ("network", "line"),
    [
        (
            _with_routes(_route("vm1", "10.10.128.0/24", "10.10.0.4")),
            "+ add route vm2: 10.10.129.0/24 -> 10.10.0.5",
        ),
        (
            _with_routes(
                _route("vm1", "10.10.128.0/24", "10.10.0.9"),
                _route("vm2", "10.10.129.0/24", "10.10.0.5"),
            ),
            (
                "~ change route vm1: 10.10.128.0/24 -> 10.10.0.4"
                " (was vm1: 10.10.128.0/24 -> 10.10.0.9)"
            ),
        ),
        (
            replace(DONE, subnets=(SUBNET,)),
            "+ associate route table korat-routes with subnet nodes",
        ),
        (
            replace(DONE, interfaces=(_nic(1), _nic(2, forwarding=True))),
            "~ enable IP forwarding on NIC vm1-nic",
        ),
        (replace(DONE, subnets=(replace(SUBNET, table_id=TABLE.upper()),)), None),
    ],
    ids=["route deleted", "next hop", "association", "forwarding", "case of the id"],
)
def test_each_drift_is_one_step(network: Network, line: str | None):
    expected = line or "korat-routes: nothing to change"
    assert _lines([_node(1), _node(2)], network) == [expected]


def test_a_node_that_left_takes_its_route_only():
    """Not also that of vm10, whose name begins with vm1; and no foreign route."""
    network = _with_routes(
        _route("vm1", "10.10.128.0/24", "10.10.0.4"),
        _route("vm10", "10.10.129.0/24", "10.10.0.5"),
        _route("to-firewall", "0.0.0.0/0", "10.10.0.250"),
    )
    node = replace(_node(2), name="vm10")
    assert _lines([node], network) == [
        "- delete route vm1: 10.10.128.0/24 -> 10.10.0.4 (no node has it)"
    ]


def test_a_stale_name_of_the_same_pod_cidr_goes_first():
    network = _with_routes(
        _route("vm1____1010128024", "10.10.128.0/24", "10.10.0.4"),
        _route("vm2", "10.10.129.0/24", "10.10.0.5"),
    )
    assert _lines([_node(1), _node(2)], network) == [
        "- delete route vm1____1010128024: 10.10.128.0/24 -> 10.10.0.4 (no node has it)",
        "+ add route vm1: 10.10.128.0/24 -> 10.10.0.4",
    ]


@pytest.mark.parametrize(
    ("nodes", "settings", "says"),
    [
        ([_node(1, "10.99.0.0/24")], _cluster("10.99.0.0/16"),
         "must lie inside the VNet's address space 10.10.0.0/16"),
        ([_node(1)], replace(SETTINGS, placement=Placement.OUTSIDE_VNET),
         "must lie outside the VNet's address space 10.10.0.0/16"),
        ([_node(1, "10.10.0.128/25")], _cluster("10.10.0.0/16"),
         "overlaps subnet nodes (10.10.0.0/24)"),
        ([_node(1, "10.10.64.0/24")], SETTINGS, "must lie inside the cluster CIDR 10.10.128.0/17"),
        ([_node(1), _node(2, "10.10.128.0/25")], SETTINGS, "overlaps 10.10.128.0/25 of Node vm2"),
        ([_node(1), _node(2, "10.10.128.0/25")], SETTINGS, "overlaps 10.10.128.0/24 of Node vm1"),
        ([_node(9)], SETTINGS, "no NIC in VNet vnet has the node's IPv4 address"),
        ([_node(1, "10.10.128.0/24", "10.10.130.0/24")], SETTINGS, "at most one per IP family"),
        ([_node(1), replace(_node(2), name="VM1")], SETTINGS, "is also the route name of"),
    ],
)  # fmt: skip
def test_each_problem_has_its_reason_and_stops_its_nodes(
    nodes: list[UdrNode], settings: UdrSettings, says: str
):
    result = plan(nodes, NETWORK, settings)
    assert any(says in str(problem) for problem in result.problems), str(result)
    assert result.steps == ()


def test_pod_cidrs_outside_the_vnet_are_fine_when_asked_for():
    settings = replace(
        SETTINGS, cluster_cidrs=(Prefix.parse("10.244.0.0/16"),), placement=Placement.OUTSIDE_VNET
    )
    result = plan([_node(1, "10.244.0.0/24")], NETWORK, settings)
    assert result.problems == ()
    assert "+ add route vm1: 10.244.0.0/24 -> 10.10.0.4" in str(result)


def test_one_bad_node_stops_no_other_and_keeps_its_route():
    result = plan([_node(1, "10.10.128.0/24", "10.10.140.0/24"), _node(2)], DONE, SETTINGS)
    assert result.empty
    assert {problem.where for problem in result.problems} == {"Node vm1"}
    assert [route.name for route in result.routes] == ["vm2"]


def test_a_foreign_route_with_a_nodes_name_is_never_overwritten():
    network = _with_routes(_route("VM1", "0.0.0.0/0", "10.10.0.250"))
    result = plan([_node(1)], network, SETTINGS)
    assert result.steps == ()
    assert "is a route outside the cluster CIDR with this node's name" in str(result)


def test_a_subnet_of_another_table_is_refused():
    network = replace(DONE, subnets=(replace(SUBNET, table_id="/g/routeTables/firewall"),))
    result = plan([_node(1), _node(2)], network, SETTINGS)
    assert result.steps == ()
    assert result.vantages == ()
    assert str(result.problems[0]).startswith("Subnet nodes: properties.routeTable.id ")


def test_many_routes_are_a_warning():
    foreign = [_route(f"f{i}", f"192.0.2.{i}/32", "10.10.0.4") for i in range(3)]
    result = plan([_node(1)], _with_routes(*foreign), replace(SETTINGS, route_limit=3))
    assert [str(w).split(":")[0] for w in result.warnings] == ["Route table korat-routes"]
    assert len(result.steps) == 1


def test_two_families_have_the_cloud_providers_names():
    nic = replace(_nic(1), addresses=(*_nic(1).addresses, Addr.parse("fd00::4")))
    network = replace(
        NETWORK, prefixes=(*NETWORK.prefixes, Prefix.parse("fd00::/16")), interfaces=(nic,)
    )
    node = UdrNode(
        "vm1", nic.addresses, (Prefix.parse("10.10.128.0/24"), Prefix.parse("fd00:8000::/64"))
    )
    result: UdrPlan = plan([node], network, DUAL)
    assert [str(route) for route in result.routes] == [
        "vm1____1010128024: 10.10.128.0/24 -> 10.10.0.4",
        "vm1____fd00800064: fd00:8000::/64 -> fd00::4",
    ]


@pytest.mark.parametrize(
    ("node", "cidr", "dual", "name"),
    [
        ("n1", "10.244.1.0/24", False, "n1"),
        ("n1", "10.244.1.0/24", True, "n1____102441024"),
        ("n1", "10.24.41.0/24", True, "n1____102441024"),
    ],
)
def test_route_names_are_the_cloud_providers(node: str, cidr: str, name: str, *, dual: bool):
    assert route_name(node, Prefix.parse(cidr), dual_stack=dual) == name


def test_long_names_fit_and_stay_apart():
    cidr = Prefix.parse("10.244.1.0/24")
    names = {route_name("n" * 90 + end, cidr, dual_stack=False) for end in "abc"}
    assert len(names) == 3
    assert {len(name) for name in names} == {80}
