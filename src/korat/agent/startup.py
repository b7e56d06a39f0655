"""What a node does once before it enforces anything: find its address, say who it is.

The Node resource is written with compare-and-swap and only when something changed; fields that
others own (pod CIDRs, tunnels, labels) are kept.
Source: calico/node's startup; the interfaces that first-found skips are Calico's list.
"""

import re
from collections.abc import Iterable

import structlog
from msgspec.structs import replace

from korat import __version__
from korat.agent.settings import NodeSettings, PoolSettings
from korat.core.errors import Conflict, NotFound, Unsupported
from korat.core.model.config import IPPool, IPPoolSpec
from korat.core.model.default import apply as with_defaults
from korat.core.model.endpoint import Node, NodeAddress, NodeBgp
from korat.core.model.key import Key
from korat.core.model.resource import Metadata
from korat.core.net.address import Family
from korat.drivers.kernel.address import InterfaceAddress, interface_addresses, of_family
from korat.drivers.store.client import Client, initialize

log = structlog.get_logger(__name__)

DEFAULT_POOLS = {Family.V4: "default-ipv4-ippool", Family.V6: "default-ipv6-ippool"}
#: The variable that says which of its addresses the node is known by.
_VARIABLE = {Family.V4: "IP", Family.V6: "IP6"}

_OWN_TYPE = "CalicoNodeIP"
_NOT_THE_NODES = re.compile(
    r"(docker|cbr|dummy|podman|virbr|lxcbr|veth|br-|cali|tunl|flannel|kube-ipvs|cni"
    r"|vxlan\.calico|vxlan-v6\.calico|wireguard\.cali|wg-v6\.cali|nodelocaldns).*|lo"
)


def node_address(wanted: str, found: Iterable[InterfaceAddress], family: Family = Family.V4) -> str:
    """The node's address with its mask, ``10.10.0.4/24``; empty for ``none``.

    ``wanted`` is the IP setting: ``autodetect`` takes the first interface that is neither ours nor
    another network tool's; an address without a mask gets the mask it has on its interface.

    Raises:
        NotFound: no interface has it.
    """
    variable = _VARIABLE[family]
    candidates = of_family(tuple(found), family)
    if wanted == "none":
        return ""
    if wanted == "autodetect":
        usable = [c for c in candidates if not _NOT_THE_NODES.fullmatch(c.interface)]
        if not usable:
            raise NotFound(
                f"no interface has an IPv{family.value} address",
                f"set {variable} to the node's address",
            )
        return f"{usable[0].address}/{usable[0].prefix_length}"
    if "/" in wanted:
        return wanted
    for candidate in candidates:
        if str(candidate.address) == wanted:
            return f"{wanted}/{candidate.prefix_length}"
    raise NotFound(
        f"{variable} {wanted} is on no interface of this node",
        f"set {variable} to one of its addresses",
    )


def own_addresses(settings: NodeSettings) -> tuple[str, str]:
    """The node's IPv4 and IPv6 address, as the settings and the interfaces say.

    Raises:
        NotFound: no interface has one of them.
    """
    found = interface_addresses()
    return node_address(settings.ip, found), node_address(settings.ip6, found, Family.V6)


def announce(client: Client, settings: NodeSettings, address: str, address6: str = "") -> None:
    """Write what every cluster has, this node's Node, and the first pools.

    Raises:
        Unsupported: another node has the address already.
    """
    initialize(client, __version__)
    for pool in settings.pools:
        _first_pool(client, pool)
    nodes = client.read(["Node"])
    _refuse_shared_address(nodes.of("Node"), settings.node_name, address)
    key = Key("Node", "", settings.node_name)
    before = nodes.by_key.get(key)
    if not isinstance(before, Node):
        before = Node(metadata=Metadata(name=settings.node_name))
    bgp = replace(before.spec.bgp or NodeBgp(), ipv4_address=address, ipv6_address=address6)
    own = tuple(
        NodeAddress(address=each.partition("/")[0], type=_OWN_TYPE)
        for each in (address, address6)
        if each
    )
    others = tuple(a for a in before.spec.addresses if a.type != _OWN_TYPE)
    node = replace(before, spec=replace(before.spec, bgp=bgp, addresses=(*own, *others)))
    client.apply(node)
    log.info("node announced", node=settings.node_name, address=address)


def _refuse_shared_address(nodes: Iterable[object], name: str, address: str) -> None:
    ip = address.partition("/")[0]
    for node in nodes:
        if not isinstance(node, Node) or node.metadata.name == name or node.spec.bgp is None:
            continue
        if node.spec.bgp.ipv4_address.partition("/")[0] == ip:
            raise Unsupported(
                f"node {node.metadata.name} has the address {ip} too",
                "give each node its own address (IP), or delete the stale Node",
            )


def _first_pool(client: Client, pool: PoolSettings) -> None:
    """Make the pool, unless there is one of its IP version, whatever it is called."""
    family = pool.cidr.family
    there = (p for p in client.read(["IPPool"]).of("IPPool") if isinstance(p, IPPool))
    if any((Family.V6 if ":" in p.spec.cidr else Family.V4) is family for p in there):
        return
    spec = IPPoolSpec(
        cidr=str(pool.cidr),
        nat_outgoing=pool.nat_outgoing,
        block_size=pool.block_size,
        vxlan_mode=pool.vxlan_mode,
    )
    fresh = with_defaults(IPPool(metadata=Metadata(name=DEFAULT_POOLS[family]), spec=spec))
    try:
        client.create(fresh)
    except Conflict:
        log.info("another node made the first pool")
