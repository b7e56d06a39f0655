"""The one entry for manifests: Kubernetes or Calico objects, single or in a list.

Source: Kubernetes core/v1 and networking.k8s.io/v1; calicoctl's file input (v1.List, XList).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from korat.core.errors import Invalid, Problem
from korat.core.model.cluster_policy import API_VERSION as CLUSTER_POLICY_VERSION
from korat.core.model.decode import examine, examine_part, nearest, others, title
from korat.core.model.default import apply
from korat.core.model.key import DEFAULT_NAMESPACE
from korat.core.model.kubernetes.policy import PREFIX, to_calico
from korat.core.model.kubernetes.profile import account_profile, namespace_profile
from korat.core.model.kubernetes_policy import KubePolicy
from korat.core.model.policy import NetworkPolicy
from korat.core.model.resource import Metadata, Open, Resource
from korat.core.model.validate import validate
from korat.core.model.validate.faults import Faults
from korat.core.model.validate.kubernetes_policy import policy_faults
from korat.core.model.validate.name import metadata

_CALICO = "projectcalico.org/"


class KubeObject(Resource, Open, frozen=True):
    """A Kubernetes object of which only the metadata matters."""


def decode_any(raw: object, where: str = "") -> list[Resource]:
    """Read one document of a manifest: v3, Kubernetes, or a list of either; ready to be stored.

    Raises:
        Invalid: holds every fault of every object in it.
    """
    return _each(raw, where, _read)


def convert(raw: object, where: str = "") -> list[Resource]:
    """Read one Kubernetes object, or a list of them, as what korat stores for it.

    Raises:
        Invalid: holds every fault; also for kinds that networking has no use for.
    """
    return _each(raw, where, _convert)


def _each(
    raw: object, where: str, read: Callable[[Mapping[str, object], str], list[Resource]]
) -> list[Resource]:
    if not isinstance(raw, Mapping):
        raise Invalid([Problem(where, "", raw, "an object must be a mapping")])
    if not _is_list(raw):
        return read(raw, where)
    resources: list[Resource] = []
    problems: list[Problem] = []
    for i, item in enumerate(_items(raw, where)):
        try:
            resources.extend(_each(_typed(item, raw), f"{where}[{i}]", read))
        except Invalid as invalid:
            problems.extend(invalid.problems)
    if problems:
        raise Invalid(problems)
    return resources


def _is_list(raw: Mapping[str, object]) -> bool:
    kind = raw.get("kind")
    return isinstance(kind, str) and kind.endswith("List") and "items" in raw


def _items(raw: Mapping[str, object], where: str) -> Iterable[object]:
    items = raw["items"]
    if items is None:
        return ()
    if not isinstance(items, list | tuple):
        raise Invalid([Problem(title(raw, where), "items", items, "must be a list")])
    return items


def _typed(item: object, parent: Mapping[str, object]) -> object:
    """An item of an ``XList`` may leave out what its list says: that it is an X."""
    kind = str(parent["kind"]).removesuffix("List")
    if not isinstance(item, Mapping) or not kind or item.get("kind"):
        return item
    return {"kind": kind, "apiVersion": parent.get("apiVersion"), **item}


def _read(raw: Mapping[str, object], where: str) -> list[Resource]:
    version, place = raw.get("apiVersion"), title(raw, where)
    foreign = isinstance(version, str) and version and not version.startswith(_CALICO)
    if foreign and _STORED.get(str(raw.get("kind"))) != version:
        return [_checked(each, [], place) for each in _convert(raw, where)]
    resource, problems = examine(raw, where)
    if resource is None:
        raise Invalid(problems)
    return [_checked(_own(resource, place), problems, place)]


def _checked(resource: Resource, problems: list[Problem], place: str) -> Resource:
    """The object with its defaults, unless it has faults; ``problems`` are those known already.

    Faults are told of the object as its author named it.
    """
    filled = apply(resource)
    faults = [replace(each, where=place) for each in others(problems, validate(filled))]
    if problems or faults:
        raise Invalid(problems + faults)
    return filled


def _own(resource: Resource, place: str) -> Resource:
    """Calico keeps what Kubernetes owns under names that users may not take."""
    name = resource.metadata.name
    if isinstance(resource, NetworkPolicy) and name.startswith(PREFIX):
        rule = "kubernetes network policies must be managed through the kubernetes API"
        remedy = "apply it as a networking.k8s.io/v1 NetworkPolicy"
        raise Invalid([Problem(place, "metadata.name", name, f"{rule}; {remedy}")])
    return resource


def _convert(raw: Mapping[str, object], where: str) -> list[Resource]:
    place = title(raw, where)
    kind, version = raw.get("kind"), raw.get("apiVersion")
    match kind, version:
        case ("Namespace", "v1"):
            return [_namespace(raw, place)]
        case ("ServiceAccount", "v1"):
            return [_account(raw, place)]
        case _ if _STORED.get(str(kind)) == version:
            return [_stored(raw, where)]
        case ("NetworkPolicy", "networking.k8s.io/v1"):
            return [_policy(raw, place)]
        case _:
            raise Invalid([_unsupported(kind, version, place)])


#: Kubernetes' kinds that are stored as they are.
_STORED = {
    "Pod": "v1",
    "Service": "v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "ClusterNetworkPolicy": CLUSTER_POLICY_VERSION,
}
_SUPPORTED = {
    "Namespace": "v1",
    "ServiceAccount": "v1",
    **_STORED,
    "NetworkPolicy": "networking.k8s.io/v1",
}
#: What was before ClusterNetworkPolicy, and the tier of each in it.
_GONE = {"AdminNetworkPolicy": "Admin", "BaselineAdminNetworkPolicy": "Baseline"}


def _unsupported(kind: object, version: object, place: str) -> Problem:
    supported = ", ".join(f"{v} {k}" for k, v in _SUPPORTED.items())
    if not kind:
        return Problem(place, "kind", None, "is missing")
    if not isinstance(kind, str):
        return Problem(place, "kind", None, "must be a string")
    if kind in _SUPPORTED:
        rule = f"must be {_SUPPORTED[kind]} for a {kind}"
        return Problem(place, "apiVersion", version or "", rule)
    if kind in _GONE:
        rule = f"is gone from Kubernetes; write a {CLUSTER_POLICY_VERSION} ClusterNetworkPolicy"
        return Problem(place, "kind", kind, f"{rule} of tier {_GONE[kind]}")
    hint = nearest(kind, _SUPPORTED)
    meant = f", did you mean {hint}?" if hint else ""
    rule = f"is not used for networking{meant}; supported are {supported}, projectcalico.org/v3"
    return Problem(place, "kind", kind, rule)


def _stored(raw: Mapping[str, object], where: str) -> Resource:
    own, problems = examine(raw, where)
    if own is None or problems:
        raise Invalid(problems)
    return own


def _policy(raw: Mapping[str, object], place: str) -> Resource:
    policy, problems = examine_part(raw, KubePolicy, place)
    if policy is not None:
        problems += others(problems, policy_faults(policy, place))
    if policy is None or problems:
        raise Invalid(problems)
    return to_calico(policy)


def _namespace(raw: Mapping[str, object], place: str) -> Resource:
    own = _metadata(raw, place)
    return namespace_profile(own.name, own.labels, own.annotations)


def _account(raw: Mapping[str, object], place: str) -> Resource:
    own = _metadata(raw, place)
    return account_profile(own.namespace or DEFAULT_NAMESPACE, own.name, own.labels)


def _metadata(raw: Mapping[str, object], place: str) -> Metadata:
    """The metadata of an object of which nothing else matters."""
    own, problems = examine_part(raw, KubeObject, place)
    if own is not None:
        faults = Faults(place)
        metadata(faults, own)
        problems += others(problems, faults.found)
    if own is None or problems:
        raise Invalid(problems)
    return own.metadata
