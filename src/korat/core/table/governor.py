"""Which policies govern which of a node's own endpoints, in the order in which they are asked.

Source: felix/calc/policy_sorter.go and policy_resolver.go (order, tiers that nobody stored).
"""

import math
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from korat.core.model.key import Key
from korat.core.policy.entity import Endpoint, Policy
from korat.core.policy.outcome import Direction
from korat.core.selector import Selector
from korat.core.selector.index import LabelIndex


class TierRank(NamedTuple):
    """What tiers are sorted by; one that policies name but nobody stored comes last."""

    missing: bool
    order: float
    name: str


class TierUse(NamedTuple):
    """A tier with those of its policies that govern one direction of an endpoint, in order."""

    name: str
    denies: bool
    policies: tuple[Policy, ...]


class Governors:
    """Policies, tiers, and the local endpoints that they select.

    ``stale`` are the endpoints whose governors may have changed since somebody cleared it.
    """

    def __init__(self) -> None:
        self.stale: set[Key] = set()
        self._local: dict[Key, Endpoint] = {}
        self._policies: dict[Key, Policy] = {}
        self._ranks: dict[Key, tuple[float, str]] = {}
        self._tiers: dict[str, tuple[TierRank, bool]] = {}
        self._by_selector: dict[Selector, set[Key]] = {}
        self._index: LabelIndex[Key] = LabelIndex()

    def set_local(self, key: Key, endpoint: Endpoint | None) -> None:
        """An endpoint of this node, or (None) none any more."""
        self.stale.add(key)
        if endpoint is None:
            self._local.pop(key, None)
            self._index.remove_item(key)
        else:
            self._local[key] = endpoint
            self._index.set_item(key, endpoint.labels)

    def set_policy(self, key: Key, policy: Policy | None) -> None:
        """A policy came, changed, or (None) went."""
        before = self._policies.pop(key, None)
        if before is not None:
            del self._ranks[key]
            own = self._by_selector[before.selector]
            self.stale |= self._index.matching(before.selector)
            own.discard(key)
            if not own:
                del self._by_selector[before.selector]
                self._index.remove_selector(before.selector)
        if policy is not None:
            self._policies[key] = policy
            self._ranks[key] = policy.rank
            self._by_selector.setdefault(policy.selector, set()).add(key)
            self._index.add_selector(policy.selector)
            self.stale |= self._index.matching(policy.selector)

    def set_tier(self, name: str, order: float | None, *, denies: bool) -> None:
        """A stored tier; ``order`` None is after all others."""
        rank = TierRank(False, math.inf if order is None else order, name)
        if self._tiers.get(name) != (rank, denies):
            self._tiers[name] = rank, denies
            self.stale |= self._local.keys()

    def drop_tier(self, name: str) -> None:
        """Nobody stores this tier any more; policies of it are enforced nevertheless."""
        if self._tiers.pop(name, None) is not None:
            self.stale |= self._local.keys()

    def of(self, key: Key, direction: Direction) -> tuple[TierUse, ...]:
        """The tiers that govern one direction of a local endpoint, in order."""
        found = sorted(
            (self._tier(self._policies[own].tier)[0], self._ranks[own], own)
            for selector in self._index.selectors_of(key)
            for own in self._by_selector[selector]
            if direction in self._policies[own].directions
        )
        return tuple(
            TierUse(
                rank.name,
                self._tier(rank.name)[1],
                tuple(self._policies[own] for _, _, own in ranked),
            )
            for rank, ranked in groupby(found, key=itemgetter(0))
        )

    def _tier(self, name: str) -> tuple[TierRank, bool]:
        return self._tiers.get(name) or (TierRank(True, math.inf, name), True)
