"""IMDS and the wireserver as a VM meets them: over the fabric, from its primary address alone.

vm1 10.10.0.4 and .20 ┐
vm2 10.10.0.5         ┴ fabric: 169.254.169.254:80, 168.63.129.16:80 and :32526
"""

import http.client
import json
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import pytest
from azure.identity import ManagedIdentityCredential
from azure.mgmt.network import NetworkManagementClient
from pyroute2 import IPRoute

from azure_site import AUDIENCE, GROUP, SUBNET_ID, SUBSCRIPTION, furnished, target
from fabric_wire import lab_name
from korat.core.errors import Unavailable
from korat.drivers.kernel import namespace
from korat.lab.arm.model import Model
from korat.lab.arm.resource import interface
from korat.lab.arm.serve import ArmServer
from korat.lab.arm.view import network_view
from korat.lab.fabric.apply import Fabric
from korat.lab.metadata.serve import MetadataServer

pytestmark = pytest.mark.netns

IMDS, WIRESERVER = "169.254.169.254", "168.63.129.16"
PRIMARY, SECONDARY, POD = "10.10.0.4", "10.10.0.20", "10.10.128.7"
INSTANCE = "/metadata/instance{}?api-version=2021-12-13"
INTERFACES = "/machine/plugins?comp=nmagent&type=getinterfaceinfov1"
FLAG = {"Metadata": "true"}
SILENCE_S = 0.3


@dataclass
class Azure:
    """A fabric with its ARM and what its VMs are told of themselves."""

    fabric: Fabric
    model: Model
    arm: ArmServer

    def inside(self, vm, function):
        return namespace.run_in(self.fabric.names.vm(vm), function)

    def get(self, path, *, host=IMDS, port=80, vm="vm1", headers=FLAG, source=None, method="GET"):
        """Ask from inside a VM: the status, the headers and the body of the answer."""

        def ask():
            address = (source, 0) if source else None
            connection = http.client.HTTPConnection(
                host, port, timeout=SILENCE_S if source else 5, source_address=address
            )
            try:
                connection.request(method, path, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.headers, answer.read()
            finally:
                connection.close()

        return self.inside(vm, ask)

    def addresses(self, vm="vm1"):
        """A VM's addresses as IMDS and as the wireserver tell them."""
        _, _, body = self.get(INSTANCE.format("/network/interface/0/ipv4/ipAddress"), vm=vm)
        told = [entry["privateIpAddress"] for entry in json.loads(body)]
        _, _, body = self.get(INTERFACES, host=WIRESERVER, vm=vm, headers={})
        seen = ET.fromstring(body).iter("IPAddress")  # noqa: S314 - the lab's own
        assert [element.get("Address") for element in seen] == told
        return told


@contextmanager
def serving(directory, vms=2):
    model = furnished(vms)
    with Fabric(lab_name()) as fabric, ArmServer(model, directory) as arm:
        fabric.apply(network_view(model))
        model.on_change(lambda: fabric.apply(network_view(model)))
        server = MetadataServer(model, arm.token, fabric.names.fabric)
        server.start()
        try:
            yield Azure(fabric, model, arm)
        finally:
            server.stop()
            server.stop()


@pytest.fixture
def azure(tmp_path):
    with serving(tmp_path) as made:
        yield made


def give(azure, vm, *addresses):
    """Addresses in the VM's kernel; whether they are its NIC's is ARM's to say."""

    def add():
        with IPRoute() as ip:
            for addr in addresses:
                ip.addr("replace", index=1, address=addr, prefixlen=32)

    azure.inside(vm, add)


def put_addresses(azure, name, *addresses, forwarding=False):
    stored = interface.show(azure.model.find(target("networkInterfaces", name)))
    stored["properties"]["enableIPForwarding"] = forwarding
    configs = stored["properties"]["ipConfigurations"]
    for addr in addresses:
        properties = {"subnet": {"id": SUBNET_ID}, "privateIPAddress": addr}
        configs.append({"name": addr.replace(".", "-"), "properties": properties})
    interface.put(azure.model, target("networkInterfaces", name), stored)
    azure.model.changed()


def test_a_vm_learns_what_it_is(azure):
    status, _, body = azure.get(INSTANCE.format(""))
    assert (status, json.loads(body)["compute"]["name"]) == (200, "vm1")
    status, headers, body = azure.get(INSTANCE.format("/compute/name") + "&format=text", vm="vm2")
    assert (status, body) == (200, b"vm2")
    assert headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"headers": {}}, 400),
        ({"headers": FLAG | {"X-Forwarded-For": PRIMARY}}, 400),
        ({"method": "POST"}, 405),
        ({"method": "DELETE"}, 405),
        ({"path": "/metadata/instance"}, 400),
        ({"path": "/metadata/versions"}, 200),
        ({"path": "/elsewhere"}, 404),
        ({"host": WIRESERVER, "path": INTERFACES, "headers": {}}, 200),
        ({"host": WIRESERVER, "path": INTERFACES, "headers": {}, "port": 32526}, 200),
        ({"host": WIRESERVER, "path": "/machine/plugins?comp=x", "headers": {}}, 400),
        ({"host": WIRESERVER, "path": INTERFACES, "method": "POST"}, 400),
        ({"host": WIRESERVER, "path": "/?comp=versions", "headers": {}}, 404),
    ],
    ids=str,
)
def test_what_is_answered_how(shared, asked, status):
    shared.get("/", host=WIRESERVER)
    assert shared.get(**{"path": INSTANCE.format(""), **asked})[0] == status


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("tls")) as made:
        yield made


