"""The names of workload endpoints: ``<node>-<orchestrator>-<workload>-<endpoint>``.

A ``-`` inside a part is doubled, and no part may begin or end with one, so no two endpoints share a
name. Source: libcalico-go/lib/names/workloadendpoint.go.
"""

from dataclasses import dataclass

from korat.core.model.label import KUBERNETES

#: Which field holds the third part of the name, by orchestrator; others use ``workload``.
_THIRD = {KUBERNETES: "pod", "cni": "container_id", "libnetwork": ""}


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
