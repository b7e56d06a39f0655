"""What a networking option runs on a node beside the loop, and where it has pods' subnets from.

This one is for the options where the fabric carries pods' packets as they are: it has no tunnels.
Options with tunnels build on it.
"""

from collections.abc import Callable

from korat.agent.feed import Batch
from korat.agent.intent import Intent
from korat.agent.node_address import Addresses
from korat.agent.overlay import Plans, TunnelSource
from korat.core.model.endpoint import Node
from korat.core.model.key import Key
from korat.core.net.address import Prefix
from korat.drivers.store.client import Client
from korat.ports import Store


class Networking:
    """One node's networking option, from ``start`` to ``close``; asked from any thread."""

    def __init__(self, node_name: str) -> None:
        self.node_name = node_name

    @property
    def tunnels(self) -> TunnelSource | None:
        """What decides about the tunnels, where that is neither Calico's nor nothing."""
        return None

    def start(self, _store: Store, _announced: Addresses, _refresh: Callable[[], None]) -> None:
        """Begin; ``announced`` are the node's own addresses as its Node has them.

        ``refresh`` lets the loop look again.
        """

    def close(self) -> None:
        """End; the kernel keeps what it has."""

    def told(self, batch: Batch) -> None:
        """Objects have changed; returns at once."""

    def heard(self) -> None:
        """An interface or an address of it has changed; returns at once."""

    def want(self, plans: Plans, refresh_s: float) -> None:
        """Make these the node's tunnels; never raises for what the kernel refuses."""

    def pod_mtu_bytes(self, enforced: Intent | None) -> int:
        """What workloads' links have room for: the least of the tunnels', 0 where there is none."""
        plans = enforced.tunnels if enforced is not None else None
        sizes = [plan.mtu.size_bytes for plan in (plans or {}).values() if plan.mtu is not None]
        return min(sizes, default=0)

    def subnets(self, store: Store) -> tuple[Prefix, ...]:
        """The node's pod subnets, as the cluster gave them; none until it did.

        Raises:
            Unavailable: they cannot be told now, and why.
        """
        node = Client(store).read(["Node"]).by_key.get(Key("Node", "", self.node_name))
        cidrs = node.status.pod_cidrs if isinstance(node, Node) else ()
        return tuple(Prefix.parse(cidr) for cidr in cidrs)
