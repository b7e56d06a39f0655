"""The question that ``policy explain`` asks: from whom to whom, by what; and whom the words mean.

A side is ``NS/POD``, an address or a node's name. A port may be one of the names that its owner
gives it. Two ends that share both IP versions are asked about for each, IPv4 first, unless one was
said.
"""

import difflib
from dataclasses import dataclass

from korat.cli.surroundings import surroundings
from korat.core.errors import Invalid, NotFound, Problem
from korat.core.model.endpoint import WorkloadEndpoint
from korat.core.model.key import Key
from korat.core.model.pod import Pod
from korat.core.model.resource import Resource
from korat.core.net.address import Addr, Family
from korat.core.net.port import (
    ICMP_PROTOCOLS,
    PORT_LAST,
    PROTOCOL_LAST,
    PROTOCOL_NAMES,
    PROTOCOLS_WITH_PORTS,
    Protocol,
    protocol_name,
    protocol_number,
)
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint
from korat.core.policy.match import Packet
from korat.drivers.store.client import Objects

#: A client's port, as kernels choose them.
EPHEMERAL_PORT = 49152
#: The type of a ping, of each ICMP.
_ECHO: dict[int, int] = {Protocol.ICMP: 8, Protocol.ICMPV6: 128}
_ICMP_LAST = 255


