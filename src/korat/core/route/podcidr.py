"""Which pod CIDRs may get a route: every rule that Azure and korat put on them.

A node with a fault gets no route and loses none: its pod CIDRs are *held*, so that one bad node
neither stops the others nor is cut off by a plan that does not understand it.

Source: Calico's Azure page (the pod subnet must lie inside the VNet; AKS kubenet shows that the
fabric does not demand it, hence the opt-out), and cloud-provider-azure for the names of routes.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from korat.core.errors import Problem
from korat.core.net.address import Addr, Prefix
from korat.core.route.effective import NextHop, TableRoute
from korat.core.route.network import Interface, Network, Subnet

ROUTE_NAME_MAX = 80


class Placement(Enum):
    """Where pod CIDRs must lie; the values are those of ``podCidrPlacement``."""

    INSIDE_VNET = "inside-vnet"
    OUTSIDE_VNET = "outside-vnet"


@dataclass(frozen=True, slots=True)
class UdrNode:
    """A node as routes need it: its addresses, the primary one of each family first."""

    name: str
    addresses: tuple[Addr, ...]
    pod_cidrs: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class UdrSettings:
    """What the plan must be told: the table's id and place, the cluster's CIDRs, the rules."""

    table_id: str
    location: str
    cluster_cidrs: tuple[Prefix, ...]
    placement: Placement = Placement.INSIDE_VNET
    route_limit: int = 400

    @property
    def dual_stack(self) -> bool:
        """Whether routes need the names of a cluster with two families."""
        return len({cidr.family for cidr in self.cluster_cidrs}) > 1

    def in_cluster(self, prefix: Prefix) -> bool:
        """Whether a route to ``prefix`` is the cluster's own business."""
        return any(cidr.covers(prefix) for cidr in self.cluster_cidrs)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The route one pod CIDR should have, and the NIC that its packets go to."""

    route: TableRoute
    interface: Interface


@dataclass(frozen=True, slots=True)
class Judgement:
    """What of the nodes' wishes can be had.

    ``interfaces`` are the NICs of all nodes, also of those without a route.
    """

    wanted: tuple[Wanted, ...]
    held: tuple[Prefix, ...]
    interfaces: tuple[Interface, ...]
    problems: tuple[Problem, ...]


def judge(nodes: Sequence[UdrNode], network: Network, settings: UdrSettings) -> Judgement:
    """Sort the nodes into those that get routes and those whose routes stay untouched."""
    ground = _Ground.of(network, settings)
    problems = list(_overlaps(nodes))
    wishes: list[tuple[UdrNode, list[Wanted]]] = []
    for node in nodes:
        faults, wanted = _judge_node(node, ground)
        problems += faults
        wishes.append((node, wanted))
    problems += _name_clashes(wishes)
    bad = {problem.where for problem in problems}
    interfaces = (ground.nics[a] for node in nodes for a in node.addresses if a in ground.nics)
    return Judgement(
        tuple(want for node, wanted in wishes if _where(node) not in bad for want in wanted),
        tuple(cidr for node in nodes if _where(node) in bad for cidr in node.pod_cidrs),
        tuple(dict.fromkeys(interfaces)),
        tuple(dict.fromkeys(problems)),
    )


def route_name(node: str, cidr: Prefix, *, dual_stack: bool) -> str:
    """The name that cloud-provider-azure gives the route, shortened to what ARM allows."""
    digits = str(cidr).translate(str.maketrans("", "", ":./"))
    name = f"{node}____{digits}" if dual_stack else node
    if len(name) <= ROUTE_NAME_MAX:
        return name
    digest = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:10]
    return f"{name[: ROUTE_NAME_MAX - len(digest) - 1]}-{digest}"


@dataclass(frozen=True, slots=True)
class _Ground:
    """What every node is judged against, indexed once."""

    network: Network
    settings: UdrSettings
    nics: dict[Addr, Interface]
    foreign: dict[str, TableRoute]

    @classmethod
    def of(cls, network: Network, settings: UdrSettings) -> "_Ground":
        routes = network.table.routes if network.table else ()
        return cls(
            network,
            settings,
            {addr: nic for nic in network.interfaces for addr in nic.addresses},
            {r.name.lower(): r for r in routes if not settings.in_cluster(r.prefix)},
        )


def _judge_node(node: UdrNode, ground: _Ground) -> tuple[list[Problem], list[Wanted]]:
    faults: list[Problem] = []
    wanted: list[Wanted] = []
    where = _where(node)
    for cidr in node.pod_cidrs:
        rules = _cidr_faults(cidr, ground.network, ground.settings)
        faults += [Problem(where, "status.podCIDRs", str(cidr), rule) for rule in rules]
        hop = next(
            (a for a in node.addresses if a.family is cidr.family and a in ground.nics), None
        )
        if hop is None:
            faults.append(_no_interface(node, cidr, ground.network))
            continue
        name = route_name(node.name, cidr, dual_stack=ground.settings.dual_stack)
        if foreign := ground.foreign.get(name.lower()):
            rule = "is a route outside the cluster CIDR with this node's name: rename that route"
            faults.append(Problem(where, "metadata.name", str(foreign), rule))
        route = TableRoute(name, cidr, NextHop.VIRTUAL_APPLIANCE, hop)
        wanted.append(Wanted(route, ground.nics[hop]))
    families = Counter(cidr.family for cidr in node.pod_cidrs)
    if max(families.values(), default=0) > 1:
        value = ", ".join(map(str, node.pod_cidrs))
        faults.append(Problem(where, "status.podCIDRs", value, "at most one per IP family"))
    return faults, wanted


def _cidr_faults(cidr: Prefix, network: Network, settings: UdrSettings) -> Iterator[str]:
    vnet = ", ".join(map(str, network.prefixes))
    cluster = ", ".join(map(str, settings.cluster_cidrs))
    if not settings.in_cluster(cidr):
        yield f"must lie inside the cluster CIDR {cluster}"
    inside = any(prefix.covers(cidr) for prefix in network.prefixes)
    touches = any(prefix.overlaps(cidr) for prefix in network.prefixes)
    if settings.placement is Placement.INSIDE_VNET and not inside:
        yield (
            f"must lie inside the VNet's address space {vnet}: extend the VNet, choose another "
            f"pod CIDR, or set podCidrPlacement: {Placement.OUTSIDE_VNET.value}"
        )
    if settings.placement is Placement.OUTSIDE_VNET and touches:
        yield f"must lie outside the VNet's address space {vnet}"
    for subnet in _overlapped(cidr, network.subnets):
        prefixes = ", ".join(map(str, subnet.prefixes))
        yield f"overlaps subnet {subnet.name} ({prefixes}): Azure gives its addresses to NICs"


def _overlapped(cidr: Prefix, subnets: Iterable[Subnet]) -> Iterator[Subnet]:
    return (s for s in subnets if any(prefix.overlaps(cidr) for prefix in s.prefixes))


def _no_interface(node: UdrNode, cidr: Prefix, network: Network) -> Problem:
    addresses = ", ".join(str(a) for a in node.addresses if a.family is cidr.family) or "no address"
    vnet = network.id.rpartition("/")[2]
    rule = (
        f"no NIC in VNet {vnet} has the node's IPv{cidr.family.value} address, "
        f"so {cidr} has no next hop: correct the node's InternalIP or attach the NIC"
    )
    return Problem(_where(node), "spec.addresses", addresses, rule)


def _overlaps(nodes: Iterable[UdrNode]) -> Iterator[Problem]:
    """Both sides of every nesting, by one sweep: CIDRs overlap only where one covers the other."""
    claims = [(cidr, node) for node in nodes for cidr in node.pod_cidrs]
    claims.sort(key=lambda c: (c[0].family, c[0].base, c[0].length))
    open_claims: list[tuple[Prefix, UdrNode]] = []
    for cidr, node in claims:
        while open_claims and not open_claims[-1][0].covers(cidr):
            open_claims.pop()
        for outer, owner in open_claims:
            for one, mine, other, theirs in (
                (node, cidr, owner, outer),
                (owner, outer, node, cidr),
            ):
                rule = f"overlaps {theirs} of {_where(other)}"
                yield Problem(_where(one), "status.podCIDRs", str(mine), rule)
        open_claims.append((cidr, node))


def _name_clashes(wishes: Iterable[tuple[UdrNode, list[Wanted]]]) -> Iterator[Problem]:
    """ARM ignores the case of names, and a shortened name is not unique by construction."""
    owners: dict[str, dict[str, None]] = {}
    for node, wanted in wishes:
        for want in wanted:
            owners.setdefault(want.route.name.lower(), {})[node.name] = None
    for name, nodes in owners.items():
        for node_name in nodes if len(nodes) > 1 else ():
            others = ", ".join(other for other in nodes if other != node_name)
            rule = f"is also the route name of {others}: ARM ignores case"
            yield Problem(f"Node {node_name}", "metadata.name", name, rule)


def _where(node: UdrNode) -> str:
    return f"Node {node.name}"
