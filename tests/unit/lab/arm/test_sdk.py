"""The unmodified SDK drives every operation that the lab's ARM serves, over HTTPS."""

from collections.abc import Callable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from azure_site import GROUP, LOCATION, NETWORK_ID, SUBNET_ID, Site, nic_body, target
from korat.lab.arm.view import network_view

Json = dict[str, Any]
Call = Callable[[Site], Any]

TABLE = {"location": LOCATION, "tags": {"owner": "me"}}
TABLE_ID = f"{NETWORK_ID}/routeTables/rt"


def route(prefix: str = "10.10.128.0/24", ip: str = "10.10.0.4", hop: str = "VirtualAppliance"):
    properties = {"addressPrefix": prefix, "nextHopType": hop}
    return {"properties": properties | ({"nextHopIpAddress": ip} if ip else {})}


def put_table(site: Site, body: Json = TABLE, name: str = "rt") -> Json:
    return site.client.route_tables.begin_create_or_update(GROUP, name, body).result().as_dict()


def put_route(site: Site, name: str, body: Json) -> Json:
    return site.client.routes.begin_create_or_update(GROUP, "rt", name, body).result().as_dict()


def put_subnet(site: Site, name: str = "nodes", **properties: object) -> Json:
    body = {"properties": {"addressPrefix": "10.10.0.0/24", **properties}}
    poller = site.client.subnets.begin_create_or_update(GROUP, "vnet", name, body)
    return poller.result().as_dict()


def put_vnet(site: Site, prefix: str, *subnets: tuple[str, str]) -> Json:
    properties = {
        "addressSpace": {"addressPrefixes": [prefix]},
        "subnets": [{"name": n, "properties": {"addressPrefix": p}} for n, p in subnets],
    }
    body = {"location": LOCATION, "properties": properties}
    return (
        site.client.virtual_networks.begin_create_or_update(GROUP, "vnet", body).result().as_dict()
    )


def put_nic(site: Site, name: str, body: Json) -> Json:
    poller = site.client.network_interfaces.begin_create_or_update(GROUP, name, body)
    return poller.result().as_dict()


def test_a_route_table_lives_and_dies(site: Site):
    made = put_table(site)
    assert made["id"] == TABLE_ID
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert put_route(site, "vm1", route())["etag"] != made["etag"]
    tables = site.client.route_tables
    assert [r.name for r in tables.get(GROUP, "rt").properties.routes] == ["vm1"]
    assert [r.name for r in site.client.routes.list(GROUP, "rt")] == ["vm1"]
    assert site.client.routes.get(GROUP, "rt", "VM1").properties.address_prefix == "10.10.128.0/24"
    assert [t.name for t in tables.list(GROUP)] == [t.name for t in tables.list_all()] == ["rt"]
    assert tables.update_tags(GROUP, "rt", {"tags": {"a": "b"}}).tags == {"a": "b"}
    site.client.routes.begin_delete(GROUP, "rt", "vm1").result()
    assert list(site.client.routes.list(GROUP, "rt")) == []
    tables.begin_delete(GROUP, "rt").result()
    with pytest.raises(ResourceNotFoundError) as refused:
        tables.get(GROUP, "rt")
    assert refused.value.error is not None
    assert refused.value.error.code == "ResourceNotFound"


def test_putting_a_table_replaces_its_routes(site: Site):
    put_table(site, {**TABLE, "properties": {"routes": [{"name": "a", **route()}]}})
    put_table(site, {**TABLE, "properties": {"routes": [{"name": "b", **route()}]}})
    assert [r.name for r in site.client.routes.list(GROUP, "rt")] == ["b"]


def test_an_association_is_seen_from_both_ends_and_a_put_without_it_drops_it(site: Site):
    before = put_table(site)["etag"]
    assert (
        put_subnet(site, routeTable={"id": TABLE_ID.upper()})["properties"]["routeTable"]["id"]
        == TABLE_ID
    )
    table = site.client.route_tables.get(GROUP, "rt")
    assert [subnet.id for subnet in table.properties.subnets] == [SUBNET_ID]
    assert table.etag != before
    assert "routeTable" not in put_subnet(site)["properties"]
    assert site.client.route_tables.get(GROUP, "rt").properties.subnets is None