@dataclass(frozen=True, slots=True)
class Side:
    """One end: as the user named it, its address, and the workload that has it, if any.

    When it is a node's own, ``host`` is the host endpoint that has it, and ``node`` the node.
    """

    name: str
    addresses: tuple[Addr, ...]
    endpoint: Endpoint | None
    host: Endpoint | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """What the user said of a packet; what is empty was not said."""

    source: str
    destination: str
    protocol: str = "TCP"
    port: str = ""
    source_port: str = ""
    icmp_type: str = ""
    icmp_code: str = ""
    ip_version: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One packet, and who its ends are."""

    source: Side
    destination: Side
    packet: Packet

    @property
    def packet_words(self) -> str:
        """``TCP 5432``, ``UDP 53 from port 53``, ``ICMP type 8``."""
        packet = self.packet
        name = protocol_name(packet.protocol)
        words = f"protocol {name}" if name.isdigit() else name
        if packet.protocol in PROTOCOLS_WITH_PORTS:
            words += f" {packet.dport}"
            if packet.sport != EPHEMERAL_PORT:
                words += f" from port {packet.sport}"
        if packet.protocol in ICMP_PROTOCOLS:
            words += f" type {packet.icmp_type}"
            words += f" code {packet.icmp_code}" if packet.icmp_code else ""
        return words


def ask(objects: Objects, cluster: Cluster, words: Words) -> list[Question]:
    """The packets that the words mean: one of each IP version that both ends speak.

    Raises:
        Invalid: a word is no protocol, port, number or address, or does not go with the others.
        NotFound: there is no such pod or port name.
    """
    one = side(objects, cluster, words.source, "--from")
    other = side(objects, cluster, words.destination, "--to")
    protocol = _protocol(words.protocol)
    pairs = _pairs(one, other, words, protocol)
    sport, dport = _ports(one, other, protocol, words)
    icmp = _icmp(protocol, words)
    return [
        Question(one, other, Packet(src, dst, protocol, sport, dport, *icmp)) for src, dst in pairs
    ]


def _protocol(word: str) -> int:
    """The number of a protocol.

    Raises:
        Invalid: there is no such protocol.
    """
    try:
        return protocol_number(word)
    except ValueError as error:
        rule = f"is neither {', '.join(PROTOCOL_NAMES)} nor a number up to {PROTOCOL_LAST}"
        raise Invalid([Problem("", "--protocol", word, rule)]) from error


def _family(words: Words, protocol: int) -> Family | None:
    """The one IP version that can be meant; None when it is left to the ends.

    Raises:
        Invalid: the version is none, or the protocol is the other one's.
    """
    word = words.ip_version
    said = next((family for family in Family if word == str(family.value)), None)
    if word and said is None:
        raise Invalid([Problem("", "--ip-version", word, "must be 4 or 6")])
    if protocol not in ICMP_PROTOCOLS:
        return said
    own = Family.V4 if protocol == Protocol.ICMP else Family.V6
    if said not in (None, own):
        rule = f"{protocol_name(protocol)} is IPv{own.value}'s"
        raise Invalid([Problem("", "--ip-version", word, rule)])
    return own


def _ports(one: Side, other: Side, protocol: int, words: Words) -> tuple[int, int]:
    """Source and destination port; 0 for protocols that have none.

    Raises:
        Invalid: a port is missing, or there is one too many.
        NotFound: there is no port of such a name.
    """
    ported = protocol in PROTOCOLS_WITH_PORTS
    if ported and not words.port:
        raise Invalid([Problem("", "--port", None, f"is needed for {words.protocol}")])
    if not ported:
        for option, word in (("--port", words.port), ("--source-port", words.source_port)):
            if word:
                raise Invalid([Problem("", option, word, f"{words.protocol} has no ports")])
        return 0, 0
    source = _port(one, protocol, words.source_port, "--source-port") if words.source_port else 0
    return source or EPHEMERAL_PORT, _port(other, protocol, words.port, "--port")


def _icmp(protocol: int, words: Words) -> tuple[int, int]:
    """Type and code: those that were said, else a ping's.

    Raises:
        Invalid: they are no numbers, or the protocol has none.
    """
    numbers = []
    for option, word in (("--icmp-type", words.icmp_type), ("--icmp-code", words.icmp_code)):
        if word and protocol not in ICMP_PROTOCOLS:
            rule = f"{words.protocol} has none; say --protocol ICMP or ICMPv6"
            raise Invalid([Problem("", option, word, rule)])
        if word and not (word.isascii() and word.isdigit() and int(word) <= _ICMP_LAST):
            raise Invalid([Problem("", option, word, f"must be a number up to {_ICMP_LAST}")])
        numbers.append(int(word) if word else 0)
    if words.icmp_code and not words.icmp_type:
        raise Invalid([Problem("", "--icmp-code", words.icmp_code, "needs --icmp-type")])
    kind, code = numbers
    return (kind if words.icmp_type else _ECHO.get(protocol, 0)), code


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
            return _node(objects, cluster, word, option, error)
        found = cluster.endpoint_at(addr)
        known = surroundings(objects, cluster)
        node = known.end(addr).node
        host = known.governor(node, addr) if node else None
        return Side(title(objects, found.key) if found else word, (addr,), found, host, node)
    return _pod(objects, cluster, word)


def _node(objects: Objects, cluster: Cluster, word: str, option: str, cause: ValueError) -> Side:
    """A node, by its name.

    Raises:
        Invalid: there is no such node, and so the word means nothing.
        NotFound: the node has no address.
    """
    known = surroundings(objects, cluster)
    hosts = [host for host in cluster.hosts if host.node == word]
    if word not in known.nodes and not hosts:
        rule = "give NAMESPACE/POD, an address, or the name of a node"
        raise Invalid([Problem("", option, word, rule)]) from cause
    expected = (addr for host in hosts for addr in host.addresses)
    addresses = tuple(dict.fromkeys((*known.nodes.get(word, ()), *expected)))
    if not addresses:
        raise NotFound(f"node {word} has no address yet")
    return Side(word, addresses, None, known.governor(word, addresses[0]), word)


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


def _pairs(one: Side, other: Side, words: Words, protocol: int) -> list[tuple[Addr, Addr]]:
    """An address of each side for every IP version that both have and that can be meant.

    Raises:
        Invalid: there is none.
    """
    only = _family(words, protocol)
    found = []
    for family in Family if only is None else (only,):
        src = next((addr for addr in one.addresses if addr.family is family), None)
        dst = next((addr for addr in other.addresses if addr.family is family), None)
        if src is not None and dst is not None:
            found.append((src, dst))
    if found:
        return found
    if only is None:
        rule = f"has no address of the same IP version as {other.name}"
        raise Invalid([Problem("", "", one.name, rule)])
    lacking = other if any(addr.family is only for addr in one.addresses) else one
    version, protocol_word = words.ip_version, words.protocol
    option, value = ("--ip-version", version) if version else ("--protocol", protocol_word)
    raise Invalid([Problem("", option, value, f"{lacking.name} has no IPv{only.value} address")])


def _port(owner: Side, protocol: int, word: str, option: str) -> int:
    """A port's number, or the number of its owner's port of this name.

    Raises:
        Invalid: the number is no port.
        NotFound: the owner names no port so.
    """
    if word.isascii() and word.isdigit():
        if not 1 <= int(word) <= PORT_LAST:
            raise Invalid([Problem("", option, word, f"ports go from 1 to {PORT_LAST}")])
        return int(word)
    named_by = owner.endpoint or owner.host
    named = named_by.ports if named_by else ()
    own = {port.name: port.port for port in named if port.protocol == protocol}
    if word in own:
        return own[word]
    there = ", ".join(f"{name} ({number})" for name, number in sorted(own.items()))
    remedy = f"there are {there}" if there else "give a number"
    raise NotFound(f"{owner.name} names no {protocol_name(protocol)} port {word}", remedy)
