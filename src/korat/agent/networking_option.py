"""Which networking option a node has, by its settings."""

from collections.abc import Mapping

from korat.agent.flannel import BesideFlannel, FlannelNode
from korat.agent.flannel_memory import forget, recall
from korat.agent.networking import Networking
from korat.agent.settings import NodeSettings
from korat.agent.tunnel import leave_tunnels
from korat.agent.vxlan import VxlanNode
from korat.core.route.flannel.plan import tunnel_names
from korat.core.route.tunnel import CALICO_TUNNELS
from korat.drivers.etcd.settings import flannel_etcd
from korat.ports import SubnetLeases


def leave_others(settings: NodeSettings) -> None:
    """Take away what another networking option of korat's has left on this node.

    flannel's device goes only where korat made it, which it remembers; beside a flanneld it is
    that one's from now on.
    """
    if not settings.tunnelled:
        leave_tunnels(CALICO_TUNNELS)
    flannel = settings.flannel
    if flannel is None:
        state = recall(settings.run_dir)
        leave_tunnels(tunnel_names(state.network) if state is not None else {})
    if flannel is None or not flannel.own:
        forget(settings.run_dir)


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
