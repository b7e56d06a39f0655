"""The node's side of CNI, put together: its two programs, and where workloads have addresses from.

Nothing here decides anything. Not for the protocol; ``korat.agent.cni`` speaks it.
"""

from korat.agent.address_source import AZURE, AZURE_VNET, CALICO, HOST_LOCAL, AddressSources
from korat.agent.azure_ipam import AzureIpam
from korat.agent.azure_vnet_ipam import AzureVnetIpam
from korat.agent.calico_ipam import CalicoIpam
from korat.agent.chained import ChainedWorkloads
from korat.agent.cni_program import Programs
from korat.agent.hostlocal import HostLocal
from korat.agent.loop import NodeLoop
from korat.agent.networking import Networking
from korat.agent.settings import NodeSettings
from korat.agent.workload import Workloads
from korat.core.model.felix import FelixSettings
from korat.core.model.key import Key
from korat.drivers.kernel.conntrack import Conntrack
from korat.drivers.kernel.pod_end import PodEnds
from korat.drivers.kernel.veth import Veths
from korat.ports import Store


def address_sources(
    store: Store, settings: NodeSettings, networking: Networking, azure: AzureIpam
) -> AddressSources:
    """All that a network configuration may name."""
    return AddressSources(
        {
            HOST_LOCAL: HostLocal(lambda: networking.subnets(store)),
            CALICO: CalicoIpam(store, settings.node_name),
            AZURE: azure,
            AZURE_VNET: AzureVnetIpam(settings.azure_state_dir),
        }
    )


def node_programs(
    store: Store,
    loop: NodeLoop,
    networking: Networking,
    conntrack: Conntrack,
    sources: AddressSources,
    told: FelixSettings,
) -> Programs:
    """Both programs; ``told`` are Felix's settings until others are enforced."""

    def ready() -> str:
        return "" if loop.ready else "the first policy is not in the kernel"

    def programmed(_key: Key, timeout_s: float) -> bool:
        """Whether all that is in the store now gets into the kernel in time."""
        return loop.wait_applied(store.list(["WorkloadEndpoint"]).revision, timeout_s)

    def prefixes() -> tuple[str, ...]:
        return (loop.enforced.felix if loop.enforced else told).interface_prefix

    network = Workloads(
        node_name=networking.node_name,
        store=store,
        links=Veths(),
        ipam=sources,
        forget=conntrack.forget,
        wait_programmed=programmed,
        ready=ready,
        mtu_bytes=lambda: networking.pod_mtu_bytes(loop.enforced),
        interface_prefixes=prefixes,
    )
    policy = ChainedWorkloads(
        node_name=networking.node_name,
        store=store,
        pods=PodEnds(),
        wait_programmed=programmed,
        forget=conntrack.forget,
        ready=ready,
        interface_prefixes=prefixes,
    )
    return Programs(network, policy)
