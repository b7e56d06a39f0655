"""Everything that address management has stored, and who is there, read at one revision.

For the collector and the check. What address management stores is taken as far as it can be read
and does not contradict itself. Of who is there everything must be readable: nobody is taken for
gone because his object is broken.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from korat.core.ipam.block import is_empty
from korat.core.ipam.living import Living, allocations_in, living
from korat.core.ipam.pool import enclosing
from korat.core.ipam.request import Seen, Steps, read
from korat.core.ipam.setting import SETTING_KEYS, Settings, settings_in
from korat.core.model.builtin import INFORMATION
from korat.core.model.config import ClusterInformation, IPPool
from korat.core.model.controllers import CONFIGURATION_KEY, KubeControllersConfiguration
from korat.core.model.endpoint import Node, WorkloadEndpoint
from korat.core.model.ipam import (
    BlockAffinity,
    IPAMBlock,
    IPAMHandle,
    IPReservation,
    block_key,
)
from korat.core.model.key import Key
from korat.core.model.pod import Pod
from korat.core.model.resource import Resource
from korat.core.model.validate import validate
from korat.core.model.validate.ipam import BLOCK_SIZES
from korat.core.net.address import Addr, Prefix

R = TypeVar("R", bound=Resource)

#: What address management stores, and what it is told.
STORED = (IPAMBlock, BlockAffinity, IPAMHandle, IPPool, IPReservation)
#: Who may have an address.
THERE = (Node, Pod, WorkloadEndpoint)
_WRITTEN = (IPAMBlock, BlockAffinity, IPAMHandle)


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found; ``unreadable`` are objects of address management that cannot be read."""

    resources: tuple[Resource, ...]
    unreadable: tuple[Key, ...]
    there: Living
    settings: Settings
    information: ClusterInformation | None
    configuration: KubeControllersConfiguration | None

    @property
    def is_locked(self) -> bool:
        """Whether somebody has locked the datastore."""
        return self.information is not None and self.information.spec.datastore_ready is False


def survey() -> Steps[Survey]:
    """Read all of it.

    Raises:
        Invalid: a node, a pod or an endpoint cannot be read.
    """
    kinds = [struct().kind for struct in (*STORED, *THERE)]
    seen = yield from read(*kinds, *SETTING_KEYS, INFORMATION, CONFIGURATION_KEY)
    resources, unreadable = _stored(seen)
    return Survey(
        resources=resources,
        unreadable=unreadable,
        there=_living(seen),
        settings=settings_in(seen),
        information=seen.get(INFORMATION, ClusterInformation),
        configuration=seen.get(CONFIGURATION_KEY, KubeControllersConfiguration),
    )


def who_is_there() -> Steps[Living]:
    """Only those who may have an address, as they are now.

    Raises:
        Invalid: a node, a pod or an endpoint cannot be read.
    """
    seen = yield from read(*(struct().kind for struct in THERE))
    return _living(seen)


def held_in(cidr: Prefix) -> Steps[tuple[Addr, ...]]:
    """The addresses of a range that somebody has."""
    seen = yield from read("IPAMBlock")
    return tuple(
        sorted(
            allocation.addr
            for block in sound(seen.readable(IPAMBlock))
            for allocation in allocations_in(block)
            if allocation.addr in cidr
        )
    )


def block_with(addr: Addr) -> Steps[IPAMBlock | None]:
    """The block in which an address lies; of blocks that overlap the one that has allocations."""
    first, last = BLOCK_SIZES[addr.family]
    seen = yield from read(*map(block_key, enclosing(addr, range(first, last + 1))))
    blocks = sound(seen.readable(IPAMBlock))
    return next((b for b in blocks if not is_empty(b)), next(iter(blocks), None))


def sound(resources: Iterable[R]) -> list[R]:
    """Without what address management wrote and what contradicts itself."""
    return [r for r in resources if not isinstance(r, _WRITTEN) or not validate(r)]


def _living(seen: Seen) -> Living:
    return living([*seen.of(Node), *seen.of(Pod), *seen.of(WorkloadEndpoint)])


def _stored(seen: Seen) -> tuple[tuple[Resource, ...], tuple[Key, ...]]:
    found: list[Resource] = []
    unreadable: list[Key] = []
    for struct in STORED:
        readable = seen.readable(struct)
        found += readable
        unreadable += set(seen.keys(struct().kind)) - {each.key for each in readable}
    return tuple(found), tuple(sorted(unreadable))
