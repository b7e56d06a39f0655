"""What is wrong with the addresses of a cluster, each fault with its reason and its remedy.

Objects in, findings out; nothing is mended here. A claim that is half-done, or a count that is too
high, may be an operation under way: a finding says so where it may be.
Source: calicoctl/commands/ipam/check.go, which finds the first four kinds.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from korat.core.ipam.block import cidr_of
from korat.core.ipam.living import Allocation, Living, allocations_in, why_leaked
from korat.core.ipam.pool import Pool, overlapping, pools_of
from korat.core.model.config import IPPool
from korat.core.model.ipam import HOST, BlockAffinity, IPAMBlock, IPAMHandle
from korat.core.model.resource import Resource
from korat.core.model.validate import validate


class Fault(Enum):
    """What kind of fault; the value is its title in a report."""

    LEAKED = "addresses that are allocated and that nobody has"
    NOT_ALLOCATED = "addresses that are used and not allocated"
    DUPLICATE = "addresses that several use"
    OUTSIDE = "addresses that are used and in no pool"
    BROKEN = "objects that contradict themselves"
    OVERLAP = "blocks that overlap"
    HOMELESS = "blocks that no pool has"
    HALF_DONE = "claims that stand half-done"
    STALE = "claims and blocks that do not fit each other"
    GONE_NODE = "claims of nodes that are not there"
    HANDLE = "handles that count other than there is"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: of what, what is wrong, and what mends it."""

    fault: Fault
    where: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found, and how much was looked at."""

    findings: tuple[Finding, ...]
    blocks: int
    allocations: int
    handles: int
    users: int


@dataclass(frozen=True, slots=True)
class _Stock:
    """The objects by their kinds."""

    pools: tuple[Pool, ...]
    blocks: tuple[IPAMBlock, ...]
    affinities: tuple[BlockAffinity, ...]
    handles: tuple[IPAMHandle, ...]
    allocations: tuple[Allocation, ...]
    broken: tuple[Finding, ...]


def report(resources: Sequence[Resource], there: Living) -> Report:
    """Look at all of it, with who is there at the same time."""
    stock = _stock(resources)
    findings = (
        *stock.broken,
        *_leaks(stock, there),
        *_users(stock, there),
        *_blocks(stock),
        *_claims(stock, there),
        *_handles(stock),
    )
    return Report(
        findings, len(stock.blocks), len(stock.allocations), len(stock.handles), len(there.users)
    )


def _stock(resources: Iterable[Resource]) -> _Stock:
    """Blocks that contradict themselves are named and looked at no further."""
    every = list(resources)
    broken = []
    kept: list[Resource] = []
    for resource in every:
        faults = (
            validate(resource)
            if isinstance(resource, IPAMBlock | BlockAffinity | IPAMHandle)
            else ()
        )
        if faults:
            remedy = f"delete {resource.title} once nobody has its addresses, or mend it by hand"
            broken += [
                Finding(Fault.BROKEN, p.where, f"{p.field}: {p.rule}", remedy) for p in faults
            ]
        else:
            kept.append(resource)
    blocks = tuple(r for r in kept if isinstance(r, IPAMBlock))
    return _Stock(
        pools=pools_of(r for r in kept if isinstance(r, IPPool)),
        blocks=blocks,
        affinities=tuple(r for r in kept if isinstance(r, BlockAffinity)),
        handles=tuple(r for r in kept if isinstance(r, IPAMHandle)),
        allocations=tuple(a for block in blocks for a in allocations_in(block)),
        broken=tuple(broken),
    )


def _leaks(stock: _Stock, there: Living) -> Iterator[Finding]:
    for allocation in stock.allocations:
        if allocation.addr in there.users:
            continue
        whose = f"of handle {allocation.handle_id}" if allocation.handle_id else "without a handle"
        reason = why_leaked(allocation, there) or _unknown(allocation, there)
        if reason:
            remedy = "the collector takes it back after its grace period, or release the address"
            yield Finding(Fault.LEAKED, str(allocation.addr), f"{whose}: {reason}", remedy)


def _unknown(allocation: Allocation, there: Living) -> str:
    """Why nobody is seen to have an address of which it cannot be told; empty for a pod's."""
    namespace, name = allocation.pod
    if name and (namespace, name) in there.pods:
        return ""  # It is being given its address just now.
    if allocation.is_tunnel:
        return f"node {allocation.node} does not say that it has it"
    return "no endpoint has it, and it does not say which pod it was given to"


