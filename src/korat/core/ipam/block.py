"""One block as a value: addresses are taken from it and given back, nothing is written.

``unallocated`` is a queue: addresses are taken at its head and come back to its tail, so that one
rests as long as possible before it is used again. Every write counts ``sequenceNumber`` up by one
(``counted``, once before it), and an allocation keeps the number with which it was written: who
gives an address back can say which allocation of it he means.

With a cool-down an address that is given back first becomes nobody's (an attribute that says since
when) and is freed by whoever writes the block after that.
Source: libcalico-go/lib/ipam (ipam_block.go).
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec.structs import replace

from korat.core.ipam.instant import Moment, seconds_of
from korat.core.model.ipam import BlockAttribute, IPAMBlock, IPAMBlockSpec, block_name
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr, Prefix


def fresh(cidr: Prefix, owner: str, moment: Moment) -> IPAMBlock:
    """A block that its owner has just claimed: every address is free."""
    size = size_of(cidr)
    spec = IPAMBlockSpec(
        cidr=str(cidr),
        affinity=owner,
        affinity_claim_time=moment.text,
        allocations=(None,) * size,
        unallocated=tuple(range(size)),
        sequence_number=moment.now_ns,
    )
    return IPAMBlock(metadata=Metadata(name=block_name(cidr)), spec=spec)


def size_of(cidr: Prefix) -> int:
    """How many addresses there are."""
    return 1 << (cidr.family.bits - cidr.length)


def cidr_of(block: IPAMBlock) -> Prefix:
    """The block's range."""
    return Prefix.parse(block.spec.cidr)


def address_of(block: IPAMBlock, ordinal: int) -> Addr:
    """The address at a place of the block."""
    cidr = cidr_of(block)
    return Addr(cidr.family, cidr.base + ordinal)


def ordinal_of(block: IPAMBlock, addr: Addr) -> int:
    """The place of an address that lies in the block."""
    return addr.value - cidr_of(block).base


def is_empty(block: IPAMBlock) -> bool:
    """Whether nobody has an address of it; one that rests counts as had."""
    return all(index is None for index in block.spec.allocations)


def attribute_at(block: IPAMBlock, ordinal: int) -> BlockAttribute | None:
    """Whose the address at this place is; None when it is free."""
    index = block.spec.allocations[ordinal]
    if index is None:
        return None
    known = block.spec.attributes
    # A block of an old or foreign writer may point beyond its end; the address is had all the same.
    return known[index] if index < len(known) else BlockAttribute()


def handle_at(block: IPAMBlock, ordinal: int) -> str | None:
    """The handle of the address at this place; on Windows they were stored with a line's end."""
    attribute = attribute_at(block, ordinal)
    if attribute is None or attribute.handle_id is None:
        return None
    return attribute.handle_id.split("\r", 1)[0]


def sequence_at(block: IPAMBlock, ordinal: int) -> int:
    """The sequence number of the allocation at this place; 0 when none is known."""
    return block.spec.sequence_number_for_allocation.get(str(ordinal), 0)


def ordinals_of(block: IPAMBlock, handle_id: str) -> tuple[int, ...]:
    """The places of the addresses that a handle has."""
    count = len(block.spec.allocations)
    return tuple(ordinal for ordinal in range(count) if handle_at(block, ordinal) == handle_id)


def is_resting(block: IPAMBlock, ordinal: int) -> bool:
    """Whether the address was given back and cools down."""
    attribute = attribute_at(block, ordinal)
    return attribute is not None and attribute.released_at is not None


def has_free(block: IPAMBlock, is_reserved: Callable[[Addr], bool]) -> bool:
    """Whether there is an address to be had by somebody who does not ask for it by name."""
    base = cidr_of(block)
    return any(
        not is_reserved(Addr(base.family, base.base + ordinal))
        for ordinal in block.spec.unallocated
    )


def take(
    block: IPAMBlock, number: int, attribute: BlockAttribute, is_reserved: Callable[[Addr], bool]
) -> tuple[IPAMBlock, tuple[Addr, ...]]:
    """Up to ``number`` addresses from the head of the queue, reserved ones passed over."""
    cidr = cidr_of(block)
    taken: list[int] = []
    for ordinal in block.spec.unallocated:
        if len(taken) == number:
            break
        if not is_reserved(Addr(cidr.family, cidr.base + ordinal)):
            taken.append(ordinal)
    if not taken:
        return block, ()
    addresses = tuple(Addr(cidr.family, cidr.base + ordinal) for ordinal in taken)
    return take_these(block, taken, attribute), addresses


