"""The controller of automatic host endpoints against a store."""

import threading

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from korat.controllers.host import HostController, wants_auto_hosts
from korat.core.errors import Invalid
from korat.core.model.controllers import CONFIGURATION_KEY, unused
from korat.core.model.endpoint import Node, NodeBgp, NodeSpec
from korat.core.model.host import HostEndpoint, HostEndpointSpec
from korat.core.model.kubernetes import decode_any
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


def configured(spec):
    (made,) = decode_any(
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "KubeControllersConfiguration",
            "metadata": {"name": "default"},
            "spec": spec,
        }
    )
    return made


def auto(**fields):
    return configured({"controllers": {"node": {"hostEndpoint": fields}}})


def test_the_resource_decides_where_the_environment_does_not():
    store = MemoryStore()
    client = Client(store)
    client.create(node("vm1", "10.0.0.4/24"))
    controller = HostController(store, enabled=None)
    controller.turn()
    assert hosts(store) == {}
    template = {"generateName": "lan", "interfaceCIDRs": ["10.0.0.0/8"]}
    client.create(auto(autoCreate="Enabled", templates=[template]))
    controller.turn()
    both = {"vm1-auto-hep": ("10.0.0.4",), "vm1-lan-auto-hep": ("10.0.0.4",)}
    assert hosts(store) == both

    def configure(made):
        present = client.get(CONFIGURATION_KEY)
        client.update(replace(made, metadata=present.metadata))
        controller.turn()

    configure(
        auto(autoCreate="Enabled", createDefaultHostEndpoint="Disabled", templates=[template])
    )
    assert set(hosts(store)) == {"vm1-lan-auto-hep"}
    configure(configured({"controllers": {}}))
    assert set(hosts(store)) == {"vm1-lan-auto-hep"}, "without the node controller nothing is done"
    HostController(store, enabled=False).turn()
    assert set(hosts(store)) == {"vm1-lan-auto-hep"}
    configure(auto(autoCreate="Disabled"))
    assert hosts(store) == {}


def test_the_environment_beats_the_resource():
    store = MemoryStore()
    client = Client(store)
    client.create(node("vm1", "10.0.0.4/24"))
    template = {"generateName": "lan", "interfaceCIDRs": ["10.0.0.0/8"]}
    client.create(auto(autoCreate="Enabled", templates=[template]))
    HostController(store, enabled=True).turn()
    assert set(hosts(store)) == {"vm1-auto-hep"}
    HostController(store, enabled=False).turn()
    assert hosts(store) == {}


def test_what_of_the_resource_is_not_used_is_named():
    own = configured(
        {
            "logSeverityScreen": "Debug",
            "controllers": {
                "node": {"reconcilerPeriod": "1m", "hostEndpoint": {"autoCreate": "Enabled"}},
                "loadBalancer": {},
            },
        }
    )
    assert [problem.field for problem in unused(own)] == [
        "spec.logSeverityScreen",
        "spec.controllers.node.reconcilerPeriod",
        "spec.controllers.loadBalancer",
    ]
    store = MemoryStore()
    Client(store).create(own)
    with capture_logs() as logs:
        controller = HostController(store, enabled=None)
        controller.turn()
        controller.turn()
    assert len([each for each in logs if each["event"] == "not used"]) == 3


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
    ("word", "wanted"), [("Enabled", True), ("enabled", True), ("disabled", False), ("", None)]
)
def test_the_environment_decides(word, wanted):
    assert wants_auto_hosts({"AUTO_HOST_ENDPOINTS": word}) is wanted
    assert wants_auto_hosts({}) is None


def test_another_word_is_refused():
    with pytest.raises(Invalid, match="must be enabled or disabled"):
        wants_auto_hosts({"AUTO_HOST_ENDPOINTS": "perhaps"})
