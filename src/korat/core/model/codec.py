"""Objects as a store keeps them: compact JSON in Calico's key order, without a resourceVersion.

For trusted data that this program or Calico wrote; what users write goes through ``decode``.
Fields that this version does not know are ignored, as Calico's clients do.
"""

from typing import Any

import msgspec
from msgspec.structs import replace

from korat.core.errors import Invalid, Problem
from korat.core.model.key import Key
from korat.core.model.kind import KINDS
from korat.core.model.record import Record
from korat.core.model.resource import Resource

_DECODERS: dict[str, msgspec.json.Decoder[Resource]] = {
    name: msgspec.json.Decoder(kind.struct) for name, kind in KINDS.items()
}
_ENCODER = msgspec.json.Encoder()


def load(key: Key, value: bytes) -> Resource:
    """Read a stored object.

    Raises:
        Invalid: the stored bytes are not an object of this kind.
    """
    decoder = _DECODERS.get(key.kind)
    if decoder is None:
        raise Invalid([Problem(str(key), "kind", key.kind, "korat does not know this kind")])
    try:
        found = decoder.decode(value)
    except (ValueError, RecursionError) as error:  # msgspec's own, bad UTF-8, endless nesting
        raise Invalid([Problem(str(key), "", None, f"the stored value: {error}")]) from error
    if found.key != key:
        # Else a policy that stands in one namespace could speak for another.
        raise Invalid([Problem(str(key), "metadata.name", str(found.key), "is another object's")])
    return found


def resource_of(record: Record) -> Resource:
    """A stored object with its revision as its resourceVersion.

    Raises:
        Invalid: the stored bytes are not an object of this kind.
    """
    found = load(record.key, record.value)
    return replace(found, metadata=replace(found.metadata, resource_version=str(record.revision)))


def dump(resource: Resource) -> bytes:
    """The bytes a store keeps."""
    return _ENCODER.encode(_without_revision(resource))


def to_dict(resource: Resource, revision: int = 0) -> dict[str, Any]:
    """The object as it is printed; ``revision`` 0 prints no resourceVersion."""
    raw: dict[str, Any] = msgspec.json.decode(dump(resource))
    if revision:
        raw["metadata"]["resourceVersion"] = str(revision)
    return raw


def _without_revision(resource: Resource) -> Resource:
    if not resource.metadata.resource_version:
        return resource
    metadata = replace(resource.metadata, resource_version="")
    return replace(resource, metadata=metadata)
