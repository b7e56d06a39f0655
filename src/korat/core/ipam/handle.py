"""Handles: how many addresses of which block an owner has.

The law is that a handle never counts less than there is: who has a handle can always find its
addresses. So the count goes up before the block is written and down after it. A crash in between
leaves it too high, which ``settle`` mends.

To lower a count is to say that nobody else has just raised it. Whoever lowers it therefore
compares with the revision at which he knows what it counts: that of his own raise (``let_go``), or
one from before he wrote the block (``lower``), since his write stops everybody who raised the count
before it and has not written the block yet. If that revision is past, ``settle`` counts anew.
Source: libcalico-go/lib/ipam (incrementHandle, decrementHandle).
"""

from collections.abc import Mapping

from msgspec.structs import replace

from korat.core.errors import Conflict, NotFound
from korat.core.ipam.block import counted, ordinals_of
from korat.core.ipam.request import Steps, create, delete, read, update
from korat.core.model.ipam import IPAMBlock, IPAMHandle, IPAMHandleSpec, block_key, handle_key
from korat.core.model.resource import Metadata
from korat.core.net.address import Prefix

_TRIES = 100


def raise_count(handle_id: str, cidr: Prefix, number: int) -> Steps[IPAMHandle]:
    """Count ``number`` addresses of a block more; what was written says the revision.

    Raises:
        Conflict: others write the handle all the time.
    """
    for _ in range(_TRIES):
        seen = yield from read(handle_key(handle_id))
        handle = seen.get(handle_key(handle_id), IPAMHandle)
        try:
            if handle is None:
                return (yield from create(_new(handle_id, {str(cidr): number})))
            return (yield from update(_counting(handle, cidr, _count(handle, cidr) + number)))
        except (Conflict, NotFound):
            continue
    raise _busy(handle_id)


def let_go(raised: IPAMHandle, cidr: Prefix, number: int) -> Steps[None]:
    """Take back an own raise that came to nothing; ``raised`` is what it wrote.

    Raises:
        Conflict: others write the handle all the time.
    """
    yield from lower(raised, cidr, _count(raised, cidr) - number)


def lower(handle: IPAMHandle, cidr: Prefix, number: int) -> Steps[None]:
    """Make the count ``number``, if the handle is still as it was; else count anew.

    Raises:
        Conflict: others write the handle all the time.
    """
    if number == _count(handle, cidr):
        return
    try:
        yield from _write(handle, cidr, number)
    except (Conflict, NotFound):
        yield from settle(handle.spec.handle_id, cidr)


def settle(handle_id: str, cidr: Prefix) -> Steps[None]:
    """Make the count of a block what the block says.

    Before that the block is written as it is. Whoever raised the count for an allocation that he
    has not written yet must begin anew then, and does not find himself counted out.

    Raises:
        Conflict: others write the handle or the block all the time.
    """
    for _ in range(_TRIES):
        seen = yield from read(handle_key(handle_id), block_key(cidr))
        handle = seen.get(handle_key(handle_id), IPAMHandle)
        block = seen.get(block_key(cidr), IPAMBlock)
        if handle is None:
            return
        actual = len(ordinals_of(block, handle_id)) if block else 0
        if actual == _count(handle, cidr) and handle.spec.block:
            return
        try:
            if block is not None:
                yield from update(counted(block))
            yield from _write(handle, cidr, actual)
        except (Conflict, NotFound):
            continue
        return
    raise _busy(handle_id)


def _write(handle: IPAMHandle, cidr: Prefix, number: int) -> Steps[None]:
    after = _counting(handle, cidr, number)
    if after.spec.block:
        yield from update(after)
    else:
        yield from delete(handle)


def _new(handle_id: str, block: Mapping[str, int]) -> IPAMHandle:
    spec = IPAMHandleSpec(handle_id=handle_id, block=dict(block))
    return IPAMHandle(metadata=Metadata(name=handle_id), spec=spec)


def _count(handle: IPAMHandle, cidr: Prefix) -> int:
    return handle.spec.block.get(str(cidr), 0)


def _counting(handle: IPAMHandle, cidr: Prefix, number: int) -> IPAMHandle:
    block = {key: count for key, count in handle.spec.block.items() if key != str(cidr)}
    if number > 0:
        block[str(cidr)] = number
    return replace(handle, spec=replace(handle.spec, block=block))


def _busy(handle_id: str) -> Conflict:
    return Conflict(f"IPAMHandle {handle_id} was changed by others all the time", "try again")
