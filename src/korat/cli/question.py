"""The question that ``policy explain`` asks: from whom to whom, by what; and whom the words mean.

A side is ``NS/POD`` or an address. A port may be one of the names that the destination gives its
ports.
"""

import difflib
from dataclasses import dataclass

from korat.core.errors import Invalid, NotFound, Problem
from korat.core.model.endpoint import WorkloadEndpoint
from korat.core.model.key import Key
from korat.core.model.pod import Pod
from korat.core.model.resource import Resource
from korat.core.net.address import Addr, Family
from korat.core.net.port import (
    ICMP_PROTOCOLS,
    PORT_LAST,
    PROTOCOLS_WITH_PORTS,
    protocol_number,
)
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint
from korat.core.policy.match import Packet
from korat.drivers.store.client import Objects

#: A client's port, as kernels choose them.
EPHEMERAL_PORT = 49152
#: The ICMP type of a ping, of each IP version.
_ECHO = {Family.V4: 8, Family.V6: 128}


@dataclass(frozen=True, slots=True)
class Side:
    """One end: as the user named it, its address, and the workload that has it, if any."""

    name: str
    addresses: tuple[Addr, ...]
    endpoint: Endpoint | None


@dataclass(frozen=True, slots=True)
class Question:
    """One packet, and who its ends are."""

    source: Side
    destination: Side
    packet: Packet


def ask(  # a packet has five fields, and the cluster gives them their meaning
    objects: Objects, cluster: Cluster, source: str, destination: str, protocol: str, port: str
) -> Question:
    """The packet that the words mean.

    Raises:
        Invalid: a word is no protocol, port or address.
        NotFound: there is no such pod or port name.
    """
    one = side(objects, cluster, source, "--from")
    other = side(objects, cluster, destination, "--to")
    try:
        number = protocol_number(protocol)
    except ValueError as error:
        raise Invalid([Problem("", "--protocol", protocol, str(error))]) from error
    src, dst = _same_family(one, other)
    ported = number in PROTOCOLS_WITH_PORTS
    if ported is not bool(port):
        rule = f"is needed for {protocol}" if ported else f"{protocol} has no ports"
        raise Invalid([Problem("", "--port", port or None, rule)])
    pinged = number in ICMP_PROTOCOLS
    packet = Packet(
        src=src,
        dst=dst,
        protocol=number,
        sport=EPHEMERAL_PORT if ported else 0,
        dport=_port(other, number, port) if ported else 0,
        icmp_type=_ECHO[dst.family] if pinged else 0,
    )
    return Question(one, other, packet)


def side(objects: Objects, cluster: Cluster, word: str, option: str = "") -> Side:
    """The end that a word means; ``option`` is where it was said.

    Raises:
        Invalid: it is neither a pod nor an address.
        NotFound: no pod of this name has an address.
    """
    if "/" not in word:
        try:
            addr = Addr.parse(word)
        except ValueError as error:
            rule = "give NAMESPACE/POD or an address"
            raise Invalid([Problem("", option, word, rule)]) from error
        found = cluster.endpoint_at(addr)
        return Side(title(objects, found.key) if found else word, (addr,), found)
    return _pod(objects, cluster, word)


def _pod(objects: Objects, cluster: Cluster, word: str) -> Side:
    """The workload of a pod."""
    names = {
        title(objects, endpoint.key): endpoint
        for endpoint in cluster.endpoints
        if endpoint.addresses
    }
    found = names.get(word)
    if found is not None:
        return Side(word, found.addresses, found)
    namespace, _, pod = word.partition("/")
    waiting = objects.by_key.get(Key("Pod", namespace, pod))
    if isinstance(waiting, Pod):
        return _without_endpoint(word, waiting)
    near = difflib.get_close_matches(word, sorted(names), n=3, cutoff=0.75)
    meant = f"did you mean {', '.join(near)}?" if near else "korat get wep -A lists those there are"
    raise NotFound(f"there is no pod {word}", meant)


def _without_endpoint(word: str, pod: Pod) -> Side:
    """A pod that is no workload: it shares its node's network, or does not run yet.

    Raises:
        NotFound: it has no address.
    """
    if pod.is_finished:
        raise NotFound(f"pod {word} has ended and has no address any more")
    if not (pod.spec.host_network and pod.status.pod_ip):
        why = pod.status.message or "its node has not started it"
        raise NotFound(f"pod {word} has no address yet; {why}")
    return Side(word, (Addr.parse(pod.status.pod_ip),), None)


def title(objects: Objects, key: Key) -> str:
    """``shop/web`` of the endpoint ``vm1-k8s-web-eth0``; the endpoint's name when it is no pod."""
    resource: Resource | None = objects.by_key.get(key)
    if isinstance(resource, WorkloadEndpoint):
        name = resource.spec.pod or resource.spec.workload or key.name
        return f"{key.namespace}/{name}"
    return f"{key.namespace}/{key.name}"


def _same_family(one: Side, other: Side) -> tuple[Addr, Addr]:
    """An address of each side, both of one IP version, IPv4 first.

    Raises:
        Invalid: they have none in common.
    """
    for family in Family:
        src = next((addr for addr in one.addresses if addr.family is family), None)
        dst = next((addr for addr in other.addresses if addr.family is family), None)
        if src is not None and dst is not None:
            return src, dst
    rule = f"has no address of the same IP version as {other.name}"
    raise Invalid([Problem("", "", one.name, rule)])


def _port(destination: Side, protocol: int, word: str) -> int:
    """A port's number, or the number of the destination's port of this name.

    Raises:
        Invalid: the number is no port.
        NotFound: the destination names no port so.
    """
    if word.isascii() and word.isdigit():
        if not 1 <= int(word) <= PORT_LAST:
            raise Invalid([Problem("", "--port", word, f"ports go from 1 to {PORT_LAST}")])
        return int(word)
    named = destination.endpoint.ports if destination.endpoint else ()
    own = {port.name: port.port for port in named if port.protocol == protocol}
    if word in own:
        return own[word]
    there = ", ".join(f"{name} ({number})" for name, number in sorted(own.items()))
    remedy = f"there are {there}" if there else "give a number"
    raise NotFound(f"{destination.name} names no port {word} of this protocol", remedy)
