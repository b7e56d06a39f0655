"""What host endpoints' policies say of connections that are under way already.

For: cutting, after a change, what the node itself talks or passes on and would not any more. The
evaluator is asked, as host policy has no tables, but about a cluster of which only those are left
that have one of the connection's addresses. Where policy depends on the interface, that is the one
by which the kernel would send to the connection's end.

Not for: what workloads' policies say (``rejudge``), connections that were never tracked, and what
nobody answered yet, as broadcasts: policy is asked about each packet of it anyway.
Source: felix/rules/static.go (which chains a packet meets).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from korat.core.model.key import Key
from korat.core.net.address import Addr, Family
from korat.core.net.interval import IntervalSet
from korat.core.net.port import ICMP_PROTOCOLS
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import AddressSet, Endpoint, Slice, Tier
from korat.core.policy.host import HostNode, HostVerdict
from korat.core.policy.match import Packet
from korat.core.policy.outcome import Action
from korat.core.policy.scope import ServiceName
from korat.core.table.host import asks_owners
from korat.core.table.rejudge import Connection, Places, numbers

#: By which interface the kernel would send to an address, from one of its own if that is given.
Route = Callable[[Addr, Addr | None], str | None]
#: Stands for an interface of which only is known that no host endpoint of its own governs it.
_SOME = ""
_LOOPBACK = "lo"


class HostJudge:
    """Judges connections by one node's host policy; made for one look at them."""

    def __init__(self, node: HostNode, places: Places, route: Route) -> None:
        cluster = replace(node.cluster, host_tiers=tuple(_tiers_for(node)))
        self._node = replace(node, cluster=cluster)
        self._around = _Around(cluster, asking=asks_owners(cluster, node.who.hosts))
        self._places = places
        self._route = route
        self._found: dict[tuple[Addr, Addr | None], tuple[str, ...]] = {}

    def denies(self, connection: Connection) -> bool:
        """Whether host policy would not let in the connection's first packet now.

        Where several interfaces come into question each of them has to deny it.
        """
        sent, translated = _packets(connection)
        node = replace(self._node, cluster=self._around.seen_by(sent, translated))
        own = self._places.own
        if sent.src in own:
            if translated.dst in own:
                leaving = node.out_of(_LOOPBACK, sent, translated)
                # It is translated before it comes by the loopback interface.
                return _denied(leaving) or _denied(node.into(_LOOPBACK, translated))
            ways = self._to(translated.dst, sent.src)
            return all(_denied(node.out_of(oif, sent, translated)) for oif in ways)
        arriving = self._from(sent.src, translated.dst)
        if translated.dst in own:
            return all(_denied(node.into(iif, sent, translated)) for iif in arriving)
        ways = self._to(translated.dst, None)
        return all(
            _denied(node.through(iif, oif, sent, translated))
            for iif, oif in product(arriving, ways)
        )

    def _from(self, src: Addr, dst: Addr) -> tuple[str, ...]:
        own = dst if dst in self._places.own else None
        return self._places.senders(src) or self._toward(src, own)

    def _to(self, dst: Addr, own: Addr | None) -> tuple[str, ...]:
        return self._places.receivers(dst) or self._toward(dst, own)

    def _toward(self, addr: Addr, own: Addr | None) -> tuple[str, ...]:
        """The interfaces that count for an address beyond them, which may be any."""
        if not self._node.who.named:
            return (_SOME,)
        found = self._found.get((addr, own))
        if found is None:
            name = self._route(addr, own)
            found = (name,) if name else (*self._node.who.named, _SOME)
            self._found[addr, own] = found
        return found


def _denied(verdict: HostVerdict) -> bool:
    return verdict.action is Action.DENY


def _packets(connection: Connection) -> tuple[Packet, Packet]:
    """The first packet as it was sent, and with its destination translated."""
    original, reply, protocol = connection.original, connection.reply, connection.protocol
    if protocol in ICMP_PROTOCOLS:
        kind, code = numbers(connection)
        sent = Packet(original.src, original.dst, protocol, icmp_type=kind, icmp_code=code)
        return sent, replace(sent, dst=reply.src)
    sent = Packet(original.src, original.dst, protocol, original.a, original.b)
    return sent, replace(sent, dst=reply.src, dport=reply.a)


def _tiers_for(node: HostNode) -> Iterator[Tier]:
    """The tiers with those policies that select a host endpoint that governs anything here."""
    hosts = node.who.hosts
    for tier in node.cluster.host_tiers:
        found = [p for p in tier.policies if any(p.selector.matches(h.labels) for h in hosts)]
        if found:
            yield replace(tier, policies=tuple(found))


@dataclass(frozen=True, slots=True)
class _Owned:
    """A set's addresses, looked up without a scan."""

    of: AddressSet
    spans: dict[Family, IntervalSet]


class _Around:
    """A cluster as two addresses see it; nobody is in it where policy does not ask for owners."""

    def __init__(self, cluster: Cluster, *, asking: bool) -> None:
        self._bare = replace(cluster, endpoints=(), sets=(), services={}, hosts=())
        self._asking = asking
        self._endpoints = _by_address(cluster.endpoints if asking else ())
        self._hosts = _by_address(cluster.hosts if asking else ())
        self._slices: defaultdict[Addr, list[Slice]] = defaultdict(list)
        self._sets = [_Owned(each, _spans(each)) for each in (cluster.sets if asking else ())]
        for slices in cluster.services.values() if asking else ():
            for each in slices:
                for addr in dict.fromkeys(each.addresses):
                    self._slices[addr].append(each)

    def seen_by(self, *packets: Packet) -> Cluster:
        """The cluster with no others than those who have one of these packets' addresses."""
        if not self._asking:
            return self._bare
        ends = {addr for packet in packets for addr in (packet.src, packet.dst)}
        services: defaultdict[ServiceName, dict[Key, Slice]] = defaultdict(dict)
        for each in (slice_ for addr in ends for slice_ in self._slices.get(addr, ())):
            services[each.service][each.key] = each
        return replace(
            self._bare,
            endpoints=_at(self._endpoints, ends),
            hosts=_at(self._hosts, ends),
            sets=tuple(
                owned.of
                for owned in self._sets
                if any(addr.value in owned.spans[addr.family] for addr in ends)
            ),
            services={name: tuple(found.values()) for name, found in services.items()},
        )


def _spans(of: AddressSet) -> dict[Family, IntervalSet]:
    return {f: IntervalSet.of_prefixes(n for n in of.nets if n.family is f) for f in Family}


def _by_address(endpoints: Iterable[Endpoint]) -> dict[Addr, list[Endpoint]]:
    found: defaultdict[Addr, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        for addr in endpoint.addresses:
            found[addr].append(endpoint)
    return found


def _at(known: dict[Addr, list[Endpoint]], ends: Iterable[Addr]) -> tuple[Endpoint, ...]:
    found = {endpoint.key: endpoint for addr in ends for endpoint in known.get(addr, ())}
    return tuple(found.values())
