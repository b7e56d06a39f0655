"""The plan for Azure user-defined routes: what must change so that pods reach each other.

Given the nodes and the network as it is, the plan names the steps to the wanted state: one route
per pod CIDR in the cluster's table, that table on every subnet with node NICs, IP forwarding on
every NIC that is a next hop. It repairs drift, deletes stale routes inside the cluster CIDR, keeps
foreign routes outside it, and never takes a subnet from another table.

Laws (tests/property): applying the plan gives a state whose plan is empty; foreign routes survive;
the effective routes of every node subnet then carry every good pod CIDR to its node.

Source: cloud-provider-azure's route controller for names and for what is deleted, without its
defects (names match exactly, next hops are compared, associations and forwarding are looked at).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from typing_extensions import override

from korat.core.errors import Problem
from korat.core.net.address import Prefix
from korat.core.route.effective import TableRoute
from korat.core.route.network import Interface, Network, Subnet, name_of, same_id
from korat.core.route.podcidr import Judgement, UdrNode, UdrSettings, judge
from korat.core.route.step import (
    Associate,
    CreateTable,
    DeleteRoute,
    EnableForwarding,
    PutRoute,
    Step,
)


@dataclass(frozen=True, slots=True)
class Vantage:
    """A subnet whose effective routes must carry the pod CIDRs, and the NICs that can tell."""

    subnet: str
    interface_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UdrPlan:
    """The steps, in the order to apply them, and why some things stay as they are.

    ``problems`` keep the nodes or subnets they name out of the steps; ``warnings`` stop nothing.
    ``routes`` and ``vantages`` say what must be effective where, once the steps are applied.
    """

    table_id: str
    steps: tuple[Step, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    routes: tuple[TableRoute, ...] = ()
    vantages: tuple[Vantage, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.steps

    @override
    def __str__(self) -> str:
        lines = [str(step) for step in self.steps]
        lines += [f"! {problem}" for problem in self.problems]
        lines += [f"? {warning}" for warning in self.warnings]
        if self.empty:
            lines.insert(0, f"{name_of(self.table_id)}: nothing to change")
        return "\n".join(lines)


def plan(nodes: Iterable[UdrNode], network: Network, settings: UdrSettings) -> UdrPlan:
    """What must be written so that every good node's pod CIDRs are routed to it."""
    judgement = judge(sorted(nodes, key=lambda node: node.name), network, settings)
    subnets = _node_subnets(network, judgement.interfaces) if judgement.wanted else ()
    taken = tuple(s for s in subnets if s.table_id and not same_id(s.table_id, settings.table_id))
    wanted = tuple(want.route for want in judgement.wanted)
    return UdrPlan(
        settings.table_id,
        (
            *_table_steps(network, wanted, settings),
            *_route_steps(network, judgement, settings),
            *_forwarding_steps(judgement),
            *(Associate(s.id, settings.table_id) for s in subnets if not s.table_id),
        ),
        (*judgement.problems, *(_taken(subnet, settings.table_id) for subnet in taken)),
        tuple(_limit_warning(network, wanted, settings)),
        wanted,
        tuple(_vantage(s, judgement.interfaces) for s in subnets if s not in taken),
    )


def _table_steps(
    network: Network, wanted: Sequence[TableRoute], settings: UdrSettings
) -> Iterator[Step]:
    if wanted and network.table is None:
        yield CreateTable(settings.table_id, settings.location or network.location)


def _route_steps(network: Network, judgement: Judgement, settings: UdrSettings) -> Iterator[Step]:
    existing = {route.name.lower(): route for route in _routes(network)}
    wanted = {want.route.name.lower(): want.route for want in judgement.wanted}
    for key, route in existing.items():
        if key not in wanted and _stale(route.prefix, judgement.held, settings):
            yield DeleteRoute(route, "no node has it")
    for key, route in wanted.items():
        was = existing.get(key)
        if was is None or _differs(was, route):
            yield PutRoute(route, was)


def _stale(prefix: Prefix, held: Iterable[Prefix], settings: UdrSettings) -> bool:
    return settings.in_cluster(prefix) and not any(prefix.overlaps(h) for h in held)


def _differs(was: TableRoute, route: TableRoute) -> bool:
    hop = (was.prefix, was.next_hop_type, was.next_hop_ip)
    return hop != (route.prefix, route.next_hop_type, route.next_hop_ip)


def _forwarding_steps(judgement: Judgement) -> Iterator[Step]:
    for interface in dict.fromkeys(want.interface for want in judgement.wanted):
        if not interface.ip_forwarding:
            yield EnableForwarding(interface.id)


def _node_subnets(network: Network, interfaces: Iterable[Interface]) -> tuple[Subnet, ...]:
    held = {subnet_id.lower() for nic in interfaces for subnet_id in nic.subnet_ids}
    return tuple(subnet for subnet in network.subnets if subnet.id.lower() in held)


def _vantage(subnet: Subnet, interfaces: Iterable[Interface]) -> Vantage:
    return Vantage(
        subnet.name,
        tuple(nic.id for nic in interfaces if any(same_id(subnet.id, s) for s in nic.subnet_ids)),
    )


def _taken(subnet: Subnet, table_id: str) -> Problem:
    rule = (
        f"is the subnet's route table already, and korat never takes a subnet from its table: "
        f"dissociate it, or name it as routeTableName instead of {name_of(table_id)}"
    )
    return Problem(f"Subnet {subnet.name}", "properties.routeTable.id", subnet.table_id, rule)


def _limit_warning(
    network: Network, wanted: Iterable[TableRoute], settings: UdrSettings
) -> Iterator[Problem]:
    foreign = sum(not settings.in_cluster(route.prefix) for route in _routes(network))
    count = foreign + sum(1 for _ in wanted)
    if count > settings.route_limit:
        rule = (
            f"more than {settings.route_limit} routes: Azure may refuse the table; ask for a "
            f"higher limit, use larger pod CIDRs on fewer nodes, or use VXLAN"
        )
        yield Problem(f"Route table {name_of(settings.table_id)}", "properties.routes", count, rule)


def _routes(network: Network) -> tuple[TableRoute, ...]:
    return network.table.routes if network.table else ()
