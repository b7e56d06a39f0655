"""What Calico's address management stores: blocks, affinities, handles, settings, reservations.

One stored form in every store: an object whose ``spec`` is what Calico keeps. The names say where
it is kept in etcd, so that a driver finds the path without reading the object, and back:

===============  ============================  =====================================================
kind             name                          below ``/calico/ipam/v2/``
===============  ============================  =====================================================
IPAMBlock        ``10.0.0.64-26``              ``assignment/ipv4/block/10.0.0.64-26``
BlockAffinity    ``host:n1/10.0.0.64-26``      ``host/n1/ipv4/block/10.0.0.64-26``
BlockAffinity    ``virtual:lb/10.0.0.64-26``   ``virtual/lb/ipv4/block/10.0.0.64-26``
IPAMHandle       the handle's id               ``handle/<id>``
IPAMConfig       ``default``                   ``config``
IPAMHost         the host's name               ``host/<host>``
===============  ============================  =====================================================

In etcd the value is ``spec`` alone; an affinity's there is only ``state`` and ``deleted``, a
handle's only ``block`` and ``deleted``, the rest is in the name. A null field is an absent one.
IPAMConfiguration and IPReservation are resources like all others.
Source: Calico's libcalico-go/lib/backend/model (block.go, block_affinity.go, ipam_handle.go,
ipam_config.go, ipam_host.go) and projectcalico.org/v3.
"""

from msgspec import field

from korat.core.model.key import Branch, Key
from korat.core.model.resource import Frozen, Resource, written
from korat.core.net.address import Addr, Prefix

#: The states of an affinity. An old one has none, which means confirmed.
PENDING, CONFIRMED, PENDING_DELETION = "pending", "confirmed", "pendingDeletion"
#: What stands before the name of an owner of blocks.
HOST, VIRTUAL = "host", "virtual"


class BlockAttribute(Frozen, frozen=True):
    """Whose some of a block's addresses are; equal ones are stored once.

    One with ``released_at`` is nobody's: its addresses rest before they are given out again.
    """

    handle_id: str | None = written(None, name="handle_id")
    secondary: dict[str, str] = written({})
    alternate_owner_attrs: dict[str, str] = field(default_factory=dict)
    released_at: str | None = None


class IPAMBlockSpec(Frozen, frozen=True):
    """A range of addresses, and what became of each.

    ``allocations`` has for every ordinal its place in ``attributes``, or None when it is free;
    ``unallocated`` has the free ordinals, the next one first.
    """

    cidr: str = written("")
    affinity: str | None = written(None)
    affinity_claim_time: str | None = field(default=None, name="affinity_claim_time")
    allocations: tuple[int | None, ...] = written(())
    unallocated: tuple[int, ...] = written(())
    attributes: tuple[BlockAttribute, ...] = written(())
    sequence_number: int = written(0)
    sequence_number_for_allocation: dict[str, int] = written({})
    deleted: bool = written(False)
    host_affinity: str | None = None

    @property
    def owner(self) -> str:
        """To whom the block is affine, ``host:n1``; empty when to nobody."""
        if self.affinity is not None:
            return self.affinity
        return owner_of_host(self.host_affinity) if self.host_affinity else ""


class IPAMBlock(Resource, frozen=True):
    """A block of addresses."""

    kind: str = written("IPAMBlock")
    spec: IPAMBlockSpec = written(IPAMBlockSpec())


class BlockAffinitySpec(Frozen, frozen=True):
    """That a host claims a block, and how far the claim has come."""

    state: str = written("")
    node: str = ""
    type: str = ""
    cidr: str = ""
    deleted: bool = written(False)

    @property
    def is_confirmed(self) -> bool:
        """Whether the claim is complete: only then addresses may be given out by it."""
        return self.state in {"", CONFIRMED}

    @property
    def owner(self) -> str:
        """Who claims, as a block names him."""
        return f"{self.type or HOST}:{self.node}"


class BlockAffinity(Resource, frozen=True):
    """A host's claim to a block."""

    kind: str = written("BlockAffinity")
    spec: BlockAffinitySpec = written(BlockAffinitySpec())


