"""Giving addresses out: from the host's own blocks, from new ones, from other hosts' blocks.

First what the host has: claims that stand half-done are finished, blocks that no pool has for this
node any more are let go if they are empty, then addresses are taken. Then blocks that are nobody's
are claimed, or empty ones of other hosts that have had them for a while, up to the limit. Then, if
the settings allow it, free addresses are borrowed wherever there are any.
Source: libcalico-go/lib/ipam (AutoAssign).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from korat.core.errors import Conflict, NotFound
from korat.core.ipam.affinity import (
    Claim,
    block_cidrs,
    claim,
    confirmed_block,
    drop_stale,
    release_affinity,
)
from korat.core.ipam.block import cidr_of, freshened
from korat.core.ipam.candidate import borrowable, new_blocks, reclaimable
from korat.core.ipam.draw import draw
from korat.core.ipam.instant import Moment
from korat.core.ipam.release import Return, release_ips
from korat.core.ipam.request import Seen, Steps, read
from korat.core.ipam.setting import MAX_BLOCKS
from korat.core.ipam.view import Demand, Own, View, look
from korat.core.model.ipam import IPAMBlock, affinity_key, block_key
from korat.core.model.key import Key
from korat.core.net.address import Addr, Prefix

_TRIES = 100
#: How often to look at the pools anew when they change under the hands.
_VIEWS = 5


@dataclass(frozen=True, slots=True)
class Given:
    """An address that was given out, its block and its pool."""

    addr: Addr
    block: Prefix
    pool: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """What a demand got, and why not more."""

    demand: Demand
    given: tuple[Given, ...]
    reasons: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """How many addresses short it is."""
        return self.demand.number - len(self.given)

    @property
    def shortage(self) -> str:
        """The sentence for whoever asked; empty when nothing is missing."""
        if not self.missing:
            return ""
        what = f"assigned {len(self.given)} of {self.demand.number}"
        family = f"IPv{self.demand.family.value}"
        return f"{what} {family} addresses to {self.demand.host}: {'; '.join(self.reasons)}"


def auto_assign(demand: Demand, moment: Moment) -> Steps[Assigned]:
    """Give out addresses; with fewer than wanted, the reasons say why.

    Raises:
        Conflict: others write the same objects all the time.
    """
    work = _Work(demand, moment)
    for _ in range(_VIEWS):
        work.view = yield from look(demand)
        work.reasons = list(work.view.reasons)
        if not work.view.pools or not (yield from work.run()):
            break
    return Assigned(demand, tuple(work.given), tuple(work.reasons))


def assign_all(demands: Sequence[Demand], moment: Moment) -> Steps[tuple[Assigned, ...]]:
    """Give out for all of these or for none: a pod of two families has both or is not made.

    Raises:
        Conflict: others write the same objects all the time; the handle finds what was given.
    """
    done: list[Assigned] = []
    for demand in demands:
        done.append((yield from auto_assign(demand, moment)))
        if done[-1].missing:
            returns = [
                Return(given.addr, each.demand.holder.handle_id)
                for each in done
                for given in each.given
            ]
            yield from release_ips(returns, moment)
            break
    return tuple(done)


class _Work:
    """One demand under way."""

    view: View

    def __init__(self, demand: Demand, moment: Moment) -> None:
        self._demand = demand
        self._moment = moment
        self.given: list[Given] = []
        self.reasons: list[str] = []

    @property
    def _missing(self) -> int:
        return self._demand.number - len(self.given)

    def run(self) -> Steps[bool]:
        """One pass over everything; says whether to look at the pools anew."""
        owned = yield from self._from_own((yield from self._mend()))
        if self._missing and (yield from self._claim_more(owned)):
            return True
        if self._missing:
            yield from self._borrow()
        return False

    # The host's own blocks.

    def _mend(self) -> Steps[list[Own]]:
        """Finish or undo what stands half-done; the claims that addresses may come from."""
        ready = []
        for own in self.view.own:
            is_confirmed = own.affinity.spec.is_confirmed
            if not own.is_at_home:
                yield from release_affinity(
                    self._demand.owner, own.cidr, require_empty=is_confirmed
                )
            elif not is_confirmed:
                done = yield from claim(self._demand.owner, own.cidr, self._moment)
                is_confirmed = done.block is not None
            if is_confirmed and own.is_usable:
                ready.append(own)
        return ready

    def _from_own(self, ready: list[Own]) -> Steps[int]:
        """Take from the host's own blocks; how many it has."""
        seen = yield from read(*(key for own in ready for key in self._pair(own.cidr)))
        owned = 0
        for own in ready:
            if confirmed_block(seen, self._demand.owner, own.cidr) is None:
                if block_key(own.cidr) not in seen.records:
                    yield from drop_stale(own.affinity)
                continue
            owned += 1
            if self._missing:
                yield from self._from_confirmed(own.cidr, seen)
        if owned and self._missing:
            self.reasons.append(f"no more free addresses in the host's {owned} blocks")
        return owned

    def _pair(self, cidr: Prefix) -> tuple[Key, Key]:
        return affinity_key(self._demand.owner, cidr), block_key(cidr)

    def _from_confirmed(self, cidr: Prefix, seen: Seen) -> Steps[None]:
        """Take from a block of the host's own, read with its claim; again if somebody wrote it."""
        for _ in range(_TRIES):
            block = confirmed_block(seen, self._demand.owner, cidr)
            if block is None:
                return
            try:
                yield from self._draw(block)
            except (Conflict, NotFound):
                seen = yield from read(*self._pair(cidr))
                continue
            return

    def _draw(self, block: IPAMBlock) -> Steps[None]:
        cidr = cidr_of(block)
        pool = self.view.pool_of(cidr)
        if pool is None:
            return
        fresh = freshened(block, self._moment, self.view.settings.cooldown_s)
        _, addresses = yield from draw(
            fresh, self._missing, self._demand.holder, self.view.is_reserved
        )
        self.given += [Given(addr, cidr, pool.name) for addr in addresses]

    # New blocks.

    def _claim_more(self, owned: int) -> Steps[bool]:
        """Claim blocks until there is enough or a limit is reached; says whether to look anew."""
        limit = self._limit
        if not self.view.settings.auto_allocate_blocks:
            self.reasons.append("no new block is claimed, autoAllocateBlocks is false")
            return False
        seen = yield from read("IPAMBlock")
        fresh = new_blocks(self.view, block_cidrs(seen), self._demand.host, self._moment)
        for cidr in fresh:
            if not self._missing or owned >= limit:
                break
            done = yield from self._claim(cidr)
            if done.is_stale:
                self.reasons.append(done.reason)
                return True
            owned += done.block is not None
        if self._missing and owned < limit:
            self.reasons.append(f"no more free blocks in {self._pools}")
            owned = yield from self._reclaim(seen, owned, limit)
        if self._missing and owned >= limit:
            self.reasons.append(f"the host has {owned} blocks, and may have {limit}")
        return False

    @property
    def _limit(self) -> int:
        given = (self.view.settings.max_blocks_per_host, self._demand.max_blocks)
        return min((limit for limit in given if limit), default=MAX_BLOCKS)

    @property
    def _pools(self) -> str:
        return ", ".join(f"pool {pool.name} ({pool.cidr})" for pool in self.view.pools)

    def _claim(self, cidr: Prefix) -> Steps[Claim]:
        """Claim a block and take from it."""
        done = yield from claim(self._demand.owner, cidr, self._moment)
        if done.block is not None:
            try:
                yield from self._draw(done.block)
            except (Conflict, NotFound):
                yield from self._from_confirmed(cidr, (yield from read(*self._pair(cidr))))
        return done

    def _reclaim(self, seen: Seen, owned: int, limit: int) -> Steps[int]:
        """Take empty blocks from hosts that have had them for a while; how many the host has."""
        blocks = seen.readable(IPAMBlock)
        for block in reclaimable(blocks, self.view, self._demand.owner, self._moment):
            if not self._missing or owned >= limit:
                break
            cidr, sequence = cidr_of(block), block.spec.sequence_number
            if (
                yield from release_affinity(
                    block.spec.owner, cidr, require_empty=True, sequence=sequence
                )
            ):
                owned += (yield from self._claim(cidr)).block is not None
        return owned

    # Other hosts' blocks.

    def _borrow(self) -> Steps[None]:
        """Take free addresses of any block of the pools."""
        if self.view.settings.strict_affinity:
            self.reasons.append("no address is borrowed from other hosts, strictAffinity is true")
            return
        for _ in range(_TRIES):
            seen = yield from read("IPAMBlock")
            cidrs = block_cidrs(seen)
            found = borrowable(
                seen.readable(IPAMBlock), cidrs, self.view, self._demand.host, self._moment
            )
            if not (yield from self._draw_from(found)):
                break
        if self._missing:
            self.reasons.append(f"no more free addresses in any block of {self._pools}")

    def _draw_from(self, blocks: Iterable[IPAMBlock]) -> Steps[bool]:
        """Take from these blocks as they were read; says whether to read them again."""
        for block in blocks:
            if not self._missing:
                return False
            try:
                yield from self._draw(block)
            except (Conflict, NotFound):
                return True
        return False
