"""What a store answers: objects as they are kept, with the revisions of their last writes."""

from dataclasses import dataclass

from korat.core.model.key import Key


@dataclass(frozen=True, slots=True)
class Record:
    """One stored object: its key, its JSON as written, and the revision of its last write.

    ``revision`` is what users see as ``metadata.resourceVersion``; 0 before the first write.
    ``value`` never holds a resourceVersion itself.
    """

    key: Key
    value: bytes
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A consistent read: what was there at ``revision``."""

    records: tuple[Record, ...]
    revision: int
