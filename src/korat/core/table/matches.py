"""Which of many selectors match a label map, without trying them all."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from korat.core.selector import Selector
from korat.core.selector.index import LabelIndex


class SelectorMatches:
    """The answers for a fixed set of selectors, kept per distinct label map."""

    def __init__(self, selectors: Iterable[Selector]) -> None:
        self._index: LabelIndex[frozenset[tuple[str, str]]] = LabelIndex()
        self._known: set[frozenset[tuple[str, str]]] = set()
        for selector in selectors:
            self._index.add_selector(selector)

    def of(self, labels: Mapping[str, str]) -> AbstractSet[Selector]:
        """The selectors that match these labels."""
        item = frozenset(labels.items())
        if item not in self._known:
            self._known.add(item)
            self._index.set_item(item, labels)
        return self._index.selectors_of(item)
