"""How an operation on addresses asks the store: it yields requests and is sent the answers.

An operation is a generator, ``Steps[T]``: whoever runs it (``korat.drivers.store.ipam``) carries
out each request and sends back what ``Store`` answers, or throws the error in (``Conflict``,
``NotFound``, ``Unavailable``). So the core decides and does no I/O, and a test can stop, crash and
interleave operations between any two requests.

Every write compares and swaps. ``Unavailable`` means that nobody knows whether a write happened;
no operation goes on after it, and each leaves what the next one can finish or undo.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from msgspec.structs import replace

from korat.core.errors import Invalid, Problem
from korat.core.model.codec import dump, resource_of
from korat.core.model.key import Key, Selection
from korat.core.model.record import Record, Snapshot
from korat.core.model.resource import Resource

T = TypeVar("T")
R = TypeVar("R", bound=Resource)


@dataclass(frozen=True, slots=True)
class Read:
    """``Store.list``; the answer is a Snapshot."""

    wanted: tuple[Selection, ...]


@dataclass(frozen=True, slots=True)
class Create:
    """``Store.create``; the answer is a Record."""

    key: Key
    value: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """``Store.update``; the answer is a Record."""

    key: Key
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Delete:
    """``Store.delete``; the answer is a Record, or None when there was nothing."""

    key: Key
    revision: int


Request = Read | Create | Update | Delete
Answer = Snapshot | Record | None

#: An operation under way, and what it comes to.
Steps = Generator[Request, Answer, T]


@dataclass(frozen=True, slots=True)
class Seen:
    """Objects as they were at one revision, read when they are asked for."""

    records: Mapping[Key, Record]

    def get(self, key: Key, struct: type[R]) -> R | None:
        """One object with its resourceVersion, or None.

        Raises:
            Invalid: what is stored is no such object.
        """
        record = self.records.get(key)
        return None if record is None else _cast(resource_of(record), struct)

    def of(self, struct: type[R]) -> list[R]:
        """The objects of a kind, by name.

        Raises:
            Invalid: what is stored under a name is no such object.
        """
        kind = struct().kind
        keys = sorted(key for key in self.records if key.kind == kind)
        return [_cast(resource_of(self.records[key]), struct) for key in keys]

    def readable(self, struct: type[R]) -> list[R]:
        """Those of a kind that can be read; one that somebody broke must not stop the others."""
        found = []
        for key in self.keys(struct().kind):
            try:
                found.append(_cast(resource_of(self.records[key]), struct))
            except Invalid:
                continue
        return found

    def keys(self, kind: str) -> list[Key]:
        """The keys of a kind, by name; nothing is decoded."""
        return sorted(key for key in self.records if key.kind == kind)


NOTHING = Seen(MappingProxyType({}))


def read(*wanted: Selection) -> Steps[Seen]:
    """What these name, at one revision."""
    if not wanted:
        return NOTHING  # To the store no selection means everything.
    answer = yield Read(wanted)
    if not isinstance(answer, Snapshot):
        raise TypeError(f"a read is answered by a Snapshot, not by {answer!r}")
    return Seen({record.key: record for record in answer.records})


def create(resource: R) -> Steps[R]:
    """Write a new object, and see it with its revision.

    Raises:
        Conflict: it exists already.
    """
    return _written(resource, (yield Create(resource.key, dump(resource))))


def update(resource: R) -> Steps[R]:
    """Replace the object that still has this one's resourceVersion.

    Raises:
        Conflict: it was changed since.
        NotFound: it is gone.
    """
    return _written(resource, (yield Update(resource.key, dump(resource), revision_of(resource))))


def delete(resource: Resource) -> Steps[None]:
    """Remove the object that still has this one's resourceVersion; that it is gone is fine.

    Raises:
        Conflict: it was changed since.
    """
    yield Delete(resource.key, revision_of(resource))


def revision_of(resource: Resource) -> int:
    """The revision at which an object was read or written."""
    return int(resource.metadata.resource_version)


def _written(resource: R, answer: Answer) -> R:
    if not isinstance(answer, Record):
        raise TypeError(f"a write is answered by a Record, not by {answer!r}")
    metadata = replace(resource.metadata, resource_version=str(answer.revision))
    return replace(resource, metadata=metadata)


def _cast(resource: Resource, struct: type[R]) -> R:
    if not isinstance(resource, struct):
        raise Invalid([Problem(resource.title, "kind", resource.kind, "is not what was asked for")])
    return resource
