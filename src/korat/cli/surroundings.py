"""The nodes of a snapshot as policy needs them: their addresses, and their settings of Felix."""

from collections.abc import Iterator, Mapping

from korat.core.model.config import FelixConfiguration
from korat.core.model.endpoint import Node
from korat.core.model.felix import FelixSettings, settings
from korat.core.net.address import Addr
from korat.core.policy.between import Surroundings
from korat.core.policy.cluster import Cluster
from korat.drivers.store.client import Objects


def surroundings(objects: Objects, cluster: Cluster) -> Surroundings:
    """The cluster with its nodes; settings are the store's, as no node's environment is known."""

    def felix(name: str) -> FelixSettings:
        node = nodes.get(name)
        labels = node.metadata.labels if node else {}
        return settings(name, labels, configurations, {})[0]

    configurations = [r for r in objects.by_key.values() if isinstance(r, FelixConfiguration)]
    nodes = {r.metadata.name: r for r in objects.by_key.values() if isinstance(r, Node)}
    return Surroundings(cluster, node_addresses(objects), felix)


def node_addresses(objects: Objects) -> Mapping[str, tuple[Addr, ...]]:
    """The addresses that Nodes say they have, the main one first."""
    nodes = (r for r in objects.by_key.values() if isinstance(r, Node))
    return {node.metadata.name: tuple(dict.fromkeys(_addresses(node))) for node in nodes}


def _addresses(node: Node) -> Iterator[Addr]:
    spec = node.spec
    bgp = (spec.bgp.ipv4_address, spec.bgp.ipv6_address) if spec.bgp else ()
    own = (address.address for address in spec.addresses)
    links = (text for interface in spec.interfaces for text in interface.addresses)
    for text in (*bgp, *own, *links):
        try:
            yield Addr.parse_interface(text)
        except ValueError:
            continue  # No address, or a name, which a Node may have too.
