"""What a node's kernel should hold, worked out from the store's objects: pure, and whole.

Output depends on the present objects only, never on how they came about, so a node that restarts
arrives at the same state as one that saw every change.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from korat.core.errors import Problem
from korat.core.model.builtin import INFORMATION
from korat.core.model.config import ClusterInformation, IPPool
from korat.core.model.endpoint import Node
from korat.core.model.felix import settings
from korat.core.model.key import Key
from korat.core.model.label import AZURE_VNET
from korat.core.model.resource import Resource
from korat.core.net.address import Addr, Prefix
from korat.core.policy.cluster import Cluster
from korat.core.render.nft.node import NodeInput, Pool, render
from korat.core.render.nft.ruleset import Ruleset
from korat.core.table.compile import compile_node


@dataclass(frozen=True, slots=True)
class Intent:
    """One node's kernel state as it should be."""

    ruleset: Ruleset
    routes: Mapping[Addr, str]  # address of a local workload -> its interface
    endpoints: frozenset[Key]
    problems: tuple[Problem, ...]  # settings and objects that could not be honoured


def intent(resources: Mapping[Key, Resource], node_name: str, environ: Mapping[str, str]) -> Intent:
    """Everything one node needs."""
    objects = resources.values()
    node = resources.get(Key("Node", "", node_name))
    labels = node.metadata.labels if node else {}
    felix, problems = settings(node_name, labels, objects, environ)
    cluster = Cluster.build(objects)
    policy = compile_node(cluster, node_name)
    pools = tuple(
        Pool(Prefix.parse(o.spec.cidr), o.spec.nat_outgoing)
        for o in objects
        if isinstance(o, IPPool)
    )
    hosts = tuple(node_addresses(objects))
    ruleset = render(NodeInput(policy, felix, pools, vnet_prefixes(resources), hosts))
    return Intent(
        ruleset=ruleset,
        routes={a: e.interface for e in policy.endpoints for a in e.addresses},
        endpoints=frozenset(e.key for e in policy.endpoints),
        problems=(*problems, *cluster.problems),
    )


def node_addresses(objects: Iterable[Resource]) -> Iterator[Addr]:
    """The addresses of the cluster's nodes."""
    for node in objects:
        if isinstance(node, Node) and node.spec.bgp and node.spec.bgp.ipv4_address:
            yield Addr.parse_interface(node.spec.bgp.ipv4_address)


def vnet_prefixes(resources: Mapping[Key, Resource]) -> tuple[Prefix, ...]:
    """The virtual network's address space, as far as the controller has published it."""
    cluster = resources.get(INFORMATION)
    if not isinstance(cluster, ClusterInformation):
        return ()
    text = cluster.metadata.annotations.get(AZURE_VNET, "")
    return tuple(Prefix.parse(part.strip()) for part in text.split(",") if part.strip())
