"""The cloud provider's configuration, ``azure.json``: where the cluster is, who may change it.

The same file that Azure's cloud controller reads, JSON or YAML; unknown keys are its own business.
The file holds a credential: nothing here prints it, and no error quotes the file.
Source: kubernetes-sigs/cloud-provider-azure, pkg/provider/config.
"""

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from korat.core.errors import Invalid, Problem
from korat.core.route.podcidr import Placement

_CLOUDS = {
    "": "https://management.azure.com",
    "azurecloud": "https://management.azure.com",
    "azurepubliccloud": "https://management.azure.com",
    "azureusgovernment": "https://management.usgovcloudapi.net",
    "azureusgovernmentcloud": "https://management.usgovcloudapi.net",
    "azurechinacloud": "https://management.chinacloudapi.cn",
}

_AUTHORITIES = {
    "https://management.azure.com": "https://login.microsoftonline.com",
    "https://management.usgovcloudapi.net": "https://login.microsoftonline.us",
    "https://management.chinacloudapi.cn": "https://login.chinacloudapi.cn",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who korat is to Azure: a managed identity, or a service principal with a secret."""

    managed: bool
    client_id: str = ""
    tenant_id: str = ""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """The part of ``azure.json`` that user-defined routes need, with its defaults filled in."""

    subscription: str
    group: str
    location: str
    vnet: str
    vnet_group: str
    table: str
    table_group: str
    endpoint: str
    audience: str
    authority: str
    identity: Identity
    placement: Placement = Placement.INSIDE_VNET

    @property
    def table_id(self) -> str:
        """The route table's ARM id, whether or not it exists."""
        return self._id(self.table_group, "routeTables", self.table)

    def _id(self, group: str, kind: str, name: str) -> str:
        root = f"/subscriptions/{self.subscription}/resourceGroups/{group}"
        return f"{root}/providers/Microsoft.Network/{kind}/{name}"


def load(path: Path) -> CloudConfig:
    """Read the configuration file.

    Raises:
        Invalid: it cannot be read, is no mapping, or lacks what routes need.
    """
    where = str(path)
    try:
        raw = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except OSError as error:
        rule = f"the cloud configuration cannot be read: {error.strerror}"
        raise Invalid([Problem(where, "", None, rule)], _REMEDY) from error
    except yaml.YAMLError as error:
        rule = "the cloud configuration is neither JSON nor YAML"
        raise Invalid([Problem(where, "", None, rule)]) from error
    if not isinstance(raw, dict):
        raise Invalid([Problem(where, "", None, "the cloud configuration is not a mapping")])
    return parse({str(key): value for key, value in raw.items()}, where)


def parse(raw: dict[str, object], where: str) -> CloudConfig:
    """The configuration from its keys; every fault at once.

    Raises:
        Invalid: keys are missing or wrong.
    """
    text = {key: value for key, value in raw.items() if isinstance(value, str)}
    problems = [
        Problem(where, key, None, "is missing or not text")
        for key in ("subscriptionId", "resourceGroup", "vnetName", "routeTableName")
        if not text.get(key)
    ]
    cloud = text.get("cloud", "")
    standard = _CLOUDS.get(cloud.lower(), "")
    endpoint = text.get("resourceManagerEndpoint", standard).rstrip("/")
    if not endpoint:
        rule = "is not a cloud korat knows: set resourceManagerEndpoint"
        problems.append(Problem(where, "cloud", cloud, rule))
    elif not endpoint.startswith("https://"):
        rule = "must be an https URL: tokens do not travel in the clear"
        problems.append(Problem(where, "resourceManagerEndpoint", endpoint, rule))
    problems += _placement_problems(text.get("podCidrPlacement"), where)
    identity = _identity(raw, text)
    if identity is None:
        rule = "set it to true, or give tenantId, aadClientId and aadClientSecret"
        problems.append(Problem(where, "useManagedIdentityExtension", None, rule))
    if problems or identity is None:
        raise Invalid(problems, _REMEDY)
    audience = standard or endpoint
    return CloudConfig(
        subscription=text["subscriptionId"],
        group=text["resourceGroup"],
        location=text.get("location", ""),
        vnet=text["vnetName"],
        vnet_group=text.get("vnetResourceGroup") or text["resourceGroup"],
        table=text["routeTableName"],
        table_group=text.get("routeTableResourceGroup") or text["resourceGroup"],
        endpoint=endpoint,
        audience=audience,
        authority=_AUTHORITIES.get(audience, "https://login.microsoftonline.com"),
        identity=identity,
        placement=Placement(text.get("podCidrPlacement", Placement.INSIDE_VNET.value)),
    )


_REMEDY = "see the cloud provider's azure.json, or name another file in KORAT_AZURE_CONFIG"


def _placement_problems(placement: str | None, where: str) -> list[Problem]:
    allowed = [choice.value for choice in Placement]
    if placement is None or placement in allowed:
        return []
    return [Problem(where, "podCidrPlacement", placement, f"must be one of {', '.join(allowed)}")]


def _identity(raw: dict[str, object], text: dict[str, str]) -> Identity | None:
    if raw.get("useManagedIdentityExtension") is True:
        return Identity(managed=True, client_id=text.get("userAssignedIdentityID", ""))
    client, secret = text.get("aadClientId", ""), text.get("aadClientSecret", "")
    tenant = text.get("tenantId", "")
    if client and secret and tenant:
        return Identity(managed=False, client_id=client, tenant_id=tenant, secret=secret)
    return None
