"""Who has which addresses, read from Calico's blocks: whole blocks, and single addresses lent.

The host that a block is affine to has all of it, but for the addresses that another node's
workloads use: the allocation's ``node`` says so.
Source: felix/calc/l3_route_resolver.go.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from korat.core.model.ipam import HOST, IPAMBlockSpec
from korat.core.net.address import Addr, Prefix

_NODE = "node"


@dataclass(frozen=True, slots=True)
class Holding:
    """A block: whose it is (empty: nobody's), and which of its addresses other nodes use."""

    block: Prefix
    node: str
    lent: tuple[tuple[Addr, str], ...] = ()


def holding(block: IPAMBlockSpec) -> Holding | None:
    """Read a block; None when it is on its way out.

    Raises:
        ValueError: it has no CIDR.
    """
    if block.deleted:
        return None
    kind, _, name = block.owner.partition(":")
    node = name if kind == HOST else ""
    prefix = Prefix.parse(block.cidr, strict=True)
    return Holding(prefix, node, tuple(_lent(block, prefix, node)))


def _lent(block: IPAMBlockSpec, prefix: Prefix, node: str) -> Iterator[tuple[Addr, str]]:
    users = [attribute.secondary.get(_NODE, "") for attribute in block.attributes]
    if all(user in ("", node) for user in users):
        return
    for ordinal, place in enumerate(block.allocations):
        user = users[place] if place is not None and place < len(users) else ""
        if user not in ("", node):
            yield Addr(prefix.family, prefix.base + ordinal), user
