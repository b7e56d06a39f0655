"""Automatic host endpoints: one per node, that allows what no policy denies.

Made from a Node alone, so that hosts can be governed without an object being written for each.
Only what bears the label of their maker is ever changed or removed.
Source: kube-controllers/pkg/controllers/node/hostendpoints.go.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from korat.core.errors import Problem
from korat.core.model.builtin import DEFAULT_ALLOW
from korat.core.model.endpoint import Node
from korat.core.model.host import ALL_INTERFACES, HostEndpoint, HostEndpointSpec
from korat.core.model.label import CREATED_BY, KUBE_CONTROLLERS
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr

_SUFFIX = "-auto-hep"
_INTERNAL = "InternalIP"


@dataclass(frozen=True, slots=True)
class AutoHosts:
    """What to do so that every node has its automatic host endpoint, and nothing else has one."""

    create: tuple[HostEndpoint, ...] = ()
    update: tuple[HostEndpoint, ...] = ()
    delete: tuple[HostEndpoint, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether all is as it should be."""
        return not (self.create or self.update or self.delete)


def auto_hosts(nodes: Iterable[Node], hosts: Iterable[HostEndpoint], *, enabled: bool) -> AutoHosts:
    """The plan for these nodes and host endpoints."""
    present = {host.metadata.name: host for host in hosts}
    wanted = {host.metadata.name: host for host in map(auto_host, nodes)} if enabled else {}
    foreign = [n for n in sorted(wanted.keys() & present.keys()) if not is_automatic(present[n])]
    rule = f"is not automatic, for it lacks the label {CREATED_BY}, and is left as it is"
    update = [
        merged
        for name, host in sorted(wanted.items())
        if name in present and name not in foreign
        if (merged := _merged(present[name], host)) != present[name]
    ]
    return AutoHosts(
        tuple(host for name, host in sorted(wanted.items()) if name not in present),
        tuple(update),
        tuple(h for n, h in sorted(present.items()) if is_automatic(h) and n not in wanted),
        tuple(Problem(present[name].title, "", None, rule) for name in foreign),
    )


def is_automatic(host: HostEndpoint) -> bool:
    """Whether it was made for a node, and not by a user."""
    return host.metadata.labels.get(CREATED_BY) == KUBE_CONTROLLERS


def auto_host(node: Node) -> HostEndpoint:
    """A node's automatic host endpoint."""
    name = node.metadata.name
    return HostEndpoint(
        metadata=Metadata(
            name=f"{name}{_SUFFIX}",
            labels={**node.metadata.labels, CREATED_BY: KUBE_CONTROLLERS},
        ),
        spec=HostEndpointSpec(
            node=name,
            interface_name=ALL_INTERFACES,
            expected_ips=tuple(dict.fromkeys(_addresses(node))),
            profiles=(DEFAULT_ALLOW.metadata.name,),
        ),
    )


def _merged(present: HostEndpoint, wanted: HostEndpoint) -> HostEndpoint:
    """The present object with what the node decides; a user's profiles and ports stay."""
    spec = replace(
        present.spec,
        expected_ips=wanted.spec.expected_ips,
        interface_name=wanted.spec.interface_name,
    )
    metadata = replace(present.metadata, labels=wanted.metadata.labels)
    return replace(present, metadata=metadata, spec=spec)


def _addresses(node: Node) -> Iterator[str]:
    """Every address of a node that is no external one; what is none is passed over."""
    spec = node.spec
    bgp, wireguard = spec.bgp, spec.wireguard
    texts = [
        *((bgp.ipv4_address, bgp.ipv6_address, bgp.ipv4_ipip_tunnel_addr) if bgp else ()),
        *(spec.ipv4_vxlan_tunnel_addr, spec.ipv6_vxlan_tunnel_addr),
        *(
            (wireguard.interface_ipv4_address, wireguard.interface_ipv6_address)
            if wireguard
            else ()
        ),
        *(each.address for each in spec.addresses if each.type == _INTERNAL),
        *(text for interface in spec.interfaces for text in interface.addresses),
    ]
    for text in texts:
        try:
            yield str(Addr.parse_interface(text))
        except ValueError:
            continue