def take_these(block: IPAMBlock, ordinals: Collection[int], attribute: BlockAttribute) -> IPAMBlock:
    """The block with these free places taken."""
    spec = block.spec
    attributes = spec.attributes
    if attribute not in attributes:
        attributes = (*attributes, attribute)
    index = attributes.index(attribute)
    number = spec.sequence_number + 1
    changed: dict[int, int | None] = dict.fromkeys(ordinals, index)
    sequences = {str(ordinal): number for ordinal in ordinals}
    return _with(
        block,
        allocations=_replaced(spec.allocations, changed),
        unallocated=tuple(o for o in spec.unallocated if o not in changed),
        attributes=attributes,
        sequence_number_for_allocation={**spec.sequence_number_for_allocation, **sequences},
    )


def give_back(
    block: IPAMBlock, ordinals: Collection[int], moment: Moment, cooldown_s: int
) -> IPAMBlock:
    """The block without these allocations; with a cool-down their addresses rest first."""
    if cooldown_s <= 0:
        return _freed(block, sorted(ordinals))
    resting = BlockAttribute(released_at=moment.text)
    spec = block.spec
    changed: dict[int, int | None] = dict.fromkeys(ordinals, len(spec.attributes))
    allocations = _replaced(spec.allocations, changed)
    kept = _without(spec.sequence_number_for_allocation, ordinals)
    held, attributes = _pruned(allocations, (*spec.attributes, resting))
    return _with(
        block,
        allocations=held,
        attributes=attributes,
        sequence_number_for_allocation=kept,
    )


def rested(block: IPAMBlock, moment: Moment, cooldown_s: int) -> tuple[int, ...]:
    """The places of addresses that have cooled down, the first one to do so first."""
    ready = []
    for ordinal in range(len(block.spec.allocations)):
        attribute = attribute_at(block, ordinal)
        if attribute is None or attribute.released_at is None:
            continue
        since_s = seconds_of(attribute.released_at) or 0
        if since_s + cooldown_s <= moment.now_s:
            ready.append((since_s, ordinal))
    return tuple(ordinal for _, ordinal in sorted(ready))


def freshened(block: IPAMBlock, moment: Moment, cooldown_s: int) -> IPAMBlock:
    """The block with what has cooled down free again; the same one if there is nothing."""
    ready = rested(block, moment, cooldown_s)
    return _freed(block, ready) if ready else block


def counted(block: IPAMBlock) -> IPAMBlock:
    """The block as it is written over the one that was read.

    To write one in which nothing else is new stops whoever has read it and not yet written.
    """
    return _with(block, sequence_number=block.spec.sequence_number + 1)


def affine_to(block: IPAMBlock, owner: str | None) -> IPAMBlock:
    """The block with another owner, or none."""
    return _with(block, affinity=owner, affinity_claim_time=None, host_affinity=None)


def _freed(block: IPAMBlock, ordinals: Iterable[int]) -> IPAMBlock:
    spec = block.spec
    places = tuple(ordinals)
    changed: dict[int, int | None] = dict.fromkeys(places)
    held, attributes = _pruned(_replaced(spec.allocations, changed), spec.attributes)
    return _with(
        block,
        allocations=held,
        unallocated=(*spec.unallocated, *places),
        attributes=attributes,
        sequence_number_for_allocation=_without(spec.sequence_number_for_allocation, places),
    )


def _pruned(
    allocations: tuple[int | None, ...], attributes: tuple[BlockAttribute, ...]
) -> tuple[tuple[int | None, ...], tuple[BlockAttribute, ...]]:
    """Without attributes that nothing points to, equal ones as one, else in their order."""
    used = {index for index in allocations if index is not None}
    place: dict[int, int] = {}
    kept: list[BlockAttribute] = []
    for index in sorted(used):
        attribute = attributes[index] if index < len(attributes) else BlockAttribute()
        if attribute not in kept:
            kept.append(attribute)
        place[index] = kept.index(attribute)
    return tuple(None if i is None else place[i] for i in allocations), tuple(kept)


def _replaced(
    allocations: tuple[int | None, ...], changed: Mapping[int, int | None]
) -> tuple[int | None, ...]:
    return tuple(changed.get(ordinal, index) for ordinal, index in enumerate(allocations))


def _without(sequences: Mapping[str, int], ordinals: Collection[int]) -> dict[str, int]:
    gone = {str(ordinal) for ordinal in ordinals}
    return {place: number for place, number in sequences.items() if place not in gone}


def _with(block: IPAMBlock, **changes: object) -> IPAMBlock:
    return replace(block, spec=replace(block.spec, **changes))
