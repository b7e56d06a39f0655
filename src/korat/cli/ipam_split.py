"""ipam split: one pool becomes several of one size, the blocks stay as they are.

Every block of the old pool is a block of one of the new ones, so addresses stay where they are.
What was cut off half-way is finished by the same command again.
Source: calicoctl/commands/ipam/split.go.
"""

from msgspec.structs import replace

from korat.cli.datastore import information_of, is_locked
from korat.cli.screen import put
from korat.core.errors import Conflict, KoratError
from korat.core.ipam.pool import Pool, pool_of
from korat.core.model.config import IPPool
from korat.core.model.key import Key
from korat.core.model.resource import Metadata
from korat.core.net.address import Prefix
from korat.drivers.store.client import Client

_NAME_CHARS = 245


def split_pool(client: Client, number: str, *, name: str, cidr: str) -> None:
    """Split it and say what there is now.

    Raises:
        KoratError: it cannot be done; nothing was changed.
    """
    count = _count(number)
    if not (name or cidr):
        what = "no name or CIDR provided. Provide a name or CIDR to denote the IP pool to split"
        raise KoratError(what)
    if not is_locked(information_of(client)):
        remedy = "Run the `korat datastore migrate lock` command in order to split the IP pools"
        raise KoratError(f"datastore is not locked. {remedy}")
    resource, pool = _found(client, name, cidr)
    try:
        ranges = parts_of(pool.cidr, count, pool.block_size)
    except ValueError as error:
        what = f"error splitting the CIDR {pool.cidr} into {count} CIDRs: {error}"
        raise KoratError(what) from error
    if not resource.spec.disabled:
        disabled = replace(resource, spec=replace(resource.spec, disabled=True))
        client.update(disabled, resource)
    parts = [_part(resource, index, each) for index, each in enumerate(ranges)]
    for part in parts:
        _create(client, part)
    # Without the client's own deletion, which would take the blocks from their nodes.
    client.store.delete(resource.key)
    put(f"IP Pool {pool.name} was successfully split into {count} smaller pools.")
    for part in parts:
        put(f"Created {part.metadata.name} with CIDR {part.spec.cidr}.")


def parts_of(cidr: Prefix, count: int, block_size: int) -> list[Prefix]:
    """A range in ``count`` equal ones, none smaller than a block.

    Raises:
        ValueError: there are none such.
    """
    if count < 2 or count & (count - 1):  # noqa: PLR2004  # one part is no split
        raise ValueError(f"number to split CIDR into is not a valid power of 2: {count}")
    length = cidr.length + count.bit_length() - 1
    if length > block_size:
        what = f"the CIDR {cidr} is not large enough to be split into {count} parts"
        raise ValueError(f"{what} of whole /{block_size} blocks")
    size = 1 << (cidr.family.bits - length)
    return [Prefix(cidr.family, cidr.base + i * size, length) for i in range(count)]


def _count(number: str) -> int:
    try:
        return int(number)
    except ValueError as error:
        what = "error reading number to split IP pools into"
        raise KoratError(f"{what}. {number} is not a valid number") from error


def _found(client: Client, name: str, cidr: str) -> tuple[IPPool, Pool]:
    """The pool of this name, else of this range."""
    wanted = _canonical(cidr)
    for resource in client.read(["IPPool"]).of("IPPool"):
        pool = pool_of(resource) if isinstance(resource, IPPool) else None
        if pool is None or not isinstance(resource, IPPool):
            continue
        if pool.name == name if name else pool.cidr == wanted:
            return resource, pool
    if name:
        raise KoratError(f"unable to find IP pool with name {name}")
    raise KoratError(f"unable to find IP pool covering the specified CIDR {cidr}")


def _canonical(text: str) -> Prefix | None:
    try:
        return Prefix.parse(text)
    except ValueError:
        return None  # No pool has such a range either, which is then said.


def _part(pool: IPPool, index: int, cidr: Prefix) -> IPPool:
    old = pool.metadata
    name = f"split-{old.name[:_NAME_CHARS]}-{index}"
    metadata = Metadata(name=name, labels=old.labels, annotations=old.annotations)
    return IPPool(metadata=metadata, spec=replace(pool.spec, cidr=str(cidr), disabled=False))


def _create(client: Client, part: IPPool) -> None:
    """Create it beside the old pool, which it overlaps; the same one from before is fine."""
    try:
        client.create(part)
    except Conflict:
        there = client.get(Key("IPPool", "", part.metadata.name))
        if not isinstance(there, IPPool) or there.spec.cidr != part.spec.cidr:
            raise
