"""Claims of hosts to blocks: how one comes about, and how it ends.

A claim is pending, then the block is made, then nobody objects, then the claim is confirmed. Only a
confirmed one gives out addresses. Whatever stops it half-way, to do it again finishes it: a claim
that is not confirmed becomes pending again, and the block is written again to be sure of it.

*Nobody objects* is korat's own step. Two nodes that know a pool with different block sizes (it was
deleted and made anew) claim blocks of different names that overlap, and no compare-and-swap could
tell. So each looks at all blocks once more after its own is there, and withdraws if another one
overlaps it. The later of two sees the earlier one. Hence the law: **of blocks that overlap only one
ever has allocations.** A block gives its first address after a look, taken while the block was
there, that showed none overlapping; the other, if it comes, comes after that look, and sees this
one as long as it is there. So a block that has allocations needs no look, and a confirmed claim,
read together with its block, has had one, since no block is made while its claim is confirmed.

Ending goes the other way: the claim is marked, then the block deleted, or handed to nobody if it
has allocations, then the claim deleted.
Source: libcalico-go/lib/ipam (ipam_block_reader_writer.go).
"""

from dataclasses import dataclass

from msgspec.structs import replace

from korat.core.errors import Conflict, NotFound
from korat.core.ipam.block import affine_to, counted, fresh, is_empty
from korat.core.ipam.instant import Moment
from korat.core.ipam.pool import overlapping, pools_of
from korat.core.ipam.request import Seen, Steps, create, delete, read, update
from korat.core.model.config import IPPool
from korat.core.model.ipam import (
    CONFIRMED,
    PENDING,
    PENDING_DELETION,
    BlockAffinity,
    BlockAffinitySpec,
    IPAMBlock,
    affinity_key,
    block_key,
    cidr_of_block,
)
from korat.core.model.resource import Metadata
from korat.core.net.address import Prefix

_TRIES = 100


@dataclass(frozen=True, slots=True)
class Claim:
    """What became of a claim: the block, or why not.

    ``is_stale`` says that the claimant's idea of the pools is past, and should be had anew.
    """

    block: IPAMBlock | None = None
    reason: str = ""
    is_stale: bool = False


def claim(owner: str, cidr: Prefix, moment: Moment) -> Steps[Claim]:
    """Make a block the owner's, or finish a claim that stands half-done.

    Raises:
        Conflict: others write the block all the time.
    """
    for _ in range(_TRIES):
        try:
            return (yield from _claim(owner, cidr, moment))
        except (Conflict, NotFound):
            continue
    raise _busy(cidr)


def release_affinity(
    owner: str, cidr: Prefix, *, require_empty: bool = False, sequence: int | None = None
) -> Steps[bool]:
    """End a claim, whatever its state; says whether it is ended.

    With ``require_empty`` only if the block has no allocation, with ``sequence`` only if it was
    not written since it had that sequence number.

    Raises:
        Conflict: others write the block all the time.
    """
    for _ in range(_TRIES):
        seen = yield from read(affinity_key(owner, cidr), block_key(cidr))
        affinity, block = _pair(seen, owner, cidr)
        try:
            if block is not None and _is_kept(block, require_empty, sequence):
                yield from _keep(affinity, block)
                return False
            yield from _release(affinity, block)
        except (Conflict, NotFound):
            continue
        return True
    raise _busy(cidr)


def drop_stale(affinity: BlockAffinity) -> Steps[None]:
    """Delete a claim to a block that is another's or is not there; if it has changed, leave it."""
    try:
        yield from delete(affinity)
    except Conflict:
        return


def confirmed_block(seen: Seen, owner: str, cidr: Prefix) -> IPAMBlock | None:
    """The block that the owner may give addresses from, of claim and block read together."""
    affinity, block = _pair(seen, owner, cidr)
    if affinity is None or not affinity.spec.is_confirmed:
        return None
    return block


