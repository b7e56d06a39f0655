"""The memory store's own matter: how far back its log goes."""

import pytest

from korat.core.errors import NotFound
from korat.core.model.key import Key
from korat.drivers.store.memory import MemoryStore


def test_a_watch_resumes_from_the_last_forgotten_revision_and_not_before():
    store = MemoryStore(log_max=20)
    for each in range(40):
        store.create(Key("Node", "", f"{each}"), b"")
    with store.watch(20) as watch:
        assert [event.revision for event in watch.poll(0)] == list(range(21, 41))
    with store.watch(19) as watch, pytest.raises(NotFound, match="only those after 20; list again"):
        watch.poll(0)
