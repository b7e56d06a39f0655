"""Where else an address may come from, in the order in which to try.

Blocks that are nobody's, blocks of other hosts that are empty, blocks of anybody with a free
address. Pure choices over what was read; who acts on them finds out if it is no longer so.
Source: libcalico-go/lib/ipam (findUnclaimedBlock, findUsableBlock, randomBlockGenerator).
"""

from collections.abc import Iterable, Iterator, Sequence

from korat.core.ipam.block import cidr_of, freshened, has_free, is_empty, size_of
from korat.core.ipam.instant import Moment, seconds_of
from korat.core.ipam.pool import overlapping, starting_place, unclaimed
from korat.core.ipam.view import View
from korat.core.model.ipam import HOST, IPAMBlock
from korat.core.net.address import Prefix

#: How long a host may keep an empty block before another one may take it.
EMPTY_S = 60


def new_blocks(view: View, taken: Sequence[Prefix], host: str, moment: Moment) -> Iterator[Prefix]:
    """Blocks that nobody has, pool by pool, from a place that depends on the host.

    Pools of single addresses are looked through from anywhere, else a host would always meet
    those that it has already.
    """
    for pool in view.pools:
        single = pool.block_size == pool.cidr.family.bits
        count = max(1, size_of(pool.cidr) >> (pool.cidr.family.bits - pool.block_size))
        start = (moment.dice if single else starting_place(host)) % count
        yield from unclaimed(pool, taken, view.withheld, start)


def reclaimable(
    blocks: Iterable[IPAMBlock], view: View, owner: str, moment: Moment
) -> list[IPAMBlock]:
    """Other hosts' blocks that are empty and were claimed a while ago, the oldest first."""
    found = []
    for block in blocks:
        cidr = cidr_of(block)
        pool = view.pool_of(cidr)
        if pool is None or not pool.holds(cidr) or block.spec.owner in {"", owner}:
            continue
        since_s = seconds_of(block.spec.affinity_claim_time) or 0
        if (
            block.spec.owner.startswith(f"{HOST}:")
            and is_empty(block)
            and since_s + EMPTY_S < moment.now_s
            and has_free(block, view.is_reserved)
        ):
            found.append((since_s, cidr, block))
    return [block for _, _, block in sorted(found, key=lambda item: item[:2])]


def borrowable(
    blocks: Sequence[IPAMBlock], cidrs: Sequence[Prefix], view: View, host: str, moment: Moment
) -> list[IPAMBlock]:
    """Blocks of anybody with a free address, in an order that depends on the host.

    Never from a block that has no allocation and that another overlaps: one of the two will go
    (see ``affinity``).
    """
    found = []
    for block in blocks:
        cidr = cidr_of(block)
        if view.pool_of(cidr) is None or (is_empty(block) and overlapping(cidr, cidrs)):
            continue
        fresh = freshened(block, moment, view.settings.cooldown_s)
        if has_free(fresh, view.is_reserved):
            found.append(block)
    return sorted(found, key=lambda block: starting_place(f"{host} {block.metadata.name}"))
