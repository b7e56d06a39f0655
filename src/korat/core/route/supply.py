"""The plan for NICs' secondary addresses, which are pods' own where Azure's network knows pods.

Of each node's NIC so many addresses are to be free that the next pods need not wait for Azure: when
there are fewer than the headroom, a batch is asked for, or as many batches as it takes; pods that
are assigned to the node and have no address yet count as if they had theirs. A NIC has 256 at most.

Addresses are never taken away here. Azure gives one that was freed to somebody else at once, and
what a node still believes to be its own nobody else can tell; a person who is sure may do it.
Not for: which address a pod gets, and IPv6, of which a NIC has none to spare for pods.

Laws (tests/property): applying the plan gives a state whose plan is empty; no NIC gets more than it
may have, none gets fewer than before; more pods never mean fewer addresses.

Source: learn.microsoft.com, "Azure subscription limits" (private IP addresses per network
interface) and "Assign multiple IP addresses to virtual machines".
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from typing_extensions import override

from korat.core.errors import Problem
from korat.core.net.address import Addr, Family
from korat.core.route.network import Interface, Network, name_of
from korat.core.route.step import AddAddresses

#: As many addresses Azure gives a NIC, the primary one and IPv6 included.
NIC_MOST = 256


@dataclass(frozen=True, slots=True)
class SupplyNode:
    """A node and what its pods use of its NIC.

    ``addresses`` are its own, the primary one first, ``held`` its pods'; ``waiting`` is how many
    pods are assigned to it that have none yet.
    """

    name: str
    addresses: tuple[Addr, ...]
    held: frozenset[Addr] = frozenset()
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class SupplySettings:
    """How many addresses are asked for together, and how many are to be free at least."""

    batch: int = 16
    headroom: int = 8


@dataclass(frozen=True, slots=True)
class SupplyPlan:
    """The steps, one for each NIC that needs more, and which nodes cannot be helped and why."""

    steps: tuple[AddAddresses, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.steps

    @override
    def __str__(self) -> str:
        lines = [str(step) for step in self.steps] or ["addresses of NICs: nothing to change"]
        return "\n".join((*lines, *(f"! {problem}" for problem in self.problems)))


def plan_supply(
    nodes: Iterable[SupplyNode], network: Network, settings: SupplySettings
) -> SupplyPlan:
    """What must be asked of Azure so that every node has addresses for its next pods."""
    nics = {addr: nic for nic in network.interfaces for addr in nic.addresses}
    steps: list[AddAddresses] = []
    problems: list[Problem] = []
    owners: defaultdict[str, list[SupplyNode]] = defaultdict(list)
    found: dict[str, Interface] = {}
    for node in sorted(nodes, key=lambda each: each.name):
        own = (nics[a] for a in node.addresses if a.family is Family.V4 and a in nics)
        nic = next(own, None)
        if nic is None:
            problems.append(_no_interface(node, network))
        else:
            owners[nic.id.lower()].append(node)
            found[nic.id.lower()] = nic
    for key, nic in found.items():
        node, *others = owners[key]
        if others:
            problems.extend(_shared(owners[key], nic))
            continue
        step, faults = _supply(node, nic, settings)
        steps += [step] if step is not None else []
        problems += faults
    return SupplyPlan(tuple(steps), tuple(problems))


def _supply(
    node: SupplyNode, nic: Interface, settings: SupplySettings
) -> tuple[AddAddresses | None, list[Problem]]:
    has = len(nic.addresses)
    free = len(_for_pods(node, nic) - node.held) - node.waiting
    missing = settings.headroom - free
    if missing <= 0:
        return None, []
    if not nic.subnet_ids:
        rule = "the NIC's configurations name no subnet: correct the NIC"
        return None, [Problem(f"Node {node.name}", "", nic.name, rule)]
    batches = -(-missing // settings.batch)
    count = min(batches * settings.batch, NIC_MOST - has)
    step = AddAddresses(nic.id, nic.subnet_ids[0], has, has + count) if count > 0 else None
    faults = list(_full(node, nic, free + max(count, 0), settings)) if count < missing else []
    return step, faults


def _for_pods(node: SupplyNode, nic: Interface) -> frozenset[Addr]:
    """The NIC's addresses but its primary one and others that are the node's own."""
    given = [addr for addr in nic.addresses if addr.family is Family.V4]
    return frozenset(given[1:]).difference(node.addresses)


def _full(
    node: SupplyNode, nic: Interface, left: int, settings: SupplySettings
) -> Iterator[Problem]:
    rule = (
        f"gets {NIC_MOST} addresses at most, which leaves {left} for more pods and not "
        f"{settings.headroom}: run fewer pods on the node, or add a node"
    )
    yield Problem(f"Node {node.name}", "", f"NIC {nic.name}", rule)


def _no_interface(node: SupplyNode, network: Network) -> Problem:
    addresses = ", ".join(str(a) for a in node.addresses if a.family is Family.V4) or "no address"
    rule = (
        f"no NIC in VNet {name_of(network.id)} has the node's IPv4 address, so it gets none for "
        f"pods: correct the node's InternalIP or attach the NIC"
    )
    return Problem(f"Node {node.name}", "spec.addresses", addresses, rule)


def _shared(nodes: Iterable[SupplyNode], nic: Interface) -> Iterator[Problem]:
    names = ", ".join(node.name for node in nodes)
    rule = f"NIC {nic.name} has addresses of several nodes, {names}: correct their InternalIP"
    return (Problem(f"Node {node.name}", "spec.addresses", None, rule) for node in nodes)
