"""host-local: which address of a node's own ranges a new interface gets.

A *range set* is a list of ranges that are one pool; an interface gets one address of each set. The
scan starts after the last address given out, goes round all ranges of the set once, and skips
gateways, so that an address rests as long as possible before it is used again.

Not for where the reservations are kept; the agent's files are. Not for Calico's own IPAM blocks.
Source: containernetworking/plugins, plugins/ipam/host-local (backend/allocator); Calico's
``usePodCidr`` from cni-plugin/internal/pkg/utils.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from typing_extensions import override

from korat.core.errors import Conflict, Invalid, Problem, Unavailable
from korat.core.net.address import Addr, Family, Prefix

#: What stands for the node's own pod CIDR in ``subnet``; Calico takes each spelling.
_POD_CIDR = {
    "usepodcidr": Family.V4,
    "usepodcidripv4": Family.V4,
    "usepodcidripv6": Family.V6,
}

_RANGE_KEYS = ("subnet", "rangeStart", "rangeEnd", "gateway")


class Owner(NamedTuple):
    """Who holds an address: one interface of one container."""

    container_id: str
    ifname: str


@dataclass(frozen=True, slots=True)
class Range:
    """Part of a subnet to give addresses from.

    Invariant: ``first`` and ``last`` (inclusive) lie in ``subnet``, in this order, and so does
    ``gateway``, which is never given out.
    """

    subnet: Prefix
    first: int
    last: int
    gateway: Addr

    def __contains__(self, addr: Addr) -> bool:
        return addr.family is self.subnet.family and self.first <= addr.value <= self.last

    @override
    def __str__(self) -> str:
        family = self.subnet.family
        return f"{Addr(family, self.first)}-{Addr(family, self.last)}"


@dataclass(frozen=True, slots=True)
class RangeSet:
    """Ranges that are one pool.

    Invariant: not empty; disjoint; all of one family.
    """

    ranges: tuple[Range, ...]

    def __contains__(self, addr: Addr) -> bool:
        return any(addr in r for r in self.ranges)

    @override
    def __str__(self) -> str:
        return ",".join(str(r) for r in self.ranges)

    def gateway(self, addr: Addr) -> Addr:
        """The gateway of the range that this address, one of the set's, lies in."""
        return next(r.gateway for r in self.ranges if addr in r)


@dataclass(frozen=True, slots=True)
class State:
    """What is given out: who holds each address, and each set's last one by its place."""

    held: Mapping[Addr, Owner]
    last: Mapping[int, Addr]

    def of(self, owner: Owner) -> tuple[Addr, ...]:
        """This owner's addresses, sorted."""
        return tuple(sorted(addr for addr, holder in self.held.items() if holder == owner))


def range_sets(ipam: Mapping[str, object], pod_cidrs: Sequence[Prefix]) -> tuple[RangeSet, ...]:
    """The range sets of a configuration's ``ipam`` part, for a node with these pod CIDRs.

    Raises:
        Invalid: with every fault of the configuration.
        Unavailable: it wants the node's pod CIDR, and the node has none yet.
    """
    problems: list[Problem] = []
    sets = []
    for field, written in _written(ipam, problems):
        ranges = [
            r
            for index, item in enumerate(written)
            if (r := _range(item, f"{field}[{index}]", pod_cidrs, problems))
        ]
        if len(ranges) == len(written):
            sets.append(RangeSet(tuple(ranges)))
            problems += _set_problems(ranges, field)
    if not problems:
        problems = _overlaps([r for s in sets for r in s.ranges], "ipam.ranges")
    if problems:
        raise Invalid(problems)
    return tuple(sets)


def assign(
    sets: Sequence[RangeSet], state: State, owner: Owner, requested: Collection[Addr] = ()
) -> tuple[Addr, ...]:
    """One address of each set, in their order; what the owner holds already, it keeps.

    Raises:
        Unavailable: a set has no free address.
        Conflict: a requested address is another's.
        Invalid: a requested address is in no set, or a gateway.
    """
    strays = [addr for addr in requested if not any(addr in s for s in sets)]
    if strays:
        known = "; ".join(str(s) for s in sets)
        raise Invalid([Problem("", "ips", str(a), f"not in the ranges {known}") for a in strays])
    return tuple(_one(s, i, state, owner, requested) for i, s in enumerate(sets))


def candidates(pool: RangeSet, last: Addr | None) -> Iterator[Addr]:
    """Every address of the set once, gateways left out, from the one after ``last`` on."""
    ranges = pool.ranges
    at = next((i for i, r in enumerate(ranges) if last is not None and last in r), None)
    if at is None or last is None:
        yield from (addr for r in ranges for addr in _span(r, r.first, r.last))
        return
    yield from _span(ranges[at], last.value + 1, ranges[at].last)
    for r in (*ranges[at + 1 :], *ranges[:at]):
        yield from _span(r, r.first, r.last)
    yield from _span(ranges[at], ranges[at].first, last.value)


