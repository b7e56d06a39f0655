"""IPPool, FelixConfiguration and ClusterInformation: how the cluster is set up.

Source: projectcalico.org/v3.
"""

from typing import Any

import msgspec

from korat.core.model.resource import Frozen, Resource, written


class IPPoolSpec(Frozen, frozen=True):
    """A range of workload addresses; on Azure ``ipip_mode`` must be Never."""

    cidr: str = ""
    vxlan_mode: str = written("Never")
    ipip_mode: str = written("Never")
    nat_outgoing: bool = False
    disabled: bool = False
    disable_bgp_export: bool = msgspec.field(default=False, name="disableBGPExport")
    block_size: int = 0
    node_selector: str = ""
    namespace_selector: str = ""
    allowed_uses: tuple[str, ...] = ()
    assignment_mode: str | None = None


class IPPool(Resource, frozen=True):
    """Where workload addresses come from, and how their packets leave."""

    kind: str = written("IPPool")
    spec: IPPoolSpec = written(IPPoolSpec())
    status: dict[str, Any] | None = None


def _no_settings() -> dict[str, Any]:
    """A factory of korat's own, so that an empty ``spec`` is written too."""
    return {}


class FelixConfiguration(Resource, frozen=True):
    """Settings of the node agent: ``default``, ``node.<name>``, or any name with a nodeSelector.

    ``spec`` is kept whole; ``korat.core.model.felix`` knows the fields korat honours.
    """

    kind: str = written("FelixConfiguration")
    spec: dict[str, Any] = msgspec.field(default_factory=_no_settings)


class ClusterInformationSpec(Frozen, frozen=True):
    """The cluster's identity and whether its datastore may be used."""

    cluster_guid: str = msgspec.field(default="", name="clusterGUID")
    cluster_type: str = ""
    calico_version: str = ""
    datastore_ready: bool | None = None
    variant: str = ""


class ClusterInformation(Resource, frozen=True):
    """The singleton ``default``."""

    kind: str = written("ClusterInformation")
    spec: ClusterInformationSpec = written(ClusterInformationSpec())
