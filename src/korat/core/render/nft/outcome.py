"""Where every judgement ends: what counts, logs and decides.

Everybody whom the packet met on its way has a counter of his own in the table, named by who he is:
it counts for all ways past him, and as long as he is there, whatever else changes.
Source: FelixConfiguration logPrefix and nftablesFilterDenyAction; felix/rules/policy.go.
"""

from dataclasses import dataclass

from korat.core.policy.outcome import Action, Outcome, Reason, RuleRef
from korat.core.render.nft.ruleset import Chain, Rule, digest, rule
from korat.core.render.nft.statement import (
    ACCEPT,
    DROP,
    LOG_PREFIX_MAX,
    REJECT,
    RETURN,
    Counter,
    Limit,
    Log,
    Statement,
)

#: Calico's short names of kinds, for ``%k``.
_SHORT_KINDS = {
    "NetworkPolicy": "np",
    "GlobalNetworkPolicy": "gnp",
    "KubernetesNetworkPolicy": "knp",
    "KubernetesClusterNetworkPolicy": "kcnp",
    "Profile": "pro",
}
_LOG_END = ": "


@dataclass(frozen=True, slots=True)
class DenyLog:
    """Denied packets go to an NFLOG group; of each outcome as many as ``rate`` lets through."""

    group: int
    rate: str
    burst: int


@dataclass(frozen=True, slots=True)
class OutcomeSettings:
    """How outcomes are carried out; ``log_rate`` is ``10/second`` or empty for every packet."""

    reject: bool = False
    log_prefix: str = "calico-packet"
    log_rate: str = ""
    log_burst: int = 5
    deny_log: DenyLog | None = None


def counter_name(ref: RuleRef) -> str:
    """The name of the counter of a rule, a tier's default or whoever else decides."""
    return f"count-{digest(ref.text)}"


def outcome_name(outcome: Outcome) -> str:
    """A name for the outcome, different for different ones.

    A rule keeps its text when its action changes, so what it was passed as belongs to the name.
    """
    trail = (outcome.passes, outcome.logs, outcome.staged)
    words = (f"{place} {ref.text}" for place, refs in enumerate(trail) for ref in refs)
    return f"{outcome.action.value}-{digest(outcome.action.value, outcome.ref.text, *words)}"


def outcome_chain(outcome: Outcome, settings: OutcomeSettings) -> Chain:
    """The chain of an outcome that is led to rule by rule: its trail, its counter, its verdict."""
    deny = REJECT if settings.reject else DROP
    # What policy did not decide ends its base chain here, without what that does for an allow.
    allow = RETURN if outcome.ref.decides else ACCEPT
    end = deny if outcome.action is Action.DENY else allow
    count = Counter(counter_name(outcome.ref))
    return Chain((*trail_rules(outcome, settings), rule(count, end, comment=outcome.ref.text)))


def trail_rules(outcome: Outcome, settings: OutcomeSettings) -> tuple[Rule, ...]:
    """What happens before the verdict: whom the packet passed counts and logs, a denial is told."""
    rules = [log_rule(ref, settings) for ref in outcome.logs]
    if outcome.action is Action.DENY:
        rules += _told(outcome.ref, settings.deny_log)
    counts = [Counter(counter_name(ref)) for ref in outcome.counted if ref != outcome.ref]
    return (*rules, *([Rule(tuple(counts))] if counts else []))


def _told(ref: RuleRef, deny_log: DenyLog | None) -> list[Rule]:
    """Who denied is told by the name of its counter; whoever listens knows whose it is."""
    if deny_log is None:
        return []
    limit = Limit(deny_log.rate, deny_log.burst)
    return [rule(limit, Log(counter_name(ref), deny_log.group))]


def log_rule(ref: RuleRef, settings: OutcomeSettings) -> Rule:
    """What a Log rule does: write a line, as often as is allowed, and go on."""
    limit = (Limit(settings.log_rate, settings.log_burst),) if settings.log_rate else ()
    statements: tuple[Statement, ...] = (*limit, Log(log_prefix(settings.log_prefix, ref)))
    return Rule(statements)


def log_prefix(pattern: str, ref: RuleRef) -> str:
    """The configured prefix with its verbs filled in, cut so that it still ends in a colon."""
    name = ref.policy.name if ref.policy else ""
    place = f"{ref.policy.namespace}/{name}" if ref.policy and ref.policy.namespace else name
    kind = ref.policy.kind if ref.policy else ""
    verbs = {
        "%t": "profile" if ref.reason is Reason.PROFILE_RULE else ref.tier,
        "%k": _SHORT_KINDS.get(kind, kind),
        "%n": name,
        "%p": place,
    }
    words = [verbs.get(word, word) for word in _split(pattern)]
    return "".join(words)[: LOG_PREFIX_MAX - len(_LOG_END)] + _LOG_END


def _split(pattern: str) -> list[str]:
    """The pattern cut into two-letter verbs and the text between them."""
    first, *rest = pattern.split("%")
    words = [first]
    for part in rest:
        words += [f"%{part[:1]}", part[1:]]
    return words
