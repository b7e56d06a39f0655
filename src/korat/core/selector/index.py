"""Which items match which selectors, kept up to date as both change.

Items have labels of their own and inherit those of their parents (a pod's profiles: its namespace
and service account). Each selector hangs on the one label restriction that leaves the fewest
candidates, so a change of an item evaluates only selectors that its labels lead to, and a new
selector evaluates only items that its restriction leads to.

The index holds no callbacks: every change of it returns the matches that started and stopped.

Source: felix/labelindex (InheritIndex), whose semantics of inheritance these are.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Generic, NamedTuple, TypeVar

from korat.core.selector.restriction import restrictions
from korat.core.selector.selector import Selector

T = TypeVar("T", bound=Hashable)

Labels = Mapping[str, str]


class Change(NamedTuple, Generic[T]):
    """A match that started, or one that stopped."""

    selector: Selector
    item: T
    started: bool


class _Anchor(NamedTuple):
    """Where a selector hangs: on values of a label, on a label, or with neither, on every item."""

    label: str | None
    values: frozenset[str] | None


class LabelIndex(Generic[T]):
    """Items, their parents, selectors, and who matches whom.

    Invariant: ``matching(s)`` is what a scan of all items with ``s.matches`` would find.
    """

    def __init__(self) -> None:
        self._own: dict[T, tuple[Labels, tuple[str, ...]]] = {}
        self._parents: dict[str, Labels] = {}
        self._children: dict[str, set[T]] = {}
        self._labels: dict[T, Labels] = {}
        self._items: dict[str, dict[str, set[T]]] = {}
        self._anchored: dict[tuple[str | None, str | None], set[Selector]] = {}
        self._matching: dict[Selector, set[T]] = {}
        self._matched: dict[T, set[Selector]] = {}

    def matching(self, selector: Selector) -> AbstractSet[T]:
        """The items that match a selector that was added; not to be kept across changes."""
        return self._matching[selector]

    def selectors_of(self, item: T) -> AbstractSet[Selector]:
        """The added selectors that match an item; not to be kept across changes."""
        return self._matched.get(item, set())

    def labels_of(self, item: T) -> Labels:
        """An item's labels, inherited ones included."""
        return self._labels[item]

    def set_item(self, item: T, labels: Labels, parents: Iterable[str] = ()) -> list[Change[T]]:
        """Add an item, or replace its labels and parents.

        Own labels win over inherited ones, earlier parents over later ones; a parent that is not
        known yet has no labels. The labels are kept as they are, so they must not change.
        """
        self._forget_parents(item)
        own = (labels, tuple(parents))
        self._own[item] = own
        for parent in own[1]:
            self._children.setdefault(parent, set()).add(item)
        return self._relabelled(item)

    def remove_item(self, item: T) -> list[Change[T]]:
        """Forget an item; nothing happens when it is not there."""
        if item not in self._own:
            return []
        self._forget_parents(item)
        del self._own[item]
        self._unfile(item, self._labels.pop(item))
        stopped = self._matched.pop(item)
        for selector in stopped:
            self._matching[selector].discard(item)
        return [Change(selector, item, False) for selector in stopped]

    def set_parent(self, parent: str, labels: Labels) -> list[Change[T]]:
        """Give a parent its labels, and all its children with it."""
        self._parents[parent] = dict(labels)
        return self._relabelled_children(parent)

    def remove_parent(self, parent: str) -> list[Change[T]]:
        """Take a parent's labels from its children; they stay its children."""
        self._parents.pop(parent, None)
        return self._relabelled_children(parent)

    def add_selector(self, selector: Selector) -> list[Change[T]]:
        """Start to keep a selector's matches; nothing happens when it is there already."""
        if selector in self._matching:
            return []
        anchor = _anchor(selector)
        for place in _places(anchor):
            self._anchored.setdefault(place, set()).add(selector)
        matches, labels = selector.matches, self._labels
        found = {item for item in self._candidates(anchor) if matches(labels[item])}
        self._matching[selector] = found
        for item in found:
            self._matched[item].add(selector)
        return [Change(selector, item, True) for item in found]

    def remove_selector(self, selector: Selector) -> list[Change[T]]:
        """Stop keeping a selector's matches; nothing happens when it is not there."""
        if selector not in self._matching:
            return []
        for place in _places(_anchor(selector)):
            self._anchored[place].discard(selector)
            if not self._anchored[place]:
                del self._anchored[place]
        stopped = self._matching.pop(selector)
        for item in stopped:
            self._matched[item].discard(selector)
        return [Change(selector, item, False) for item in stopped]

    def _forget_parents(self, item: T) -> None:
        _, parents = self._own.get(item, ({}, ()))
        for parent in set(parents):
            self._children[parent].discard(item)
            if not self._children[parent]:
                del self._children[parent]

    def _relabelled_children(self, parent: str) -> list[Change[T]]:
        children = tuple(self._children.get(parent, ()))
        return [change for child in children for change in self._relabelled(child)]

    def _effective(self, item: T) -> Labels:
        own, parents = self._own[item]
        if not parents:
            return own
        labels: dict[str, str] = {}
        for parent in reversed(parents):
            labels.update(self._parents.get(parent, {}))
        labels.update(own)
        return labels

    def _relabelled(self, item: T) -> list[Change[T]]:
        labels, before = self._effective(item), self._labels.get(item)
        if labels == before:
            return []
        self._unfile(item, before or {})
        self._file(item, labels)
        self._labels[item] = labels
        now = {selector for selector in self._leading_to(labels) if selector.matches(labels)}
        then = self._matched.get(item, set())
        self._matched[item] = now
        for selector in then - now:
            self._matching[selector].discard(item)
        for selector in now - then:
            self._matching[selector].add(item)
        return [Change(selector, item, False) for selector in then - now] + [
            Change(selector, item, True) for selector in now - then
        ]

    def _file(self, item: T, labels: Labels) -> None:
        for label, value in labels.items():
            self._items.setdefault(label, {}).setdefault(value, set()).add(item)

    def _unfile(self, item: T, labels: Labels) -> None:
        for label, value in labels.items():
            by_value = self._items[label]
            by_value[value].discard(item)
            if not by_value[value]:
                del by_value[value]
            if not by_value:
                del self._items[label]

    def _leading_to(self, labels: Labels) -> Iterator[Selector]:
        """The selectors that labels like these may match."""
        yield from self._anchored.get((None, None), ())
        for label, value in labels.items():
            yield from self._anchored.get((label, None), ())
            yield from self._anchored.get((label, value), ())

    def _candidates(self, anchor: _Anchor) -> Iterable[T]:
        """The items that a selector hanging there may match."""
        if anchor.label is None:
            return self._labels
        by_value = self._items.get(anchor.label, {})
        values = by_value.keys() if anchor.values is None else anchor.values
        return (item for value in values for item in by_value.get(value, ()))


def _anchor(selector: Selector) -> _Anchor:
    """The narrowest restriction: fewest values, else a label that must be there."""
    best = _Anchor(None, None)
    for label, restriction in sorted(restrictions(selector.root).items()):
        values = restriction.values
        if values is not None and (best.values is None or len(values) < len(best.values)):
            best = _Anchor(label, values)
        elif restriction.present and best.label is None:
            best = _Anchor(label, None)
    return best


def _places(anchor: _Anchor) -> Iterable[tuple[str | None, str | None]]:
    if anchor.values is None:
        return ((anchor.label, None),)
    return ((anchor.label, value) for value in anchor.values)
