"""Random virtual networks: two subnets, a few NICs, route tables that steer, drop and overlap."""

from hypothesis import strategies as st

from fabric_wire import VNET, nic
from korat.core.net.address import Addr, Prefix
from korat.core.route.effective import NextHop, TableRoute, effective_routes
from korat.lab.arm.view import NetworkView, NicView

SUBNETS = (Prefix.parse("10.10.0.0/24"), Prefix.parse("10.10.1.0/24"))
_ROUTED = (
    *("0.0.0.0/0", "10.0.0.0/8", "10.10.0.0/16", "10.10.0.0/24", "10.10.1.0/24", "10.10.0.4/30"),
    *("10.10.0.4/32", "10.10.0.5/32", "10.10.1.6/32", "10.10.128.0/24", "10.10.128.0/25"),
    *("10.10.129.0/24", "203.0.113.0/24", "203.0.113.10/32", "192.168.0.0/16", "192.168.7.0/24"),
)
_HOPS = ("10.10.0.4", "10.10.0.5", "10.10.1.6", "10.10.1.7", "10.10.0.99", "10.10.200.1", "8.8.8.8")

DESTINATIONS = tuple(
    Addr.parse(text)
    for text in (
        *("10.10.0.1", "10.10.0.4", "10.10.0.5", "10.10.1.6", "10.10.1.7", "10.10.0.77"),
        *("10.10.0.255", "10.10.128.7", "10.10.128.200", "10.10.129.7", "10.10.200.1", "10.99.0.1"),
        *("192.168.7.1", "203.0.113.10", "8.8.8.8", "224.0.0.5", "255.255.255.255"),
        *("169.254.169.254", "168.63.129.16", "169.254.1.1"),
    )
)
STRANGERS = tuple(Addr.parse(text) for text in ("10.10.128.9", "8.8.4.4"))


@st.composite
def table_routes(draw: st.DrawFn) -> tuple[TableRoute, ...] | None:
    """A route table, or None where a subnet has none; no prefix stands in it twice, as on Azure."""
    if not draw(st.booleans()):
        return None
    prefixes = draw(st.lists(st.sampled_from(_ROUTED), max_size=6, unique=True))
    routes = []
    for number, text in enumerate(prefixes):
        # Most routes of the real world are to an appliance.
        hop_type = draw(st.sampled_from((NextHop.VIRTUAL_APPLIANCE,) * 4 + tuple(NextHop)))
        appliance = hop_type is NextHop.VIRTUAL_APPLIANCE
        hop = Addr.parse(draw(st.sampled_from(_HOPS))) if appliance else None
        routes.append(TableRoute(f"r{number}", Prefix.parse(text), hop_type, hop))
    return tuple(routes)


@st.composite
def networks(draw: st.DrawFn) -> NetworkView:
    """A network of one to four NICs; any of them may be missing."""
    effective = [effective_routes([VNET], draw(table_routes())) for _ in SUBNETS]
    numbers = draw(st.sets(st.integers(1, 4), min_size=1))
    nics = tuple(_nic(draw, number, effective) for number in sorted(numbers))
    return NetworkView((VNET,), tuple(Addr(s.family, s.first + 1) for s in SUBNETS), nics)


def _nic(draw: st.DrawFn, number: int, effective: list) -> NicView:
    """VMs 1 and 2 are in the first subnet, 3 and 4 in the second; a second address is a pod's."""
    where = 0 if number < 3 else 1
    subnet = SUBNETS[where]
    addresses = [Addr(subnet.family, subnet.first + 3 + number)]
    if draw(st.booleans()):
        addresses.append(Addr(subnet.family, subnet.first + 76 + number))
    forwarding = draw(st.booleans())
    return nic(
        number, effective[where], forwarding=forwarding, subnet=subnet, addresses=tuple(addresses)
    )
