"""Giving out an address that somebody asks for by name.

A pool must have it and be enabled; what else the pool says of whom it is for does not matter, nor
do reservations. If the block is nobody's the host claims it.
Source: libcalico-go/lib/ipam (AssignIP).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from korat.core.errors import Conflict, Invalid, NotFound, Problem
from korat.core.ipam.affinity import block_cidrs, claim, confirmed_block
from korat.core.ipam.block import attribute_at, freshened, handle_at, is_empty, ordinal_of
from korat.core.ipam.draw import Holder, draw_these
from korat.core.ipam.instant import Moment
from korat.core.ipam.pool import enclosing, overlapping, pool_with, pools_of
from korat.core.ipam.request import Seen, Steps, read
from korat.core.ipam.setting import SETTING_KEYS, Settings, settings_in
from korat.core.model.config import IPPool
from korat.core.model.ipam import (
    IPAMBlock,
    affinity_key,
    block_key,
    owner_of_host,
)
from korat.core.model.key import Key
from korat.core.model.validate.ipam import BLOCK_SIZES
from korat.core.net.address import Addr, Prefix

_TRIES = 100


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants which address."""

    addr: Addr
    host: str
    holder: Holder

    @property
    def owner(self) -> str:
        """The host as blocks name it."""
        return owner_of_host(self.host)


def assign_ip(wish: Wish, moment: Moment) -> Steps[Prefix]:
    """Give this address out; the block that it is of.

    Raises:
        Invalid: no pool has it, or the settings forbid it.
        Conflict: it is another's, or others write the block all the time.
    """
    for _ in range(_TRIES):
        seen = yield from read(*SETTING_KEYS, "IPPool", *_block_keys(wish.addr))
        settings = settings_in(seen)
        pool = pool_with(pools_of(seen.readable(IPPool)), wish.addr)
        if pool is None:
            raise _refused(wish, "no enabled pool has it")
        there = seen.of(IPAMBlock)
        cidr = pool.block_of(wish.addr) if not there else Prefix.parse(there[0].spec.cidr)
        try:
            block = yield from _usable(wish, cidr, settings, moment)
            if block is not None:
                yield from _take(block, wish, settings, moment)
                return cidr
        except (NotFound, _Again):
            continue
    raise Conflict(f"the block of {wish.addr} was changed by others all the time", "try again")


def adopt(wishes: Iterable[Wish], moment: Moment) -> Steps[dict[Addr, str]]:
    """Take up addresses that pods have already, from host-local; those that cannot be, and why.

    One that its handle has already is fine, so a migration that was cut off is begun again.
    Source: cni-plugin/pkg/upgrade.
    """
    refused = {}
    for wish in wishes:
        if (yield from _has(wish)):
            continue
        try:
            yield from assign_ip(wish, moment)
        except (Invalid, Conflict) as error:
            refused[wish.addr] = str(error)
    return refused


def _has(wish: Wish) -> Steps[bool]:
    seen = yield from read(*_block_keys(wish.addr))
    blocks = seen.of(IPAMBlock)
    return any(
        handle_at(block, ordinal_of(block, wish.addr)) == wish.holder.handle_id is not None
        for block in blocks
    )


class _Again(Exception):
    """Somebody else wrote the block: look again."""


def _block_keys(addr: Addr) -> list[Key]:
    first, last = BLOCK_SIZES[addr.family]
    return [block_key(cidr) for cidr in enclosing(addr, range(first, last + 1))]


def _usable(
    wish: Wish, cidr: Prefix, settings: Settings, moment: Moment
) -> Steps[IPAMBlock | None]:
    """The block if the host may take from it; None to look again."""
    seen = yield from read(affinity_key(wish.owner, cidr), block_key(cidr))
    block = seen.get(block_key(cidr), IPAMBlock)
    if block is None or block.spec.owner == wish.owner:
        own = confirmed_block(seen, wish.owner, cidr)
        if own is not None:
            return own
        done = yield from claim(wish.owner, cidr, moment)
        if done.is_stale:
            raise _refused(wish, done.reason)
        return done.block
    if settings.strict_affinity:
        whose = block.spec.owner or "no host"
        raise _refused(wish, f"its block {cidr} belongs to {whose}, and strictAffinity is true")
    return (yield from _borrowed(cidr))


def _borrowed(cidr: Prefix) -> Steps[IPAMBlock | None]:
    """Another's block, if it will stay (see ``affinity``)."""
    seen: Seen = yield from read("IPAMBlock")
    block = seen.get(block_key(cidr), IPAMBlock)
    if block is not None and is_empty(block) and overlapping(cidr, block_cidrs(seen)):
        raise Conflict(f"the block {cidr} overlaps another one", "try again")
    return block


def _take(block: IPAMBlock, wish: Wish, settings: Settings, moment: Moment) -> Steps[None]:
    fresh = freshened(block, moment, settings.cooldown_s)
    ordinal = ordinal_of(block, wish.addr)
    attribute = attribute_at(fresh, ordinal)
    if attribute is not None:
        if attribute.released_at is not None:
            raise Conflict(f"{wish.addr} was given back a moment ago and rests", "try again later")
        raise Conflict(f"{wish.addr} is already assigned to {handle_at(fresh, ordinal)}")
    try:
        yield from draw_these(fresh, (ordinal,), wish.holder)
    except Conflict as error:
        raise _Again from error


def _refused(wish: Wish, why: str) -> Invalid:
    return Invalid([Problem(f"address for {wish.host}", "", str(wish.addr), why)])
