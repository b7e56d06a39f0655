"""A stand-in for ``azure-vnet`` in its mode ``transparent``: no bridge, a route to each pod.

The node's end of the link is ``azv`` and 11 digits, answers ARP for everybody, and has a host route
to the pod; the pod reaches all by 169.254.1.1, whose hardware address it is told. IPv4 alone.
Source: Azure's CNI documentation and the plugin's state file and results, as of 2025.
"""

import hashlib
import ipaddress
from pathlib import Path

from korat.lab.azure_cni import iproute, state_file
from korat.lab.azure_cni.protocol import Call, Json, PluginError, delegate

NAME = "azure-vnet"
PREFIX = "azv"
HOST_MAC = "aa:aa:aa:aa:aa:aa"
GATEWAY = "169.254.1.1"
_HASH_CHARS = 11
_ID_CHARS = 8


def main(state_dir: str) -> int:
    """Run as the plugin."""
    return state_file.serve_with_state(state_dir, NAME, _add, _delete)


def _add(call: Call, state: Json) -> Json:
    if call.config.get("mode", "transparent") != "transparent":
        raise PluginError(7, f"mode {call.config['mode']!r} is not one that this stand-in has")
    nic = _primary(str(call.config.get("master") or ""))
    network = _network(state, call, nic["ifname"])
    endpoint = network["Endpoints"].get(_id(call))
    if endpoint is None:
        given = delegate(call, "ADD", _with_subnet(call.ipam, network))
        try:
            endpoint = _connect(call, given, int(nic["mtu"]))
        except PluginError:
            _release(call, network, [ip["address"] for ip in given["ips"]])
            raise
        network["Endpoints"][_id(call)] = endpoint
        network["Subnets"] = network["Subnets"] or [_prefix(given)]
    return call.result(
        interfaces=[{"name": call.ifname}],
        ips=[call.ip(address, endpoint["Gateway"]) for address in endpoint["IPAddresses"]],
        routes=[{"dst": "0.0.0.0/0", "gw": endpoint["Gateway"]}],
        dns=endpoint["DNS"],
    )


def _delete(call: Call, state: Json) -> None:
    for interface in _interfaces(state).values():
        network = interface["Networks"].get(str(call.config.get("name")))
        endpoint = network and network["Endpoints"].get(_id(call))
        if not endpoint:
            continue
        if any(link["ifname"] == endpoint["HostIfName"] for link in iproute.show("link")):
            iproute.change("link", "del", endpoint["HostIfName"])
        _release(call, network, endpoint["IPAddresses"])
        del network["Endpoints"][_id(call)]


def _connect(call: Call, given: Json, mtu: int) -> Json:
    """Make the link, the pod's addresses and routes, and the node's route."""
    host_name = _host_name(call)
    addresses = [str(ip["address"]) for ip in given["ips"]]
    if any(link["ifname"] == host_name for link in iproute.show("link")):
        iproute.change("link", "del", host_name)  # of an earlier container of the pod
    made = f"link add {host_name} mtu {mtu} address {HOST_MAC} type veth peer name {call.ifname}"
    iproute.change(*made.split(), "mtu", str(mtu), "netns", call.netns)
    try:
        Path(f"/proc/sys/net/ipv4/conf/{host_name}/proxy_arp").write_text("1")
        iproute.change("link", "set", host_name, "up")
        iproute.change_in(call.netns, list(_pod_commands(call.ifname, addresses)))
        for address in addresses:
            iproute.change("route", "add", f"{_bare(address)}/32", "dev", host_name)
    except PluginError:
        iproute.change("link", "del", host_name)
        raise
    return {
        "Id": _id(call),
        "IfName": call.ifname,
        "HostIfName": host_name,
        "MacAddress": HOST_MAC,
        "IPAddresses": addresses,
        "Gateway": str(given["ips"][0].get("gateway", "")),
        "DNS": given.get("dns", {}),
        "ContainerID": call.container_id,
        "NetworkNameSpace": call.netns,
        "PODName": call.args.get("K8S_POD_NAME", ""),
        "PODNameSpace": call.args.get("K8S_POD_NAMESPACE", ""),
    }


def _pod_commands(ifname: str, addresses: list[str]) -> list[str]:
    """The pod's end: nothing is on the link, and all goes by the one neighbour that there is."""
    return [
        "link set lo up",
        f"link set {ifname} up",
        *(f"address add {address} dev {ifname} noprefixroute" for address in addresses),
        f"route add {GATEWAY}/32 dev {ifname} scope link",
        f"route add default via {GATEWAY} dev {ifname}",
        f"neigh add {GATEWAY} lladdr {HOST_MAC} dev {ifname} nud permanent",
    ]


def _release(call: Call, network: Json, addresses: list[str]) -> None:
    for address in addresses:
        delegate(call, "DEL", {**_with_subnet(call.ipam, network), "ipAddress": _bare(address)})


def _with_subnet(ipam: Json, network: Json) -> Json:
    subnets = network["Subnets"]
    return {**ipam, "subnet": subnets[0]} if subnets else ipam


def _network(state: Json, call: Call, nic: str) -> Json:
    interface = _interfaces(state).setdefault(nic, {"Name": nic, "Networks": {}})
    name = str(call.config.get("name"))
    fresh = {"Id": name, "Mode": "transparent", "Subnets": [], "Endpoints": {}}
    network: Json = interface["Networks"].setdefault(name, fresh)
    return network


def _interfaces(state: Json) -> dict[str, Json]:
    network: Json = state.setdefault("Network", {"Version": "1"})
    found: dict[str, Json] = network.setdefault("ExternalInterfaces", {})
    return found


def _primary(master: str) -> Json:
    """The NIC that is named, else the one of the default route."""
    if not master:
        routes = iproute.show("route", "show", "default")
        if not routes:
            raise PluginError(105, "there is no default route that would tell the primary NIC")
        master = str(routes[0]["dev"])
    return iproute.show("link", "show", master)[0]


def _host_name(call: Call) -> str:
    args = call.args
    key = f"{args.get('K8S_POD_NAMESPACE', '')}.{args.get('K8S_POD_NAME', '')}"
    if key == ".":
        key = call.container_id
    return PREFIX + hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()[:_HASH_CHARS]


def _id(call: Call) -> str:
    return f"{call.container_id[:_ID_CHARS]}-{call.ifname}"


def _prefix(given: Json) -> str:
    return str(ipaddress.ip_interface(given["ips"][0]["address"]).network)


def _bare(address: str) -> str:
    return address.partition("/")[0]
