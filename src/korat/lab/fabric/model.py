"""What Azure's fabric does with one packet, said as plainly as possible.

This is the obvious twin of the kernel's routing tables and nftables sets: the tests send the same
packets through both. It is also what explains a loss to a user without sending anything.
"""

from dataclasses import dataclass

from korat.core.net.address import Addr, Family
from korat.core.net.port import Protocol
from korat.core.route.effective import EffectiveRoute, NextHop, select
from korat.lab.arm.view import NetworkView, NicView
from korat.lab.fabric.platform import ADDRESSES, LINK_LOCAL
from korat.lab.fabric.switch import Switches, is_unicast

INTERNET = "internet"
"""What ``deliver`` returns for a packet that leaves towards the internet."""

PLATFORM = "platform"
"""What ``deliver`` returns for a packet that Azure itself gets, whose port may still be closed."""


@dataclass(frozen=True, slots=True)
class Packet:
    """What the fabric looks at in a packet that a VM sends."""

    src: Addr
    dst: Addr
    protocol: int


def deliver(
    view: NetworkView, sender: NicView, packet: Packet, switches: Switches | None = None
) -> str | None:
    """The name of the NIC that gets the packet, ``INTERNET``, ``PLATFORM``, or None for a drop.

    Every drop is silent: Azure's fabric sends no ICMP error.
    """
    carried = (switches or Switches()).carried
    if packet.dst in ADDRESSES:
        answered = packet.src == primary(sender) and packet.protocol == Protocol.TCP
        return PLATFORM if answered else None
    if not _is_carried(packet.dst):
        return None
    if packet.protocol not in carried or not _may(sender, packet.src):
        return None
    route = select(sender.routes, packet.dst)
    if route is None:
        return None
    if route.next_hop_type is NextHop.INTERNET:
        return INTERNET if packet.src == primary(sender) else None
    receiver = _receiver(view, route, packet.dst)
    return receiver.name if receiver and _may(receiver, packet.dst) else None


def owner(view: NetworkView, addr: Addr | None) -> NicView | None:
    """The NIC that has this address, if any."""
    return next((nic for nic in view.nics if addr in nic.addresses), None)


def primary(nic: NicView) -> Addr | None:
    """The NIC's first IPv4 address: the one that Azure lets out to the internet."""
    return next((addr for addr in nic.addresses if addr.family is Family.V4), None)


def _is_carried(dst: Addr) -> bool:
    return dst.family is Family.V4 and is_unicast(dst) and dst not in LINK_LOCAL


def _may(nic: NicView, addr: Addr) -> bool:
    """Azure's source and destination check of one NIC."""
    return nic.ip_forwarding or addr in nic.addresses


def _receiver(view: NetworkView, route: EffectiveRoute, dst: Addr) -> NicView | None:
    match route.next_hop_type:
        case NextHop.VNET_LOCAL:
            return owner(view, dst)
        case NextHop.VIRTUAL_APPLIANCE:
            return owner(view, route.next_hop_ip)
        case NextHop.NONE | NextHop.GATEWAY | NextHop.INTERNET:
            return None