def _pair(seen: Seen, owner: str, cidr: Prefix) -> tuple[BlockAffinity | None, IPAMBlock | None]:
    """The owner's claim, and the block if it is his."""
    block = seen.get(block_key(cidr), IPAMBlock)
    if block is not None and block.spec.owner != owner:
        block = None
    return seen.get(affinity_key(owner, cidr), BlockAffinity), block


def _claim(owner: str, cidr: Prefix, moment: Moment) -> Steps[Claim]:
    seen = yield from read(affinity_key(owner, cidr), block_key(cidr))
    affinity, block = _pair(seen, owner, cidr)
    if block is None and seen.keys("IPAMBlock"):
        if affinity is not None:
            yield from delete(affinity)
        return Claim(reason=f"the block {cidr} is another's")
    if block is not None and affinity is not None and affinity.spec.is_confirmed:
        return Claim(block)
    affinity = yield from _marked(affinity, owner, cidr, PENDING)
    block = (
        yield from create(fresh(cidr, owner, moment)) if block is None else update(counted(block))
    )
    objection = (yield from _objection(cidr)) if is_empty(block) else ""
    if objection:
        yield from delete(block)
        yield from delete(affinity)
        return Claim(reason=objection, is_stale=True)
    yield from _marked(affinity, owner, cidr, CONFIRMED)
    return Claim(block)


def _objection(cidr: Prefix) -> Steps[str]:
    """Why the block, which is there, may not be: another overlaps it, or no pool has it."""
    seen = yield from read("IPAMBlock", "IPPool")
    others = overlapping(cidr, block_cidrs(seen))
    if others:
        return f"the block {cidr} overlaps {others[0]}, a block of another size"
    pools = pools_of(seen.readable(IPPool))
    if not any(pool.holds(cidr) and not pool.is_disabled for pool in pools):
        return f"no enabled pool has the block {cidr} any more"
    return ""


def block_cidrs(seen: Seen) -> list[Prefix]:
    """The ranges of all blocks, by their names."""
    found = []
    for key in seen.keys("IPAMBlock"):
        try:
            found.append(cidr_of_block(key.name))
        except ValueError:
            continue  # No block's name, so no driver of a store gave it.
    return found


def _is_kept(block: IPAMBlock, require_empty: bool, sequence: int | None) -> bool:  # noqa: FBT001 - of release_affinity, where it is named
    if sequence is not None and block.spec.sequence_number != sequence:
        return True
    return require_empty and not is_empty(block)


def _keep(affinity: BlockAffinity | None, block: IPAMBlock) -> Steps[None]:
    """Take back a mark of deletion, which may be our own from before the block was written."""
    if affinity is not None and affinity.spec.state == PENDING_DELETION:
        # A block that has allocations has had its look; an empty one may still have to.
        state = PENDING if is_empty(block) else CONFIRMED
        yield from update(replace(affinity, spec=replace(affinity.spec, state=state)))


def _release(affinity: BlockAffinity | None, block: IPAMBlock | None) -> Steps[None]:
    if affinity is not None and affinity.spec.state != PENDING_DELETION:
        spec = replace(affinity.spec, state=PENDING_DELETION)
        affinity = yield from update(replace(affinity, spec=spec))
    if block is not None and is_empty(block):
        yield from delete(block)
    elif block is not None:
        yield from update(counted(affine_to(block, None)))
    if affinity is not None:
        yield from delete(affinity)


def _marked(
    affinity: BlockAffinity | None, owner: str, cidr: Prefix, state: str
) -> Steps[BlockAffinity]:
    """The claim with this state, written even if it has it: so another claimant notices."""
    kind, _, node = owner.partition(":")
    spec = BlockAffinitySpec(state=state, node=node, type=kind, cidr=str(cidr))
    if affinity is not None:
        return (yield from update(replace(affinity, spec=spec)))
    new = BlockAffinity(metadata=Metadata(name=affinity_key(owner, cidr).name), spec=spec)
    return (yield from create(new))


def _busy(cidr: Prefix) -> Conflict:
    return Conflict(f"the block {cidr} was changed by others all the time", "try again")
