"""Which pools an address may come from, and which blocks of them are still nobody's.

Pools that are asked for by name or CIDR are used as they are, enabled ones only. Otherwise every
enabled pool is used whose assignmentMode is Automatic and whose selectors match the node's and the
namespace's labels. Each pool that is passed over says why: that is what the user is told when no
address is left.
Source: libcalico-go/lib/ipam (determinePools, SelectsNode, SelectsNamespace).
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from korat.core.ipam.block import size_of
from korat.core.model.config import IPPool
from korat.core.model.default import apply as fill
from korat.core.model.ipam import IPReservation
from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.interval import IntervalSet
from korat.core.selector import SelectorError, parse

#: What an address is for.
WORKLOAD, TUNNEL = "Workload", "Tunnel"


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as the engine sees it."""

    name: str
    cidr: Prefix
    block_size: int
    is_disabled: bool
    is_automatic: bool
    uses: tuple[str, ...]
    node_selector: str
    namespace_selector: str
    vxlan_mode: str = "Never"

    def block_of(self, addr: Addr) -> Prefix:
        """The block of this pool in which an address lies."""
        return _aligned(addr, self.block_size)

    def holds(self, block: Prefix) -> bool:
        """Whether this is a block of the pool: inside it and of its size."""
        return self.cidr.covers(block) and block.length == self.block_size


@dataclass(frozen=True, slots=True)
class Asking:
    """For whom addresses are asked, as pools judge it."""

    family: Family
    use: str
    node: str
    node_labels: Mapping[str, str]
    namespace_labels: Mapping[str, str]
    #: Names or CIDRs of pools; with none, the pools decide.
    pools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """The pools to take from, in order, and why each other one was passed over."""

    pools: tuple[Pool, ...]
    reasons: tuple[str, ...]


def pool_of(resource: IPPool) -> Pool | None:
    """A stored pool; None when it has no range that anybody could read."""
    filled = fill(resource)
    if not isinstance(filled, IPPool):
        return None
    spec = filled.spec
    try:
        cidr = Prefix.parse(spec.cidr)
    except ValueError:
        return None
    return Pool(
        name=resource.metadata.name,
        cidr=cidr,
        block_size=spec.block_size,
        is_disabled=spec.disabled or resource.metadata.deletion_timestamp is not None,
        is_automatic=spec.assignment_mode == "Automatic",
        uses=spec.allowed_uses,
        node_selector=spec.node_selector,
        namespace_selector=spec.namespace_selector,
        vxlan_mode=spec.vxlan_mode,
    )


def pools_of(resources: Iterable[IPPool]) -> tuple[Pool, ...]:
    """The pools that can be read, by name."""
    found = (pool_of(resource) for resource in resources)
    return tuple(sorted((pool for pool in found if pool), key=lambda pool: pool.name))


def choose(pools: Sequence[Pool], asking: Asking) -> Choice:
    """The pools to take from."""
    family = f"IPv{asking.family.value}"
    if asking.pools:
        return _requested(pools, asking)
    fitting, reasons = [], []
    for pool in pools:
        if pool.cidr.family is not asking.family:
            continue
        reason = _refusal(pool, asking)
        if reason:
            reasons.append(f"pool {pool.name} ({pool.cidr}) {reason}")
        else:
            fitting.append(pool)
    if not fitting and not reasons:
        reasons.append(f"there is no {family} pool")
    return Choice(tuple(fitting), tuple(reasons))


def selects_node(pool: Pool, labels: Mapping[str, str]) -> bool:
    """Whether a pool is for a node with these labels."""
    return _matches(pool.node_selector, labels)


def pool_with(pools: Iterable[Pool], addr: Addr) -> Pool | None:
    """The enabled pool that an address lies in."""
    inside = (pool for pool in pools if addr in pool.cidr and not pool.is_disabled)
    return next(inside, None)


