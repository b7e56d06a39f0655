"""More addresses for nodes' NICs, once: who uses how many, what is missing, and asking for it.

``korat azure plan`` and ``apply`` do this too. The loop that repeats it is
``korat.controllers.address``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from korat.controllers.node import udr_nodes
from korat.core.errors import Invalid, Problem
from korat.core.model.codec import load
from korat.core.model.endpoint import WorkloadEndpoint
from korat.core.model.pod import Pod
from korat.core.model.resource import Resource
from korat.core.net.address import Addr
from korat.core.route.network import Network
from korat.core.route.supply import SupplyNode, SupplyPlan, SupplySettings, plan_supply
from korat.ports import CloudNetwork, Record, Store

KINDS = ("Node", "Pod", "WorkloadEndpoint")


@dataclass(frozen=True, slots=True)
class Demand:
    """What the store says of nodes and their pods; ``problems`` are nodes that cannot be read."""

    nodes: tuple[SupplyNode, ...] = ()
    problems: tuple[Problem, ...] = ()

    def plan(self, network: Network, settings: SupplySettings) -> SupplyPlan:
        """What of it Azure is to be asked for."""
        made = plan_supply(self.nodes, network, settings)
        return SupplyPlan(made.steps, (*self.problems, *made.problems))


@dataclass(frozen=True, slots=True)
class Look:
    """What Azure held, and the plan made from it."""

    network: Network
    plan: SupplyPlan


def read_demand(store: Store) -> Demand:
    """Who uses how many addresses of which node."""
    return demand(store.list(KINDS).records)


def demand(records: Iterable[Record]) -> Demand:
    """The same, of records; a pod or an endpoint that cannot be read counts for nothing."""
    found = list(records)
    held: defaultdict[str, set[Addr]] = defaultdict(set)
    waiting: Counter[str] = Counter()
    resources = list(_readable(found))
    networked = set()
    for each in resources:
        if isinstance(each, WorkloadEndpoint):
            held[each.spec.node] |= _addresses(each.spec.ip_networks)
            networked.add((each.metadata.namespace, each.spec.pod))
    for each in resources:
        if isinstance(each, Pod) and not (each.spec.host_network or each.is_finished):
            own = _addresses(each.addresses)
            held[each.spec.node_name] |= own
            known = own or (each.metadata.namespace, each.metadata.name) in networked
            waiting[each.spec.node_name] += not known
    nodes: list[SupplyNode] = []
    problems: list[Problem] = []
    for record in found:
        try:
            read = udr_nodes([record])
        except Invalid as error:
            problems += error.problems
            continue
        nodes += (
            SupplyNode(n.name, n.addresses, frozenset(held[n.name]), waiting[n.name]) for n in read
        )
    return Demand(tuple(nodes), tuple(problems))


def look_once(store: Store, cloud: CloudNetwork, settings: SupplySettings) -> Look:
    """Read the demand and Azure, and plan; nothing is written."""
    wanted = read_demand(store)
    network = cloud.read()
    return Look(network, wanted.plan(network, settings))


def supply_once(store: Store, cloud: CloudNetwork, settings: SupplySettings) -> SupplyPlan:
    """Ask Azure for what is missing; the plan that was applied.

    Nodes with problems do not stop the others, as nothing here can harm them.

    Raises:
        Conflict: someone else changed a NIC meanwhile; do it again.
        Invalid: Azure refuses, as when a subnet is full.
    """
    plan = look_once(store, cloud, settings).plan
    if not plan.empty:
        cloud.apply(plan.steps)
    return plan


def _readable(records: Iterable[Record]) -> Iterator[Resource]:
    for record in records:
        if record.key.kind != "Node":
            try:
                yield load(record.key, record.value)
            except Invalid:
                continue


def _addresses(texts: Iterable[str]) -> set[Addr]:
    found = set()
    for text in texts:
        try:
            found.add(Addr.parse_interface(text))
        except ValueError:
            continue  # An object that somebody else wrote; it uses no address of a NIC.
    return found
