"""What this node's rules, tier defaults and profiles have counted, since the agent started.

The kernel's counters begin at zero whenever the table is loaded whole; here they only grow. What
the kernel counted between the last reading and such a load is lost.
Not for showing them: ``metrics`` and ``drivers.tally`` do.
"""

import threading
from collections.abc import Callable, Iterable, Mapping

from korat.agent.intent import Intent
from korat.core.model.key import Key
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Policy
from korat.core.policy.outcome import Reason, RuleRef
from korat.drivers.kernel.nft_counter import Count
from korat.drivers.tally import Tally

_NOTHING = Count(0, 0)
_RULE_WORDS = {
    Reason.TIER_DEFAULT: "default",
    Reason.STAGED_DEFAULT: "default",
    Reason.PROFILE_MISSING: "missing",
    Reason.NO_PROFILE_MATCHED: "no profile matched",
}


def words_of(ref: RuleRef) -> dict[str, str]:
    """Who decided, as metrics and log lines name him."""
    key = ref.policy or Key("Tier" if ref.reason is Reason.TIER_DEFAULT else "", "", ref.tier)
    return {
        "direction": ref.direction.value,
        "tier": ref.tier,
        "kind": key.kind,
        "namespace": key.namespace,
        "name": key.name,
        "rule": _RULE_WORDS.get(ref.reason) or _numbered(ref),
    }


def _numbered(ref: RuleRef) -> str:
    """A rule's number; a failsafe port's stands behind a word, for it is no rule of a policy."""
    return ref.text.partition(" ")[2] if ref.index is None or not ref.decides else str(ref.index)


class Totals:
    """Sums of counters that may begin anew at any time."""

    def __init__(self) -> None:
        self._last: dict[str, Count] = {}
        self._sums: dict[str, Count] = {}

    def add(self, now: Mapping[str, Count], names: Iterable[str]) -> Mapping[str, Count]:
        """Take a reading in; returns the sum of each of these names and forgets all others."""
        sums = {name: self._sums.get(name, _NOTHING) for name in names}
        last, self._last = self._last, {name: now[name] for name in sums if name in now}
        for name, count in self._last.items():
            before = last.get(name, _NOTHING)
            fresh = before if count.packets >= before.packets else _NOTHING
            sums[name] = Count(
                sums[name].packets + count.packets - fresh.packets,
                sums[name].bytes + count.bytes - fresh.bytes,
            )
        self._sums = sums
        return sums


class Counting:
    """The node's sums; any thread may ask."""

    def __init__(
        self, enforced: Callable[[], Intent | None], read: Callable[[], Mapping[str, Count]]
    ) -> None:
        """``read`` says what the kernel has counted by now."""
        self._enforced = enforced
        self._read = read
        self._totals = Totals()
        self._lock = threading.Lock()

    def refresh(self) -> Mapping[str, Count]:
        """Take in what the kernel has counted by now; every counter's sum by its name.

        Raises:
            Unavailable: the kernel did not say.
        """
        with self._lock:
            enforced = self._enforced()
            return self._totals.add(self._read(), enforced.ruleset.counters) if enforced else {}

    def tallies(self) -> list[Tally]:
        """All sums of this moment, in a stable order; none before the first policy is in force.

        Raises:
            Unavailable: the kernel did not say.
        """
        enforced = self._enforced()
        if enforced is None:
            return []
        sums = self.refresh()
        actions = _Actions(enforced.around.cluster)
        refs = enforced.ruleset.counters
        known = [(ref.text, ref, sums[name]) for name, ref in refs.items() if name in sums]
        return [_tally(ref, count, actions) for _, ref, count in sorted(known)]


def _tally(ref: RuleRef, count: Count, actions: "_Actions") -> Tally:
    action, staged = actions.of(ref)
    return Tally(**words_of(ref), action=action, staged=staged, packets=count[0], bytes=count[1])


class _Actions:
    """What each rule does, which its reference does not say."""

    def __init__(self, cluster: Cluster) -> None:
        self._profiles = cluster.profiles
        tiers = (*cluster.tiers, *cluster.host_tiers)
        self._denies = {tier.name: tier.denies for tier in tiers}
        self._policies: dict[Key, Policy] = {
            policy.key: policy for tier in tiers for policy in tier.policies
        }

    def of(self, ref: RuleRef) -> tuple[str, bool]:
        """The action in the API's word, and whether it is a staged policy's."""
        if not ref.decides:
            return "Allow", False
        policy = self._policies.get(ref.policy) if ref.policy else None
        staged = policy is not None and policy.staged
        if ref.index is None:
            passes = ref.reason is Reason.TIER_DEFAULT and not self._denies[ref.tier]
            return "Pass" if passes else "Deny", staged
        own = policy or (self._profiles[ref.policy.name] if ref.policy else None)
        return (own.rules(ref.direction)[ref.index].written.action if own else ""), staged
