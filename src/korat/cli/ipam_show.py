"""ipam show: calicoctl's tables of pools, blocks, borrowed addresses, one address, settings.

Source: calicoctl/commands/ipam/show.go.
"""

from collections.abc import Iterator, Mapping

from korat.cli.screen import emit, framed, put, say
from korat.core.errors import Invalid, Problem
from korat.core.ipam.block import (
    attribute_at,
    cidr_of,
    handle_at,
    is_resting,
    ordinal_of,
    sequence_at,
)
from korat.core.ipam.living import Allocation, allocations_in
from korat.core.ipam.request import Seen, read
from korat.core.ipam.setting import SETTING_KEYS, Settings, settings_in
from korat.core.ipam.survey import block_with, sound
from korat.core.ipam.usage import PoolUsage, Usage, usage
from korat.core.model.config import IPPool
from korat.core.model.ipam import HOST, IPAMBlock, IPReservation
from korat.core.net.address import Addr
from korat.drivers.store.ipam import run
from korat.ports import Store

_COUNTS = ("IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE", "IPS COOLING")
_USAGE = ("GROUPING", "CIDR", *_COUNTS)
_BORROWED = ("IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO")


def show_usage(store: Store, output: str, *, blocks: bool) -> None:
    """How much of each pool is in use."""
    seen = run(store, read("IPPool", "IPReservation", "IPAMBlock"))
    found = usage([*_blocks(seen), *seen.readable(IPPool), *seen.readable(IPReservation)])
    if output:
        emit(_usage_value(found, blocks=blocks), output)
    else:
        put(framed(_USAGE, _usage_rows(found, blocks=blocks), _COUNTS))


def show_borrowed(store: Store, output: str) -> None:
    """Which addresses nodes have from blocks that are not theirs."""
    blocks = _blocks(run(store, read("IPAMBlock")))
    allocations = [a for block in blocks for a in allocations_in(block)]
    borrowed = [a for a in allocations if a.is_borrowed]
    if output:
        emit([dict(zip(_BORROWED_KEYS, _borrowed_row(a), strict=True)) for a in borrowed], output)
        return
    put(framed(_BORROWED, map(_borrowed_row, borrowed)))
    if unclear := sum(not a.node for a in allocations):
        say(f"{unclear} addresses do not say their node; nobody can tell whether it borrowed them")


_BORROWED_KEYS = ("ip", "borrowingNode", "block", "blockOwner", "type", "allocatedTo")


def show_configuration(store: Store, output: str) -> None:
    """The settings that hold, wherever they were written."""
    found = settings_in(run(store, read(*SETTING_KEYS)))
    if output:
        emit(dict(_configuration(found)), output)
        return
    rows = ((_title(name), _text(value)) for name, value in _configuration(found))
    put(framed(("PROPERTY", "VALUE"), rows))


def show_ip(store: Store, text: str, output: str) -> None:
    """Who has an address.

    Raises:
        Invalid: the text is no address.
    """
    addr = address(text)
    block = run(store, block_with(addr))
    if output:
        emit(_ip_value(addr, block), output)
    else:
        put("\n".join(_ip_lines(addr, block)))


def address(text: str) -> Addr:
    """The address that a user typed.

    Raises:
        Invalid: it is none.
    """
    try:
        return Addr.parse(text)
    except ValueError as error:
        raise Invalid([Problem("", "--ip", text, "is not an IP address")]) from error


def _blocks(seen: Seen) -> list[IPAMBlock]:
    """Those that can be used; how many cannot is said."""
    found = sound(seen.readable(IPAMBlock))
    if broken := len(seen.keys("IPAMBlock")) - len(found):
        say(f"{broken} blocks contradict themselves and are left out; `korat ipam check` says why")
    return found


def _usage_rows(found: tuple[PoolUsage, ...], *, blocks: bool) -> Iterator[tuple[str, ...]]:
    for each in found:
        if each.usage is not None:
            yield _usage_row("IP Pool", each.usage)
        if blocks:
            yield from (_usage_row("Block", block) for block in each.blocks)


