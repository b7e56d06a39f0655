"""What every cluster has from its first moment, and what nobody may do to it.

Source: libcalico-go/lib/clientv3 (EnsureInitialized) and lib/backend/model (the virtual profile).
"""

from korat.core.model.config import ClusterInformation, ClusterInformationSpec
from korat.core.model.key import Key
from korat.core.model.policy import DEFAULT_TIER, Profile, ProfileSpec, Rule, Tier, TierSpec
from korat.core.model.resource import Metadata, Resource

_ALLOW = (Rule(action="Allow"),)

#: The tiers, with the order and action that may not change.
TIERS = {
    "kube-admin": TierSpec(order=1_000, default_action="Pass"),
    DEFAULT_TIER: TierSpec(order=1_000_000, default_action="Deny"),
    "kube-baseline": TierSpec(order=10_000_000, default_action="Pass"),
}

#: Allows all both ways; never stored, so its resourceVersion never changes.
DEFAULT_ALLOW = Profile(
    metadata=Metadata(name="projectcalico-default-allow", resource_version="1"),
    spec=ProfileSpec(ingress=_ALLOW, egress=_ALLOW),
)

#: The one object that says which cluster this is.
INFORMATION = Key("ClusterInformation", "", "default")

_STAYS = frozenset({DEFAULT_ALLOW.key, INFORMATION, *(Key("Tier", "", name) for name in TIERS)})


def initial(guid: str, version: str) -> list[Resource]:
    """What to create in an empty store: the built-in tiers and the cluster's identity.

    ``guid`` is 32 hexadecimal digits that the caller draws.
    """
    tiers = [Tier(metadata=Metadata(name=name), spec=spec) for name, spec in TIERS.items()]
    spec = ClusterInformationSpec(
        cluster_guid=guid, cluster_type="korat", calico_version=version, datastore_ready=True
    )
    return [*tiers, ClusterInformation(metadata=Metadata(name=INFORMATION.name), spec=spec)]


def may_write(key: Key) -> bool:
    """Whether anybody may write the object."""
    return key != DEFAULT_ALLOW.key


def may_delete(key: Key) -> bool:
    """Whether anybody may delete the object."""
    return key not in _STAYS
