"""What every cluster has from its first moment.

Source: libcalico-go/lib/clientv3 (EnsureInitialized) and lib/backend/model (the virtual profile).
"""

from korat.core.model.config import ClusterInformation, ClusterInformationSpec
from korat.core.model.policy import Profile, ProfileSpec, Rule, Tier, TierSpec
from korat.core.model.resource import Metadata, Resource
from korat.core.model.validate.cluster import DEFAULT_ALLOW
from korat.core.model.validate.policy import BUILT_IN_TIERS

_ALLOW = (Rule(action="Allow"),)

#: Allows all both ways; never stored, always there, nobody may write it.
DEFAULT_ALLOW_PROFILE = Profile(
    metadata=Metadata(name=DEFAULT_ALLOW), spec=ProfileSpec(ingress=_ALLOW, egress=_ALLOW)
)


def initial(guid: str, version: str = "", cluster_type: str = "") -> list[Resource]:
    """What to create in an empty store: the built-in tiers and the cluster's identity.

    ``guid`` is 32 hexadecimal digits that the caller draws.
    """
    tiers = [
        Tier(metadata=Metadata(name=name), spec=TierSpec(order=order, default_action=action))
        for name, (order, action) in BUILT_IN_TIERS.items()
    ]
    spec = ClusterInformationSpec(
        cluster_guid=guid,
        cluster_type=cluster_type,
        calico_version=version,
        datastore_ready=True,
    )
    return [*tiers, ClusterInformation(metadata=Metadata(name="default"), spec=spec)]
