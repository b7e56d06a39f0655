"""A CNI result in each version's shape, and the comparison of one with what is there.

Source: CNI specification 0.3.0 to 1.1.0, "Success" and "CHECK".
"""

from collections.abc import Iterable
from typing import Any

from korat.agent.workload_request import Request
from korat.core.net.address import Addr, Family, Prefix
from korat.drivers.kernel.veth import GATEWAY_V4, GATEWAY_V6, Seen

_GATEWAY = {Family.V4: GATEWAY_V4, Family.V6: GATEWAY_V6}
_DEFAULT = {Family.V4: "0.0.0.0/0", Family.V6: "::/0"}

#: The versions whose addresses say which IP version they are of.
_WITH_IP_VERSION = ("0.3.0", "0.3.1", "0.4.0")
#: The versions whose interfaces say their MTU.
_WITH_MTU = ("1.1.0",)

_POD_INTERFACE = 1


def result(
    request: Request, host_name: str, seen: Seen, addresses: Iterable[Addr]
) -> dict[str, Any]:
    """What ADD prints: both ends of the link, the pod's addresses and its default routes."""
    version = request.config.cni_version
    mtu = {"mtu": seen.mtu_bytes} if version in _WITH_MTU else {}
    families = sorted({addr.family for addr in addresses})
    return {
        "cniVersion": version,
        "interfaces": [
            {"name": host_name, "mac": seen.host_mac, **mtu},
            {
                "name": request.owner.ifname,
                "mac": seen.pod_mac,
                "sandbox": request.env.netns,
                **mtu,
            },
        ],
        "ips": [_ip(addr, version) for addr in addresses],
        "routes": [{"dst": _DEFAULT[f], "gw": str(_GATEWAY[f])} for f in families],
        "dns": request.config.dns,
    }


def differences(request: Request, host_name: str, seen: Seen) -> list[str]:
    """How the link differs from the result that ADD gave, a sentence each.

    Only what korat made is compared: a plugin after it may have added more.
    """
    previous = request.config.prev_result or {}
    faults = [] if seen.up else [f"link {host_name} is not up on both ends"]
    faults += _mac_faults(previous, {host_name: seen.host_mac})
    faults += _mac_faults(previous, {request.owner.ifname: seen.pod_mac})
    for addr in result_addresses(previous):
        if addr not in seen.addresses:
            faults.append(f"{request.owner.ifname} has lost its address {addr}")
        if addr not in seen.host_routes:
            faults.append(f"the node has no route to {addr} over {host_name}")
        if addr.family not in seen.default_routes:
            faults.append(f"the pod has no IPv{addr.family.value} default route")
    return faults


def result_addresses(previous: dict[str, Any]) -> list[Addr]:
    """The addresses of korat's own interface in an earlier result; what is malformed has none."""
    addrs = []
    for ip in previous.get("ips", ()):
        if ip.get("interface", _POD_INTERFACE) != _POD_INTERFACE:
            continue
        try:
            prefix = Prefix.parse(str(ip.get("address")))
        except ValueError:
            continue
        addrs.append(Addr(prefix.family, prefix.base))
    return addrs


def _mac_faults(previous: dict[str, Any], macs: dict[str, str]) -> list[str]:
    return [
        f"link {name} has the MAC address {macs[name] or 'of none'}, not {interface['mac']}"
        for interface in previous.get("interfaces", ())
        if (name := interface.get("name")) in macs
        and interface.get("mac")
        and interface["mac"] != macs[name]
    ]


def _ip(addr: Addr, version: str) -> dict[str, Any]:
    ip: dict[str, Any] = {
        "address": str(Prefix.of(addr)),
        "gateway": str(_GATEWAY[addr.family]),
        "interface": _POD_INTERFACE,
    }
    return {"version": str(addr.family.value), **ip} if version in _WITH_IP_VERSION else ip
