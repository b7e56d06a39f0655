"""Giving addresses back: by address, by handle.

The block first, then the handle. A block that nobody claims is deleted with its last address. Who
gives an address back may say which allocation he means, by its handle or its sequence number; if it
is another one by now, it stays.
Source: libcalico-go/lib/ipam (ReleaseIPs, ReleaseByHandle).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from korat.core.errors import Conflict, NotFound
from korat.core.ipam.block import (
    address_of,
    cidr_of,
    counted,
    freshened,
    give_back,
    handle_at,
    is_empty,
    is_resting,
    ordinal_of,
    ordinals_of,
    sequence_at,
)
from korat.core.ipam.handle import lower, settle
from korat.core.ipam.instant import Moment
from korat.core.ipam.pool import enclosing
from korat.core.ipam.request import Steps, delete, read, update
from korat.core.ipam.setting import SETTING_KEYS, settings_in
from korat.core.model.ipam import IPAMBlock, IPAMHandle, block_key, handle_key
from korat.core.model.key import Key
from korat.core.model.validate.ipam import BLOCK_SIZES
from korat.core.net.address import Addr, Prefix

_TRIES = 100


@dataclass(frozen=True, slots=True)
class Return:
    """An address to give back; handle and sequence number say which allocation of it, if given."""

    addr: Addr
    handle_id: str | None = None
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """What was given back, what was nobody's anyway, and what was refused and why."""

    released: tuple[Addr, ...] = ()
    unallocated: tuple[Addr, ...] = ()
    refused: Mapping[Addr, str] = field(default_factory=dict)


def release_ips(returns: Iterable[Return], moment: Moment) -> Steps[Released]:
    """Give these addresses back.

    Raises:
        Conflict: others write the same objects all the time.
    """
    wanted = {each.addr: each for each in returns}
    by_block, unallocated = yield from _blocks_of(wanted)
    released: list[Addr] = []
    refused: dict[Addr, str] = {}
    for cidr, items in by_block.items():
        done = yield from _release_in(cidr, _matching(items), moment)
        released += done.released
        unallocated += done.unallocated
        refused |= done.refused
    return Released(tuple(released), tuple(unallocated), refused)


def release_by_handle(handle_id: str, moment: Moment) -> Steps[tuple[Addr, ...]]:
    """Give back whatever a handle has; none is fine. Afterwards there is no handle.

    Raises:
        Conflict: others write the same objects all the time.
    """
    seen = yield from read(handle_key(handle_id))
    handle = seen.get(handle_key(handle_id), IPAMHandle)
    released: list[Addr] = []
    if handle is None:
        return ()
    for text in handle.spec.block:
        cidr = Prefix.parse(text)
        done = yield from _release_in(cidr, _all_of(handle_id), moment)
        released += done.released
        if not done.released:
            # Counted and not there: a claim was cut off between its two writes.
            yield from settle(handle_id, cidr)
    return tuple(released)


def free_rested(cidr: Prefix, moment: Moment) -> Steps[bool]:
    """Free what has cooled down in a block, and delete it if it is nobody's and empty then.

    Raises:
        Conflict: others write the block all the time.
    """
    for _ in range(_TRIES):
        seen = yield from read(*SETTING_KEYS, block_key(cidr))
        block = seen.get(block_key(cidr), IPAMBlock)
        if block is None:
            return False
        after = freshened(block, moment, settings_in(seen).cooldown_s)
        if after is block and (block.spec.owner or not is_empty(block)):
            return False
        try:
            yield from _write(after)
        except (Conflict, NotFound):
            continue
        return True
    raise _busy(cidr)


#: Which places of a block to give back: those, what is free there, and what is refused.
_Choice = tuple[tuple[int, ...], tuple[Addr, ...], Mapping[Addr, str]]