def _users(stock: _Stock, there: Living) -> Iterator[Finding]:
    held = {allocation.addr for allocation in stock.allocations}
    for addr, titles in sorted(there.users.items()):
        owners = _distinct(titles)
        if len(owners) > 1:
            reason = f"is used by {', '.join(owners)}"
            yield Finding(Fault.DUPLICATE, str(addr), reason, "delete all of them but one")
        if addr in held:
            continue
        pool = next((pool for pool in stock.pools if addr in pool.cidr), None)
        if pool is None:
            reason = f"is used by {titles[0]}, and no pool has it"
            remedy = "make a pool for it, if address management is to know it"
            yield Finding(Fault.OUTSIDE, str(addr), reason, remedy)
        else:
            reason = f"is used by {titles[0]}, and pool {pool.name} may give it to somebody else"
            yield Finding(Fault.NOT_ALLOCATED, str(addr), reason, f"start {titles[0]} anew")


def _distinct(titles: Iterable[str]) -> list[str]:
    """Users of one address; a pod and its endpoint are one."""
    return sorted({title for title in titles if not title.startswith("Pod ")})


def _blocks(stock: _Stock) -> Iterator[Finding]:
    cidrs = [cidr_of(block) for block in stock.blocks]
    counts = Counter(allocation.block for allocation in stock.allocations)
    for cidr in cidrs:
        for other in overlapping(cidr, cidrs):
            if other > cidr:
                reason = f"overlaps {other}; they have {counts[cidr]} and {counts[other]} addresses"
                remedy = "release the one that has none; if both have some, delete the pods of one"
                yield Finding(Fault.OVERLAP, f"block {cidr}", reason, remedy)
        pool = next((pool for pool in stock.pools if pool.cidr.overlaps(cidr)), None)
        remedy = "it goes with its last address; delete the pods that have addresses of it"
        if pool is None:
            reason = f"lies in no pool; {counts[cidr]} addresses of it are given out"
            yield Finding(Fault.HOMELESS, f"block {cidr}", reason, remedy)
        elif not pool.holds(cidr):
            reason = f"is none of pool {pool.name}, which has blocks of /{pool.block_size}"
            yield Finding(Fault.HOMELESS, f"block {cidr}", reason, remedy)


def _claims(stock: _Stock, there: Living) -> Iterator[Finding]:
    owners = {block.spec.cidr: block.spec.owner for block in stock.blocks}
    claimed = {(a.spec.cidr, a.spec.owner) for a in stock.affinities}
    for affinity in stock.affinities:
        spec, where = affinity.spec, affinity.title
        mending = f"the next address that is given out on {spec.node} mends it"
        if spec.owner == f"{HOST}:{spec.node}" and spec.node not in there.nodes:
            reason = f"there is no node {spec.node}"
            yield Finding(Fault.GONE_NODE, where, reason, "the collector ends its claims")
        elif not spec.is_confirmed:
            reason = f"is {spec.state}; an operation is under way or was cut off"
            yield Finding(Fault.HALF_DONE, where, reason, mending)
        elif owners.get(spec.cidr) != spec.owner:
            whose = owners.get(spec.cidr)
            reason = (
                "its block is not there" if whose is None else f"its block is {whose or 'free'}"
            )
            yield Finding(Fault.STALE, where, reason, mending)
    for cidr, owner in owners.items():
        if owner and (cidr, owner) not in claimed:
            reason = f"is affine to {owner}, which does not claim it"
            remedy = f"release the claims of {owner.partition(':')[2]}"
            yield Finding(Fault.STALE, f"block {cidr}", reason, remedy)


def _handles(stock: _Stock) -> Iterator[Finding]:
    actual = Counter((a.handle_id, str(a.block)) for a in stock.allocations if a.handle_id)
    counted = {
        (handle.spec.handle_id, cidr): count
        for handle in stock.handles
        for cidr, count in handle.spec.block.items()
    }
    for handle_id, cidr in sorted({*actual, *counted}, key=str):
        says, has = counted.get((handle_id, cidr), 0), actual[handle_id, cidr]
        if says != has:
            reason = f"counts {says} addresses of block {cidr}, and {has} are there"
            remedy = "the collector counts anew"
            yield Finding(Fault.HANDLE, f"IPAMHandle {handle_id}", reason, remedy)
