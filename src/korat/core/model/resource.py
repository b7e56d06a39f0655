"""What every object has: kind, metadata, spec, status; and the base of korat's frozen structs.

JSON names are Calico's own, camelCase; the structs are frozen and comparable (hashable where no
dict is inside). A field that Calico writes even when it is empty is declared with ``written``.
Source: projectcalico.org/v3 and Kubernetes ObjectMeta.
"""

from typing import Any, TypeVar

import msgspec

from korat.core.model.key import Key

Value = TypeVar("Value")


class Frozen(
    msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, repr_omit_defaults=True
):
    """The base of every value of the model.

    Unknown fields are refused by ``decode``, not here, so that an object written by a newer
    Calico can still be read from a store.
    """


class Open(Frozen, frozen=True):
    """A part of a Kubernetes object of which korat keeps some fields and drops the rest."""


def written(default: Value, name: str | None = None) -> Value:
    """A field that is in the JSON also when it holds its default, as Go writes it.

    ``omit_defaults`` drops a value that *is* the default; msgspec cannot know the value of a
    factory, so a factory is what keeps the field.
    """
    # A struct is made anew each time: it may hold a dict, which no two objects should share.
    fresh = type(default) if isinstance(default, msgspec.Struct) else lambda: default
    field: Value = msgspec.field(default_factory=fresh, name=name)
    return field


class Metadata(Frozen, frozen=True):
    """Kubernetes ObjectMeta, the part Calico keeps."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    owner_references: tuple[dict[str, Any], ...] = ()
    finalizers: tuple[str, ...] = ()
    generate_name: str = ""


class Resource(Frozen, frozen=True):
    """The base of every kind. Each kind adds ``spec`` (and ``status`` where Calico has one)."""

    kind: str = written("")
    api_version: str = written("projectcalico.org/v3")
    metadata: Metadata = written(Metadata())

    @property
    def key(self) -> Key:
        """The object's identity in a store."""
        return Key(self.kind, self.metadata.namespace, self.metadata.name)

    @property
    def title(self) -> str:
        """The object as a user names it, ``NetworkPolicy shop/allow-web``."""
        return str(self.key)
