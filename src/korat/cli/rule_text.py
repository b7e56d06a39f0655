"""A policy rule in one line of words: ``Allow TCP from app == 'web' to port 5432``."""

from collections.abc import Iterator

from korat.core.model.key import Key
from korat.core.model.kubernetes.policy import ORCHESTRATED
from korat.core.model.policy import EntityRule, Rule
from korat.core.policy.cluster import Cluster
from korat.core.policy.outcome import Direction, profile_key


def rule_text(rule: Rule) -> str:
    """The rule as a person would say it; what is not asked is not said."""
    return " ".join([rule.action, *_protocol(rule), *_ends(rule)])


def _protocol(rule: Rule) -> Iterator[str]:
    if rule.ip_version is not None:
        yield f"IPv{rule.ip_version}"
    if rule.protocol is not None:
        yield str(rule.protocol)
    if rule.not_protocol is not None:
        yield f"not {rule.not_protocol}"
    for word, icmp in (("", rule.icmp), ("not ", rule.not_icmp)):
        if icmp is not None and icmp.type is not None:
            code = "" if icmp.code is None else f" code {icmp.code}"
            yield f"{word}type {icmp.type}{code}"


def _ends(rule: Rule) -> Iterator[str]:
    for word, entity in (("from", rule.source), ("to", rule.destination)):
        parts = list(_entity(entity))
        if parts:
            yield f"{word} {', '.join(parts)}"


def _entity(entity: EntityRule) -> Iterator[str]:
    """What one side must be."""
    if entity.selector:
        # What Kubernetes' policies all begin with says nothing to their author.
        yield entity.selector.removeprefix(ORCHESTRATED).removeprefix(" && ") or "any pod"
    if entity.namespace_selector:
        yield f"namespaces {entity.namespace_selector}"
    if entity.not_selector:
        yield f"not {entity.not_selector}"
    if entity.service_accounts is not None:
        accounts = entity.service_accounts
        said = filter(None, (", ".join(accounts.names), accounts.selector))
        yield f"accounts {' with '.join(said)}"
    if entity.services is not None:
        service = entity.services
        yield f"service {'/'.join(filter(None, (service.namespace, service.name)))}"
    yield from _numbers(entity)


def _numbers(entity: EntityRule) -> Iterator[str]:
    """Its addresses and ports."""
    if entity.nets:
        yield ", ".join(entity.nets)
    if entity.not_nets:
        yield f"not {', '.join(entity.not_nets)}"
    for word, ports in (("", entity.ports), ("not ", entity.not_ports)):
        if ports:
            many = "s" if len(ports) > 1 else ""
            yield f"{word}port{many} {', '.join(map(str, ports))}"


def rules_of(cluster: Cluster, key: Key, direction: Direction) -> tuple[Rule, ...]:
    """The rules of a policy or profile as they are judged, whatever kind it was written as."""
    if key.kind == profile_key("").kind:
        profile = cluster.profiles.get(key.name)
        return tuple(rule.written for rule in profile.rules(direction)) if profile else ()
    tiers = (*cluster.tiers, *cluster.host_tiers)
    policies = (policy for tier in tiers for policy in tier.policies)
    found = next((policy for policy in policies if policy.key == key), None)
    return tuple(rule.written for rule in found.rules(direction)) if found else ()
