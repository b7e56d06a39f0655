"""``korat azure`` where addresses of NICs are asked for, against the lab's ARM."""

import json
from pathlib import Path

import pytest

from azure_site import Site, cloud_config, put_node, target
from korat.drivers.store.sqlite import SqliteStore
from korat.lab.arm.resource import interface

STEP = "+ add 16 addresses of subnet nodes to NIC vm1-nic (1 -> 17)"


@pytest.fixture
def azure(korat, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The verb in an environment that names this Azure and asks for addresses."""
    config = tmp_path / "azure.json"
    config.write_text(json.dumps(cloud_config(site.server.url)))
    store = SqliteStore(korat.path)
    put_node(store, "vm1", "10.10.0.4", "10.10.128.0/24")
    store.close()
    environ = {
        "KORAT_AZURE_CONFIG": str(config),
        "KORAT_CLUSTER_CIDR": "10.10.128.0/17",
        "KORAT_AZURE_ADDRESSES": "Enabled",
    }
    for name, value in {**environ, **site.server.environment}.items():
        monkeypatch.setenv(name, value)
    return lambda *words: korat("azure", *words)


def count(site: Site) -> int:
    return len(interface.addresses(site.model.find(target("networkInterfaces", "vm1-nic"))))


def test_the_plan_is_of_routes_and_of_addresses(site: Site, azure):
    said = azure("plan").out
    assert "+ add route vm1: 10.10.128.0/24 -> 10.10.0.4" in said
    assert STEP in said
    found = json.loads(azure("plan", "-o", "json").out)
    assert found["addresses"] == {"steps": [STEP], "problems": []}
    assert len(found["steps"]) == 4
    assert site.writes() == []


def test_apply_does_both_and_then_there_is_nothing_more(site: Site, azure):
    assert azure("apply", "--yes").out == "applied 5 changes\n"
    assert count(site) == 17
    said = azure("apply", "--yes").out
    assert said == "korat-routes: nothing to change\naddresses of NICs: nothing to change\n"


def test_without_routes_it_is_of_addresses_alone(
    site: Site, azure, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KORAT_AZURE_ROUTES", "Disabled")
    monkeypatch.delenv("KORAT_CLUSTER_CIDR")
    assert azure("plan").out == f"{STEP}\n"
    assert azure("apply").code == 1, "there is nobody to ask"
    assert azure("apply", "-y", "-o", "json").out
    assert site.model.lookup(target("routeTables", "korat-routes")) is None
    assert count(site) == 17


def test_where_nobody_asks_for_addresses_the_plan_is_of_routes(
    azure, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("KORAT_AZURE_ADDRESSES")
    assert "NIC vm1-nic (1" not in azure("plan").out
    assert "addresses" not in json.loads(azure("plan", "-o", "json").out)
