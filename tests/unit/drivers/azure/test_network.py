"""The driver against the lab's ARM: what it reads, what its writes leave alone, what it says."""

import copy
import dataclasses

import pytest
from azure.core.exceptions import ServiceRequestError

from azure_site import LOCATION, NETWORK_ID, SUBNET_ID, Site, target
from korat.core.errors import Conflict, Invalid, KoratError, NotFound, Unavailable
from korat.core.net.address import Addr, Prefix
from korat.core.route.effective import NextHop, TableRoute
from korat.core.route.step import (
    AddAddresses,
    Associate,
    CreateTable,
    DeleteRoute,
    EnableForwarding,
    PutRoute,
    Step,
)
from korat.drivers.azure import network as driver
from korat.drivers.azure.client import connect
from korat.drivers.azure.error import translate
from korat.drivers.azure.network import AzureNetwork
from korat.lab.arm.fault import Faults
from korat.lab.arm.resource import route_table, virtual_network

TABLE_ID = f"{NETWORK_ID}/routeTables/korat-routes"
NIC_ID = f"{NETWORK_ID}/networkInterfaces/vm1-nic"
OTHER_ID = f"{NETWORK_ID}/routeTables/other"
CREATE = CreateTable(TABLE_ID, LOCATION)
ROUTE = TableRoute(
    "vm1", Prefix.parse("10.10.128.0/24"), NextHop.VIRTUAL_APPLIANCE, Addr.parse("10.10.0.4")
)
MORE = AddAddresses(NIC_ID, SUBNET_ID, 1, 4)
TABLE = target("routeTables", "korat-routes")
VNET = target("virtualNetworks", "vnet")


@pytest.fixture
def cloud(site: Site) -> AzureNetwork:
    return AzureNetwork(site.client, site.config)


def put_table(site: Site, *routes: dict[str, object], **properties: object) -> None:
    body = {"location": LOCATION, "properties": {"routes": list(routes), **properties}}
    route_table.put(site.model, TABLE, body)


def raw_route(name: str, prefix: str, hop: str = "None", ip: str = "") -> dict[str, object]:
    properties = {"addressPrefix": prefix, "nextHopType": hop}
    return {"name": name, "properties": properties | ({"nextHopIpAddress": ip} if ip else {})}


def names(site: Site) -> list[str]:
    return [route["name"] for route in site.model.find(TABLE)["properties"]["routes"]]


def test_the_whole_state_is_read(site: Site, cloud: AzureNetwork):
    put_table(site, raw_route("a", "10.10.128.0/24", "VirtualAppliance", "10.10.0.4"))
    cloud.apply([Associate(SUBNET_ID, TABLE_ID), EnableForwarding(NIC_ID)])
    network = cloud.read()
    assert network.prefixes == (Prefix.parse("10.10.0.0/16"),)
    assert [(s.name, s.table_id) for s in network.subnets] == [("nodes", TABLE_ID)]
    assert [(n.name, n.ip_forwarding) for n in network.interfaces] == [
        ("vm1-nic", True),
        ("vm2-nic", False),
        ("vm3-nic", False),
    ]
    assert network.interfaces[0].addresses == (Addr.parse("10.10.0.4"),)
    assert network.interfaces[0].subnet_ids == (SUBNET_ID,)
    assert network.table is not None
    assert network.table.routes == (TableRoute("a", *_hop("10.10.128.0/24", "10.10.0.4")),)


def _hop(prefix: str, ip: str) -> tuple[Prefix, NextHop, Addr]:
    return Prefix.parse(prefix), NextHop.VIRTUAL_APPLIANCE, Addr.parse(ip)


def test_the_configurations_identity_is_let_in(site: Site):
    """By managed identity: the token comes from the lab's identity endpoint."""
    with connect(site.config) as client, client._config.credential:
        assert AzureNetwork(client, site.config).read().location == LOCATION


@pytest.mark.parametrize(
    ("kind", "name", "properties"),
    [
        ("networkInterfaces", "vm1-nic", {"ipConfigurations": 7}),
        (
            "networkInterfaces",
            "vm1-nic",
            {"ipConfigurations": [{"properties": {"privateIPAddress": "nonsense"}}]},
        ),
        ("routeTables", "korat-routes", {"routes": [{"name": None}]}),
        ("virtualNetworks", "vnet", {"subnets": [{"id": None}]}),
    ],
)
def test_an_answer_of_another_shape_ends_no_program(
    site: Site, cloud: AzureNetwork, kind: str, name: str, properties: dict[str, object]
):
    put_table(site)
    answer = site.server.arm.answer

    def nonsense(request):
        given = answer(request)
        body = copy.deepcopy(given.body)
        for each in body.get("value", [body]) if request.method == "GET" else ():
            if each.get("name") == name and kind in each.get("id", ""):
                each["properties"] |= properties
        return dataclasses.replace(given, body=body)

    site.server.arm.answer = nonsense
    try:
        with pytest.raises(Unavailable, match="not what korat can read"):
            cloud.read()
    finally:
        site.server.arm.answer = answer


