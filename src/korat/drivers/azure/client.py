"""The official SDK's client for a cloud configuration.

The SDK takes half a second to import, so whoever may never talk to Azure imports this module late.
"""

from azure.core.credentials import TokenCredential
from azure.identity import ClientSecretCredential, ManagedIdentityCredential
from azure.mgmt.network import NetworkManagementClient

from korat.drivers.azure.config import CloudConfig, Identity

_POLLING_S = 1
"""Between looks at an operation, unless Azure says otherwise; the SDK's own is 30 s."""


def connect(config: CloudConfig) -> NetworkManagementClient:
    """A client that acts as the configuration's identity; nothing is sent yet.

    It gives up sooner than the SDK would (300 s, ten retries): its callers retry by themselves.
    """
    return NetworkManagementClient(
        _credential(config.identity, config.authority),
        config.subscription,
        base_url=config.endpoint,
        credential_scopes=[f"{config.audience}/.default"],
        polling_interval=_POLLING_S,
        connection_timeout=5,
        read_timeout=30,
        retry_total=3,
    )


def _credential(identity: Identity, authority: str) -> TokenCredential:
    if identity.managed:
        return ManagedIdentityCredential(client_id=identity.client_id or None)
    return ClientSecretCredential(
        identity.tenant_id, identity.client_id, identity.secret, authority=authority
    )
