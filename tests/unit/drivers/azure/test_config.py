"""azure.json: what is read, what is refused, what is never shown."""

import json
from pathlib import Path

import pytest

from azure_site import cloud_config
from korat.core.errors import Invalid
from korat.core.route.podcidr import Placement
from korat.drivers.azure.config import load, parse

GOOD = cloud_config("https://127.0.0.1:1")
PRINCIPAL = {
    "useManagedIdentityExtension": False,
    "tenantId": "t",
    "aadClientId": "c",
    "aadClientSecret": "s3cret",
}


def test_the_file_may_be_json_or_yaml(tmp_path: Path):
    path = tmp_path / "azure.json"
    path.write_text(json.dumps(GOOD))
    read = load(path)
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in GOOD.items()))
    assert load(path) == read
    assert read.vnet_group == read.table_group == read.group == "korat-lab"
    assert read.table_id.endswith("/korat-lab/providers/Microsoft.Network/routeTables/korat-routes")
    assert read.placement is Placement.INSIDE_VNET


def test_groups_may_differ():
    raw = {**GOOD, "vnetResourceGroup": "net", "routeTableResourceGroup": "routes"}
    read = parse(raw, "f")
    assert (read.group, read.vnet_group, read.table_group) == ("korat-lab", "net", "routes")


@pytest.mark.parametrize(
    ("cloud", "endpoint"),
    [
        ("AzurePublicCloud", "https://management.azure.com"),
        ("", "https://management.azure.com"),
        ("AzureUSGovernmentCloud", "https://management.usgovcloudapi.net"),
        ("AZURECHINACLOUD", "https://management.chinacloudapi.cn"),
    ],
)
def test_a_cloud_has_its_endpoint(cloud: str, endpoint: str):
    raw = {**GOOD, "cloud": cloud}
    del raw["resourceManagerEndpoint"]
    assert (parse(raw, "f").endpoint, parse(raw, "f").audience) == (endpoint, endpoint)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"subscriptionId": None}, "f: subscriptionId is missing"),
        ({"routeTableName": ""}, "f: routeTableName is missing"),
        ({"vnetName": 3}, "f: vnetName is missing or not text"),
        ({"cloud": "Mars", "resourceManagerEndpoint": ""}, "is not a cloud korat knows"),
        ({"resourceManagerEndpoint": "http://x"}, "must be an https URL"),
        ({"podCidrPlacement": "anywhere"}, "must be one of inside-vnet, outside-vnet"),
        ({"useManagedIdentityExtension": False}, "set it to true, or give tenantId"),
        ({**PRINCIPAL, "tenantId": ""}, "set it to true, or give tenantId"),
    ],
)
def test_faults_are_named(change: dict[str, object], says: str):
    with pytest.raises(Invalid) as refused:
        parse({**GOOD, **change}, "f")
    assert says in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_all_faults_come_at_once():
    with pytest.raises(Invalid) as refused:
        parse({}, "f")
    assert len(refused.value.problems) == 5


def test_the_secret_is_never_printed():
    read = parse({**GOOD, **PRINCIPAL}, "f")
    assert read.identity.secret == "s3cret"  # noqa: S105  the test's own
    assert "s3cret" not in repr(read)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read: No such file"),
        ("[1]", "is not a mapping"),
        ("{", "neither JSON nor YAML"),
    ],
)
def test_a_file_that_is_none_is_one_sentence(tmp_path: Path, text: str | None, says: str):
    path = tmp_path / "azure.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(Invalid) as refused:
        load(path)
    assert says in str(refused.value)
    assert str(path) in str(refused.value)
