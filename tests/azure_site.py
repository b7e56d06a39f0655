"""A lab's Azure for tests: ARM over HTTPS on loopback, driven by the unmodified SDK."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.identity import ManagedIdentityCredential
from azure.mgmt.network import NetworkManagementClient

from korat.core.model.codec import dump
from korat.core.model.endpoint import Node, NodeAddress, NodeSpec, NodeStatus
from korat.core.model.resource import Metadata
from korat.drivers.azure.config import CloudConfig, parse
from korat.lab.arm.fault import Faults
from korat.lab.arm.model import Model
from korat.lab.arm.operations import Style
from korat.lab.arm.path import Target
from korat.lab.arm.resource import interface, virtual_network
from korat.lab.arm.serve import ArmServer
from korat.ports import Store

SUBSCRIPTION = "00000000-0000-0000-0000-00000000ab1e"
GROUP = "korat-lab"
LOCATION = "westeurope"
NETWORK_ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Network"
SUBNET_ID = f"{NETWORK_ID}/virtualNetworks/vnet/subnets/nodes"
AUDIENCE = "https://management.azure.com/.default"


@dataclass(frozen=True)
class Site:
    """A running ARM, a client of it, and what korat would read in azure.json."""

    server: ArmServer
    client: NetworkManagementClient
    config: CloudConfig

    @property
    def model(self) -> Model:
        return self.server.arm.model

    @property
    def faults(self) -> Faults:
        return self.server.arm.faults

    def reset(self, model: Model) -> None:
        """Another subscription behind the same endpoint: starting servers is what takes time."""
        self.server.arm.model = model
        self.server.arm.faults = Faults()
        self.server.arm.style = Style()
        self.server.arm.journal.clear()

    def writes(self) -> list[tuple[str, str]]:
        return [entry for entry in self.server.arm.journal if entry[0] != "GET"]

    def style(self, style: Style) -> None:
        self.server.arm.style = style


def target(kind: str, name: str) -> Target:
    return Target(SUBSCRIPTION, GROUP, kind, name)


def furnished(vms: int) -> Model:
    """A VNet 10.10.0.0/16 with subnet nodes 10.10.0.0/24 and VMs from 10.10.0.4."""
    model = Model(SUBSCRIPTION, {GROUP: LOCATION})
    subnet = {"name": "nodes", "properties": {"addressPrefix": "10.10.0.0/24"}}
    properties = {"addressSpace": {"addressPrefixes": ["10.10.0.0/16"]}, "subnets": [subnet]}
    network = {"location": LOCATION, "properties": properties}
    virtual_network.put(model, target("virtualNetworks", "vnet"), network)
    for number in range(1, vms + 1):
        nic = target("networkInterfaces", f"vm{number}-nic")
        interface.put(model, nic, nic_body(f"10.10.0.{number + 3}"))
        interface.attach(model, nic, f"vm{number}")
    return model


def nic_body(address: str = "", subnet_id: str = SUBNET_ID) -> dict[str, object]:
    properties: dict[str, object] = {"subnet": {"id": subnet_id}, "primary": True}
    if address:
        properties |= {"privateIPAddress": address, "privateIPAllocationMethod": "Static"}
    configuration = {"name": "primary", "properties": properties}
    return {"location": LOCATION, "properties": {"ipConfigurations": [configuration]}}


def cloud_config(endpoint: str) -> dict[str, object]:
    return {
        "cloud": "AzurePublicCloud",
        "subscriptionId": SUBSCRIPTION,
        "resourceGroup": GROUP,
        "location": LOCATION,
        "vnetName": "vnet",
        "subnetName": "nodes",
        "routeTableName": "korat-routes",
        "useManagedIdentityExtension": True,
        "resourceManagerEndpoint": endpoint,
    }


@contextmanager
def running_site(directory: Path, model: Model) -> Iterator[Site]:
    """Serve a model; the environment points the SDK at it meanwhile."""
    with ArmServer(model, directory) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        with ManagedIdentityCredential() as credential:
            client = NetworkManagementClient(
                credential, SUBSCRIPTION, base_url=server.url, credential_scopes=[AUDIENCE]
            )
            with client:
                yield Site(server, client, parse(cloud_config(server.url), "azure.json"))


def put_node(store: Store, name: str, address: str, *pod_cidrs: str) -> None:
    """Create a Node, or replace it."""
    addresses = (NodeAddress(address, "InternalIP"),) if address else ()
    spec, status = NodeSpec(addresses=addresses), NodeStatus(pod_cidrs=pod_cidrs)
    node = Node(metadata=Metadata(name=name), spec=spec, status=status)
    found = [record for record in store.list(["Node"]).records if record.key == node.key]
    if found:
        store.update(node.key, dump(node), found[0].revision)
    else:
        store.create(node.key, dump(node))
