"""What IMDS knows of a VM, and the parts of it."""

import json

import pytest

from azure_site import GROUP, LOCATION, SUBNET_ID, SUBSCRIPTION, furnished, nic_body, target
from fabric_wire import nic
from korat.core.net.address import Addr
from korat.lab.arm.resource import interface
from korat.lab.arm.view import MachineView, machine_at
from korat.lab.metadata.instance import instance, part

A = Addr.parse
VM_ID = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    "/providers/Microsoft.Compute/virtualMachines/vm1"
)


@pytest.fixture
def model():
    made = furnished(2)
    body = nic_body("10.10.0.4")
    second = {"subnet": {"id": SUBNET_ID}, "privateIPAddress": "10.10.0.40"}
    body["properties"]["ipConfigurations"].append({"name": "second", "properties": second})
    interface.put(made, target("networkInterfaces", "vm1-nic"), body)
    return made


def test_a_vm_is_known_by_a_primary_address_and_by_no_other(model):
    found = machine_at(model, A("10.10.0.4"))
    assert (found.name, found.id, found.location) == ("vm1", VM_ID, LOCATION)
    assert [n.name for n in found.nics] == ["vm1-nic"]
    assert machine_at(model, A("10.10.0.5")).name == "vm2"
    assert machine_at(model, A("10.10.0.40")) is None
    assert machine_at(model, A("10.10.0.99")) is None
    interface.detach(model, target("networkInterfaces", "vm1-nic"))
    assert machine_at(model, A("10.10.0.4")) is None


def test_the_network_has_the_primary_address_first(model):
    tree = instance(machine_at(model, A("10.10.0.4")))
    assert tree["network"] == {
        "interface": [
            {
                "ipv4": {
                    "ipAddress": [
                        {"privateIpAddress": "10.10.0.4", "publicIpAddress": ""},
                        {"privateIpAddress": "10.10.0.40", "publicIpAddress": ""},
                    ],
                    "subnet": [{"address": "10.10.0.0", "prefix": "24"}],
                },
                "ipv6": {"ipAddress": []},
                "macAddress": "000D3A000001",
            }
        ]
    }


def test_what_the_vm_is(model):
    compute = instance(machine_at(model, A("10.10.0.4")))["compute"]
    assert compute["resourceId"] == VM_ID
    assert (compute["name"], compute["osProfile"]) == ("vm1", {"computerName": "vm1"})
    assert (compute["resourceGroupName"], compute["subscriptionId"]) == (GROUP, SUBSCRIPTION)
    assert (compute["location"], compute["azEnvironment"]) == (LOCATION, "AzurePublicCloud")
    assert (compute["vmScaleSetName"], compute["tags"], compute["tagsList"]) == ("", "", [])
    other = instance(machine_at(model, A("10.10.0.5")))["compute"]
    assert other["vmId"] != compute["vmId"]
    assert instance(machine_at(model, A("10.10.0.4")))["compute"]["vmId"] == compute["vmId"]


def test_every_leaf_is_a_string():
    nics = (nic(1, (), addresses=(A("10.10.0.4"), A("fd00::4"))), nic(2, ()))
    tree = instance(MachineView(VM_ID, LOCATION, nics))
    assert [i["macAddress"][-1] for i in tree["network"]["interface"]] == ["1", "2"]
    ipv6 = part(tree, ("network", "interface", "0", "ipv6", "ipAddress", "0", "privateIpAddress"))
    assert ipv6 == "fd00::4"
    assert json.loads(json.dumps(tree), parse_int=pytest.fail, parse_constant=pytest.fail) == tree


TREE = {"a": [{"b": "x"}, {"b": "y"}], "c": {"d": ""}, "1": "one"}


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ("", TREE),
        ("a", TREE["a"]),
        ("a/1/b", "y"),
        ("c/d", ""),
        ("1", "one"),
        ("a/2", None),
        ("a/-1", None),
        ("a/x", None),
        ("a/b", None),
        ("a/1/b/c", None),
        ("A", None),
        ("0", None),
    ],
)
def test_the_way_to_a_part(steps, found):
    assert part(TREE, steps.split("/") if steps else ()) == found