class IPAMHandleSpec(Frozen, frozen=True):
    """How many addresses of each block belong to one owner."""

    handle_id: str = field(default="", name="handleID")
    block: dict[str, int] = written({})
    deleted: bool = written(False)


class IPAMHandle(Resource, frozen=True):
    """All addresses of one owner, so that they can be found and given back."""

    kind: str = written("IPAMHandle")
    spec: IPAMHandleSpec = written(IPAMHandleSpec())


class IPAMConfigSpec(Frozen, frozen=True):
    """The settings as Calico's IPAM reads them; a field that is not there is off."""

    strict_affinity: bool = field(default=False, name="strict_affinity")
    auto_allocate_blocks: bool = field(default=False, name="auto_allocate_blocks")
    max_blocks_per_host: int = 0
    kube_virt_vm_address_persistence: str = field(default="", name="kubeVirtVMAddressPersistence")
    ip_cooldown_seconds: int = 0


class IPAMConfig(Resource, frozen=True):
    """The settings where Calico's IPAM reads them; see ``IPAMConfiguration``."""

    kind: str = written("IPAMConfig")
    spec: IPAMConfigSpec = written(IPAMConfigSpec())


class IPAMConfigurationSpec(Frozen, frozen=True):
    """The settings as a user applies them."""

    strict_affinity: bool = written(False)
    max_blocks_per_host: int = 0
    auto_allocate_blocks: bool = written(True)
    kube_virt_vm_address_persistence: str = field(default="", name="kubeVirtVMAddressPersistence")
    ip_cooldown_seconds: int = 0


class IPAMConfiguration(Resource, frozen=True):
    """The settings where a user applies them, the singleton ``default``.

    Of this and ``IPAMConfig`` the one that was written last counts (``korat.core.ipam.setting``).
    """

    kind: str = written("IPAMConfiguration")
    spec: IPAMConfigurationSpec = written(IPAMConfigurationSpec())


class IPAMHostSpec(Frozen, frozen=True):
    """Nothing; in etcd the value is empty."""


class IPAMHost(Resource, frozen=True):
    """Old Calico's mark that a host takes part; korat only takes it away with the host."""

    kind: str = written("IPAMHost")
    spec: IPAMHostSpec = written(IPAMHostSpec())


class IPReservationSpec(Frozen, frozen=True):
    """Addresses and ranges that nobody gets who does not ask for them."""

    reserved_cidrs: tuple[str, ...] = field(default=(), name="reservedCIDRs")


class IPReservation(Resource, frozen=True):
    """Addresses that are not given out by themselves."""

    kind: str = written("IPReservation")
    spec: IPReservationSpec = written(IPReservationSpec())


CONFIG_KEY = Key("IPAMConfig", "", "default")
CONFIGURATION_KEY = Key("IPAMConfiguration", "", "default")


def owner_of_host(host: str) -> str:
    """A host as blocks and affinities name it."""
    return f"{HOST}:{host}"


def block_name(cidr: Prefix) -> str:
    """The name of a block."""
    return f"{Addr(cidr.family, cidr.base)}-{cidr.length}"


def cidr_of_block(name: str) -> Prefix:
    """The range that a block's name says.

    Raises:
        ValueError: it is no block's name.
    """
    return Prefix.parse("/".join(name.rsplit("-", 1)), strict=True)


def block_key(cidr: Prefix) -> Key:
    """Where a block is."""
    return Key("IPAMBlock", "", block_name(cidr))


def affinity_key(owner: str, cidr: Prefix) -> Key:
    """Where the claim of ``owner`` (``host:n1``) to a block is."""
    return Key("BlockAffinity", "", f"{owner}/{block_name(cidr)}")


def affinities_of(owner: str) -> Branch:
    """Where all claims of ``owner`` are."""
    return Branch("BlockAffinity", f"{owner}/")


def handle_key(handle_id: str) -> Key:
    """Where a handle is."""
    return Key("IPAMHandle", "", handle_id)
