"""Which networking option a node has, by its settings."""

from collections.abc import Mapping

from korat.agent.flannel import BesideFlannel, FlannelNode
from korat.agent.networking import Networking
from korat.agent.settings import NodeSettings
from korat.agent.vxlan import VxlanNode
from korat.drivers.etcd.settings import flannel_etcd
from korat.ports import SubnetLeases


def networking_of(settings: NodeSettings, environ: Mapping[str, str]) -> Networking:
    """The networking option that the environment asks for, not yet begun.

    Raises:
        Invalid: what it needs besides is wrong.
    """
    if settings.tunnelled:
        return VxlanNode(settings)
    flannel = settings.flannel
    if flannel is None:
        return Networking(settings.node_name)
    if not flannel.own:
        return BesideFlannel(settings.node_name, flannel)

    etcd = flannel_etcd(environ)

    def leases() -> SubnetLeases:
        # Whoever has another networking option need not pay for etcd's client.
        from korat.drivers.etcd.flannel import connect  # noqa: PLC0415

        return connect(etcd)

    return FlannelNode(settings, flannel, leases)
