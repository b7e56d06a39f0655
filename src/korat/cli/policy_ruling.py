"""Who ruled, in words: the rule as its author wrote it, or what decided when no rule did."""

from korat.cli.policy_source import Snapshot
from korat.cli.rule_text import rule_text, rules_of
from korat.core.policy.outcome import Reason, RuleRef

#: What decides beside policies.
BESIDE_POLICY = {
    Reason.FAILSAFE: "a failsafe port of the node",
    Reason.FAILSAFE_REPLY: "a reply of a failsafe port of the node",
    Reason.UNDECIDED: "no policy of the host endpoint decides, which allows",
    Reason.UNASKED: "no host endpoint is asked, which allows",
    Reason.WIRESERVER: (
        "koratPodsToWireserver is Refused, which keeps workloads from Azure's wireserver whatever "
        "policy says; a FelixConfiguration with koratPodsToWireserver Allowed lets them"
    ),
    Reason.INSTANCE_METADATA: (
        "koratPodsToInstanceMetadata is Refused, which keeps workloads from Azure's instance "
        "metadata whatever policy says; a FelixConfiguration with koratPodsToInstanceMetadata "
        "Allowed lets them"
    ),
    Reason.TO_HOST: "DefaultEndpointToHostAction, for what a workload sends to its own node",
}


def ruling_words(ref: RuleRef, snapshot: Snapshot) -> str:
    """``NetworkPolicy shop/db rule 0: Allow TCP from app == 'cart' to port pg``."""
    match ref.reason:
        case Reason.TIER_DEFAULT:
            return f"no rule of tier {ref.tier} matches, which denies"
        case Reason.PROFILE_MISSING:
            return f"{ref.policy} does not exist, which denies"
        case Reason.NO_PROFILE_MATCHED:
            return "no profile allows it"
        case reason if reason in BESIDE_POLICY:
            return BESIDE_POLICY[reason]
        case _:
            rules = rules_of(snapshot.cluster, ref.policy, ref.direction) if ref.policy else ()
            index = ref.index or 0
            words = f": {rule_text(rules[index])}" if index < len(rules) else ""
            return f"{ref.policy} rule {index}{words}"
