"""How much of each pool and block is given out, reserved, resting and free.

An address that was given out before it was reserved counts as both. One that rests after it was
given back is in use until it can be had again.
Source: libcalico-go/lib/ipam (GetUtilization).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from korat.core.ipam.block import attribute_at, cidr_of, is_resting, size_of
from korat.core.ipam.pool import Pool, pools_of, reserved
from korat.core.model.config import IPPool
from korat.core.model.ipam import IPAMBlock, IPReservation
from korat.core.model.resource import Resource
from korat.core.net.address import Family, Prefix
from korat.core.net.interval import IntervalSet


@dataclass(frozen=True, slots=True)
class Usage:
    """A range and what becomes of its addresses; ``owner`` is a block's, empty when nobody's."""

    cidr: Prefix
    in_use: int
    reserved: int
    free: int
    resting: int
    owner: str = ""

    @property
    def total(self) -> int:
        """How many addresses there are."""
        return size_of(self.cidr)


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """A pool with its blocks; no pool for blocks that lie in none."""

    pool: Pool | None
    usage: Usage | None
    blocks: tuple[Usage, ...]


def usage(resources: Sequence[Resource]) -> tuple[PoolUsage, ...]:
    """Each pool by name, then what lies in none, of objects that do not contradict themselves."""
    reservations = [r for r in resources if isinstance(r, IPReservation)]
    withheld = {family: reserved(reservations, family) for family in Family}
    blocks = [r for r in resources if isinstance(r, IPAMBlock)]
    pools = pools_of(r for r in resources if isinstance(r, IPPool))
    inside: dict[Pool | None, list[IPAMBlock]] = {pool: [] for pool in pools}
    for block in sorted(blocks, key=cidr_of):
        inside.setdefault(pool_holding(pools, cidr_of(block)), []).append(block)
    return tuple(
        PoolUsage(
            pool,
            None if pool is None else _sum(pool.cidr, own, withheld),
            tuple(_sum(cidr_of(block), [block], withheld, block.spec.owner) for block in own),
        )
        for pool, own in inside.items()
    )


def pool_holding(pools: Iterable[Pool], cidr: Prefix) -> Pool | None:
    """The pool in which a block lies, whatever the size of the pool's blocks is now."""
    return next((pool for pool in pools if pool.cidr.covers(cidr)), None)


def _sum(
    cidr: Prefix,
    blocks: Iterable[IPAMBlock],
    reservations: Mapping[Family, IntervalSet],
    owner: str = "",
) -> Usage:
    """A range of which these blocks are the ones that are there."""
    withheld = reservations[cidr.family]
    in_use = resting = both = 0
    for block in blocks:
        base = cidr_of(block).base
        for ordinal in range(len(block.spec.allocations)):
            if attribute_at(block, ordinal) is not None:
                in_use += 1
                resting += is_resting(block, ordinal)
                both += base + ordinal in withheld
    reserved_here = (withheld & IntervalSet(((cidr.first, cidr.last),))).size
    free = size_of(cidr) - in_use - reserved_here + both
    return Usage(cidr, in_use, reserved_here, free, resting, owner)
