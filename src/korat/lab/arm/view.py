"""What the packet fabric sees of ARM's resources: plain frozen values.

The fabric forwards by exactly this view, so that what an SDK client changes in ARM steers packets,
and ``effectiveRouteTable`` answers from the same routes. ``lab.arm.model`` makes the view; this
module knows neither ARM's JSON nor namespaces.
"""

from dataclasses import dataclass

from korat.core.net.address import Addr, Prefix
from korat.core.route.effective import EffectiveRoute


@dataclass(frozen=True, slots=True)
class NicView:
    """One network interface that is attached to a VM.

    ``addresses`` has the primary address first; ``mac`` is written ``00:0d:3a:00:00:01``;
    ``ip_forwarding`` False means that Azure checks source and destination of its packets;
    ``routes`` are the effective routes of the NIC's subnet.
    """

    name: str
    vm: str
    addresses: tuple[Addr, ...]
    ip_forwarding: bool
    mac: str
    routes: tuple[EffectiveRoute, ...]


@dataclass(frozen=True, slots=True)
class NetworkView:
    """The whole virtual network: its space, the silent gateways of its subnets, its NICs."""

    vnet_prefixes: tuple[Prefix, ...]
    subnet_gateways: tuple[Addr, ...]
    nics: tuple[NicView, ...]
