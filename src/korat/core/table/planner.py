"""Plans for endpoints: what was lowered once is shared by all whom the same policies govern.

A policy is lowered once per direction and family, a plan is put together once per list of
governors. Both are counted, and give back their atoms when nobody uses them any more.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from korat.core.net.address import Family
from korat.core.policy.entity import Policy, Profile
from korat.core.policy.outcome import Direction, RuleRef
from korat.core.table.atom import Atoms
from korat.core.table.governor import TierUse
from korat.core.table.lower import Block, Lowering, Meanings, Topic
from korat.core.table.plan import Lowered, LoweredStage, LoweredTrial, Plan
from korat.core.table.sequence import Step, policy_steps, profile_steps, tier_end


@dataclass(slots=True, eq=False)
class _Lent:
    """A block and how many plans have it; what it was lowered from is held so that its id stays."""

    block: Block
    source: Policy | Profile
    uses: int = 0


@dataclass(slots=True, eq=False)
class Planned:
    """A plan and how many endpoints have it."""

    plan: Plan
    lent: tuple[_Lent, ...]
    topics: frozenset[Topic]
    key: tuple[object, ...] = ()
    uses: int = 0


class Planner:
    """The plans of one family and direction that are in use."""

    def __init__(
        self, direction: Direction, family: Family, atoms: Atoms, meanings: Meanings
    ) -> None:
        self._direction = direction
        self._family = family
        self._lowering = Lowering(atoms, family, meanings)
        self._blocks: dict[int, _Lent] = {}
        self._plans: dict[tuple[object, ...], Planned] = {}
        self._live: set[Planned] = set()

    def plan(
        self,
        tiers: tuple[TierUse, ...],
        names: tuple[str, ...],
        profiles: Mapping[str, Profile],
    ) -> Planned:
        """The plan of an endpoint with these governors; one use more of it."""
        governors = tuple((t.name, t.denies, tuple(map(id, t.policies))) for t in tiers)
        lent = tuple((name, id(profiles[name]) if name in profiles else 0) for name in names)
        found = self._plans.get((governors, lent))
        if found is None:
            found = self._plans[governors, lent] = self._made(tiers, names, profiles)
            found.key = governors, lent
            self._live.add(found)
        found.uses += 1
        return found

    def release(self, planned: Planned) -> None:
        """One use less."""
        planned.uses -= 1
        if planned.uses:
            return
        self._live.discard(planned)
        self._take_out(planned)
        for lent in planned.lent:
            lent.uses -= 1
            if not lent.uses:
                if self._blocks.get(id(lent.source)) is lent:
                    del self._blocks[id(lent.source)]
                self._lowering.release(lent.block)

    def outdate(self, topics: Iterable[Topic]) -> set[Planned]:
        """The plans into which another meaning of these went; new ones will be made for them."""
        changed = frozenset(topics)
        self._blocks = {
            key: each for key, each in self._blocks.items() if not each.block.topics & changed
        }
        outdated = {each for each in self._live if each.topics & changed}
        for each in outdated:
            self._take_out(each)
        return outdated

    @property
    def peer_mask(self) -> int:
        """Every bit that any plan asks of a peer."""
        mask = 0
        for planned in self._live:
            mask |= planned.plan.peer_mask
        return mask

    def _take_out(self, planned: Planned) -> None:
        """Nobody else gets this plan, though some may have it still."""
        if self._plans.get(planned.key) is planned:
            del self._plans[planned.key]

    def _made(
        self,
        tiers: tuple[TierUse, ...],
        names: tuple[str, ...],
        profiles: Mapping[str, Profile],
    ) -> Planned:
        lent: list[_Lent] = []
        stages = [self._tier(tier, lent) for tier in tiers]
        stages += self._profiles(names, profiles, lent)
        blocks = [each.block for each in lent]
        topics = frozenset[Topic]().union(*(block.topics for block in blocks))
        return Planned(Plan.of(self._direction, stages, blocks), tuple(lent), topics)

    def _tier(self, tier: TierUse, lent: list[_Lent]) -> LoweredStage:
        """The stage of a tier; without a policy that is enforced it denies nothing."""
        enforced = any(not policy.staged for policy in tier.policies)
        rules: list[Lowered] = []
        for policy in tier.policies:
            steps = policy_steps(policy, self._direction, self._family)
            block = self._lend(policy, steps, lent)
            if policy.staged:
                missing = tier.denies and not enforced
                miss = RuleRef.staged_default(self._direction, tier.name, policy.key)
                rules.append(LoweredTrial(block.rules, miss if missing else None))
            else:
                rules += block.rules
        end, passing = tier_end(tier.name, self._direction, denies=tier.denies, enforced=enforced)
        return LoweredStage(self._direction, rules, end, passing)

    def _profiles(
        self, names: Iterable[str], profiles: Mapping[str, Profile], lent: list[_Lent]
    ) -> Iterator[LoweredStage]:
        for name in names:
            profile = profiles.get(name)
            if profile is None:
                missing = RuleRef.profile_missing(self._direction, name)
                yield LoweredStage(self._direction, (), missing)
                return
            steps = profile_steps(profile, self._direction, self._family)
            yield LoweredStage(self._direction, self._lend(profile, steps, lent).rules, None)
        yield LoweredStage(self._direction, (), RuleRef.no_profile_matched(self._direction))

    def _lend(self, source: Policy | Profile, steps: Iterable[Step], lent: list[_Lent]) -> Block:
        """What a policy or profile is lowered to; lowered only if it is not yet."""
        found = self._blocks.get(id(source))
        if found is None:
            found = self._blocks[id(source)] = _Lent(self._lowering.block(steps), source)
        found.uses += 1
        lent.append(found)
        return found.block
