"""Calico's Node objects as the planner sees nodes."""

from collections.abc import Iterable, Iterator

from korat.core.errors import Invalid, Problem
from korat.core.model.codec import load
from korat.core.model.endpoint import Node
from korat.core.net.address import Addr, Prefix
from korat.core.route.podcidr import UdrNode
from korat.ports import Record


def udr_nodes(records: Iterable[Record]) -> tuple[UdrNode, ...]:
    """The nodes in a store's answer; other kinds are passed over.

    Raises:
        Invalid: a Node's addresses or pod CIDRs are none. A plan without the node would take its
            routes away, so there is no plan.
    """
    problems: list[Problem] = []
    nodes = (load(record.key, record.value) for record in records if record.key.kind == "Node")
    found = tuple(_node(node, problems) for node in nodes if isinstance(node, Node))
    if problems:
        raise Invalid(problems, "correct the Node")
    return found


def _node(node: Node, problems: list[Problem]) -> UdrNode:
    name = node.metadata.name
    addresses: list[Addr] = []
    cidrs: list[Prefix] = []
    for field, text in _address_texts(node):
        try:
            addresses.append(Addr.parse_interface(text))
        except ValueError:
            problems.append(Problem(f"Node {name}", field, text, "is not an IP address"))
    for text in node.status.pod_cidrs:
        try:
            cidrs.append(Prefix.parse(text, strict=True))
        except ValueError:
            rule = "is not a CIDR without host bits"
            problems.append(Problem(f"Node {name}", "status.podCIDRs", text, rule))
    return UdrNode(name, tuple(dict.fromkeys(addresses)), tuple(cidrs))


def _address_texts(node: Node) -> Iterator[tuple[str, str]]:
    """The node's own addresses, best first; external ones are no next hops."""
    order = ("InternalIP", "CalicoNodeIP")
    for kind in order:
        for address in node.spec.addresses:
            if address.type == kind:
                yield "spec.addresses", address.address
    if node.spec.bgp is not None:
        if node.spec.bgp.ipv4_address:
            yield "spec.bgp.ipv4Address", node.spec.bgp.ipv4_address
        if node.spec.bgp.ipv6_address:
            yield "spec.bgp.ipv6Address", node.spec.bgp.ipv6_address
