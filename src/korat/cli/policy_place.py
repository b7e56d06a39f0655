"""Where the rules that decide stand in the files that they came from: ``policies.yaml:27``.

A store does not know its objects' files, so only what ``-f`` named has a place. A rule of a
Kubernetes policy becomes one of Calico's for each of its peers and protocols, so Calico's count is
traced back by converting one Kubernetes rule at a time.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from korat.cli.manifest import Item, Source
from korat.core.model.key import Key
from korat.core.model.kubernetes.manifest import decode_any
from korat.core.model.resource import Resource
from korat.core.policy.outcome import Reason, RuleRef
from korat.core.policy.written import stored_key, written_policy

_CALICO = "projectcalico.org/"


class Places:
    """The places of everything that some files hold.

    ``made`` has the keys of policies that were made of others of the files, whose places they have.
    """

    def __init__(
        self, items: Iterable[Item] = (), made: Mapping[Key, Key] = MappingProxyType({})
    ) -> None:
        self._sources: dict[Key, Source] = {
            resource.key: item.source
            for item in items
            if item.source
            for resource in item.resources
        }
        for origin, key in made.items():
            self._sources.pop(key, None)
            if origin in self._sources:
                self._sources[key] = self._sources[origin]

    def of(self, ref: RuleRef) -> str:
        """``FILE:LINE`` of what decided; empty where no file said it."""
        if ref.reason is Reason.TIER_DEFAULT:
            return self._line(Key("Tier", "", ref.tier), "spec.defaultAction")
        if ref.policy is None or ref.index is None:
            return ""
        source = self._sources.get(stored_key(ref.policy))
        return source.line(_field(source, ref.direction.value, ref.index)) if source else ""

    def object(self, key: Key) -> str:
        """``FILE:LINE`` where an object begins; empty where no file holds it."""
        return self._line(stored_key(key), "")

    def _line(self, key: Key, field: str) -> str:
        source = self._sources.get(key)
        return source.line(field) if source else ""


def _field(source: Source, direction: str, index: int) -> str:
    """The path of a rule in the object as its author wrote it; empty when nobody wrote it there."""
    raw: Any = source.raw
    if not isinstance(raw, Mapping):
        return ""
    calicos = str(raw.get("apiVersion", _CALICO)).startswith(_CALICO)
    if calicos and raw.get("kind") != "StagedKubernetesNetworkPolicy":
        return f"spec.{direction}[{index}]"
    spec: Any = raw.get("spec") or {}
    for at, rule in enumerate(spec.get(direction) or []):
        alone = {**spec, "ingress": [], "egress": [], direction: [rule]}
        index -= _count(decode_any({**raw, "spec": alone}), direction)
        if index < 0:
            return f"spec.{direction}[{at}]"
    return ""


def _count(resources: Iterable[Resource], direction: str) -> int:
    """How many of Calico's rules of a direction there are in some policies."""
    policies = [written.policy for r in resources if (written := written_policy(r)) is not None]
    return sum(len(p.spec.ingress if direction == "ingress" else p.spec.egress) for p in policies)