def test_a_table_that_is_not_there_is_none(cloud: AzureNetwork):
    assert cloud.read().table is None


def test_all_route_steps_are_one_write(site: Site, cloud: AzureNetwork):
    stale = TableRoute("old", Prefix.parse("10.10.140.0/24"), NextHop.NONE)
    put_table(site, raw_route("old", "10.10.140.0/24"), raw_route("foreign", "0.0.0.0/0"))
    site.server.arm.journal.clear()
    cloud.apply([DeleteRoute(stale, ""), PutRoute(ROUTE)])
    assert site.writes() == [("PUT", TABLE.id)]
    assert names(site) == ["foreign", "vm1"]


@pytest.mark.parametrize(
    ("step", "kind", "name"),
    [
        (PutRoute(ROUTE), "routeTables", "korat-routes"),
        (Associate(SUBNET_ID, TABLE_ID), "virtualNetworks", "vnet"),
        (EnableForwarding(NIC_ID), "networkInterfaces", "vm1-nic"),
        (MORE, "networkInterfaces", "vm1-nic"),
    ],
)
def test_a_write_keeps_what_it_does_not_know(
    site: Site, cloud: AzureNetwork, step: Step, kind: str, name: str
):
    put_table(site)
    stored = site.model.find(target(kind, name))
    stored["properties"]["newField"] = {"a": [1]}
    for child in stored["properties"].get("subnets", []):
        child["properties"]["newField"] = {"a": [1]}
    cloud.apply([step])
    properties = site.model.find(target(kind, name))["properties"]
    assert properties["newField"] == {"a": [1]}
    assert [c["properties"]["newField"] for c in properties.get("subnets", [])] in (
        [],
        [{"a": [1]}],
    )


def test_every_write_carries_the_etag_it_read(site: Site, cloud: AzureNetwork):
    """Someone writes between each read and its write, twice: korat reads again and wins."""
    put_table(site)
    meddled: list[str] = []
    answer = site.server.arm.answer

    def meddle(request):
        if request.method == "PUT" and meddled.count(request.path) < 2:
            meddled.append(request.path)
            for name in ("routeTables", "virtualNetworks", "networkInterfaces"):
                for stored in site.model.all(name):
                    site.model.touch(stored)
        return answer(request)

    site.server.arm.answer = meddle
    try:
        cloud.apply([PutRoute(ROUTE), EnableForwarding(NIC_ID), Associate(SUBNET_ID, TABLE_ID)])
    finally:
        site.server.arm.answer = answer
    assert len(meddled) == 6
    assert len(site.writes()) == 9
    network = cloud.read()
    assert network.subnets[0].table_id == TABLE_ID
    assert network.interfaces[0].ip_forwarding


def test_steps_that_are_done_write_nothing(site: Site, cloud: AzureNetwork):
    put_table(site)
    steps = [EnableForwarding(NIC_ID), Associate(SUBNET_ID, TABLE_ID), MORE]
    cloud.apply(steps)
    before = len(site.writes())
    cloud.apply(steps)
    assert len(site.writes()) == before


def test_a_subnet_that_got_another_table_meanwhile_is_left_alone(site: Site, cloud: AzureNetwork):
    put_table(site)
    route_table.put(site.model, target("routeTables", "other"), {"location": LOCATION})
    subnet = {"properties": {"addressPrefix": "10.10.0.0/24", "routeTable": {"id": OTHER_ID}}}
    nodes = driver_target("nodes")
    virtual_network.put_subnet(site.model, nodes, subnet)
    with pytest.raises(Conflict, match="it has got route table other meanwhile"):
        cloud.apply([Associate(SUBNET_ID, TABLE_ID)])
    assert cloud.read().subnets[0].table_id == OTHER_ID


def driver_target(subnet: str):
    return type(VNET)(VNET.subscription, VNET.group, VNET.kind, VNET.name, "subnets", subnet)


