"""PACKETS and BYTES of ``get -o wide``: what the agents that this machine can see have counted.

In a lab these are all of its nodes' agents, elsewhere the agent of this machine. A dash stands for
what nobody knows: no agent answers.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from korat.cli.connect import settings
from korat.cli.screen import say
from korat.cni.request import RUN_DIR
from korat.core.errors import KoratError
from korat.core.model.column import Column
from korat.core.model.key import Key
from korat.core.model.kind import Kind
from korat.core.model.resource import Resource
from korat.core.policy.written import stored_key
from korat.drivers.tally import ask
from korat.lab.state import LabPaths, living_state

#: Kinds whose objects decide.
COUNTED = frozenset(
    {
        "NetworkPolicy",
        "GlobalNetworkPolicy",
        "StagedNetworkPolicy",
        "StagedGlobalNetworkPolicy",
        "StagedKubernetesNetworkPolicy",
        "ClusterNetworkPolicy",
        "Tier",
        "Profile",
    }
)


def counted(kind: Kind, output: str, config: str) -> Kind:
    """The kind with the two columns at the end of its wide table, if its objects decide."""
    if output != "wide" or kind.name not in COUNTED:
        return kind
    sums = _sums(_run_dirs(config))

    def cell(place: int, resource: Resource) -> str:
        return "-" if sums is None else str(sums.get(resource.key, (0, 0))[place])

    more: tuple[Column, ...] = (
        ("PACKETS", lambda resource: cell(0, resource)),
        ("BYTES", lambda resource: cell(1, resource)),
    )
    return replace(kind, wide=(*kind.wide, *more))


def _sums(run_dirs: list[Path]) -> Mapping[Key, tuple[int, int]] | None:
    """Packets and bytes of each object over all agents; None when none of them answers."""
    answers = [answer for answer in map(ask, run_dirs) if answer is not None]
    if not answers:
        return None
    if len(answers) < len(run_dirs):
        say(f"{len(answers)} of {len(run_dirs)} agents answer; PACKETS and BYTES are theirs")
    found: dict[Key, tuple[int, int]] = {}
    for tally in (tally for answer in answers for tally in answer):
        key = stored_key(Key(tally.kind, tally.namespace, tally.name))
        packets, octets = found.get(key, (0, 0))
        found[key] = packets + tally.packets, octets + tally.bytes
    return found


def _run_dirs(config: str) -> list[Path]:
    """Where the agents run: in the lab whose store is asked, or else on this machine."""
    try:
        state = living_state(LabPaths.named_by(os.environ))
        if settings(config, os.environ).get("KORAT_SQLITE_PATH") == state.store_path:
            return [LabPaths(state.name).node(vm.name) for vm in state.vms]
    except KoratError:
        pass  # No lab is up.
    return [Path(os.environ.get("KORAT_RUN_DIR") or RUN_DIR)]
