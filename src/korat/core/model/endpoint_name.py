"""The names of workload endpoints: ``<node>-<orchestrator>-<workload>-<endpoint>``.

A ``-`` inside a part is doubled, and no part may begin or end with one, so a name can be taken
apart again. Source: libcalico-go/lib/names/workloadendpoint.go.
"""

import re
from dataclasses import dataclass

from korat.core.model.label import KUBERNETES

#: Which field holds the third part of the name, by orchestrator; others use ``workload``.
_THIRD = {KUBERNETES: "pod", "cni": "container_id", "libnetwork": ""}

#: A single dash between parts, as against a doubled one inside a part.
_BETWEEN = re.compile(r"(?<!-)-(?!-)")

_PARTS = 4


@dataclass(frozen=True, slots=True)
class EndpointIdentity:
    """What names a workload endpoint within its namespace."""

    node: str = ""
    orchestrator: str = ""
    endpoint: str = ""
    workload: str = ""
    pod: str = ""
    container_id: str = ""


def endpoint_name(identity: EndpointIdentity) -> str:
    """The full name.

    Raises:
        ValueError: a part is missing or begins or ends with a dash; says which.
    """
    parts = []
    for field, value in _fields(identity):
        if not value:
            raise ValueError(f"{field} is needed to name a workload endpoint")
        parts.append(_escaped(field, value))
    return "-".join(parts)


def endpoint_prefix(identity: EndpointIdentity) -> str:
    """What the names of all endpoints that have these parts begin with.

    Raises:
        ValueError: the node is missing, or a part begins or ends with a dash.
    """
    if not identity.node:
        raise ValueError("node is needed to list workload endpoints")
    parts: list[str] = []
    for field, value in _fields(identity):
        if not value:
            return "".join(f"{part}-" for part in parts)
        parts.append(_escaped(field, value))
    return "-".join(parts)


def parse_endpoint_name(name: str) -> EndpointIdentity:
    """The parts of a name, or of the beginning of one.

    Raises:
        ValueError: it has no parts or too many.
    """
    parts = [part.replace("--", "-") for part in _BETWEEN.split(name)]
    if not name or len(parts) > _PARTS:
        raise ValueError(f"{name!r} is not a workload endpoint's name")
    node, orchestrator, third, endpoint = (*parts, "", "", "")[:_PARTS]
    field = _THIRD.get(orchestrator, "workload")
    rest = {field: third} if field else {}
    return EndpointIdentity(node=node, orchestrator=orchestrator, endpoint=endpoint, **rest)


def is_named(identity: EndpointIdentity, name: str) -> bool:
    """Whether ``name`` is a full name with these parts; a part left empty matches any.

    Raises:
        ValueError: the node is missing.
    """
    if not identity.node:
        raise ValueError("node is needed to match a workload endpoint's name")
    if len(_BETWEEN.split(name)) != _PARTS or name.endswith("-"):
        return False
    own = dict(_fields(identity))
    return all(not own.get(field) or own[field] == value for field, value in _named(name))


def _named(name: str) -> list[tuple[str, str]]:
    return _fields(parse_endpoint_name(name))


def _fields(identity: EndpointIdentity) -> list[tuple[str, str]]:
    """The four parts with the name of each, in order."""
    field = _THIRD.get(identity.orchestrator, "workload")
    third = str(getattr(identity, field)) if field else identity.orchestrator
    return [
        ("node", identity.node),
        ("orchestrator", identity.orchestrator),
        (field or "workload", third if identity.orchestrator else ""),
        ("endpoint", identity.endpoint),
    ]


def _escaped(field: str, value: str) -> str:
    if value.startswith("-") or value.endswith("-"):
        raise ValueError(f"{field} {value!r} may not begin or end with a dash")
    return value.replace("-", "--")
