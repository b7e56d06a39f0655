"""What every object has: kind, metadata, spec, status; and the base of korat's frozen structs.

JSON names are Calico's own, camelCase; the structs are frozen, hashable and comparable.
Source: projectcalico.org/v3 and Kubernetes ObjectMeta.
"""

from typing import Any

import msgspec

from korat.core.model.key import Key


class Frozen(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The base of every value of the model; unknown fields are refused by ``decode``, not here,
    so that an object written by a newer Calico can still be read from a store."""


class Metadata(Frozen, frozen=True):
    """Kubernetes ObjectMeta, the part Calico keeps."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    generate_name: str = ""
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[dict[str, Any], ...] = ()


class Resource(Frozen, frozen=True):
    """The base of every kind. Each kind adds ``spec`` (and ``status`` where Calico has one)."""

    kind: str = ""
    api_version: str = "projectcalico.org/v3"
    metadata: Metadata = Metadata()

    @property
    def key(self) -> Key:
        """The object's identity in a store."""
        return Key(self.kind, self.metadata.namespace, self.metadata.name)
