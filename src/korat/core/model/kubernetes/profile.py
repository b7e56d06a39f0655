"""Namespaces and service accounts as profiles: the labels that pods inherit from them.

Source: libcalico-go/lib/backend/k8s/conversion (NamespaceToProfile, ServiceAccountToProfile).
"""

from collections.abc import Mapping

from korat.core.model.label import (
    ACCOUNT_PROFILE_PREFIX,
    IP_POOLS,
    NAME,
    NAMESPACE_PREFIX,
    NAMESPACE_PROFILE_PREFIX,
    SERVICE_ACCOUNT_PREFIX,
)
from korat.core.model.policy import Profile, ProfileSpec, Rule
from korat.core.model.resource import Metadata

_ALLOW = (Rule(action="Allow"),)


def namespace_profile_name(namespace: str) -> str:
    """``kns.<namespace>``."""
    return f"{NAMESPACE_PROFILE_PREFIX}{namespace}"


def account_profile_name(namespace: str, account: str) -> str:
    """``ksa.<namespace>.<account>``."""
    return f"{ACCOUNT_PROFILE_PREFIX}{namespace}.{account}"


def namespace_profile(
    name: str, labels: Mapping[str, str], annotations: Mapping[str, str] | None = None
) -> Profile:
    """The profile of a namespace: all is allowed, the namespace's labels are inherited.

    ``kubernetes.io/metadata.name`` is added, as the API server adds it to every namespace. Of the
    annotations those stay that say where its pods' addresses come from.
    """
    own = {"kubernetes.io/metadata.name": name, **labels}
    spec = ProfileSpec(
        ingress=_ALLOW, egress=_ALLOW, labels_to_apply=_inherited(NAMESPACE_PREFIX, own, name)
    )
    kept = {key: text for key, text in (annotations or {}).items() if key in IP_POOLS.values()}
    metadata = Metadata(name=namespace_profile_name(name), annotations=kept)
    return Profile(metadata=metadata, spec=spec)


def account_profile(namespace: str, name: str, labels: Mapping[str, str]) -> Profile:
    """The profile of a service account: no rules, its labels are inherited."""
    spec = ProfileSpec(labels_to_apply=_inherited(SERVICE_ACCOUNT_PREFIX, labels, name))
    return Profile(metadata=Metadata(name=account_profile_name(namespace, name)), spec=spec)


def _inherited(prefix: str, labels: Mapping[str, str], name: str) -> dict[str, str]:
    prefixed = {f"{prefix}{key}": labels[key] for key in sorted(labels)}
    return {**prefixed, f"{prefix}{NAME}": name}
