"""The controller of automatic host endpoints against a store."""

import threading

import pytest
from msgspec.structs import replace

from korat.controllers.host import HostController, wants_auto_hosts
from korat.core.errors import Invalid
from korat.core.model.endpoint import Node, NodeBgp, NodeSpec
from korat.core.model.host import HostEndpoint, HostEndpointSpec
from korat.core.model.resource import Metadata
from korat.drivers.store.client import Client
from korat.drivers.store.memory import MemoryStore


def node(name, address, **labels):
    return Node(
        metadata=Metadata(name=name, labels=labels),
        spec=NodeSpec(bgp=NodeBgp(ipv4_address=address)),
    )


def hosts(store):
    found = Client(store).read(["HostEndpoint"]).of("HostEndpoint")
    return {host.metadata.name: host.spec.expected_ips for host in found}


def test_it_follows_the_nodes():
    store = MemoryStore()
    client = Client(store)
    controller = HostController(store, enabled=True)
    client.create(node("vm1", "10.0.0.4/24"))
    client.create(
        HostEndpoint(
            metadata=Metadata(name="mine"), spec=HostEndpointSpec(node="vm9", interface_name="eth0")
        )
    )
    controller.turn()
    assert hosts(store) == {"mine": (), "vm1-auto-hep": ("10.0.0.4",)}
    present = client.get(node("vm1", "").key)
    client.update(replace(node("vm1", "10.0.0.5/24", zone="a"), metadata=present.metadata))
    controller.turn()
    assert hosts(store) == {"mine": (), "vm1-auto-hep": ("10.0.0.5",)}
    assert controller.turn().empty
    client.delete(present.key)
    controller.turn()
    assert hosts(store) == {"mine": ()}


def test_switched_off_it_removes_its_own():
    store = MemoryStore()
    Client(store).create(node("vm1", "10.0.0.4/24"))
    HostController(store, enabled=True).turn()
    HostController(store, enabled=False).turn()
    assert hosts(store) == {}


def test_it_runs_until_it_is_told():
    store = MemoryStore()
    controller = HostController(store, enabled=True)
    revision = store.list().revision
    thread = threading.Thread(target=controller.run)
    thread.start()
    with store.watch(revision) as watch:
        Client(store).create(node("vm1", "10.0.0.4/24"))
        seen = set()
        while "HostEndpoint" not in seen:
            events = watch.poll(20)
            assert events
            seen |= {event.key.kind for event in events}
    controller.stop()
    thread.join()
    assert hosts(store) == {"vm1-auto-hep": ("10.0.0.4",)}


@pytest.mark.parametrize(
    ("word", "wanted"), [("Enabled", True), ("enabled", True), ("disabled", False), ("", False)]
)
def test_the_environment_decides(word, wanted):
    assert wants_auto_hosts({"AUTO_HOST_ENDPOINTS": word}) is wanted
    assert wants_auto_hosts({}) is False


def test_another_word_is_refused():
    with pytest.raises(Invalid, match="must be enabled or disabled"):
        wants_auto_hosts({"AUTO_HOST_ENDPOINTS": "perhaps"})
