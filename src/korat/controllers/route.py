"""One turn of the Azure route controller: look, plan, apply, check the effect.

``plan_once`` and ``apply_once`` are also what ``korat azure plan`` and ``apply`` do. The loop that
repeats them is ``korat.controllers.loop``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from korat.controllers.announce import announce_vnet
from korat.controllers.node import udr_nodes
from korat.core.errors import Invalid, Unavailable
from korat.core.net.address import Addr
from korat.core.route.effective import EffectiveRoute, TableRoute, select
from korat.core.route.network import Network
from korat.core.route.podcidr import UdrSettings
from korat.core.route.udr import UdrPlan, Vantage, plan
from korat.ports import CloudNetwork, Store


@dataclass(frozen=True, slots=True)
class Look:
    """What Azure held, and the plan made from it."""

    network: Network
    plan: UdrPlan


def look_once(store: Store, cloud: CloudNetwork, settings: UdrSettings) -> Look:
    """Read the nodes and Azure, and plan; nothing is written."""
    nodes = udr_nodes(store.list(["Node"]).records)
    network = cloud.read()
    return Look(network, plan(nodes, network, settings))


def plan_once(store: Store, cloud: CloudNetwork, settings: UdrSettings) -> UdrPlan:
    """What must change in Azure; nothing is written."""
    return look_once(store, cloud, settings).plan


def apply_once(store: Store, cloud: CloudNetwork, settings: UdrSettings) -> UdrPlan:
    """Make the changes and tell the agents of the VNet; the plan that was applied.

    Unlike the loop, which must not let one bad node stop the others, this is all or nothing.

    Raises:
        Invalid: the plan has problems; nothing was written.
        Conflict: someone else changed the same things meanwhile; do it again.
    """
    look = look_once(store, cloud, settings)
    if look.plan.problems:
        raise Invalid(look.plan.problems, "nothing was changed")
    if not look.plan.empty:
        cloud.apply(look.plan.steps)
    announce_vnet(store, look.network)
    return look.plan


def not_effective(cloud: CloudNetwork, wanted: UdrPlan) -> tuple[str, ...]:
    """What of an applied plan Azure does not yet act on, one line each; empty when all is well.

    A route may be written and still take seconds to work, or be overridden by a longer one.
    """
    return tuple(
        line
        for vantage in wanted.vantages
        for line in _missing(wanted.routes, _seen_from(cloud, vantage), vantage.subnet)
    )


def _seen_from(cloud: CloudNetwork, vantage: Vantage) -> tuple[EffectiveRoute, ...]:
    reasons: list[str] = []
    for interface_id in vantage.interface_ids:
        try:
            return cloud.effective_routes(interface_id)
        except Invalid as error:
            reasons.append(str(error))
    raise Unavailable(
        f"no NIC in subnet {vantage.subnet} can tell its effective routes: {'; '.join(reasons)}",
        "start one of its VMs",
    )


def _missing(
    wanted: tuple[TableRoute, ...], seen: tuple[EffectiveRoute, ...], subnet: str
) -> Iterator[str]:
    for route in wanted:
        ends = (Addr(route.prefix.family, end) for end in (route.prefix.first, route.prefix.last))
        hops = {found.next_hop_ip if (found := select(seen, end)) else None for end in ends}
        if hops != {route.next_hop_ip}:
            yield f"subnet {subnet} does not send {route.prefix} to {route.next_hop_ip} yet"
