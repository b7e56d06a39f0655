"""Outcomes as numbers: what a packet carries when its judgement is done, and what that leads to.

    verdict:  jump outcome                                    the packet carries the outcome now
              counter name meta priority map @counts          who decided
              meta priority set meta priority map @allowed return
              meta priority vmap @trails                      whoever logs, or is only passed by
              drop

Most outcomes are elements of two maps and no chain, so that the kernel need not look through the
whole table again when a policy changes. Those with a trail (Log rules, staged policies, Pass; or a
denial that is told to NFLOG) are in neither, and have a chain that counts, logs and decides. Allow
takes the number from the packet and returns to the hook that asked, which goes on: a packet between
two workloads of one node must pass egress and then ingress.
"""

from collections.abc import Iterator

from korat.core.pmap import PMap
from korat.core.policy.outcome import Action, Outcome, RuleRef
from korat.core.render.nft.key import Field, Key, Type
from korat.core.render.nft.outcome import (
    OutcomeSettings,
    counter_name,
    outcome_chain,
    outcome_name,
    trail_rules,
)
from korat.core.render.nft.ruleset import (
    Chain,
    CounterMap,
    Lookup,
    NumberMap,
    Pace,
    Rule,
    VerdictMap,
    rule,
)
from korat.core.render.nft.statement import (
    DROP,
    REJECT,
    RETURN,
    Carry,
    CarryFrom,
    CounterFrom,
    MapLookup,
    Verdict,
    goto,
    jump,
)
from korat.core.table.number import Numbers

_CARRIED = (Field.CARRIED,)
_NUMBER = (Type.NUMBER,)


class OutcomeMap:
    """The outcomes in use, and the elements, chains and counters that they need."""

    def __init__(self, settings: OutcomeSettings) -> None:
        self._settings = settings
        self._numbers = Numbers()
        self._given: dict[Outcome, int] = {}
        self._uses: dict[Outcome, int] = {}
        self._counting: dict[RuleRef, int] = {}
        self._allowed: dict[Key, int | None] = {}
        self._counts: dict[Key, str | None] = {}
        self._trails: dict[Key, Verdict | None] = {}
        self._chains: dict[str, Chain | None] = {}
        self._refs: dict[str, RuleRef | None] = {}
        self._allowed_map: PMap[Key, int] = PMap()
        self._counts_map: PMap[Key, str] = PMap()
        self._trails_map: PMap[Key, Verdict] = PMap()
        self.chains: PMap[str, Chain] = PMap()
        self.counters: PMap[str, RuleRef] = PMap()

    def use(self, outcome: Outcome) -> int:
        """The outcome's number, with one use more."""
        number = self._given.get(outcome)
        if number is None:
            name = outcome_name(outcome)
            number = self._given[outcome] = self._numbers.give(name)
            self._uses[outcome] = 0
            self._add(outcome, number, f"trail-{name}")
        self._uses[outcome] += 1
        return number

    def drop(self, outcome: Outcome) -> None:
        """One use less; an outcome that nothing leads to goes."""
        self._uses[outcome] -= 1
        if self._uses[outcome]:
            return
        del self._uses[outcome]
        number = self._given.pop(outcome)
        self._numbers.take_back(number)
        self._allowed[number,] = self._counts[number,] = self._trails[number,] = None
        self._chains[f"trail-{outcome_name(outcome)}"] = None
        for ref in outcome.counted:
            self._counting[ref] -= 1
            if not self._counting[ref]:
                del self._counting[ref]
                self._refs[counter_name(ref)] = None

    def settle(self) -> dict[str, Lookup]:
        """End a turn: the maps, with what came and went."""
        self._numbers.settle()
        self._allowed_map = self._allowed_map.changed(self._allowed)
        self._counts_map = self._counts_map.changed(self._counts)
        self._trails_map = self._trails_map.changed(self._trails)
        self.chains = self.chains.changed(self._chains)
        self.counters = self.counters.changed(self._refs)
        self._allowed, self._counts, self._trails = {}, {}, {}
        self._chains, self._refs = {}, {}
        return {
            "allowed": NumberMap(_NUMBER, self._allowed_map, pace=Pace.CONTENT),
            "counts": CounterMap(_NUMBER, self._counts_map),
            "trails": VerdictMap(_NUMBER, self._trails_map, pace=Pace.CONTENT),
        }

    def verdict_chain(self) -> Chain:
        """The chain that every judgement ends with."""
        return Chain(tuple(self._verdict_rules()))

    def _verdict_rules(self) -> Iterator[Rule]:
        yield rule(jump("outcome"))
        yield rule(CounterFrom(_CARRIED, "counts"))
        yield rule(CarryFrom(_CARRIED, "allowed"), RETURN)
        if self._trails_map:
            yield rule(MapLookup(_CARRIED, "trails"))
        yield rule(REJECT if self._settings.reject else DROP)

    def _add(self, outcome: Outcome, number: int, trail: str) -> None:
        if trail_rules(outcome, self._settings):
            ending = outcome_chain(outcome, self._settings).rules
            self._chains[trail] = Chain((rule(Carry(0)), *ending))
            self._trails[number,] = goto(trail)
        else:
            self._counts[number,] = counter_name(outcome.ref)
            if outcome.action is Action.ALLOW:
                self._allowed[number,] = 0
        for ref in outcome.counted:
            if ref not in self._counting:
                self._counting[ref] = 0
                self._refs[counter_name(ref)] = ref
            self._counting[ref] += 1
