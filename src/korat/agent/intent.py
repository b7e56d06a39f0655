"""What a node's kernel should hold, worked out from the store's objects: pure, and whole.

Output depends on the present objects only, never on how they came about, so a node that restarts
arrives at the same state as one that saw every change.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from korat.core.errors import Problem
from korat.core.model.builtin import INFORMATION
from korat.core.model.config import ClusterInformation, IPPool
from korat.core.model.endpoint import Node
from korat.core.model.felix import FelixSettings, settings
from korat.core.model.key import Key
from korat.core.model.label import AZURE_VNET
from korat.core.model.resource import Resource
from korat.core.net.address import Addr, Prefix
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint
from korat.core.render.nft.node import NodeInput, Pool, hook_settings, render, render_slow
from korat.core.render.nft.ruleset import Ruleset
from korat.core.table.compile import compile_node, local_endpoints, workloads_of
from korat.core.table.paint import IntricateError
from korat.core.table.value import NodePolicy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Intent:
    """One node's kernel state as it should be."""

    ruleset: Ruleset
    routes: Mapping[Addr, str]  # address of a local workload -> its interface
    endpoints: frozenset[Key]
    problems: tuple[Problem, ...]  # settings and objects that could not be honoured
    felix: FelixSettings
    cluster: Cluster


def intent(resources: Mapping[Key, Resource], node_name: str, environ: Mapping[str, str]) -> Intent:
    """Everything one node needs."""
    objects = resources.values()
    node = resources.get(Key("Node", "", node_name))
    labels = node.metadata.labels if node else {}
    felix, problems = settings(node_name, labels, objects, environ)
    cluster = Cluster.build(objects)
    local = local_endpoints(cluster, node_name)
    surroundings = NodeInput(
        NodePolicy(workloads_of(local), {}),
        felix,
        pools=_read(objects, _pools, problems),
        untouched=_read(objects, _vnet_prefixes, problems),
        hosts=_read(objects, _node_addresses, problems),
    )
    try:
        ruleset = render(replace(surroundings, policy=compile_node(cluster, node_name)))
    except IntricateError as error:
        ruleset = render_slow(surroundings, cluster, local)
        rule = f"is enforced rule by rule, which is slower: {error}"
        problems.append(Problem(f"the policy of node {node_name}", "", None, rule))
    problems += _unguarded(local, hook_settings(felix).interface_prefixes)
    return Intent(
        ruleset=ruleset,
        routes={addr: each.interface for each in local for addr in each.addresses},
        endpoints=frozenset(each.key for each in local),
        problems=(*problems, *cluster.problems),
        felix=felix,
        cluster=cluster,
    )


def _unguarded(local: Iterable[Endpoint], prefixes: tuple[str, ...]) -> Iterator[Problem]:
    """Endpoints whose packets no rule looks at, because of their interface's name."""
    for each in local:
        if not each.interface.startswith(prefixes):
            rule = f"begins with none of {', '.join(prefixes)}, so its packets are not policed"
            yield Problem(str(each.key), "spec.interfaceName", each.interface, rule)


def _read(
    objects: Iterable[Resource],
    read: Callable[[Resource], Iterable[T]],
    problems: list[Problem],
) -> tuple[T, ...]:
    """What is read from all objects; one that cannot be read is left out, and named."""
    found: list[T] = []
    for each in objects:
        try:
            found += read(each)
        except ValueError as error:
            problems.append(Problem(each.title, "", None, f"is left out: {error}"))
    return tuple(found)


def _pools(each: Resource) -> Iterator[Pool]:
    if isinstance(each, IPPool):
        yield Pool(Prefix.parse(each.spec.cidr), each.spec.nat_outgoing)


def _node_addresses(each: Resource) -> Iterator[Addr]:
    if isinstance(each, Node) and each.spec.bgp and each.spec.bgp.ipv4_address:
        yield Addr.parse_interface(each.spec.bgp.ipv4_address)


def _vnet_prefixes(each: Resource) -> Iterator[Prefix]:
    """The virtual network's address space, as far as the controller has published it."""
    if isinstance(each, ClusterInformation) and each.key == INFORMATION:
        text = each.metadata.annotations.get(AZURE_VNET, "")
        yield from (Prefix.parse(part.strip()) for part in text.split(",") if part.strip())
