"""Automatic host endpoints: one per node, that allows what no policy denies, or by templates.

Made from Nodes alone, so that hosts can be governed without an object being written for each.
Only what bears the label of their maker is ever changed or removed.
Source: kube-controllers/pkg/controllers/node/hostendpoints.go.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from msgspec.structs import replace

from korat.core.errors import Problem
from korat.core.model.builtin import DEFAULT_ALLOW
from korat.core.model.controllers import AutoHostEndpoint, HostTemplate
from korat.core.model.endpoint import Node
from korat.core.model.host import ALL_INTERFACES, HostEndpoint, HostEndpointSpec
from korat.core.model.label import CREATED_BY, KUBE_CONTROLLERS
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr, Prefix
from korat.core.selector import parse

_SUFFIX = "-auto-hep"
#: The longest name of an object, and of a kernel's interface.
_OBJECT_CHARS, _INTERFACE_CHARS = 253, 15
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


def auto_hosts(
    nodes: Iterable[Node], hosts: Iterable[HostEndpoint], settings: AutoHostEndpoint
) -> AutoHosts:
    """The plan for these nodes and host endpoints."""
    present = {host.metadata.name: host for host in hosts}
    problems: list[Problem] = []
    wanted: dict[str, HostEndpoint] = {}
    for node in sorted(nodes, key=lambda node: node.metadata.name) if settings.enabled else ():
        for host in _hosts_of(node, settings, problems):
            if host.metadata.name in wanted:
                rule = "is what two templates would make; the first one does"
                problems.append(Problem(host.title, "", None, rule))
            wanted.setdefault(host.metadata.name, host)
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
        (*problems, *(Problem(present[name].title, "", None, rule) for name in foreign)),
    )


def is_automatic(host: HostEndpoint) -> bool:
    """Whether it was made for a node, and not by a user."""
    return host.metadata.labels.get(CREATED_BY) == KUBE_CONTROLLERS


def auto_host(node: Node) -> HostEndpoint:
    """A node's automatic host endpoint for all of its interfaces."""
    return _made(node, _Form(()), tuple(dict.fromkeys(_addresses(node))), ALL_INTERFACES)


def _hosts_of(
    node: Node, settings: AutoHostEndpoint, problems: list[Problem]
) -> Iterator[HostEndpoint]:
    """All that a node is to have, the one for all interfaces first."""
    if settings.with_default:
        yield auto_host(node)
    for index, template in enumerate(settings.templates):
        try:
            yield from _of_template(node, template)
        except (ValueError, re.error, RecursionError) as error:
            where = f"template {template.generate_name or index} of automatic host endpoints"
            rule = f"makes none for node {node.metadata.name}: {error}"
            problems.append(Problem(where, "", None, rule))


def _of_template(node: Node, template: HostTemplate) -> Iterator[HostEndpoint]:
    """What a template makes for a node: one by its addresses, or one for each interface.

    Raises:
        ValueError: its selector or one of its CIDRs is wrong, or it lacks a name.
        re.error: its pattern is wrong.
    """
    if not parse(template.node_selector).matches(node.metadata.labels):
        return
    name = template.generate_name
    nets = [Prefix.parse(text) for text in template.interface_cidrs]
    inside = [a for a in _addresses(node) if any(Addr.parse(a) in net for net in nets)]
    form = _Form((name,) if name else (), template.labels, template.annotations)
    if not template.interface_pattern:
        if inside:
            yield _made(node, form, tuple(dict.fromkeys(inside)))
        return
    if not name:
        raise ValueError("generateName is not given; with interfacePattern it is needed")
    pattern = re.compile(template.interface_pattern)
    for each in node.spec.interfaces:
        # Longer names no kernel gives; a pattern could take long over them.
        if len(each.name) <= _INTERFACE_CHARS and pattern.search(each.name):
            ips = tuple(dict.fromkeys((*inside, *_readable(each.addresses))))
            yield _made(node, form._replace(parts=(name, each.name)), ips, each.name)


class _Form(NamedTuple):
    """What stands in the name between the node's and the end; and what a template adds."""

    parts: tuple[str, ...]
    labels: Mapping[str, str] = MappingProxyType({})
    annotations: Mapping[str, str] = MappingProxyType({})


def _made(
    node: Node, form: _Form, expected_ips: tuple[str, ...], interface: str = ""
) -> HostEndpoint:
    return HostEndpoint(
        metadata=Metadata(
            name=_name("-".join((node.metadata.name, *form.parts))),
            labels={**node.metadata.labels, **form.labels, CREATED_BY: KUBE_CONTROLLERS},
            annotations=dict(form.annotations),
        ),
        spec=HostEndpointSpec(
            node=node.metadata.name,
            interface_name=interface,
            expected_ips=expected_ips,
            profiles=(DEFAULT_ALLOW.metadata.name,),
        ),
    )


def _name(stem: str) -> str:
    """The name as Calico forms it; of a longer one than may be, a digest."""
    name = f"{stem}{_SUFFIX}"
    if len(name) <= _OBJECT_CHARS:
        return name
    digest = base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).decode()
    return f"{re.sub('[-_=]', '', digest)}{_SUFFIX}".lower()


def _merged(present: HostEndpoint, wanted: HostEndpoint) -> HostEndpoint:
    """The present object with what its maker decides; a user's profiles and ports stay."""
    spec = replace(
        present.spec,
        expected_ips=wanted.spec.expected_ips,
        interface_name=wanted.spec.interface_name,
    )
    made = wanted.metadata
    metadata = replace(present.metadata, labels=made.labels, annotations=made.annotations)
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
    yield from _readable(texts)


def _readable(texts: Iterable[str]) -> Iterator[str]:
    """The addresses as korat writes them, without a prefix length; what is none is passed over."""
    for text in texts:
        try:
            yield str(Addr.parse_interface(text))
        except ValueError:
            continue
