"""What is said to etcd and what it answers, as values: items, conditions, acts, changes.

Keys are text: Calico's and flannel's are. A key of somebody else's that is no UTF-8 survives the
way in and out. Values are bytes.
"""

from dataclasses import dataclass

_NO_END = b"\0"
_BYTE_MAX = 0xFF


@dataclass(frozen=True, slots=True)
class Item:
    """A key with its value; ``revision`` is of its last change, ``lease`` 0 where it has none."""

    key: str
    value: bytes
    created: int
    revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """Items in the order of their keys, as of one revision; ``more`` where the limit cut."""

    revision: int
    items: tuple[Item, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Absent:
    """A condition: there is no such key."""

    key: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A condition: the key is there, and was changed last at this revision."""

    key: str
    revision: int


Condition = Absent | Unchanged


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key; with a lease, for as long as that lasts."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key; answers what was there."""

    key: str


@dataclass(frozen=True, slots=True)
class Get:
    """Read a key."""

    key: str


Act = Put | Delete | Get


@dataclass(frozen=True, slots=True)
class Outcome:
    """A transaction's end: whether its conditions held, and its revision.

    ``items`` has one entry for each act of the branch that was taken: what a ``Get`` found, what a
    ``Delete`` removed, None for a ``Put`` and where there was nothing.
    """

    succeeded: bool
    revision: int
    items: tuple[Item | None, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A key that was written or removed.

    ``item`` is the new state, None where it was removed; ``before`` what was there, None where
    there was nothing or etcd no longer knows.
    """

    key: str
    revision: int
    item: Item | None
    before: Item | None = None


def to_bytes(key: str) -> bytes:
    """A key as etcd has it."""
    return key.encode("utf-8", "surrogateescape")


def from_bytes(key: bytes) -> str:
    """A key as korat has it."""
    return key.decode("utf-8", "surrogateescape")


def end_of(prefix: bytes) -> bytes:
    """The first key after all that begin with this; etcd's mark for none where there is none."""
    kept = prefix.rstrip(bytes([_BYTE_MAX]))
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else _NO_END
