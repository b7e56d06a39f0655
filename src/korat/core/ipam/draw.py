"""Taking addresses out of one block that may be used: the handle first, then the block.

One attempt each: whoever loses the block to another writer reads it again and asks anew, since it
may be another's by then.
Source: libcalico-go/lib/ipam (assignFromExistingBlock).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from korat.core.errors import Conflict, NotFound
from korat.core.ipam.block import cidr_of, counted, take, take_these
from korat.core.ipam.handle import let_go, raise_count
from korat.core.ipam.request import Steps, update
from korat.core.model.ipam import BlockAttribute, IPAMBlock
from korat.core.net.address import Addr


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose an address becomes: its handle, and what else the block is to tell of it."""

    handle_id: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def attribute(self) -> BlockAttribute:
        """As the block stores it."""
        return BlockAttribute(handle_id=self.handle_id, secondary=dict(self.attributes))


def draw(
    block: IPAMBlock, number: int, holder: Holder, is_reserved: Callable[[Addr], bool]
) -> Steps[tuple[IPAMBlock, tuple[Addr, ...]]]:
    """Up to ``number`` addresses from the head of the block's queue.

    Raises:
        Conflict: somebody else wrote the block or the handle.
        NotFound: the block is gone.
    """
    after, addresses = take(block, number, holder.attribute, is_reserved)
    if not addresses:
        return block, ()
    return (yield from _write(after, len(addresses), holder)), addresses


def draw_these(block: IPAMBlock, ordinals: Collection[int], holder: Holder) -> Steps[IPAMBlock]:
    """These free places of the block.

    Raises:
        Conflict: somebody else wrote the block or the handle.
        NotFound: the block is gone.
    """
    after = take_these(block, ordinals, holder.attribute)
    return (yield from _write(after, len(ordinals), holder))


def _write(after: IPAMBlock, number: int, holder: Holder) -> Steps[IPAMBlock]:
    """Count the addresses, then write the block; the count goes down again if that is refused.

    Where nobody knows whether the block was written the count stays.
    """
    if holder.handle_id is None:
        return (yield from update(counted(after)))
    cidr = cidr_of(after)
    raised = yield from raise_count(holder.handle_id, cidr, number)
    try:
        return (yield from update(counted(after)))
    except (Conflict, NotFound):
        yield from let_go(raised, cidr, number)
        raise
