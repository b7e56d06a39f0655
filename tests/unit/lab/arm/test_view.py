"""What the fabric sees is what the SDK wrote."""

from azure_site import GROUP, LOCATION, NETWORK_ID, Site, nic_body
from korat.core.net.address import Addr, Prefix
from korat.core.route.effective import select
from korat.lab.arm.view import network_view


def test_the_view_has_the_network_and_the_nics_of_vms(site: Site):
    site.client.network_interfaces.begin_create_or_update(GROUP, "spare", nic_body()).result()
    view = network_view(site.model)
    assert view.vnet_prefixes == (Prefix.parse("10.10.0.0/16"),)
    assert view.subnet_gateways == (Addr.parse("10.10.0.1"),)
    assert [(nic.name, nic.vm) for nic in view.nics] == [
        (f"vm{n}-nic", f"vm{n}") for n in (1, 2, 3)
    ]
    assert view.nics[0].addresses == (Addr.parse("10.10.0.4"),)
    assert view.nics[0].mac == "00:0d:3a:00:00:01"
    assert not view.nics[0].ip_forwarding


def test_the_primary_address_is_first(site: Site):
    first, second = nic_body("10.10.0.50"), nic_body("10.10.0.4")
    configs = [*first["properties"]["ipConfigurations"], *second["properties"]["ipConfigurations"]]
    configs[0] |= {"name": "secondary"}
    configs[0]["properties"]["primary"] = False
    body = {"location": LOCATION, "properties": {"ipConfigurations": configs}}
    site.client.network_interfaces.begin_create_or_update(GROUP, "vm1-nic", body).result()
    view = network_view(site.model)
    assert [str(addr) for addr in view.nics[0].addresses] == ["10.10.0.4", "10.10.0.50"]


def test_associating_a_table_steers_the_subnets_nics(site: Site):
    properties = {
        "addressPrefix": "10.10.128.0/24",
        "nextHopType": "VirtualAppliance",
        "nextHopIpAddress": "10.10.0.4",
    }
    table = {
        "location": LOCATION,
        "properties": {"routes": [{"name": "a", "properties": properties}]},
    }
    site.client.route_tables.begin_create_or_update(GROUP, "rt", table).result()

    def hop() -> str:
        found = select(network_view(site.model).nics[2].routes, Addr.parse("10.10.128.9"))
        return str(found and (found.next_hop_ip or found.next_hop_type.value))

    assert hop() == "VnetLocal"
    subnet = site.client.subnets.get(GROUP, "vnet", "nodes").as_dict()
    subnet["properties"]["routeTable"] = {"id": f"{NETWORK_ID}/routeTables/rt"}
    site.client.subnets.begin_create_or_update(GROUP, "vnet", "nodes", subnet).result()
    assert hop() == "10.10.0.4"
    site.client.routes.begin_delete(GROUP, "rt", "a").result()
    assert hop() == "VnetLocal"