def test_a_subnet_shows_in_its_network_and_lists_its_nics(site: Site):
    etag = site.client.virtual_networks.get(GROUP, "vnet").etag
    put_subnet(site, "more", addressPrefix="10.10.1.0/24")
    network = site.client.virtual_networks.get(GROUP, "vnet")
    assert network.etag != etag
    assert [subnet.name for subnet in network.properties.subnets] == ["nodes", "more"]
    assert [s.name for s in site.client.subnets.list(GROUP, "vnet")] == ["nodes", "more"]
    configurations = site.client.subnets.get(GROUP, "vnet", "nodes").properties.ip_configurations
    assert [c.id.split("/")[8] for c in configurations] == ["vm1-nic", "vm2-nic", "vm3-nic"]
    site.client.subnets.begin_delete(GROUP, "vnet", "more").result()
    assert [s.name for s in site.client.subnets.list(GROUP, "vnet")] == ["nodes"]


def test_a_nic_gets_the_first_free_address_and_keeps_it(site: Site):
    made = put_nic(site, "vm4-nic", nic_body())
    properties = made["properties"]
    assert properties["enableIPForwarding"] is False
    assert properties["macAddress"] == "00-0D-3A-00-00-04"
    assert properties["ipConfigurations"][0]["properties"]["privateIPAddress"] == "10.10.0.7"
    site.client.network_interfaces.begin_delete(GROUP, "vm4-nic").result()
    put_nic(site, "vm5-nic", nic_body("10.10.0.200"))
    made = put_nic(site, "vm6-nic", nic_body())
    made["properties"]["enableIPForwarding"] = True
    again = put_nic(site, "vm6-nic", made)
    assert again["properties"]["enableIPForwarding"] is True
    assert (
        again["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] == "10.10.0.7"
    )
    tags = site.client.network_interfaces.update_tags(GROUP, "vm6-nic", {"tags": {"a": "b"}}).tags
    assert tags == {"a": "b"}
    names = [nic.name for nic in site.client.network_interfaces.list_all()]
    assert names == [*(f"vm{n}-nic" for n in (1, 2, 3)), "vm5-nic", "vm6-nic"]


def more(name: str, address: str = "") -> Json:
    """A secondary IP configuration, with an address by name or with whichever is free."""
    method = {"privateIPAddress": address} if address else {}
    method["privateIPAllocationMethod"] = "Static" if address else "Dynamic"
    return {"name": name, "properties": {"subnet": {"id": SUBNET_ID}, **method}}


def addresses(nic: Json) -> list[str]:
    configs = nic["properties"]["ipConfigurations"]
    return [config["properties"]["privateIPAddress"] for config in configs]


def test_a_nic_gets_more_addresses_and_gives_them_back(site: Site):
    nics = site.client.network_interfaces
    own = nics.get(GROUP, "vm1-nic").as_dict()
    configs = own["properties"]["ipConfigurations"]
    configs += [more("a"), more("b", "10.10.0.7"), more("c")]
    made = put_nic(site, "vm1-nic", own)
    assert addresses(made) == ["10.10.0.4", "10.10.0.8", "10.10.0.7", "10.10.0.9"]
    assert [c["properties"]["primary"] for c in made["properties"]["ipConfigurations"]] == [
        *(True, False, False, False)
    ]
    assert [str(a) for a in network_view(site.model).nics[0].addresses] == addresses(made)
    del made["properties"]["ipConfigurations"][2]
    assert addresses(put_nic(site, "vm1-nic", made)) == ["10.10.0.4", "10.10.0.8", "10.10.0.9"]
    assert addresses(put_nic(site, "vm9-nic", nic_body())) == ["10.10.0.7"]


def test_an_address_that_a_configuration_has_is_not_given_to_one_before_it(site: Site):
    put_nic(site, "vm4-nic", nic_body())
    first = nic_body()
    first["properties"]["ipConfigurations"].insert(0, more("new"))
    assert addresses(put_nic(site, "vm4-nic", first)) == ["10.10.0.8", "10.10.0.7"]


def test_addresses_that_are_kept_go_to_who_names_them(site: Site):
    site.model.kept = range(0x0A0A0000, 0x0A0A0080)
    assert addresses(put_nic(site, "vm4-nic", nic_body())) == ["10.10.0.128"]
    assert addresses(put_nic(site, "vm5-nic", nic_body("10.10.0.20"))) == ["10.10.0.20"]


def with_more(site: Site, count: int) -> Json:
    body = nic_body("10.10.0.4")
    body["properties"]["ipConfigurations"] += [more(f"ip{n}") for n in range(count)]
    return put_nic(site, "vm1-nic", body)


def test_a_nic_has_256_addresses_at_most(site: Site):
    subnets = [("nodes", "10.10.0.0/24"), ("more", "10.10.4.0/22")]
    put_vnet(site, "10.10.0.0/16", *subnets)
    body = nic_body("", SUBNET_ID.replace("nodes", "more"))
    configs = body["properties"]["ipConfigurations"]
    for n in range(255):
        configs.append({**more(f"ip{n}"), "properties": configs[0]["properties"] | {"primary": 0}})
    made = put_nic(site, "large", body)
    assert len(set(addresses(made))) == 256
    configs.append({**configs[1], "name": "one-more"})
    with pytest.raises(HttpResponseError, match="257 IP configurations; the limit is 256"):
        put_nic(site, "large", body)
    assert site.client.network_interfaces.get(GROUP, "large").etag == made["etag"]


def test_effective_routes_come_from_the_subnets_table(site: Site):
    nics = site.client.network_interfaces
    rows = nics.begin_get_effective_route_table(GROUP, "vm1-nic").result().value
    assert rows[0].as_dict()["nextHopType"] == "VnetLocal"
    put_table(site)
    put_route(site, "vm2", route("10.10.0.0/16", "10.10.0.5"))
    put_subnet(site, routeTable={"id": TABLE_ID})
    rows = nics.begin_get_effective_route_table(GROUP, "vm1-nic").result().value
    same = [row for row in rows if row.address_prefix == ["10.10.0.0/16"]]
    assert [(r.source, r.state, r.next_hop_ip_address) for r in same] == [
        ("Default", "Invalid", []),
        ("User", "Active", ["10.10.0.5"]),
    ]


def test_fields_that_the_lab_does_not_know_are_kept(site: Site):
    table = put_table(site, {**TABLE, "properties": {"disableBgpRoutePropagation": True, "x": 1}})
    assert table["properties"]["disableBgpRoutePropagation"] is True
    assert table["properties"]["x"] == 1


def test_ids_keep_the_case_of_their_creation_whatever_asks(site: Site):
    put_table(site, name="RT")
    put_table(site, name="rt")
    assert site.client.route_tables.get(GROUP.upper(), "rT").id == f"{NETWORK_ID}/routeTables/RT"


ERRORS: dict[str, tuple[Call, int]] = {
    "RouteConflict": (lambda s: put_route(s, "b", route()), 400),
    "InvalidNextHopIpAddress": (lambda s: put_route(s, "b", route("10.9.0.0/16", "")), 400),
    "InvalidIPAddressFormat": (lambda s: put_route(s, "b", route("10.9.0.0/16", "x")), 400),
    "InvalidCIDRNotation": (lambda s: put_route(s, "b", route("10.9.0.1/16")), 400),
    "InvalidAddressPrefixFormat": (lambda s: put_route(s, "b", route("pods")), 400),
    "InvalidRequestFormat": (lambda s: put_route(s, "b", route(hop="Elsewhere")), 400),
    "InvalidResourceName": (lambda s: put_route(s, "-b", route("10.9.0.0/16")), 400),
    "LocationRequired": (lambda s: put_table(s, {"tags": {}}), 400),
    "InUseRouteTableCannotBeDeleted": (
        lambda s: (
            put_subnet(s, routeTable={"id": TABLE_ID}),
            s.client.route_tables.begin_delete(GROUP, "rt"),
        ),
        400,
    ),
    "InvalidResourceReference": (lambda s: put_subnet(s, routeTable={"id": TABLE_ID + "x"}), 400),
    "LinkedInvalidPropertyId": (lambda s: put_subnet(s, routeTable={"id": "rt"}), 400),
    "NetcfgInvalidSubnet": (lambda s: put_subnet(s, "b", addressPrefix="10.11.0.0/24"), 400),
    "NetcfgSubnetRangesOverlap": (
        lambda s: put_subnet(s, "b", addressPrefix="10.10.0.128/25"),
        400,
    ),
    "InUseSubnetCannotBeUpdated": (lambda s: put_subnet(s, addressPrefix="10.10.0.0/25"), 400),
    "InUseSubnetCannotBeDeleted": (
        lambda s: s.client.subnets.begin_delete(GROUP, "vnet", "nodes"),
        400,
    ),
    "AddressPrefixReserved": (lambda s: put_vnet(s, "168.63.0.0/16"), 400),
    "PrivateIPAddressInReservedRange": (lambda s: put_nic(s, "n", nic_body("10.10.0.3")), 400),
    "PrivateIPAddressNotInSubnet": (lambda s: put_nic(s, "n", nic_body("10.10.1.9")), 400),
    "PrivateIPAddressInUse": (lambda s: put_nic(s, "n", nic_body("10.10.0.4")), 400),
    "NetworkInterfaceIpConfigurationLimitExceeded": (lambda s: with_more(s, 256), 400),
    "SubnetIsFull": (lambda s: with_more(s, 249), 400),
    "NicInUse": (lambda s: s.client.network_interfaces.begin_delete(GROUP, "vm1-nic"), 400),
    "ResourceNotFound": (lambda s: s.client.routes.list(GROUP, "none").next(), 404),
    "NotFound": (lambda s: s.client.routes.get(GROUP, "rt", "none"), 404),
    "ResourceGroupNotFound": (lambda s: s.client.route_tables.get("none", "rt"), 404),
    "InvalidApiVersionParameter": (
        lambda s: s.client.route_tables.get(GROUP, "rt", params={"api-version": "new"}),
        400,
    ),
}


@pytest.mark.parametrize(
    ("code", "call", "status"), [(k, *v) for k, v in ERRORS.items()], ids=ERRORS
)
def test_refusals_have_azures_codes_and_change_nothing(
    site: Site, code: str, call: Call, status: int
):
    put_table(site)
    put_route(site, "a", route())
    with pytest.raises(HttpResponseError) as refused:
        call(site)
    assert refused.value.error is not None
    assert (refused.value.status_code, refused.value.error.code) == (status, code)
    assert [r.name for r in site.client.routes.list(GROUP, "rt")] == ["a"]
    assert (
        site.client.subnets.get(GROUP, "vnet", "nodes").properties.address_prefix == "10.10.0.0/24"
    )


def test_a_network_without_nics_can_be_replaced_and_deleted(site: Site):
    for number in (1, 2, 3):
        del site.model.find(target("networkInterfaces", f"vm{number}-nic"))["properties"][
            "virtualMachine"
        ]
        site.client.network_interfaces.begin_delete(GROUP, f"vm{number}-nic").result()
    made = put_vnet(site, "10.20.0.0/16", ("a", "10.20.0.0/24"))
    assert [subnet["name"] for subnet in made["properties"]["subnets"]] == ["a"]
    site.client.virtual_networks.begin_delete(GROUP, "vnet").result()
    assert list(site.client.virtual_networks.list_all()) == []


def test_too_many_routes_are_refused(site: Site):
    site.model.route_limit = 1
    put_table(site)
    put_route(site, "a", route())
    with pytest.raises(HttpResponseError, match="the limit is 1"):
        put_route(site, "b", route("10.10.129.0/24"))
