"""Who is there to have an address: pods, endpoints, nodes; and whether an allocation is theirs.

Addresses are compared as numbers, never as text: IPv6 has several spellings of one.
Source: kube-controllers/pkg/controllers/node (ipam_allocation.go, ipam.go: allocationIsValid).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from korat.core.ipam.block import (
    address_of,
    attribute_at,
    cidr_of,
    handle_at,
    is_resting,
    sequence_at,
)
from korat.core.model.endpoint import Node, WorkloadEndpoint
from korat.core.model.ipam import IPAMBlock
from korat.core.model.pod import Pod
from korat.core.model.resource import Resource
from korat.core.net.address import Addr, Prefix

#: What the type of a node's own address says.
TUNNEL_TYPES = frozenset(
    {
        "ipipTunnelAddress",
        "vxlanTunnelAddress",
        "vxlanV6TunnelAddress",
        "wireguardTunnelAddress",
        "wireguardV6TunnelAddress",
    }
)


@dataclass(frozen=True, slots=True)
class Allocation:
    """One address that somebody was given, with everything its block says of it."""

    addr: Addr
    block: Prefix
    handle_id: str | None
    attributes: Mapping[str, str]
    sequence: int
    #: To whom the block is affine.
    owner: str = ""

    @property
    def node(self) -> str:
        """The node that it was given to."""
        return self.attributes.get("node", "")

    @property
    def pod(self) -> tuple[str, str]:
        """The pod that it was given to, by namespace and name; empty texts when to none."""
        return self.attributes.get("namespace", ""), self.attributes.get("pod", "")

    @property
    def is_tunnel(self) -> bool:
        """Whether it is a node's own."""
        return self.attributes.get("type", "") in TUNNEL_TYPES

    @property
    def is_borrowed(self) -> bool:
        """Whether its node has it from a block that is not the node's."""
        return bool(self.node) and self.owner != f"host:{self.node}"


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A pod: its nodes as its objects name them, and its addresses; None before it has told any."""

    nodes: frozenset[str] = frozenset()
    addresses: frozenset[Addr] | None = None


@dataclass(frozen=True, slots=True)
class Living:
    """Who is there, of objects that were read at one time."""

    nodes: frozenset[str] = frozenset()
    pods: Mapping[tuple[str, str], Whereabouts] = field(default_factory=dict)
    #: Who uses each address, by the objects' titles.
    users: Mapping[Addr, tuple[str, ...]] = field(default_factory=dict)


def living(resources: Iterable[Resource]) -> Living:
    """What nodes, pods and workload endpoints say."""
    nodes: set[str] = set()
    pods: dict[tuple[str, str], Whereabouts] = {}
    users: dict[Addr, tuple[str, ...]] = {}
    for resource in resources:
        match resource:
            case Node():
                nodes.add(resource.metadata.name)
                own = _tunnel_addresses(resource)
            case Pod() if not resource.spec.host_network:
                own = _parsed(resource.addresses)
                name = (resource.metadata.namespace, resource.metadata.name)
                told = own if own or resource.is_finished else None
                _add(pods, name, resource.spec.node_name, told)
            case WorkloadEndpoint():
                own = _parsed(resource.spec.ip_networks)
                if resource.spec.pod:
                    name = (resource.metadata.namespace, resource.spec.pod)
                    _add(pods, name, resource.spec.node, own)
            case _:
                continue
        for addr in own:
            users[addr] = (*users.get(addr, ()), resource.title)
    return Living(frozenset(nodes), pods, users)


def allocations_in(block: IPAMBlock) -> Iterator[Allocation]:
    """The addresses of a block that somebody has; not those that rest."""
    cidr = cidr_of(block)
    for ordinal in range(len(block.spec.allocations)):
        attribute = attribute_at(block, ordinal)
        if attribute is not None and not is_resting(block, ordinal):
            yield Allocation(
                addr=address_of(block, ordinal),
                block=cidr,
                handle_id=handle_at(block, ordinal),
                attributes=attribute.secondary,
                sequence=sequence_at(block, ordinal),
                owner=block.spec.owner,
            )


def why_leaked(allocation: Allocation, there: Living) -> str:
    """Why nobody has the address any more; empty when somebody has it, or nobody can tell.

    A pod that has not told its addresses yet may be about to.
    """
    if allocation.is_tunnel:
        gone = allocation.node not in there.nodes
        return f"node {allocation.node}, whose tunnel address it was, is gone" if gone else ""
    namespace, name = allocation.pod
    if not (namespace and name):
        return ""
    pod = there.pods.get((namespace, name))
    if pod is None:
        return f"there is no pod {namespace}/{name} any more"
    if allocation.node and pod.nodes and allocation.node not in pod.nodes:
        where = ", ".join(sorted(pod.nodes))
        return f"pod {namespace}/{name} runs on {where}, not on {allocation.node}"
    if pod.addresses is not None and allocation.addr not in pod.addresses:
        has = ", ".join(map(str, sorted(pod.addresses))) or "no address any more"
        return f"pod {namespace}/{name} has {has}"
    return ""


def _add(
    pods: dict[tuple[str, str], Whereabouts],
    name: tuple[str, str],
    node: str,
    addresses: frozenset[Addr] | None,
) -> None:
    """A pod and its endpoint are two objects; what either says holds."""
    before = pods.get(name, Whereabouts())
    nodes = before.nodes | ({node} if node else set())
    told = [each for each in (before.addresses, addresses) if each is not None]
    pods[name] = Whereabouts(nodes, frozenset().union(*told) if told else None)


def _tunnel_addresses(node: Node) -> frozenset[Addr]:
    spec = node.spec
    ipip = spec.bgp.ipv4_ipip_tunnel_addr if spec.bgp else ""
    wireguard = spec.wireguard
    texts = (
        spec.ipv4_vxlan_tunnel_addr,
        spec.ipv6_vxlan_tunnel_addr,
        ipip,
        wireguard.interface_ipv4_address if wireguard else "",
        wireguard.interface_ipv6_address if wireguard else "",
    )
    return _parsed(text for text in texts if text)


def _parsed(texts: Iterable[str]) -> frozenset[Addr]:
    found = set()
    for text in texts:
        try:
            found.add(Addr.parse_interface(text))
        except ValueError:
            continue  # An object that somebody else wrote; what it means nobody can say.
    return frozenset(found)