def _usage_row(kind: str, own: Usage) -> tuple[str, ...]:
    counts = (own.in_use, own.reserved, own.free, own.resting)
    shares = (f"{count:.5g} ({100 * count / own.total:.0f}%)" for count in counts)
    return kind, str(own.cidr), f"{own.total:.5g}", *shares


def _usage_value(found: tuple[PoolUsage, ...], *, blocks: bool) -> dict[str, object]:
    pools = []
    for each in found:
        if each.pool is not None and each.usage is not None:
            name = {"name": each.pool.name, "disabled": each.pool.is_disabled}
            inside = {"blocks": [_block_value(b) for b in each.blocks]} if blocks else {}
            pools.append({**name, **_counts(each.usage), **inside})
    rest = [_block_value(b) for each in found if each.pool is None for b in each.blocks]
    return {"pools": pools, **({"blocksInNoPool": rest} if blocks else {})}


def _block_value(own: Usage) -> dict[str, object]:
    return {**_counts(own), "affinity": own.owner or None}


def _counts(own: Usage) -> dict[str, object]:
    return {
        "cidr": str(own.cidr),
        "total": own.total,
        "inUse": own.in_use,
        "reserved": own.reserved,
        "free": own.free,
        "cooling": own.resting,
    }


def _borrowed_row(own: Allocation) -> tuple[str, ...]:
    machine = own.attributes.get("vmi-name", "")
    namespace, pod = own.pod
    kind = "vmi" if machine else "pod" if pod else own.attributes.get("type", "")
    to = f"{namespace}/{machine or pod}" if machine or pod else ""
    owner = own.owner.removeprefix(f"{HOST}:")
    return str(own.addr), own.node, str(own.block), owner, kind, to


def _configuration(own: Settings) -> tuple[tuple[str, object], ...]:
    """By the names that the resource has."""
    return (
        ("strictAffinity", own.strict_affinity),
        ("autoAllocateBlocks", own.auto_allocate_blocks),
        ("maxBlocksPerHost", own.max_blocks_per_host),
        ("kubeVirtVMAddressPersistence", own.vm_persistence or None),
        ("ipCooldownSeconds", own.cooldown_s),
    )


def _title(name: str) -> str:
    """A field's name as Go has it."""
    return f"IP{name[2:]}" if name.startswith("ip") else f"{name[0].upper()}{name[1:]}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "<nil>" if value is None else str(value)


def _ip_lines(addr: Addr, block: IPAMBlock | None) -> Iterator[str]:
    attribute = None if block is None else attribute_at(block, ordinal_of(block, addr))
    if block is None or attribute is None:
        yield f"{addr} is not assigned"
        return
    ordinal = ordinal_of(block, addr)
    if is_resting(block, ordinal):
        yield f"{addr} is not assigned; it was released at {attribute.released_at} and cools down"
        return
    yield f"IP {addr} is in use"
    yield f"Handle ID: {handle_at(block, ordinal) or '<none>'}"
    if attribute.secondary:
        yield from _attributes("Active Owner Attributes", attribute.secondary)
    else:
        yield "No Active Owner attributes defined"
    if attribute.alternate_owner_attrs:
        yield from _attributes("Alternate Owner Attributes", attribute.alternate_owner_attrs)


def _attributes(title: str, own: Mapping[str, str]) -> Iterator[str]:
    yield f"{title}:"
    yield from (f"  {name}: {value}" for name, value in sorted(own.items()))


def _ip_value(addr: Addr, block: IPAMBlock | None) -> dict[str, object]:
    value: dict[str, object] = {"ip": str(addr), "inUse": False}
    if block is None:
        return value
    ordinal = ordinal_of(block, addr)
    attribute = attribute_at(block, ordinal)
    value |= {"block": str(cidr_of(block)), "affinity": block.spec.owner or None}
    if attribute is not None and is_resting(block, ordinal):
        value["releasedAt"] = attribute.released_at
    elif attribute is not None:
        value |= {
            "inUse": True,
            "handle": handle_at(block, ordinal),
            "attributes": attribute.secondary,
            "alternateAttributes": attribute.alternate_owner_attrs,
            "sequenceNumber": sequence_at(block, ordinal),
        }
    return value
