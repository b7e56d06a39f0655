"""More addresses for a NIC, through the SDK: what is written, and what becomes of a refusal."""

import pytest

from azure_site import NETWORK_ID, SUBNET_ID, Site, target
from korat.core.errors import Conflict, Invalid, NotFound, Unavailable
from korat.core.net.address import Addr
from korat.core.route.step import AddAddresses
from korat.drivers.azure.network import AzureNetwork
from korat.lab.arm.fault import Faults
from korat.lab.arm.resource import virtual_network

NIC = target("networkInterfaces", "vm1-nic")
NIC_ID = f"{NETWORK_ID}/networkInterfaces/vm1-nic"


@pytest.fixture
def cloud(site: Site) -> AzureNetwork:
    return AzureNetwork(site.client, site.config)


def step(had: int, total: int) -> AddAddresses:
    return AddAddresses(NIC_ID, SUBNET_ID, had, total)


def configurations(site: Site) -> list[dict[str, object]]:
    return site.model.find(NIC)["properties"]["ipConfigurations"]


def names(site: Site) -> list[object]:
    return [each["name"] for each in configurations(site)]


def test_secondary_addresses_are_added_and_nothing_else_changes(site: Site, cloud: AzureNetwork):
    primary = dict(configurations(site)[0])
    cloud.apply([step(1, 4)])
    assert configurations(site)[0] == primary
    assert names(site) == ["primary", "korat-1", "korat-2", "korat-3"]
    for each in configurations(site)[1:]:
        properties = each["properties"]
        assert properties["primary"] is False
        assert properties["privateIPAllocationMethod"] == "Dynamic"
        assert properties["subnet"] == {"id": SUBNET_ID}
    nic = cloud.read().interfaces[0]
    assert nic.addresses[0] == Addr.parse("10.10.0.4")
    assert len(set(nic.addresses)) == 4
    assert site.writes() == [("PUT", NIC.id)], "a batch is one write"


def test_done_twice_it_adds_nothing_and_addresses_there_are_stay(site: Site, cloud: AzureNetwork):
    cloud.apply([step(1, 4)])
    before = cloud.read().interfaces[0].addresses
    cloud.apply([step(1, 4)])
    cloud.apply([step(4, 3)])
    assert len(site.writes()) == 1
    cloud.apply([step(4, 6)])
    assert cloud.read().interfaces[0].addresses[:4] == before


def test_names_do_not_collide_whatever_others_called_theirs(site: Site, cloud: AzureNetwork):
    cloud.apply([step(1, 4)])
    first, *others = configurations(site)
    others[1]["name"] = "Korat-5"
    del others[0]
    site.model.find(NIC)["properties"]["ipConfigurations"] = [first, *others]
    cloud.apply([step(3, 6)])
    assert names(site) == ["primary", "Korat-5", "korat-3", "korat-1", "korat-2", "korat-4"]


def test_who_writes_at_the_same_time_loses_nothing(site: Site, cloud: AzureNetwork):
    meddled: list[str] = []
    answer = site.server.arm.answer

    def meddle(request):
        if request.method == "PUT" and len(meddled) < 2:
            meddled.append(request.path)
            site.model.touch(site.model.find(NIC))
        return answer(request)

    site.server.arm.answer = meddle
    try:
        cloud.apply([step(1, 4)])
    finally:
        site.server.arm.answer = answer
    assert len(site.writes()) == 3
    assert len(names(site)) == 4


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AuthorizationFailed", Unavailable),
        (409, "AnotherOperationInProgress", Unavailable),
        (412, "PreconditionFailed", Conflict),
        (429, "TooManyRequests", Unavailable),
        (400, "SubnetIsFull", Invalid),
    ],
)
def test_refusals_say_what_to_do_and_leave_the_nic_alone(
    site: Site, cloud: AzureNetwork, status: int, code: str, kind: type
):
    faults = Faults(fail_next=100, status=status, code=code, writes_only=True)
    faults.retry_after = "0.001"
    site.server.arm.faults = faults
    with pytest.raises(kind, match="cannot add addresses to NIC vm1-nic"):
        cloud.apply([step(1, 4)])
    assert names(site) == ["primary"]


def test_an_operation_that_fails_leaves_the_nic_as_it_was(site: Site, cloud: AzureNetwork):
    site.server.arm.faults = Faults(fail_next=1, status=409, code="Busy", in_operation=True)
    with pytest.raises(Unavailable):
        cloud.apply([step(1, 4)])
    assert names(site) == ["primary"]
    cloud.apply([step(1, 4)])
    assert len(names(site)) == 4


def test_a_full_subnet_is_said_by_its_name(site: Site, cloud: AzureNetwork):
    small = {"name": "small", "properties": {"addressPrefix": "10.10.9.0/29"}}
    network = site.model.find(target("virtualNetworks", "vnet"))
    body = {"location": network["location"], "properties": dict(network["properties"])}
    body["properties"]["subnets"] = [*network["properties"]["subnets"], small]
    virtual_network.put(site.model, target("virtualNetworks", "vnet"), body)
    subnet = SUBNET_ID.replace("/nodes", "/small")
    with pytest.raises(Invalid, match=r"400 SubnetIsFull: .*subnets/small"):
        cloud.apply([AddAddresses(NIC_ID, subnet, 1, 17)])
    assert names(site) == ["primary"]
    cloud.apply([AddAddresses(NIC_ID, subnet, 1, 3)])
    assert cloud.read().interfaces[0].addresses[1:] == tuple(
        map(Addr.parse, ("10.10.9.4", "10.10.9.5"))
    )


def test_a_nic_that_has_gone_is_not_found(cloud: AzureNetwork):
    with pytest.raises(NotFound, match="cannot add addresses to NIC lost"):
        cloud.apply([AddAddresses(f"{NETWORK_ID}/networkInterfaces/lost", SUBNET_ID, 1, 2)])
