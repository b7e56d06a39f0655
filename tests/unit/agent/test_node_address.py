"""The node's own address is announced anew when it changes, and only then."""

import threading

import pytest

from korat.agent.node_address import NodeAddress
from korat.core.errors import NotFound, Unavailable

BEFORE, AFTER = ("10.0.0.4/24", ""), ("10.0.0.5/24", "")


class Node:
    """Interfaces that say ``found``, and a store that takes what it is told."""

    def __init__(self):
        self.found = BEFORE
        self.told = []
        self.faults = []
        self.heard = threading.Event()

    def look(self):
        if self.found is None:
            raise NotFound("no interface has an address")
        return self.found

    def announce(self, addresses):
        if self.faults:
            raise self.faults.pop(0)
        self.told.append(addresses)
        self.heard.set()


@pytest.fixture
def node():
    return Node()


def keeper(node, period_s=60.0):
    return NodeAddress(node.look, node.announce, BEFORE, period_s)


def test_a_change_is_announced_once(node):
    kept = keeper(node)
    kept.look()
    assert node.told == []
    node.found = AFTER
    kept.look()
    kept.look()
    assert node.told == [AFTER]
    node.found = BEFORE
    kept.look()
    assert node.told == [AFTER, BEFORE]


def test_an_address_that_is_gone_for_the_moment_is_no_news(node):
    kept = keeper(node)
    node.found = None
    kept.look()
    assert node.told == []


def test_what_could_not_be_told_is_told_later(node):
    kept = keeper(node)
    node.found, node.faults = AFTER, [Unavailable("the store is away")]
    with pytest.raises(Unavailable):
        kept.look()
    kept.look()
    assert node.told == [AFTER]


@pytest.mark.parametrize("rings", [True, False], ids=["when it is rung", "by itself"])
def test_the_thread_looks(node, rings):
    kept = keeper(node, period_s=60.0 if rings else 0.05)
    kept.start()
    try:
        node.found = AFTER
        if rings:
            kept.ring()
        assert node.heard.wait(5)
        assert node.told == [AFTER]
    finally:
        kept.close()
