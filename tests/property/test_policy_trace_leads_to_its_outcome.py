"""Law: a trace holds exactly what was asked, and the outcome can be read off it."""

from hypothesis import given

from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import verdict
from korat.core.policy.outcome import Action
from korat.core.policy.rule import RuleAction
from strategies_policy import clusters, flows


@given(clusters(), flows())
def test_the_trace_leads_to_the_outcome(resources, sent):
    cluster = Cluster.build(resources)
    for packet in sent:
        found = verdict(cluster, packet)
        sides = [side for side in (found.egress, found.ingress) if side is not None]
        for side in sides:
            check(side)
        denied = [side for side in sides if side.outcome.action is Action.DENY]
        assert found.action is (Action.DENY if denied else Action.ALLOW)


def check(side):
    """The last stage ends it, Log rules are the trail, nothing is asked after a decision.

    Of each staged policy, which logs nothing, the rule that matched is what it would have done.
    """
    *passed, last = side.stages
    assert [stage.ended for stage in passed] == [None] * len(passed)
    assert last.ended == side.outcome
    every = [policy for stage in side.stages for policy in stage.policies]
    policies = [policy for policy in every if not policy.staged]
    asked = [rule for policy in policies for rule in policy.rules]
    logged = [r.ref for r in asked if not r.why_not and r.action is RuleAction.LOG]
    assert tuple(logged) == side.outcome.logs
    for policy in every:
        early = policy.rules[:-1]
        assert all(rule.why_not or rule.action is RuleAction.LOG for rule in early)
    deciders = [r for r in asked if r.ref == side.outcome.ref]
    assert side.outcome.ref.index is None or deciders == asked[-1:]
    staged = [policy for policy in every if policy.staged]
    last_asked = [policy.rules[-1] for policy in staged if policy.rules]
    hits = [r.ref for r in last_asked if not r.why_not and r.action is not RuleAction.LOG]
    assert [ref for ref in side.outcome.staged if ref.index is not None] == hits
