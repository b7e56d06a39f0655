"""Azure's own addresses, as far as workloads are refused them: before their egress policy.

One comparison of the destination's address, and only for packets that begin a connection; those to
the platform alone go on to the chain ``platform``. A refusal counts, is told and ends as a policy's
denial does. Not for what the node itself sends, which comes by no workload's interface.
"""

from korat.core.net.port import Protocol
from korat.core.policy.outcome import Action, Outcome
from korat.core.policy.platform import PlatformAccess, PlatformService
from korat.core.render.nft.key import Field
from korat.core.render.nft.outcome import OutcomeSettings, counter_name, outcome_chain
from korat.core.render.nft.ruleset import Chain, Rule, Ruleset, rule
from korat.core.render.nft.statement import Match, goto, jump

_CHAIN = "platform"


def ask_platform(access: PlatformAccess) -> tuple[Rule, ...]:
    """The rule that sends what goes to a refused address to the chain; none without one."""
    addresses = tuple(service.address.value for service in access.refused)
    return (rule(Match(Field.IP_DADDR, addresses), jump(_CHAIN)),) if addresses else ()


def render_platform(access: PlatformAccess, settings: OutcomeSettings) -> Ruleset:
    """The chain, where each refusal ends, and their counters."""
    if not access.refused:
        return Ruleset()
    chains = {_CHAIN: Chain(tuple(map(_led, access.refused)))}
    for service in access.refused:
        chains[_end(service)] = outcome_chain(Outcome(Action.DENY, service.setting), settings)
    counters = {counter_name(s.setting): s.setting for s in access.refused}
    return Ruleset({}, chains, counters)


def _led(service: PlatformService) -> Rule:
    return rule(
        Match(Field.IP_DADDR, (service.address.value,)),
        Match(Field.L4PROTO, (Protocol.TCP,)),
        Match(Field.DPORT, service.ports),
        goto(_end(service)),
    )


def _end(service: PlatformService) -> str:
    return f"{_CHAIN}-{service.setting.reason.value}"
