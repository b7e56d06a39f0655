"""Reads the lab's own ARM for its status screen.

The official SDK takes a second to import, which a status line should not; this reads two objects
with the standard library. Korat's controllers use the SDK.
"""

import json
import ssl
import urllib.request
from dataclasses import dataclass
from typing import Any

from korat.core.errors import Unavailable
from korat.lab.blueprint import RESOURCE_GROUP, ROUTE_TABLE, SUBSCRIPTION
from korat.lab.state import LabState

_TIMEOUT_S = 5.0
_API = "api-version=2024-05-01"
_TOKEN = (
    "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com"  # noqa: S105 - a path
)
_NETWORK = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.Network"
)


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One user-defined route."""

    name: str
    prefix: str
    next_hop: str


@dataclass(frozen=True, slots=True)
class AzureStatus:
    """The Azure side of the lab: its routes, whose subnet they serve, which NICs forward.

    ``secondary`` are each NIC's addresses besides its primary one.
    """

    table: str
    routes: tuple[RouteRow, ...]
    subnets: tuple[str, ...]
    forwarding: dict[str, bool]
    secondary: dict[str, tuple[str, ...]]


def azure_status(state: LabState) -> AzureStatus:
    """What ARM holds now; without a route table, its name is empty.

    Raises:
        Unavailable: the lab's ARM does not answer.
    """
    try:
        token = _get(state.sdk_environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] + _TOKEN, state, "")
        bearer = str(token["access_token"])
        tables = _get(f"{state.arm_url}{_NETWORK}/routeTables?{_API}", state, bearer)["value"]
        nics = _get(f"{state.arm_url}{_NETWORK}/networkInterfaces?{_API}", state, bearer)["value"]
    except (OSError, KeyError, ValueError) as error:
        raise Unavailable(f"the lab's ARM does not answer: {error}") from error
    forwarding = {nic["name"]: bool(nic["properties"].get("enableIPForwarding")) for nic in nics}
    secondary = {nic["name"]: _secondary(nic) for nic in nics}
    table = next((t for t in tables if t["name"].lower() == ROUTE_TABLE), None)
    if table is None:
        return AzureStatus("", (), (), forwarding, secondary)
    routes = tuple(
        RouteRow(
            route["name"],
            route["properties"]["addressPrefix"],
            route["properties"].get("nextHopIpAddress", route["properties"]["nextHopType"]),
        )
        for route in table["properties"].get("routes", [])
    )
    subnets = tuple(s["id"].rpartition("/")[2] for s in table["properties"].get("subnets", []))
    return AzureStatus(table["name"], routes, subnets, forwarding, secondary)


def _secondary(nic: dict[str, Any]) -> tuple[str, ...]:
    configs = (config["properties"] for config in nic["properties"]["ipConfigurations"])
    return tuple(config["privateIPAddress"] for config in configs if not config["primary"])


def _get(url: str, state: LabState, bearer: str) -> dict[str, Any]:
    """One object; the certificate is checked against the lab's own."""
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {"Metadata": "true"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the lab's own URLs
    context = ssl.create_default_context(cafile=state.sdk_environ["REQUESTS_CA_BUNDLE"])
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=context) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
        return found
