"""What the store holds of a node, from its coming to its going."""

import pytest

from korat.core.errors import Conflict
from korat.core.model.config import FelixConfiguration
from korat.core.model.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from korat.core.model.key import Key
from korat.core.model.pod import Pod, PodSpec
from korat.core.model.resource import Metadata
from korat.drivers.store.client import Client
from korat.drivers.store.memory import MemoryStore
from korat.lab.blueprint import Options, blueprint
from korat.lab.node_object import announce, withdraw

VM1, VM2 = blueprint(Options(nodes=2)).vms


@pytest.fixture
def client():
    return Client(MemoryStore())


def keys(client):
    return {f"{key.kind} {key.name}" for key in client.read().by_key if key.kind != "Profile"}


def test_a_node_has_its_address_its_pod_subnet_and_its_settings(client):
    announce(client, VM1)
    node = client.get(Key("Node", "", "vm1"))
    assert [(a.type, a.address) for a in node.spec.addresses] == [("InternalIP", "10.10.0.4")]
    assert node.status.pod_cidrs == ("10.10.128.0/24",)
    assert keys(client) == {"Node vm1", "FelixConfiguration node.vm1"}


def test_a_node_that_is_there_is_not_taken_over_and_settings_that_are_there_stay(client):
    own = FelixConfiguration(metadata=Metadata(name="node.vm1"), spec={"logPrefix": "mine"})
    client.create(own)
    announce(client, VM1)
    assert client.get(own.key).spec == {"logPrefix": "mine"}
    with pytest.raises(
        Conflict, match=r"a Node vm1 already; delete it with: korat delete node vm1"
    ):
        announce(client, VM1)


def test_what_goes_is_the_nodes_and_nothing_else(client):
    for vm in (VM1, VM2):
        announce(client, vm)
        meta = Metadata(name=f"pod-{vm.name}", namespace="a")
        client.create(Pod(metadata=meta, spec=PodSpec(node_name=vm.name)))
        meta = Metadata(name=f"{vm.name}-k8s-pod-eth0", namespace="a")
        client.create(WorkloadEndpoint(metadata=meta, spec=WorkloadEndpointSpec(node=vm.name)))
    client.create(Pod(metadata=Metadata(name="nowhere", namespace="a")))
    assert withdraw(client, "vm2") == ("a/pod-vm2",)
    assert keys(client) == {
        "Node vm1",
        "FelixConfiguration node.vm1",
        "Pod pod-vm1",
        "Pod nowhere",
        "WorkloadEndpoint vm1-k8s-pod-eth0",
    }
    assert withdraw(client, "vm2") == (), "once more is fine"