@pytest.fixture(autouse=True)
def within_the_rate(monkeypatch, request):
    """Only one test is about asking too often."""
    if "too_often" not in request.node.name:
        monkeypatch.setattr("korat.lab.metadata.rate.Rate.allows", lambda *_: True)


@pytest.mark.parametrize("forwarding", [False, True])
@pytest.mark.parametrize("host", [IMDS, WIRESERVER])
def test_only_the_primary_address_is_answered(azure, host, forwarding):
    give(azure, "vm1", SECONDARY, POD)
    put_addresses(azure, "vm1-nic", SECONDARY, forwarding=forwarding)
    path = INTERFACES if host == WIRESERVER else INSTANCE.format("")
    assert azure.get(path, host=host, source=PRIMARY)[0] == 200
    for other in (SECONDARY, POD):
        with pytest.raises(TimeoutError):
            azure.get(path, host=host, source=other)


def test_nothing_else_of_azures_own_addresses_is_open(azure):
    for host, port in ((IMDS, 443), (IMDS, 32526), (WIRESERVER, 443), ("169.254.1.1", 80)):
        with pytest.raises(TimeoutError):
            azure.get("/", host=host, port=port, source=PRIMARY)


def test_a_secondary_address_passes_without_forwarding_and_has_no_internet(azure):
    give(azure, "vm1", SECONDARY)
    put_addresses(azure, "vm1-nic", SECONDARY)
    server = namespace.socket_in(azure.fabric.names.vm("vm2"))
    outside = namespace.socket_in(azure.fabric.names.internet)
    with server, outside:
        server.bind(("10.10.0.5", 0))
        outside.bind(("203.0.113.10", 0))
        for listener in (server, outside):
            listener.listen()
        there = server.getsockname()
        assert connects(azure, SECONDARY, there)
        server.settimeout(5)
        accepted, peer = server.accept()
        accepted.close()
        assert peer[0] == SECONDARY
        assert connects(azure, PRIMARY, outside.getsockname())
        assert not connects(azure, SECONDARY, outside.getsockname())
        assert not connects(azure, POD, there, add=True)


def connects(azure, source, there, *, add=False):
    if add:
        give(azure, "vm1", source)

    def attempt():
        try:
            socket.create_connection(there, SILENCE_S, (source, 0)).close()
        except TimeoutError:
            return False
        return True

    return azure.inside("vm1", attempt)


def test_who_asks_too_often_is_told_so_and_others_are_not(azure):
    answers = [azure.get(INSTANCE.format("")) for _ in range(12)]
    refused = [headers for status, headers, _ in answers if status == 429]
    assert {status for status, *_ in answers} == {200, 429}
    assert [status for status, *_ in answers[:5]] == [200] * 5
    assert {headers["Retry-After"] for headers in refused} == {"1"}
    assert azure.get(INSTANCE.format(""), vm="vm2")[0] == 200
    identity = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=r"
    assert [azure.get(identity)[0] for _ in range(10)] == [200] * 10


def test_the_sdk_in_a_vm_gets_a_token_that_arm_takes_and_addresses_that_all_see(azure, monkeypatch):
    monkeypatch.delenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(azure.arm.certificate_file))

    def token_of_the_vm():
        with ManagedIdentityCredential() as credential:
            return credential.get_token(AUDIENCE)

    token = azure.inside("vm1", token_of_the_vm)
    given = type("Given", (), {"get_token": lambda *_, **__: token})()
    with NetworkManagementClient(
        given, SUBSCRIPTION, base_url=azure.arm.url, credential_scopes=[AUDIENCE]
    ) as client:
        nics = client.network_interfaces
        own = nics.get(GROUP, "vm1-nic").as_dict()
        assert azure.addresses() == [PRIMARY]
        for name in ("a", "b"):
            properties = {"subnet": {"id": SUBNET_ID}, "privateIPAllocationMethod": "Dynamic"}
            own["properties"]["ipConfigurations"].append({"name": name, "properties": properties})
        nics.begin_create_or_update(GROUP, "vm1-nic", own)
        assert azure.addresses() == [PRIMARY, "10.10.0.6", "10.10.0.7"]
        with namespace.socket_in(azure.fabric.names.vm("vm2")) as server:
            server.bind(("10.10.0.5", 0))
            server.listen()
            assert connects(azure, "10.10.0.6", server.getsockname(), add=True)


def test_vms_that_are_rebooted_come_or_go_are_answered_or_not(azure):
    azure.fabric.power_off("vm1")
    azure.fabric.apply(network_view(azure.model))
    assert azure.addresses() == [PRIMARY]
    new = target("networkInterfaces", "vm3-nic")
    config = {"name": "a", "properties": {"subnet": {"id": SUBNET_ID}, "primary": True}}
    body = {"location": "westeurope", "properties": {"ipConfigurations": [config]}}
    interface.put(azure.model, new, body)
    interface.attach(azure.model, new, "vm3")
    azure.model.changed()
    assert azure.addresses("vm3") == ["10.10.0.6"]
    interface.detach(azure.model, new)
    azure.model.changed()
    assert azure.addresses("vm2") == ["10.10.0.5"]


def test_an_address_that_is_taken_is_one_sentence(azure):
    again = MetadataServer(azure.model, "", azure.fabric.names.fabric)
    with pytest.raises(
        Unavailable, match=r"169.254.169.254:80 in korat-.*-fabric: Address already"
    ):
        again.start()
    assert azure.addresses() == [PRIMARY]