def reserved(reservations: Iterable[IPReservation], family: Family) -> IntervalSet:
    """The addresses that nobody gets who does not ask for them."""
    prefixes = []
    for reservation in reservations:
        for text in reservation.spec.reserved_cidrs:
            try:
                prefix = Prefix.parse(text)
            except ValueError:
                continue  # The store holds what somebody else wrote; the rest of it counts.
            if prefix.family is family:
                prefixes.append(prefix)
    return IntervalSet.of_prefixes(prefixes)


def unclaimed(
    pool: Pool, taken: Collection[Prefix], withheld: IntervalSet, start: int
) -> Iterator[Prefix]:
    """The blocks of a pool that overlap none of ``taken``, once round from the ``start``-th.

    Blocks all of whose addresses are ``withheld`` are passed over: nobody could use them.
    """
    size = 1 << (pool.cidr.family.bits - pool.block_size)
    count = size_of(pool.cidr) // size
    ours = {block.base for block in taken if block.length == pool.block_size}
    others = IntervalSet.of_prefixes(
        b for b in taken if b.length != pool.block_size and b.overlaps(pool.cidr)
    )
    for i in range(count):
        base = pool.cidr.base + (start + i) % count * size
        if base in ours or _cuts(others, base, base + size - 1):
            continue
        if not _covers(withheld, base, base + size - 1):
            yield Prefix(pool.cidr.family, base, pool.block_size)


def overlapping(block: Prefix, others: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """Blocks that have an address of this one; a block does not overlap itself."""
    return tuple(other for other in others if other != block and other.overlaps(block))


def enclosing(addr: Addr, sizes: Iterable[int]) -> tuple[Prefix, ...]:
    """Every block in which an address could lie, by prefix length."""
    return tuple(_aligned(addr, length) for length in sizes)


def starting_place(text: str) -> int:
    """Where a host begins to look, so that two seldom want the same (Calico: a seeded random)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _aligned(addr: Addr, length: int) -> Prefix:
    mask = (1 << (addr.family.bits - length)) - 1
    return Prefix(addr.family, addr.value & ~mask, length)


def _requested(pools: Sequence[Pool], asking: Asking) -> Choice:
    chosen, reasons = [], []
    for wanted in asking.pools:
        pool = next((p for p in pools if wanted in {p.name, str(p.cidr)}), None)
        if pool is None:
            reasons.append(f"the requested pool {wanted} does not exist")
        elif pool.cidr.family is not asking.family:
            reasons.append(f"the requested pool {wanted} is not of IPv{asking.family.value}")
        elif pool.is_disabled:
            reasons.append(f"the requested pool {wanted} is disabled")
        elif asking.use not in pool.uses:
            reasons.append(f"the requested pool {wanted} is not for {asking.use} addresses")
        else:
            chosen.append(pool)
    # As Calico does: a request that names what cannot be used gets nothing.
    return Choice((), tuple(reasons)) if reasons else Choice(tuple(chosen), ())


def _refusal(pool: Pool, asking: Asking) -> str:
    """Why a pool that was not asked for by name is passed over; empty when it is not."""
    if pool.is_disabled:
        return "is disabled"
    if not pool.is_automatic:
        return "gives addresses only to those who ask for it (assignmentMode Manual)"
    if asking.use not in pool.uses:
        return f"is not for {asking.use} addresses (allowedUses)"
    if not selects_node(pool, asking.node_labels):
        return f"is not for node {asking.node} (nodeSelector {pool.node_selector})"
    if not _matches(pool.namespace_selector, asking.namespace_labels):
        return f"is not for this namespace (namespaceSelector {pool.namespace_selector})"
    return ""


def _matches(selector: str, labels: Mapping[str, str]) -> bool:
    try:
        return parse(selector).matches(labels)
    except SelectorError:
        return False  # Somebody else stored it; a pool for nobody knows whom is for nobody.


def _cuts(spans: IntervalSet, first: int, last: int) -> bool:
    return bool(spans) and bool(spans & IntervalSet(((first, last),)))


def _covers(spans: IntervalSet, first: int, last: int) -> bool:
    return bool(spans) and (spans & IntervalSet(((first, last),))).size == last - first + 1