def _one(
    pool: RangeSet, place: int, state: State, owner: Owner, requested: Collection[Addr]
) -> Addr:
    wanted = next((addr for addr in requested if addr in pool), None)
    kept = next((addr for addr in state.of(owner) if addr in pool), None)
    if wanted is not None:
        return _requested(pool, wanted, state, owner)
    if kept is not None:
        return kept
    for addr in candidates(pool, state.last.get(place)):
        if addr not in state.held:
            return addr
    raise Unavailable(f"no free address is left in {pool}", "delete pods or give the node more")


def _requested(pool: RangeSet, addr: Addr, state: State, owner: Owner) -> Addr:
    if addr == pool.gateway(addr):
        raise Invalid([Problem("", "ips", str(addr), "is the gateway of its subnet")])
    if state.held.get(addr, owner) != owner:
        raise Conflict(f"the requested address {addr} belongs to another container")
    return addr


def _span(part: Range, first: int, last: int) -> Iterator[Addr]:
    family, gateway = part.subnet.family, part.gateway.value
    return (Addr(family, value) for value in range(first, last + 1) if value != gateway)


def _written(
    ipam: Mapping[str, object], problems: list[Problem]
) -> Iterator[tuple[str, Sequence[object]]]:
    """The sets as written: the single range of the old form comes before those of ``ranges``."""
    if "subnet" in ipam:
        yield "ipam", ({key: ipam[key] for key in _RANGE_KEYS if key in ipam},)
    ranges = ipam.get("ranges", ())
    if not isinstance(ranges, list | tuple):
        problems.append(Problem("", "ipam.ranges", ranges, "is not a list of lists of ranges"))
        return
    if not ranges and "subnet" not in ipam:
        problems.append(Problem("", "ipam", None, "needs a subnet, or ranges"))
    for index, written in enumerate(ranges):
        if isinstance(written, list | tuple) and written:
            yield f"ipam.ranges[{index}]", written
        else:
            rule = "is not a list of at least one range"
            problems.append(Problem("", f"ipam.ranges[{index}]", written, rule))


def _range(
    item: object, field: str, pod_cidrs: Sequence[Prefix], problems: list[Problem]
) -> Range | None:
    if not isinstance(item, Mapping):
        problems.append(Problem("", field, item, "is not an object with a subnet"))
        return None
    subnet = _subnet(item.get("subnet"), f"{field}.subnet", pod_cidrs, problems)
    if subnet is None:
        return None
    # The first address is the gateway's unless another is named; IPv4's last is for broadcasts.
    top = subnet.last - (1 if subnet.family is Family.V4 else 0)
    defaults = {"rangeStart": subnet.first + 1, "rangeEnd": top, "gateway": subnet.first + 1}
    first, last, gateway = (
        _inside(item.get(key), f"{field}.{key}", subnet, default, problems)
        for key, default in defaults.items()
    )
    if first is None or last is None or gateway is None:
        return None
    if first > last:
        problems.append(Problem("", f"{field}.rangeEnd", item["rangeEnd"], "is before rangeStart"))
        return None
    return Range(subnet, first, last, Addr(subnet.family, gateway))


def _subnet(
    text: object, field: str, pod_cidrs: Sequence[Prefix], problems: list[Problem]
) -> Prefix | None:
    family = _POD_CIDR.get(text.lower()) if isinstance(text, str) else None
    if family is not None:
        subnet = next((cidr for cidr in pod_cidrs if cidr.family is family), None)
        if subnet is None:
            raise Unavailable(
                f"this node has no IPv{family.value} pod CIDR yet, and {field} is {text!r}",
                "set status.podCIDRs of its Node",
            )
    else:
        try:
            subnet = Prefix.parse(str(text))
        except ValueError:
            rule = "is neither a CIDR nor usePodCidr nor usePodCidrIPv6"
            problems.append(Problem("", field, text, rule))
            return None
    if subnet.family.bits - subnet.length < 2:  # noqa: PLR2004 - network, gateway, one to give
        problems.append(Problem("", field, str(subnet), "is too small to give addresses from"))
        return None
    return subnet


def _inside(
    text: object, field: str, subnet: Prefix, default: int, problems: list[Problem]
) -> int | None:
    if text is None:
        return default
    try:
        addr = Addr.parse(str(text))
    except ValueError:
        problems.append(Problem("", field, text, "is not an IP address"))
        return None
    if addr not in subnet:
        problems.append(Problem("", field, text, f"is not in {subnet}"))
        return None
    return addr.value


def _set_problems(ranges: Sequence[Range], field: str) -> list[Problem]:
    if len({r.subnet.family for r in ranges}) > 1:
        return [Problem("", field, None, "mixes IPv4 and IPv6 in one set")]
    return []


def _overlaps(ranges: Sequence[Range], field: str) -> list[Problem]:
    return [
        Problem("", field, str(a), f"overlaps {b}")
        for i, a in enumerate(ranges)
        for b in ranges[i + 1 :]
        if a.subnet.family is b.subnet.family and a.first <= b.last and b.first <= a.last
    ]