def _blocks_of(
    wanted: Mapping[Addr, Return],
) -> Steps[tuple[dict[Prefix, list[Return]], list[Addr]]]:
    """The blocks in which the addresses lie, and the addresses that lie in none."""
    keys = {addr: _block_keys(addr) for addr in wanted}
    seen = yield from read(*(key for each in keys.values() for key in each))
    by_block: dict[Prefix, list[Return]] = {}
    nowhere = []
    for addr, each in wanted.items():
        there = [key for key in keys[addr] if key in seen.records]
        if there:
            # Of blocks that overlap only one has allocations.
            blocks = [b for key in there if (b := seen.get(key, IPAMBlock))]
            block = next((b for b in blocks if not is_empty(b)), blocks[0])
            by_block.setdefault(cidr_of(block), []).append(each)
        else:
            nowhere.append(addr)
    return by_block, nowhere


def _block_keys(addr: Addr) -> Sequence[Key]:
    first, last = BLOCK_SIZES[addr.family]
    return [block_key(cidr) for cidr in enclosing(addr, range(first, last + 1))]


def _matching(returns: Sequence[Return]) -> Callable[[IPAMBlock], _Choice]:
    def choose(block: IPAMBlock) -> _Choice:
        free: list[Addr] = []
        refused: dict[Addr, str] = {}
        ordinals: list[int] = []
        for each in returns:
            ordinal = ordinal_of(block, each.addr)
            if block.spec.allocations[ordinal] is None or is_resting(block, ordinal):
                free.append(each.addr)
            elif reason := _mismatch(block, ordinal, each):
                refused[each.addr] = reason
            else:
                ordinals.append(ordinal)
        return tuple(ordinals), tuple(free), refused

    return choose


def _mismatch(block: IPAMBlock, ordinal: int, wanted: Return) -> str:
    handle_id, sequence = handle_at(block, ordinal), sequence_at(block, ordinal)
    if wanted.handle_id is not None and wanted.handle_id != handle_id:
        return f"it belongs to handle {handle_id}, not {wanted.handle_id}"
    if wanted.sequence is not None and wanted.sequence != sequence:
        return f"it was allocated anew, with sequence number {sequence}, not {wanted.sequence}"
    return ""


def _all_of(handle_id: str) -> Callable[[IPAMBlock], _Choice]:
    return lambda block: (ordinals_of(block, handle_id), (), {})


def _release_in(
    cidr: Prefix, choose: Callable[[IPAMBlock], _Choice], moment: Moment
) -> Steps[Released]:
    """Give back in one block what is chosen of it as it is when it is written."""
    for _ in range(_TRIES):
        seen = yield from read(*SETTING_KEYS, block_key(cidr))
        block = seen.get(block_key(cidr), IPAMBlock)
        if block is None:
            return Released()
        ordinals, free, refused = choose(block)
        if not ordinals:
            return Released((), free, refused)
        cooldown_s = settings_in(seen).cooldown_s
        try:
            yield from _give_back(block, ordinals, moment, cooldown_s)
        except (Conflict, NotFound):
            continue
        return Released(tuple(address_of(block, o) for o in ordinals), free, refused)
    raise _busy(cidr)


def _give_back(
    block: IPAMBlock, ordinals: tuple[int, ...], moment: Moment, cooldown_s: int
) -> Steps[None]:
    """Write the block, then what its handles count now; they are read before, see ``handle``."""
    ids = sorted({found for o in ordinals if (found := handle_at(block, o)) is not None})
    seen = yield from read(*(handle_key(each) for each in ids))
    after = give_back(freshened(block, moment, cooldown_s), ordinals, moment, cooldown_s)
    yield from _write(after)
    for each in ids:
        handle = seen.get(handle_key(each), IPAMHandle)
        if handle is not None:
            yield from lower(handle, cidr_of(block), len(ordinals_of(after, each)))


def _write(after: IPAMBlock) -> Steps[None]:
    """A block that is nobody's and has nothing given out is no longer needed."""
    if is_empty(after) and not after.spec.owner:
        yield from delete(after)
    else:
        yield from update(counted(after))


def _busy(cidr: Prefix) -> Conflict:
    return Conflict(f"the block {cidr} was changed by others all the time", "try again")
