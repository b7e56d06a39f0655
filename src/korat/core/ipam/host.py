"""Letting blocks go: all of a host's, all of a pool's.

Addresses that somebody has stay where they are; their blocks are nobody's then, and go with the
last of them.
Source: libcalico-go/lib/ipam (ReleaseHostAffinities, ReleasePoolAffinities, RemoveIPAMHost).
"""

from collections.abc import Iterable

from korat.core.ipam.affinity import release_affinity
from korat.core.ipam.request import Seen, Steps, delete, read
from korat.core.model.ipam import (
    BlockAffinity,
    IPAMBlock,
    IPAMHost,
    affinities_of,
    owner_of_host,
)
from korat.core.model.key import Key
from korat.core.net.address import Prefix

#: A claim: its owner, and the block.
_Pair = tuple[str, Prefix]


def release_host(host: str, *, require_empty: bool = False) -> Steps[tuple[Prefix, ...]]:
    """End all claims of a host, with ``require_empty`` only to empty blocks; which were ended.

    Raises:
        Conflict: others write the same objects all the time.
    """
    owner = owner_of_host(host)
    host_key = Key("IPAMHost", "", host)
    seen = yield from read(affinities_of(owner), "IPAMBlock", host_key)
    pairs = {pair for pair in _pairs(seen) if pair[0] == owner}
    ended = yield from _release(pairs, require_empty=require_empty)
    mark = seen.get(host_key, IPAMHost)
    if mark is not None and not require_empty:
        yield from delete(mark)
    return ended


def release_pool(cidr: Prefix) -> Steps[tuple[Prefix, ...]]:
    """End all claims to blocks of a pool, which should be disabled; which were ended.

    Raises:
        Conflict: others write the same objects all the time.
    """
    seen = yield from read("BlockAffinity", "IPAMBlock")
    pairs = {pair for pair in _pairs(seen) if cidr.covers(pair[1])}
    return (yield from _release(pairs, require_empty=False))


def _pairs(seen: Seen) -> set[_Pair]:
    """Every claim, also of a block whose claim is gone."""
    claims = ((a.spec.owner, a.spec.cidr) for a in seen.readable(BlockAffinity))
    blocks = ((b.spec.owner, b.spec.cidr) for b in seen.readable(IPAMBlock) if b.spec.owner)
    found = set()
    for owner, text in (*claims, *blocks):
        try:
            found.add((owner, Prefix.parse(text)))
        except ValueError:
            continue
    return found


def _release(pairs: Iterable[_Pair], *, require_empty: bool) -> Steps[tuple[Prefix, ...]]:
    ended = []
    for owner, cidr in sorted(pairs):
        if (yield from release_affinity(owner, cidr, require_empty=require_empty)):
            ended.append(cidr)
    return tuple(ended)
