"""A stand-in for ``azure-vnet-ipam``: gives out the secondary addresses of the machine's NICs.

It asks the wireserver which those are, at most every so often, and keeps what is given out in
``azure-vnet-ipam.json``. IPv4 alone; no pools on Azure Stack (``environment`` mas).
Source: Azure's CNI documentation and the plugin's state file, as of 2025.
"""

import ipaddress
import time
from collections.abc import Iterator, Mapping

from korat.lab.azure_cni import iproute, state_file, wireserver
from korat.lab.azure_cni.protocol import Call, Json, PluginError

NAME = "azure-vnet-ipam"
DNS = wireserver.HOST
_QUERY_INTERVAL_S = 10.0
#: A NIC that is not the machine's first gives its addresses last.
_FIRST, _OTHER = 0, 1


def main(state_dir: str) -> int:
    """Run as the plugin."""
    return state_file.serve_with_state(state_dir, NAME, _add, _delete)


def _add(call: Call, state: Json) -> Json:
    ipam = call.ipam
    _refresh(state, float(ipam.get("queryInterval") or _QUERY_INTERVAL_S))
    subnet, requested = str(ipam.get("subnet") or ""), str(ipam.get("ipAddress") or "")
    pool, addr = _draw(state, subnet, requested, call.container_id)
    pool["Addresses"][addr].update(ID=call.container_id, InUse=True)
    length = ipaddress.ip_network(pool["Subnet"]).prefixlen
    return call.result(
        ips=[call.ip(f"{addr}/{length}", pool["Gateway"])],
        routes=[{"dst": "0.0.0.0/0", "gw": pool["Gateway"]}],
        dns={"nameservers": [DNS]},
    )


def _delete(call: Call, state: Json) -> None:
    """Release the address that is named, or all of the container when none is."""
    named = str(call.ipam.get("ipAddress") or "")
    for pool in _pools(state).values():
        for addr, held in list(pool["Addresses"].items()):
            if addr == named or (not named and held["ID"] == call.container_id):
                held.update(ID="", InUse=False)
                if held["Gone"]:
                    del pool["Addresses"][addr]


def _draw(state: Json, subnet: str, requested: str, container_id: str) -> tuple[Json, str]:
    """The pool and the address for a container: what it has already, else the next that is free."""
    pools = [p for p in _pools(state).values() if not subnet or p["Subnet"] == subnet]
    if not pools:
        raise PluginError(103, f"there is no address pool {subnet or 'at all'}")
    free: list[tuple[Json, str]] = []
    for pool in sorted(pools, key=lambda p: (p["Priority"], p["Subnet"])):
        for addr, held in sorted(pool["Addresses"].items(), key=lambda e: _number(e[0])):
            if held["InUse"] and held["ID"] == container_id and requested in ("", addr):
                return pool, addr
            if not held["InUse"] and not held["Gone"] and requested in ("", addr):
                free.append((pool, addr))
    if not free:
        raise PluginError(104, f"no address {requested or 'is left'} in {subnet or 'any pool'}")
    return free[0]


def _refresh(state: Json, interval_s: float) -> None:
    """Ask the wireserver, unless it was asked a moment ago; only what it names is given out."""
    ipam = state.setdefault("IPAM", {"Version": "1", "TimeStamp": 0.0})
    age_s = time.time() - ipam["TimeStamp"]
    if 0 <= age_s < interval_s:
        return
    told = list(_local(wireserver.subnets()))
    ipam["TimeStamp"] = time.time()
    pools = _pools(state)
    for name, subnet in told:
        pool = pools.setdefault(
            subnet.prefix,
            {
                "Id": subnet.prefix,
                "IfName": name,
                "Subnet": subnet.prefix,
                "Gateway": subnet.gateway,
                "Priority": _FIRST if subnet.is_primary else _OTHER,
                "Addresses": {},
            },
        )
        for addr in subnet.addresses:
            held = pool["Addresses"].setdefault(addr, {"Addr": addr, "ID": "", "InUse": False})
            held["Gone"] = False
    there = {addr for _, subnet in told for addr in subnet.addresses}
    for pool in pools.values():
        for addr, held in list(pool["Addresses"].items()):
            held["Gone"] = addr not in there
            if held["Gone"] and not held["InUse"]:
                del pool["Addresses"][addr]


def _local(told: list[wireserver.Subnet]) -> Iterator[tuple[str, wireserver.Subnet]]:
    """The subnets of this machine's own links, with the link's name; ``*`` is any link's."""
    links = {
        str(link.get("address", "")).replace(":", "").upper(): str(link["ifname"])
        for link in iproute.show("link")
    }
    for subnet in told:
        if subnet.mac in links or subnet.mac == "*":
            yield links.get(subnet.mac, ""), subnet


def _pools(state: Json) -> dict[str, Json]:
    space = state.setdefault("IPAM", {"Version": "1", "TimeStamp": 0.0})
    spaces: Json = space.setdefault("AddressSpaces", {})
    local: Mapping[str, dict[str, Json]] = spaces.setdefault(
        "local", {"Id": "local", "Scope": "local", "Pools": {}}
    )
    return local["Pools"]


def _number(addr: str) -> int:
    return int(ipaddress.ip_address(addr))
