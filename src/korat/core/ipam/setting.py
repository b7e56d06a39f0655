"""The settings of address management, from the two places where Calico keeps them.

Calico's IPAM and ``calicoctl ipam configure`` use one object (``IPAMConfig``, in etcd the key
``/calico/ipam/v2/config``), ``calicoctl apply`` writes another one (``IPAMConfiguration``), and
nothing links the two. Here the one that was written last counts, whoever wrote it, and
``configure`` writes both where both are there.
Source: libcalico-go/lib/ipam (SetIPAMConfig).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from msgspec.structs import replace

from korat.core.errors import Conflict, Invalid, NotFound, Problem
from korat.core.ipam.request import Seen, Steps, create, read, revision_of, update
from korat.core.model.ipam import (
    CONFIG_KEY,
    CONFIGURATION_KEY,
    IPAMConfig,
    IPAMConfiguration,
)
from korat.core.model.resource import Metadata
from korat.core.model.validate.ipam import COOLDOWN_LAST_S, MAX_BLOCKS_LAST

#: How many blocks a host may have when no setting says.
MAX_BLOCKS = 20
#: Where settings are.
SETTING_KEYS = (CONFIG_KEY, CONFIGURATION_KEY)
_TRIES = 100
S = TypeVar("S", IPAMConfig, IPAMConfiguration)


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds: ``max_blocks_per_host`` 0 is no limit of the user's."""

    strict_affinity: bool = False
    auto_allocate_blocks: bool = True
    max_blocks_per_host: int = 0
    cooldown_s: int = 0
    vm_persistence: str = ""


def settings_in(seen: Seen) -> Settings:
    """The settings that hold, of what was read at one revision."""
    config = seen.get(CONFIG_KEY, IPAMConfig)
    configuration = seen.get(CONFIGURATION_KEY, IPAMConfiguration)
    if config is None or (
        configuration is not None and revision_of(configuration) > revision_of(config)
    ):
        return Settings() if configuration is None else _settings(configuration)
    return _settings(config)


def configure(wanted: Settings) -> Steps[Settings]:
    """Make these the settings; returns those that held before.

    Raises:
        Invalid: they contradict each other.
        Conflict: others write them all the time.
    """
    return (yield from amend(lambda _: wanted))


def amend(change: Callable[[Settings], Settings]) -> Steps[Settings]:
    """Make what ``change`` says of the settings that hold the settings; returns those before.

    Raises:
        Invalid: what it says contradicts itself.
        Conflict: others write them all the time.
    """
    for _ in range(_TRIES):
        seen = yield from read(*SETTING_KEYS)
        before = settings_in(seen)
        wanted = change(before)
        if problems := faults(wanted):
            raise Invalid(problems)
        if before == wanted:
            return before
        try:
            yield from _write(seen, wanted)
        except (Conflict, NotFound):
            continue
        return before
    raise Conflict("the settings of IPAM were changed by others all the time", "try again")


def faults(wanted: Settings) -> list[Problem]:
    """What contradicts itself or is out of range."""
    found = []
    for field, value, last in (
        ("maxBlocksPerHost", wanted.max_blocks_per_host, MAX_BLOCKS_LAST),
        ("ipCooldownSeconds", wanted.cooldown_s, COOLDOWN_LAST_S),
    ):
        if not 0 <= value <= last:
            found.append(Problem("IPAM settings", field, value, f"must be 0 to {last}"))
    if not wanted.strict_affinity and not wanted.auto_allocate_blocks:
        rule = "must be true while autoAllocateBlocks is false, or no address could be given out"
        found.append(Problem("IPAM settings", "strictAffinity", False, rule))
    if wanted.max_blocks_per_host and not wanted.strict_affinity:
        rule = "needs strictAffinity; without it a host at the limit borrows from other hosts"
        value = wanted.max_blocks_per_host
        found.append(Problem("IPAM settings", "maxBlocksPerHost", value, rule))
    return found


def _write(seen: Seen, wanted: Settings) -> Steps[None]:
    """Both places, where the reader looks first: in between, that one is the newer."""
    config = seen.get(CONFIG_KEY, IPAMConfig)
    if config is None:
        new = IPAMConfig(metadata=Metadata(name=CONFIG_KEY.name))
        yield from create(_with(new, wanted))
    else:
        yield from update(_with(config, wanted))
    configuration = seen.get(CONFIGURATION_KEY, IPAMConfiguration)
    if configuration is not None:
        yield from update(_with(configuration, wanted))


def _with(own: S, wanted: Settings) -> S:
    """Into whichever of the two, the same five fields; what else it holds stays."""
    spec = replace(
        own.spec,
        strict_affinity=wanted.strict_affinity,
        auto_allocate_blocks=wanted.auto_allocate_blocks,
        max_blocks_per_host=wanted.max_blocks_per_host,
        ip_cooldown_seconds=wanted.cooldown_s,
        kube_virt_vm_address_persistence=wanted.vm_persistence,
    )
    return replace(own, spec=spec)


def _settings(own: IPAMConfig | IPAMConfiguration) -> Settings:
    spec = own.spec
    return Settings(
        strict_affinity=spec.strict_affinity,
        auto_allocate_blocks=spec.auto_allocate_blocks,
        max_blocks_per_host=spec.max_blocks_per_host,
        cooldown_s=spec.ip_cooldown_seconds,
        vm_persistence=spec.kube_virt_vm_address_persistence,
    )
