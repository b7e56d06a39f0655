"""How large packets may be: on the fabric, in the tunnel, and at a workload's interface.

Azure's fabric takes packets of a NIC's 1500 bytes, but fragments what is larger than 1400, and
drops fragments that come out of order. So the tunnel's outer packets stay at 1400 unless a setting
says otherwise.
Source: felix/dataplane/linux/int_dataplane.go (which interfaces count, what VXLAN takes);
Microsoft's page on TCP/IP performance tuning for Azure VMs (fragmentation).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from korat.core.net.address import Family

#: The largest packet that Azure's fabric carries in one piece.
FABRIC_BYTES = 1400
#: What VXLAN adds: the outer IP header, UDP's 8, VXLAN's 8, and the inner frame's 14 bytes.
OVERHEAD_BYTES = {Family.V4: 50, Family.V6: 70}
#: What Felix takes where no interface tells.
UNKNOWN_BYTES = 1460


@dataclass(frozen=True, slots=True)
class Mtu:
    """A size in bytes, and how it came about."""

    size_bytes: int
    reason: str


def tunnel_mtu(family: Family, setting_bytes: int, underlay: Iterable[tuple[str, int]]) -> Mtu:
    """The MTU of a family's tunnel.

    ``setting_bytes`` is vxlanMTU or vxlanMTUV6, 0 where it is not set; ``underlay`` are the
    interfaces that count, each with its MTU.
    """
    name = "vxlanMTU" if family is Family.V4 else "vxlanMTUV6"
    if setting_bytes:
        return Mtu(setting_bytes, f"{name} is set")
    overhead = OVERHEAD_BYTES[family]
    interface, size = min(underlay, key=lambda each: (each[1], each[0]), default=("", 0))
    what = f"{interface} has {size}"
    if not interface:
        what, size = f"no interface tells, so {UNKNOWN_BYTES} is taken", UNKNOWN_BYTES
    if size <= FABRIC_BYTES:
        return Mtu(size - overhead, f"{what}, less VXLAN's {overhead}")
    why = f"{what}, but Azure's fabric fragments packets above {FABRIC_BYTES}"
    less = f"{FABRIC_BYTES} less VXLAN's {overhead}"
    return Mtu(FABRIC_BYTES - overhead, f"{why}: {less}; {name} sets another")
