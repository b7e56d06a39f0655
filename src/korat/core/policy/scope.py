"""Effective selectors: a policy's namespace and service-account parts folded into one selector.

A policy's ``selector``, ``namespaceSelector`` and ``serviceAccountSelector`` speak of the labels of
three objects; an endpoint carries all of them (profiles lend it the ``pcns.`` and ``pcsa.`` ones),
so one selector over an endpoint's labels says the same.
Source: libcalico-go/lib/backend/syncersv1/updateprocessors (v3 to v1 conversion).
"""

from dataclasses import dataclass

from korat.core.model.label import (
    NAMESPACE,
    NAMESPACE_PREFIX,
    SERVICE_ACCOUNT,
    SERVICE_ACCOUNT_PREFIX,
)
from korat.core.model.policy import EntityRule, GlobalPolicySpec, PolicySpec, ServiceAccountMatch
from korat.core.selector import Selector, conjunction, parse


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom one side of a rule speaks of; None where it does not ask."""

    selector: Selector | None = None
    not_selector: Selector | None = None


def policy_selector(spec: PolicySpec, namespace: str) -> Selector:
    """The endpoints that a policy applies to; ``namespace`` is empty for a global policy.

    Raises:
        SelectorError: one of its selectors is malformed.
    """
    parts = [parse(spec.selector)] if spec.selector.strip() else []
    if namespace:
        parts.append(_in_namespace(namespace))
    if isinstance(spec, GlobalPolicySpec) and spec.namespace_selector:
        parts.append(_namespaces(spec.namespace_selector))
    if spec.service_account_selector:
        parts.append(_service_accounts(spec.service_account_selector))
    return conjunction(*parts) if parts else parse("")


def entity_scope(entity: EntityRule, namespace: str) -> Scope:
    """The endpoints and sets that one side of a rule asks for.

    In a namespaced policy any selector, even a lone ``notSelector``, speaks of the policy's own
    namespace unless a ``namespaceSelector`` widens it.

    Raises:
        SelectorError: one of its selectors is malformed.
    """
    accounts = entity.service_accounts
    parts: list[Selector] = []
    if entity.namespace_selector:
        parts.append(_namespaces(entity.namespace_selector))
    elif namespace and (entity.selector or entity.not_selector or accounts is not None):
        parts.append(_in_namespace(namespace))
    if accounts is not None:
        parts.extend(_accounts(accounts))
    if entity.selector:
        parts.append(parse(entity.selector))
    return Scope(
        conjunction(*parts) if parts else None,
        parse(entity.not_selector) if entity.not_selector else None,
    )


def _in_namespace(namespace: str) -> Selector:
    return parse(f"{NAMESPACE} == {_quoted(namespace)}")


def _namespaces(text: str) -> Selector:
    selector = parse(text)
    if selector.is_global:
        return parse(f"!has({NAMESPACE})")
    if selector.is_all:
        return parse(f"has({NAMESPACE})")
    return selector.prefixed(NAMESPACE_PREFIX)


def _service_accounts(text: str) -> Selector:
    selector = parse(text)
    if selector.is_all:
        return parse(f"has({SERVICE_ACCOUNT})")
    return selector.prefixed(SERVICE_ACCOUNT_PREFIX)


def _accounts(accounts: ServiceAccountMatch) -> list[Selector]:
    parts: list[Selector] = []
    if accounts.names:
        names = ", ".join(_quoted(name) for name in accounts.names)
        parts.append(parse(f"{SERVICE_ACCOUNT} in {{ {names} }}"))
    if accounts.selector:
        parts.append(_service_accounts(accounts.selector))
    return parts


def _quoted(text: str) -> str:
    # Names hold no quotes once validated; a stray one must not change what the selector means.
    return f'"{text}"' if "'" in text else f"'{text}'"
