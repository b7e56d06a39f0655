"""The one entry for manifests: Kubernetes or Calico objects, single or in a list.

Source: Kubernetes core/v1 and networking.k8s.io/v1; calicoctl's file input (v1.List, XList).
"""

from collections.abc import Callable, Iterable, Mapping

from korat.core.errors import Invalid, Problem
from korat.core.model.decode import decode, decode_part, nearest, title
from korat.core.model.kubernetes.policy import KubePolicy, to_calico
from korat.core.model.kubernetes.profile import account_profile, namespace_profile
from korat.core.model.resource import Open, Resource

_CALICO = "projectcalico.org/"


class KubeObject(Resource, Open, frozen=True):
    """A Kubernetes object of which only the metadata matters."""


def decode_any(raw: object, where: str = "") -> list[Resource]:
    """Read one document of a manifest: v3, Kubernetes, or a list of either.

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
    version = raw.get("apiVersion")
    if isinstance(version, str) and version and not version.startswith(_CALICO):
        return _convert(raw, where)
    return [decode(raw, where)]


def _convert(raw: Mapping[str, object], where: str) -> list[Resource]:
    place = title(raw, where)
    kind, version = raw.get("kind"), raw.get("apiVersion")
    match kind, version:
        case ("Namespace", "v1"):
            return [_namespace(raw, place)]
        case ("ServiceAccount", "v1"):
            return [_account(raw, place)]
        case ("Pod", "v1"):
            return [decode(raw, where)]
        case ("NetworkPolicy", "networking.k8s.io/v1"):
            return [to_calico(decode_part(raw, KubePolicy, place))]
        case _:
            raise Invalid([_unsupported(kind, version, place)])


_SUPPORTED = {
    "Namespace": "v1",
    "ServiceAccount": "v1",
    "Pod": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
}


def _unsupported(kind: object, version: object, place: str) -> Problem:
    supported = ", ".join(f"{v} {k}" for k, v in _SUPPORTED.items())
    if not kind:
        return Problem(place, "kind", None, "is missing")
    if kind in _SUPPORTED:
        rule = f"must be {_SUPPORTED[str(kind)]} for a {kind}"
        return Problem(place, "apiVersion", version or "", rule)
    hint = nearest(str(kind), _SUPPORTED)
    meant = f", did you mean {hint}?" if hint else ""
    rule = f"is not used for networking{meant} Supported: {supported}, projectcalico.org/v3"
    return Problem(place, "kind", kind, rule)


def _namespace(raw: Mapping[str, object], place: str) -> Resource:
    metadata = decode_part(raw, KubeObject, place).metadata
    return namespace_profile(metadata.name, metadata.labels)


def _account(raw: Mapping[str, object], place: str) -> Resource:
    metadata = decode_part(raw, KubeObject, place).metadata
    return account_profile(metadata.namespace or "default", metadata.name, metadata.labels)
