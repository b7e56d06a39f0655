"""A persistent map and set: changing one makes a new one that shares almost all with the old.

For: state that is large, changes a little at a time and is compared with what it was before, as the
addresses of a cluster are. Keys are spread over a fixed number of small dicts; a change copies the
dicts it touches. A map remembers from which one it was made and by what change, so comparing these
two looks at the change alone; of any others, dicts that are one object on both sides are skipped.
"""

import weakref
from collections.abc import Hashable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Generic, NamedTuple, TypeVar

from typing_extensions import override

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_SHARDS = 1024
_MASK = _SHARDS - 1
#: A change of more than this part of a map is not remembered, as the dicts say it as well.
_MUCH = 4


class Difference(NamedTuple, Generic[K, V]):
    """A key whose value is not the same on both sides; None where it has none."""

    key: K
    before: V | None
    after: V | None


class PMap(Mapping[K, V]):
    """An immutable mapping; values may be anything but None."""

    __slots__ = ("__weakref__", "_change", "_count", "_origin", "_shards")
    _shards: tuple[dict[K, V], ...]
    _count: int
    #: What this was made from, as long as somebody has it: no map keeps all before it alive.
    _origin: "weakref.ref[PMap[K, V]] | None"
    _change: tuple[K, ...]

    def __init__(self, items: Mapping[K, V] | Iterable[tuple[K, V]] = ()) -> None:
        pairs = dict(items)
        shards: list[dict[K, V]] = [{} for _ in range(_SHARDS)] if pairs else [{}] * _SHARDS
        for key, value in pairs.items():
            shards[hash(key) & _MASK][key] = value
        self._shards = tuple(shards)
        self._count = len(pairs)
        self._origin, self._change = None, ()

    def changed(self, changes: Mapping[K, V | None]) -> "PMap[K, V]":
        """This map with other values; None takes a key out.

        Complexity: the number of shards, once, and the size of the shards that are touched.
        """
        if not changes:
            return self
        shards, count = list(self._shards), self._count
        fresh: set[int] = set()
        for key, value in changes.items():
            at = hash(key) & _MASK
            if at not in fresh:
                fresh.add(at)
                shards[at] = dict(shards[at])
            shard = shards[at]
            count -= len(shard)
            if value is None:
                shard.pop(key, None)
            else:
                shard[key] = value
            count += len(shard)
        made: PMap[K, V] = PMap.__new__(PMap)
        made._shards, made._count = tuple(shards), count
        small = len(changes) * _MUCH < count
        made._origin, made._change = (weakref.ref(self), tuple(changes)) if small else (None, ())
        return made

    def differences(self, after: "PMap[K, V]") -> Iterator[Difference[K, V]]:
        """Each key whose value is another object in ``after``, which is not equal either."""
        if self is after:
            return
        origin = after._origin  # noqa: SLF001 -- its own kind
        if origin is not None and origin() is self:
            yield from self._differences_at(after._change, after)  # noqa: SLF001 -- as above
            return
        for old, new in zip(self._shards, after._shards, strict=True):  # noqa: SLF001 -- its own kind
            if old is not new:
                yield from _between(old, new)

    def _differences_at(self, keys: Iterable[K], after: "PMap[K, V]") -> Iterator[Difference[K, V]]:
        for key in keys:
            old, new = self.get(key), after.get(key)
            if old is not new and old != new:
                yield Difference(key, old, new)

    @override
    def __getitem__(self, key: K) -> V:
        return self._shards[hash(key) & _MASK][key]

    @override
    def get(self, key: K, default: V | None = None) -> V | None:  # type: ignore[override]
        return self._shards[hash(key) & _MASK].get(key, default)

    @override
    def __contains__(self, key: object) -> bool:
        return key in self._shards[hash(key) & _MASK]

    @override
    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self._shards)

    @override
    def __len__(self) -> int:
        return self._count

    @override
    def __repr__(self) -> str:
        # Tracebacks print what they see, and this may be a cluster.
        return f"PMap of {self._count}"


class PSet(AbstractSet[K]):
    """An immutable set, kept as the keys of such a map."""

    __slots__ = ("_keys",)
    _keys: PMap[K, bool]

    def __init__(self, items: Iterable[K] = ()) -> None:
        self._keys = PMap((item, True) for item in items)

    def changed(self, changes: Mapping[K, bool]) -> "PSet[K]":
        """This set, in which each of these is (True) or is not (False)."""
        made: PSet[K] = PSet.__new__(PSet)
        made._keys = self._keys.changed({key: there or None for key, there in changes.items()})
        return made

    def differences(self, after: "PSet[K]") -> Iterator[Difference[K, bool]]:
        """Each item that is in one of the two sets only."""
        return self._keys.differences(after._keys)  # noqa: SLF001 -- its own kind

    @override
    def __contains__(self, item: object) -> bool:
        return item in self._keys

    @override
    def __iter__(self) -> Iterator[K]:
        return iter(self._keys)

    @override
    def __len__(self) -> int:
        return len(self._keys)

    @override
    def __repr__(self) -> str:
        return f"PSet of {len(self)}"


def differences(before: Mapping[K, V], after: Mapping[K, V]) -> Iterator[Difference[K, V]]:
    """As ``PMap.differences`` for any two mappings, which is dearer unless both are persistent."""
    if isinstance(before, PMap) and isinstance(after, PMap):
        return before.differences(after)
    return _between(before, after)


def set_differences(before: AbstractSet[K], after: AbstractSet[K]) -> Iterator[Difference[K, bool]]:
    """As ``PSet.differences`` for any two sets, which is dearer unless both are persistent."""
    if isinstance(before, PSet) and isinstance(after, PSet):
        return before.differences(after)
    gone = (Difference[K, bool](key, True, None) for key in before - after)
    return chain(gone, (Difference[K, bool](key, None, True) for key in after - before))


def _between(old: Mapping[K, V], new: Mapping[K, V]) -> Iterator[Difference[K, V]]:
    if old is new:
        return
    for key, before in old.items():
        after = new.get(key)
        if after is not before and after != before:
            yield Difference(key, before, after)
    for key, value in new.items():
        if key not in old:
            yield Difference(key, None, value)
