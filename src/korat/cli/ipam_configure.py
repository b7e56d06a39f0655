"""ipam configure: settings of address management, in calicoctl's words."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from korat.cli.screen import put
from korat.core.errors import Invalid, KoratError, Problem
from korat.core.ipam.setting import Settings, amend
from korat.drivers.store.ipam import run
from korat.ports import Store

#: What Go takes for a truth value.
_TRUTH = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user typed; empty is what he left as it is."""

    strict_affinity: str = ""
    max_blocks: str = ""
    persistence: str = ""
    cooldown: str = ""


def change_settings(store: Store, wanted: Wanted) -> None:
    """Change what was asked for, and say so.

    Raises:
        KoratError: nothing was asked for, or it cannot be had.
    """
    named = _named(wanted)
    if not named:
        raise KoratError("at least one configuration option must be specified")
    fields = dict(named.values())
    run(store, amend(lambda before: _changed(before, fields)))
    for title, (_, value) in named.items():
        shown = str(value).lower() if isinstance(value, bool) else value
        put(f"Successfully set {title} to: {shown}")


def _changed(before: Settings, fields: Mapping[str, object]) -> Settings:
    return replace(before, **fields)  # type: ignore[arg-type]  # _named gives each its type


def _named(wanted: Wanted) -> dict[str, tuple[str, object]]:
    """By Calico's name of each setting, ours and the value."""
    found: dict[str, tuple[str, object]] = {}
    if wanted.strict_affinity:
        if wanted.strict_affinity not in _TRUTH:
            raise KoratError("invalid value. Use true or false to set strictaffinity")
        found["StrictAffinity"] = "strict_affinity", _TRUTH[wanted.strict_affinity]
    if wanted.max_blocks:
        number = _number("--max-blocks-per-host", wanted.max_blocks)
        found["MaxBlocksPerHost"] = "max_blocks_per_host", number
    if wanted.persistence:
        if wanted.persistence not in {"Enabled", "Disabled"}:
            what = "invalid value for --kubevirt-ip-persistence"
            raise KoratError(f"{what}. Use Enabled or Disabled")
        found["KubeVirtVMAddressPersistence"] = "vm_persistence", wanted.persistence
    if wanted.cooldown:
        number = _number("--ip-cooldown-seconds", wanted.cooldown)
        found["IPCooldownSeconds"] = "cooldown_s", number
    return found


def _number(flag: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Invalid([Problem("", flag, text, "must be a number")]) from error
