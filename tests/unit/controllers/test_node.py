"""Nodes as the planner sees them, and what the agents are told."""

import json

import pytest

from azure_site import put_node
from korat.controllers.announce import announce_vnet
from korat.controllers.node import udr_nodes
from korat.core.errors import Conflict, Invalid
from korat.core.model.codec import dump
from korat.core.model.endpoint import Node, NodeAddress, NodeBgp, NodeSpec
from korat.core.model.key import Key
from korat.core.model.label import AZURE_SUBNETS, AZURE_VNET
from korat.core.model.resource import Metadata
from korat.core.net.address import Prefix
from korat.core.route.network import Network, Subnet
from korat.drivers.store.memory import MemoryStore
from korat.ports import Record

VNET = (Prefix.parse("10.10.0.0/16"), Prefix.parse("fd00::/48"))
NETWORK = Network(
    "id", "westeurope", VNET, (Subnet("s", "nodes", (Prefix.parse("10.10.0.0/24"),)),)
)
SMALLER = Network("id", "westeurope", VNET[:1])
INFORMATION = Key("ClusterInformation", "", "default")


def test_addresses_come_best_first_and_once():
    addresses = (
        NodeAddress("203.0.113.7", "ExternalIP"),
        NodeAddress("10.10.0.5", "CalicoNodeIP"),
        NodeAddress("10.10.0.4", "InternalIP"),
    )
    bgp = NodeBgp(ipv4_address="10.10.0.4/24", ipv6_address="fd00::4/64")
    node = Node(metadata=Metadata(name="vm1"), spec=NodeSpec(bgp=bgp, addresses=addresses))
    found = udr_nodes([Record(node.key, dump(node), 1)])
    assert [str(addr) for addr in found[0].addresses] == ["10.10.0.4", "10.10.0.5", "fd00::4"]


def test_a_node_that_cannot_be_read_stops_the_plan():
    store = MemoryStore()
    put_node(store, "vm1", "ten", "10.10.128.1/24")
    with pytest.raises(Invalid) as refused:
        udr_nodes(store.list().records)
    assert [p.field for p in refused.value.problems] == ["spec.addresses", "status.podCIDRs"]


def _information(store: MemoryStore) -> Record:
    return next(r for r in store.list().records if r.key == INFORMATION)


def test_the_vnet_is_announced_once_and_nothing_else_changes():
    store = MemoryStore()
    value = {
        "kind": "ClusterInformation",
        "metadata": {"name": "default", "x": 1},
        "spec": {"y": 2},
    }
    store.create(INFORMATION, json.dumps(value).encode())
    assert announce_vnet(store, NETWORK)
    after = json.loads(_information(store).value)
    assert after["metadata"].pop("annotations") == {
        AZURE_VNET: "10.10.0.0/16,fd00::/48",
        AZURE_SUBNETS: "10.10.0.0/24",
    }
    assert after == value
    assert not announce_vnet(store, NETWORK)
    assert announce_vnet(store, SMALLER)


def test_an_empty_store_gets_its_cluster_information():
    store = MemoryStore()
    assert announce_vnet(store, NETWORK)
    assert json.loads(_information(store).value)["spec"]["clusterGUID"]


class Contended(MemoryStore):
    """Someone else writes before the first ``times`` updates."""

    times = 0

    def update(self, key: Key, value: bytes, revision: int) -> Record:
        if self.times:
            self.times -= 1
            super().update(key, _information(self).value, _information(self).revision)
        return super().update(key, value, revision)


@pytest.mark.parametrize(("times", "wins"), [(3, True), (99, False)])
def test_a_lost_race_is_run_again_but_not_for_ever(times: int, *, wins: bool):
    store = Contended()
    announce_vnet(store, NETWORK)
    store.times = times
    if wins:
        assert announce_vnet(store, SMALLER)
    else:
        with pytest.raises(Conflict, match="others keep writing it"):
            announce_vnet(store, SMALLER)
