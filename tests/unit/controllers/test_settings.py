"""The controller's environment."""

import json
from pathlib import Path

import pytest

from azure_site import cloud_config
from korat.controllers.settings import (
    address_settings,
    named_cloud,
    route_settings,
    wants_routes,
)
from korat.core.errors import Invalid
from korat.core.route.supply import SupplySettings


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "azure.json"
    path.write_text(json.dumps(cloud_config("https://127.0.0.1:1")))
    return {"KORAT_AZURE_CONFIG": str(path), "KORAT_CLUSTER_CIDR": "10.10.128.0/17, fd00::/48"}


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10.0), ("2m", 120.0), ("500ms", 0.5), ("7", 7.0), ("", 30.0)]
)
def test_the_period_is_a_duration(environ: dict[str, str], text: str, seconds: float):
    found = route_settings({**environ, "ROUTE_RECONCILIATION_PERIOD": text})
    assert found.period_s == seconds
    assert [str(cidr) for cidr in found.udr.cluster_cidrs] == ["10.10.128.0/17", "fd00::/48"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("KORAT_CLUSTER_CIDR", "", "name the cluster's pod CIDRs"),
        ("KORAT_CLUSTER_CIDR", "10.10.128.1/17", "must be a CIDR without host bits"),
        ("ROUTE_RECONCILIATION_PERIOD", "soon", "must be a duration such as 30s"),
        ("ROUTE_RECONCILIATION_PERIOD", "0s", "must be a duration such as 30s"),
        ("KORAT_ROUTE_LIMIT", "many", "must be a number"),
        ("KORAT_AZURE_CONFIG", "/nowhere/azure.json", "cannot be read"),
    ],
)
def test_faults_are_named(environ: dict[str, str], name: str, text: str, says: str):
    with pytest.raises(Invalid) as refused:
        route_settings({**environ, name: text})
    assert says in str(refused.value)


def test_all_faults_of_the_environment_come_at_once(environ: dict[str, str]):
    wrong = {"KORAT_CLUSTER_CIDR": "x,y", "ROUTE_RECONCILIATION_PERIOD": "soon"}
    with pytest.raises(Invalid) as refused:
        route_settings({**environ, **wrong})
    assert len(refused.value.problems) == 3


@pytest.mark.parametrize(("word", "wanted"), [("", True), ("Enabled", True), ("Disabled", False)])
def test_whether_routes_are_kept(word: str, wanted: bool):
    assert wants_routes({"KORAT_AZURE_ROUTES": word}) is wanted


def test_neither_yes_nor_no_is_refused():
    with pytest.raises(Invalid, match="must be Enabled or Disabled"):
        wants_routes({"KORAT_AZURE_ROUTES": "perhaps"})


def test_addresses_are_asked_for_only_where_the_environment_says_so(environ: dict[str, str]):
    assert address_settings(environ) is None
    found = address_settings({**environ, "KORAT_AZURE_ADDRESSES": "Enabled"})
    assert found is not None
    assert (found.supply, found.period_s) == (SupplySettings(batch=16, headroom=8), 30.0)
    own = {"KORAT_AZURE_ADDRESS_BATCH": "255", "KORAT_AZURE_ADDRESS_HEADROOM": "0"}
    found = address_settings({**environ, **own, "KORAT_AZURE_ADDRESSES": "Enabled"})
    assert found is not None
    assert found.supply == SupplySettings(batch=255, headroom=0)
    with pytest.raises(Invalid, match="KORAT_AZURE_ADDRESSES 'yes': must be Enabled or Disabled"):
        address_settings({"KORAT_AZURE_ADDRESSES": "yes"})


def test_faults_of_the_settings_of_addresses_come_at_once(environ: dict[str, str]):
    wrong = {
        "KORAT_AZURE_ADDRESSES": "Enabled",
        "KORAT_AZURE_ADDRESS_BATCH": "0",
        "KORAT_AZURE_ADDRESS_HEADROOM": "256",
    }
    with pytest.raises(Invalid) as refused:
        address_settings({**environ, **wrong})
    assert [str(problem) for problem in refused.value.problems] == [
        "environment: KORAT_AZURE_ADDRESS_BATCH '0': must be a number from 1 to 255",
        "environment: KORAT_AZURE_ADDRESS_HEADROOM '256': must be a number from 0 to 255",
    ]


def test_a_cloud_is_named_by_the_environment_alone(environ: dict[str, str]):
    assert named_cloud({}) is None
    found = named_cloud(environ)
    assert found is not None
    assert found.vnet == "vnet"
