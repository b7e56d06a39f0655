"""Addresses and traffic in words: ``every pod of shop but db``, ``everything but TCP 5432``.

Used where sets of them come out of a comparison. Every word is exact.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType

from korat.core.model.key import Key
from korat.core.model.label import NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX
from korat.core.net.address import Addr, Family
from korat.core.net.interval import IntervalSet
from korat.core.net.port import ICMP_PROTOCOLS, protocol_name
from korat.core.policy.cluster import Cluster
from korat.core.table.compare_group import Peers
from korat.core.table.compare_traffic import Traffic, rest_of
from korat.core.table.grid import Box
from korat.core.table.value import number_last

#: The labels of pods, by the pods' names.
Labels = Mapping[str, Mapping[str, str]]

#: So many pods are named rather than described.
_FEW = 3
#: Labels that nobody wrote on the pod.
_NOT_OWN = ("projectcalico.org/", NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX)

EVERYBODY = "anyone"
ANYONE = "anyone else"
EVERYTHING = "everything"
ANY = "any"


def traffic_rows(traffic: Traffic) -> Iterator[tuple[str, str]]:
    """Protocols and ports for scripts: ``("TCP", "80, 443")``, ``("any but TCP", "any")``."""
    for protocol, boxes in traffic.planes:
        yield protocol_name(protocol), ", ".join(_box(protocol, box) for box in boxes) or ANY
    if traffic.others is not None:
        names = ", ".join(map(protocol_name, traffic.others))
        yield f"{ANY} but {names}" if names else ANY, ANY


def traffic_words(traffic: Traffic) -> str:
    """The traffic for people, by what it is or by what it is not, whichever is shorter."""
    if traffic.is_all:
        return EVERYTHING
    if traffic.others is not None:
        return f"{EVERYTHING} but {_planes(traffic.rest())}"
    return _planes(traffic)


def _planes(traffic: Traffic) -> str:
    return "; ".join(_plane(protocol, boxes) for protocol, boxes in traffic.planes)


def _plane(protocol: int, boxes: Sequence[Box]) -> str:
    name = protocol_name(protocol)
    rest = rest_of(protocol, boxes)
    if not rest:
        return f"all {name}" if number_last(protocol) else f"protocol {name}"
    if len(rest) < len(boxes):
        return f"{name} but {', '.join(_box(protocol, box) for box in rest)}"
    return f"{name} {', '.join(_box(protocol, box) for box in boxes)}"


def _box(protocol: int, box: Box) -> str:
    """Destination ports, or an ICMP type and code; source ports only where they matter."""
    last = number_last(protocol)
    first, second = _span(box.a_first, box.a_last, last), _span(box.b_first, box.b_last, last)
    if protocol in ICMP_PROTOCOLS:
        return f"type {first}" if second == ANY else f"type {first} code {second}"
    return second if first == ANY else f"{second} from port {first}"


def _span(first: int, last: int, most: int) -> str:
    if (first, last) == (0, most):
        return ANY
    return str(first) if first == last else f"{first}-{last}"


class Names:
    """The names of addresses: pods, network sets, CIDRs, and everybody else.

    A CIDR, a set and "anyone else" speak of addresses that are no pod's; pods are always named.
    ``families`` says of which IP versions a peer can be at all; where there are two and not both
    are meant, it is said.
    """

    def __init__(self, cluster: Cluster, titles: Mapping[Key, str]) -> None:
        self._owned = {titles[e.key]: e.addresses for e in cluster.endpoints if e.key in titles}
        addresses = [addr for owned in self._owned.values() for addr in owned]
        self._pods = {
            family: IntervalSet.of((a.value, a.value) for a in addresses if a.family is family)
            for family in Family
        }
        self._sets = {
            (family, self._without_pods(family, IntervalSet.of_prefixes(nets))): str(each.key)
            for each in cluster.sets
            for family in Family
            if (nets := [net for net in each.nets if net.family is family])
        }

    def pods(self, peers: Peers, families: Collection[Family]) -> list[str]:
        """The pods among the peers, sorted; one of which only some addresses are, with those."""
        spans = {family: IntervalSet() for family in families} | dict(peers)
        found = []
        for title, owned in sorted(self._owned.items()):
            asked = [addr for addr in owned if addr.family in spans]
            inside = [addr for addr in asked if addr.value in spans[addr.family]]
            if inside:
                some = ", ".join(map(str, inside))
                found.append(title if inside == asked else f"{title} ({some})")
        return found

    def whole(self, peers: Peers, families: Collection[Family]) -> str:
        """``anyone``, where every address of these IP versions is meant; else nothing."""
        if any(
            self._pods[family] - spans or self._strangers(family, spans) != [ANYONE]
            for family, spans in peers
        ):
            return ""
        missing = set(families) - {family for family, _ in peers}
        kinds = ", ".join(f"IPv{family.value}" for family, _ in peers)
        return f"{EVERYBODY} ({kinds})" if missing else EVERYBODY

    def strangers(self, peers: Peers, families: Collection[Family]) -> list[str]:
        """Everybody who is no pod: sets, CIDRs, or anyone else."""
        words = [self._strangers(family, spans) for family, spans in peers]
        both = len(families) > 1
        if both and words == [[ANYONE]] * len(families):
            return [ANYONE]
        found = []
        for (family, _), each in zip(peers, words, strict=True):
            kind = f" (IPv{family.value})" if both else ""
            found += [word.replace(ANYONE, f"{ANYONE}{kind}", 1) for word in each]
        return list(dict.fromkeys(found))

    def _strangers(self, family: Family, spans: IntervalSet) -> list[str]:
        rest = self._without_pods(family, spans)
        if not rest:
            return []
        known = self._sets.get((family, rest))
        if known:
            return [known]
        line = IntervalSet(((0, (1 << family.bits) - 1),))
        inside = self._prefixes(family, rest)
        outside = self._prefixes(family, self._without_pods(family, line) - rest)
        if not outside:
            return [ANYONE]
        return [f"{ANYONE} but {', '.join(outside)}"] if len(outside) < len(inside) else inside

    def _without_pods(self, family: Family, spans: IntervalSet) -> IntervalSet:
        return spans - self._pods[family]

    def _prefixes(self, family: Family, rest: IntervalSet) -> list[str]:
        """The CIDRs of addresses, in which pods are no holes."""
        filled = IntervalSet.of((*rest.spans, *self._pods[family].spans))
        return [
            str(Addr(family, net.base)) if net.length == family.bits else str(net)
            for net in filled.prefixes(family)
            if IntervalSet.of_prefixes([net]) & rest
        ]


def pods_words(
    names: Iterable[str], everybody: Iterable[str], labels: Labels = MappingProxyType({})
) -> list[str]:
    """Pods by namespace: all of one, all but a few, those of a label, or each by name."""
    chosen, there = list(names), sorted(everybody)
    if len(there) > 1 and chosen == there:
        return ["every pod"]
    known = frozenset(chosen)
    found: list[str] = []
    for namespace, group in groupby(there, key=lambda name: name.partition("/")[0]):
        members = list(group)
        found += _of_namespace(namespace, members, known, labels)
    return [*found, *(name for name in chosen if name not in there)]


def _of_namespace(
    namespace: str, members: Sequence[str], chosen: Collection[str], labels: Labels
) -> list[str]:
    inside = [name for name in members if name in chosen]
    outside = [name for name in members if name not in chosen]
    everyone = f"every pod of {namespace}"
    if not outside and len(inside) > 1:
        return [everyone]
    if len(inside) > _FEW and (label := _label_of(inside, members, labels)):
        return [f"{everyone} with {label}"]
    if len(inside) > 1 and len(outside) > _FEW and (label := _label_of(outside, members, labels)):
        return [f"{everyone} but those with {label}"]
    if len(outside) < len(inside) - 1:
        return [f"{everyone} but {' '.join(name.partition('/')[2] for name in outside)}"]
    return inside


def _label_of(some: Sequence[str], members: Sequence[str], labels: Labels) -> str:
    """A label that these of the members have and no other one has; empty when there is none."""
    for key, value in sorted(labels.get(some[0], {}).items(), key=lambda each: len(each[0])):
        if not key.startswith(_NOT_OWN):
            having = [name for name in members if labels.get(name, {}).get(key) == value]
            if having == list(some):
                return f"{key}={value}"
    return ""
