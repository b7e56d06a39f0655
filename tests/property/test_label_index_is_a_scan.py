"""The label index, after any history, says what a scan of all items would say."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from korat.core.selector import Selector
from korat.core.selector.index import Change, LabelIndex
from strategies_selector import label_maps, small_nodes

ITEMS = st.sampled_from(["pod-1", "pod-2", "pod-3", "set-1"])
PARENTS = st.sampled_from(["ns", "sa", "unknown"])


class IndexAgainstScan(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.index: LabelIndex[str] = LabelIndex()
        self.items: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {}
        self.parents: dict[str, dict[str, str]] = {}
        self.selectors: set[Selector] = set()
        #: Kept from the changes alone, as a consumer of them would.
        self.told: set[tuple[Selector, str]] = set()

    def labels_of(self, item: str) -> dict[str, str]:
        own, parents = self.items[item]
        labels = dict(own)
        for parent in parents:
            for label, value in self.parents.get(parent, {}).items():
                labels.setdefault(label, value)
        return labels

    def take(self, changes: list[Change[str]]) -> None:
        for change in changes:
            pair = (change.selector, change.item)
            assert change.started is (pair not in self.told), "told twice"
            (self.told.add if change.started else self.told.remove)(pair)

    @rule(item=ITEMS, labels=label_maps, parents=st.lists(PARENTS, max_size=3))
    def set_item(self, item, labels, parents):
        self.items[item] = (labels, tuple(parents))
        self.take(self.index.set_item(item, labels, parents))

    @rule(item=ITEMS)
    def remove_item(self, item):
        self.items.pop(item, None)
        self.take(self.index.remove_item(item))

    @rule(parent=PARENTS, labels=label_maps)
    def set_parent(self, parent, labels):
        self.parents[parent] = labels
        self.take(self.index.set_parent(parent, labels))

    @rule(parent=PARENTS)
    def remove_parent(self, parent):
        self.parents.pop(parent, None)
        self.take(self.index.remove_parent(parent))

    @rule(node=small_nodes)
    def add_selector(self, node):
        self.selectors.add(Selector(node))
        self.take(self.index.add_selector(Selector(node)))

    @rule(data=st.data())
    def remove_selector(self, data):
        if self.selectors:
            selector = data.draw(st.sampled_from(sorted(self.selectors, key=str)))
            self.selectors.discard(selector)
            self.take(self.index.remove_selector(selector))

    @invariant()
    def the_index_is_the_scan(self):
        scan = {
            (selector, item)
            for selector in self.selectors
            for item in self.items
            if selector.matches(self.labels_of(item))
        }
        assert self.told == scan
        for selector in self.selectors:
            assert self.index.matching(selector) == {i for s, i in scan if s == selector}
        for item in self.items:
            assert self.index.selectors_of(item) == {s for s, i in scan if i == item}
            assert self.index.labels_of(item) == self.labels_of(item)


IndexAgainstScan.TestCase.settings = settings(stateful_step_count=30)
TestIndexAgainstScan = IndexAgainstScan.TestCase
