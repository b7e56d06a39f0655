"""Blocks, affinities, handles, settings and reservations: programs write them, people mend them.

A block that contradicts itself would lose addresses or give them out twice, so it is refused.
Source: libcalico-go/lib/backend/model and lib/ipam; the CRDs for ranges of settings.
"""

from korat.core.model.ipam import (
    CONFIGURATION_KEY,
    CONFIRMED,
    HOST,
    PENDING,
    PENDING_DELETION,
    VIRTUAL,
    BlockAffinity,
    IPAMBlock,
    IPAMBlockSpec,
    IPAMConfig,
    IPAMConfiguration,
    IPAMHandle,
    IPReservation,
    affinity_key,
    block_key,
)
from korat.core.model.key import Key
from korat.core.model.validate.faults import Faults, each
from korat.core.net.address import Family, Prefix

BLOCK_SIZES = {Family.V4: (20, 32), Family.V6: (116, 128)}
#: The ends of what settings may say.
MAX_BLOCKS_LAST, COOLDOWN_LAST_S = 1_000_000, 1200
_STATES = (PENDING, CONFIRMED, PENDING_DELETION)
_PERSISTENCE = ("", "Enabled", "Disabled")


def block(faults: Faults, own: IPAMBlock) -> None:
    """A block whose lists fit each other."""
    cidr = _cidr(faults, own.spec.cidr)
    if cidr is None:
        return
    _named(faults, own.key, block_key(cidr))
    spec = own.spec
    if spec.affinity is not None and spec.affinity.partition(":")[0] not in {HOST, VIRTUAL}:
        faults.add("spec.affinity", spec.affinity, f"must begin with {HOST}: or {VIRTUAL}:")
    size = 1 << (cidr.family.bits - cidr.length)
    if len(spec.allocations) != size:
        faults.add("spec.allocations", None, f"must have {size} entries, one for each address")
        return
    _ordinals(faults, spec)


def _ordinals(faults: Faults, spec: IPAMBlockSpec) -> None:
    """Every address is either given to somebody or free, never both, never neither."""
    attributes = range(len(spec.attributes))
    for ordinal, index in enumerate(spec.allocations):
        if index is not None and index not in attributes:
            faults.add(f"spec.allocations[{ordinal}]", index, "is no place in spec.attributes")
    free = {i for i, index in enumerate(spec.allocations) if index is None}
    faults.unique("spec.unallocated", spec.unallocated)
    for ordinal in sorted(set(spec.unallocated) - free):
        rule = "is allocated" if ordinal in range(len(spec.allocations)) else "is not in the block"
        faults.add("spec.unallocated", ordinal, rule)
    for ordinal in sorted(free - set(spec.unallocated)):
        faults.add("spec.unallocated", ordinal, "is missing, nobody has it")


def affinity(faults: Faults, own: BlockAffinity) -> None:
    """A claim: who, what, and its state."""
    spec = own.spec
    faults.choice("spec.state", spec.state, _STATES)
    faults.choice("spec.type", spec.type, (HOST, VIRTUAL))
    if not spec.node or "/" in spec.node:
        faults.add("spec.node", spec.node, "must be a host's name")
    cidr = _cidr(faults, spec.cidr)
    if cidr is not None:
        _named(faults, own.key, affinity_key(spec.owner, cidr))


def handle(faults: Faults, own: IPAMHandle) -> None:
    """A handle: its id, and a count for each block."""
    _named(faults, own.key, Key("IPAMHandle", "", own.spec.handle_id))
    for cidr, count in own.spec.block.items():
        faults.cidr(f"spec.block.{cidr}", cidr)
        if count < 1:
            faults.add(f"spec.block.{cidr}", count, "must be at least 1")


def settings(faults: Faults, own: IPAMConfig | IPAMConfiguration) -> None:
    """The settings, in either place."""
    if own.metadata.name != CONFIGURATION_KEY.name:
        rule = f"there is only one, named {CONFIGURATION_KEY.name}"
        faults.add("metadata.name", own.metadata.name, rule)
    spec = own.spec
    for field, value, last in (
        ("maxBlocksPerHost", spec.max_blocks_per_host, MAX_BLOCKS_LAST),
        ("ipCooldownSeconds", spec.ip_cooldown_seconds, COOLDOWN_LAST_S),
    ):
        if not 0 <= value <= last:
            faults.add(f"spec.{field}", value, f"must be 0 to {last}")
    persistence = spec.kube_virt_vm_address_persistence
    faults.choice("spec.kubeVirtVMAddressPersistence", persistence, _PERSISTENCE)


def reservation(faults: Faults, own: IPReservation) -> None:
    """Addresses and ranges."""
    for field, text in each("spec.reservedCIDRs", own.spec.reserved_cidrs):
        faults.net(field, text)


def _cidr(faults: Faults, text: str) -> Prefix | None:
    if not text:
        faults.add("spec.cidr", None, "is missing")
        return None
    cidr = faults.cidr("spec.cidr", text)
    if cidr is None:
        return None
    smallest, largest = BLOCK_SIZES[cidr.family]
    if not smallest <= cidr.length <= largest:
        faults.add("spec.cidr", text, f"a block is of /{smallest} to /{largest}")
        return None
    return cidr


def _named(faults: Faults, key: Key, expected: Key) -> None:
    if key != expected:
        faults.add("metadata.name", key.name, f"must be {expected.name}, as the spec says")
