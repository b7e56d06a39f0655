"""Effective selectors: a policy's namespace and service-account parts folded into one selector.

A policy's ``selector``, ``namespaceSelector`` and ``serviceAccountSelector`` speak of the labels of
three objects; an endpoint carries all of them (profiles lend it the ``pcns.`` and ``pcsa.`` ones),
so one selector over an endpoint's labels says the same.
Source: libcalico-go/lib/backend/syncersv1/updateprocessors (v3 to v1 conversion).
"""

from dataclasses import dataclass
from typing import NamedTuple

from typing_extensions import override

from korat.core.model.label import (
    NAMESPACE,
    NAMESPACE_PREFIX,
    SERVICE_ACCOUNT,
    SERVICE_ACCOUNT_PREFIX,
)
from korat.core.model.policy import EntityRule, GlobalPolicySpec, PolicySpec, ServiceAccountMatch
from korat.core.selector import Selector, conjunction, parse

_NAMESPACED = parse(f"has({NAMESPACE})")
_WITH_ACCOUNT = parse(f"has({SERVICE_ACCOUNT})")


class ServiceName(NamedTuple):
    """A service by its namespace and name."""

    namespace: str
    name: str

    @override
    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom one side of a rule speaks of; None where it does not ask."""

    selector: Selector | None = None
    not_selector: Selector | None = None
    service: ServiceName | None = None


def policy_selector(spec: PolicySpec, namespace: str) -> Selector:
    """The endpoints that a policy applies to; ``namespace`` is empty for a global policy.

    In a global policy with a ``namespaceSelector``, every ``all()`` in it and in ``selector`` means
    whoever is in a namespace, and likewise for service accounts; in a namespaced one it does not.

    Raises:
        SelectorError: one of its selectors is malformed.
    """
    parts = [parse(spec.selector)] if spec.selector.strip() else []
    if namespace:
        parts.append(_in_namespace(namespace))
    if isinstance(spec, GlobalPolicySpec) and spec.namespace_selector:
        parts.append(parse(spec.namespace_selector).prefixed(NAMESPACE_PREFIX))
        parts = [part.with_all(_NAMESPACED) for part in parts]
    if spec.service_account_selector:
        parts.append(parse(spec.service_account_selector).prefixed(SERVICE_ACCOUNT_PREFIX))
        if not namespace:
            parts = [part.with_all(_WITH_ACCOUNT) for part in parts]
    return conjunction(*parts) if parts else parse("")


def entity_scope(entity: EntityRule, namespace: str) -> Scope:
    """The endpoints and sets that one side of a rule asks for.

    In a namespaced policy any selector, even a lone ``notSelector``, speaks of the policy's own
    namespace unless a ``namespaceSelector`` widens it. Beside others, ``notSelector`` is one more
    thing to ask of the same endpoint or set, whoever else has its addresses; alone, in a global
    policy, it excludes addresses, and so matches also those that nobody has.
    A service without a namespace is one of the policy's own.

    Raises:
        SelectorError: one of its selectors is malformed.
    """
    accounts = _accounts(entity.service_accounts) if entity.service_accounts is not None else []
    parts: list[Selector] = []
    if entity.namespace_selector:
        parts.append(_namespaces(entity.namespace_selector))
    elif namespace and (entity.selector or entity.not_selector or accounts):
        parts.append(_in_namespace(namespace))
    parts += accounts
    if entity.selector:
        parts.append(parse(entity.selector))
    excluded = parse(entity.not_selector) if entity.not_selector else None
    service = None
    if entity.services is not None:
        service = ServiceName(entity.services.namespace or namespace, entity.services.name)
    if not parts:
        return Scope(None, excluded, service)
    joined = conjunction(*parts, *([excluded.negated] if excluded is not None else []))
    return Scope(joined, None, service)


def _in_namespace(namespace: str) -> Selector:
    return parse(f"{NAMESPACE} == {_quoted(namespace)}")


def _namespaces(text: str) -> Selector:
    selector = parse(text)
    if selector.is_global:
        return _NAMESPACED.negated
    return selector.prefixed(NAMESPACE_PREFIX).with_all(_NAMESPACED)


def _accounts(accounts: ServiceAccountMatch) -> list[Selector]:
    parts: list[Selector] = []
    if accounts.names:
        names = ", ".join(_quoted(name) for name in accounts.names)
        parts.append(parse(f"{SERVICE_ACCOUNT} in {{ {names} }}"))
    if accounts.selector:
        parts.append(parse(accounts.selector).prefixed(SERVICE_ACCOUNT_PREFIX))
    return parts


def _quoted(text: str) -> str:
    # Names hold no quotes once validated; a stray one must not change what the selector means.
    return f'"{text}"' if "'" in text else f"'{text}'"