def test_a_route_that_became_another_is_not_overwritten(site: Site, cloud: AzureNetwork):
    put_table(site, raw_route("vm1", "0.0.0.0/0"))
    with pytest.raises(Conflict, match=r"route vm1 has become a route to 0\.0\.0\.0/0"):
        cloud.apply([PutRoute(ROUTE)])
    cloud.apply([DeleteRoute(ROUTE, "stale")])
    assert names(site) == ["vm1"]


def test_a_table_that_went_meanwhile_is_a_conflict(cloud: AzureNetwork):
    with pytest.raises(Conflict, match="route table korat-routes has gone"):
        cloud.apply([PutRoute(ROUTE)])


def test_effective_routes_are_read(cloud: AzureNetwork):
    cloud.apply([CREATE, PutRoute(ROUTE), Associate(SUBNET_ID, TABLE_ID)])
    routes = cloud.effective_routes(NIC_ID)
    assert ROUTE.next_hop_ip in {route.next_hop_ip for route in routes}


def test_a_nic_without_a_vm_cannot_tell(site: Site, cloud: AzureNetwork):
    del site.model.find(target("networkInterfaces", "vm1-nic"))["properties"]["virtualMachine"]
    with pytest.raises(Invalid, match="effective routes of NIC vm1-nic: 400 NetworkInterfaceNot"):
        cloud.effective_routes(NIC_ID)


FORBIDDEN = (
    "The client 'c' with object id 'o' does not have authorization to perform action "
    "'Microsoft.Network/virtualNetworks/read' over scope '/s' or the scope is invalid."
)


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "says"),
    [
        (403, "AuthorizationFailed", FORBIDDEN, Unavailable,
         "give korat's identity a role with the action Microsoft.Network/virtualNetworks/read"),
        (403, "RequestDisallowedByPolicy", "No.", Unavailable, "ask the subscription's owner"),
        (404, "ResourceNotFound", "Gone.", NotFound, "cannot read VNet vnet: 404 ResourceNotFound"),
        (409, "AnotherOperationInProgress", "Busy.", Unavailable, "Busy."),
        (412, "PreconditionFailed", "Old.", Conflict, "Old."),
        (400, "Bad", "Wrong.", Invalid, "cannot read VNet vnet: 400 Bad: Wrong."),
        (401, "AuthenticationFailed", "Who?", Unavailable, "does not accept korat's identity"),
    ],
)  # fmt: skip
def test_errors_tell_the_caller_what_to_do(
    site: Site, status: int, code: str, message: str, kind: type, says: str
):
    cloud = AzureNetwork(site.client, site.config)
    site.server.arm.faults = Faults(fail_next=1, status=status, code=code, message=message)
    with pytest.raises(KoratError) as refused:
        cloud.read()
    assert type(refused.value) is kind
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_azure_that_does_not_answer_is_unavailable():
    error = translate(ServiceRequestError("refused"), "cannot read VNet vnet")
    assert isinstance(error, Unavailable)
    assert str(error) == "cannot read VNet vnet: Azure does not answer: refused"


def test_a_busy_table_is_waited_for(site: Site, cloud: AzureNetwork):
    """The SDK repeats 429 by itself, after the time that Azure says."""
    faults = Faults(fail_next=1, status=429, code="RetryableErrorDueToAnotherOperation")
    faults.retry_after, faults.writes_only = "0.001", True
    site.server.arm.faults = faults
    cloud.apply([CREATE])
    assert names(site) == []


def test_an_operation_that_takes_too_long_is_unavailable(
    site: Site, cloud: AzureNetwork, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(driver, "OPERATION_S", 0.01)
    site.style(type(site.server.arm.style)(polls=1, retry_after_ms=200))
    with pytest.raises(Unavailable, match="cannot write route table korat-routes: Azure is not"):
        cloud.apply([CREATE])


def test_routes_that_a_plan_cannot_hold_are_left_out_and_kept(site: Site, cloud: AzureNetwork):
    put_table(site)
    tag = {"addressPrefix": "AzureCloud.WestEurope", "nextHopType": "Internet"}
    ecmp = {"addressPrefix": "192.0.2.0/24", "nextHopType": "VirtualApplianceEcmp"}
    stored = site.model.find(TABLE)["properties"]["routes"]
    stored += [{"name": "tag", "properties": tag}, {"name": "ecmp", "properties": ecmp}]
    network = cloud.read()
    assert network.table is not None
    assert network.table.routes == ()
    bodies = driver._changed_routes(stored, [PutRoute(ROUTE)])
    assert [body["name"] for body in bodies] == ["tag", "ecmp", "vm1"]
