"""The node's own interfaces: read as they are, and heard of when they change."""

import os
import threading

import pytest
from pyroute2 import IPRoute

from korat.agent.intent import NodeState
from korat.core.net.address import Addr
from korat.core.policy.host import HostInterface
from korat.drivers.kernel import namespace
from korat.drivers.kernel.address import all_addresses, own_addresses
from korat.drivers.kernel.monitor import Monitor
from policy_world import NODE, host

pytestmark = pytest.mark.netns


@pytest.fixture
def node():
    name = f"kt-{os.getpid()}-ifaces"
    namespace.create(name)
    try:
        namespace.run_in(name, lambda: _link("add", ifname="eth0", kind="veth", peer="eth0-peer"))
        yield name
    finally:
        namespace.remove(name)


def _link(verb, **words):
    with IPRoute() as ip:
        ip.link(verb, **words)


def _address(verb, text, length):
    with IPRoute() as ip:
        ip.addr(verb, index=ip.link_lookup(ifname="eth0")[0], address=text, prefixlen=length)


def interfaces():
    return tuple(HostInterface(name, found) for name, found in all_addresses().items())


def test_every_interface_is_read_with_all_its_addresses_also_one_that_is_down(node):
    def inside():
        _address("add", "172.16.0.1", 24)
        _address("add", "fd01::1", 64)
        return interfaces(), own_addresses()

    found, own = namespace.run_in(node, inside)
    both = frozenset(map(Addr.parse, ("172.16.0.1", "fd01::1")))
    assert HostInterface("eth0", both) in found
    assert HostInterface("lo", frozenset()) in found
    assert own == both


def test_an_address_that_comes_or_goes_is_told_and_moves_the_policy(node):
    told = threading.Semaphore(0)
    monitor = namespace.run_in(node, lambda: Monitor("korat", told.release, lambda: None))
    state = NodeState(NODE, {})
    by_address = host("", "172.16.0.1")
    state.set(by_address.key, by_address)

    def governed():
        state.see(namespace.run_in(node, interfaces))
        return {key[0] for key in _elements(state.intent().ruleset)}

    try:
        assert governed() == set()
        for verb, expected in (("add", {"eth0"}), ("del", set())):
            namespace.run_in(node, lambda verb=verb: _address(verb, "172.16.0.1", 24))
            assert told.acquire(timeout=20)
            assert governed() == expected
    finally:
        monitor.close()


def _elements(ruleset):
    lookup = ruleset.lookups.get("host-input")
    return lookup.elements if lookup else ()
