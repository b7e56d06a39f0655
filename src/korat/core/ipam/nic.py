"""Which secondary address of a VM's NIC a new interface gets, by Azure's rules.

The NIC's primary address is the node's own, and so is each that an interface of the node has. What
has left the NIC is nobody's: Azure's fabric drops its packets, and may give it to another VM. An
address that was given back cools down before it is given again, since others still know the old
workload by it; of those that have, the one that is free the longest comes first, and before all
of them those that nobody had.

Not for how the NIC is known (``nic_document``), nor for where the reservations are kept.
Source: azure-container-networking (ipam/pool.go, ipam/azure.go).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from korat.core.errors import Conflict, Invalid, Problem, Unavailable
from korat.core.ipam.hostlocal import Owner
from korat.core.ipam.instant import text_of
from korat.core.net.address import Addr, Family, Prefix

#: How long an address rests that was given back.
COOL_DOWN_S = 30.0
_COOL_DOWN_S_MAX = 3600
#: How many addresses Azure lets a NIC have.
ADDRESSES_MAX = 256

_REMEDY = f"delete pods, or give the NIC more IP configurations; Azure allows {ADDRESSES_MAX}"


@dataclass(frozen=True, slots=True)
class NicAddress:
    """An address of the NIC; ``nodes_own`` is the primary one, or one on an interface here."""

    addr: Addr
    subnet: Prefix | None
    nodes_own: bool


@dataclass(frozen=True, slots=True)
class Nic:
    """A NIC as Azure has it now."""

    mac: str
    addresses: tuple[NicAddress, ...]

    @property
    def for_pods(self) -> frozenset[Addr]:
        """The addresses that may be given out."""
        own = self.own
        return frozenset(each.addr for each in self.addresses if each.addr not in own)

    @property
    def own(self) -> frozenset[Addr]:
        """The node's own addresses."""
        return frozenset(each.addr for each in self.addresses if each.nodes_own)


class Attachment(NamedTuple):
    """Who holds an address: a container's interface in a network; all empty where nobody knows."""

    network: str
    container_id: str
    ifname: str

    @property
    def owner(self) -> Owner:
        """The interface without its network."""
        return Owner(self.container_id, self.ifname)


@dataclass(frozen=True, slots=True)
class Rest:
    """What rests: when each address was given back, in seconds since the epoch, and for how long.

    Addresses that were never given out are not in it; those that were given out again may be.
    """

    released_s: Mapping[Addr, float]
    cool_down_s: float = COOL_DOWN_S

    def until_s(self, addr: Addr) -> float:
        """When the address may be given out again."""
        released_s = self.released_s.get(addr)
        return 0.0 if released_s is None else released_s + self.cool_down_s

    def settled(self, now_s: float) -> "Rest":
        """The same for a clock that was put back since: nothing was given back after now."""
        released_s = {addr: min(at_s, now_s) for addr, at_s in self.released_s.items()}
        return Rest(released_s, self.cool_down_s)

    def still_needed(self, nic: Nic, now_s: float) -> dict[Addr, float]:
        """The times without those of addresses that have left the NIC and rested since."""
        there = nic.for_pods
        return {
            addr: at_s
            for addr, at_s in self.released_s.items()
            if addr in there or self.until_s(addr) > now_s
        }


def rest_of(
    written: Mapping[Addr, float] | None, nic: Nic, cool_down_s: float, now_s: float
) -> Rest:
    """What rests by what was written; if that is lost, each was given back a moment ago."""
    times = dict.fromkeys(nic.for_pods, now_s) if written is None else written
    return Rest(times, cool_down_s).settled(now_s)


def cool_down_of(ipam: Mapping[str, object]) -> float:
    """The ``coolDownSeconds`` of a configuration's ``ipam`` part.

    Raises:
        Invalid: it is not a number of seconds, or too many.
    """
    match value := ipam.get("coolDownSeconds", COOL_DOWN_S):
        case bool():
            pass
        case int() | float() if 0 <= value <= _COOL_DOWN_S_MAX:
            return float(value)
    rule = f"is not a number of seconds from 0 to {_COOL_DOWN_S_MAX}"
    raise Invalid([Problem("", "ipam.coolDownSeconds", value, rule)])


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked for: addresses for one interface.

    ``requested`` are named by the runtime; ``heir_of`` is an earlier container of the same pod.
    """

    who: Attachment
    requested: tuple[Addr, ...] = ()
    heir_of: Attachment | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """What becomes of a demand: ``given`` in order of IP version, ``freed`` goes to rest.

    ``given`` are the asker's then, whoever of the two had them before.
    """

    given: tuple[Addr, ...]
    freed: tuple[Addr, ...]


def assign(
    nic: Nic, held: Mapping[Addr, Attachment], rest: Rest, demand: Demand, now_s: float
) -> Assignment:
    """An address of each IP version that the NIC has for pods; what the asker has, it keeps.

    Raises:
        Unavailable: no address is free, or a requested one cools down.
        Conflict: a requested address is another's.
        Invalid: a requested address is not on the NIC or the node's own, or there are too many.
    """
    _refuse_requested(nic, demand.requested)
    mine = tuple(sorted(a for a, who in held.items() if who in (demand.who, demand.heir_of)))
    own = [addr for addr in mine if held[addr] == demand.who]
    families = _families(nic)
    if not demand.requested and nic.for_pods.issuperset(own):
        # IPv4's is written last: who has one has all that there was when it asked first.
        had = {addr.family for addr in own}
        families = had if Family.V4 in had else families
    taken = _Taken(held, rest, mine)
    given = tuple(_one(family, nic, taken, demand, now_s) for family in sorted(families))
    return Assignment(given, tuple(addr for addr in mine if addr not in given))


def free(
    nic: Nic, held: Collection[Addr], rest: Rest, now_s: float, family: Family = Family.V4
) -> tuple[Addr, ...]:
    """What may be given out now, in the order in which it would be."""
    usable = (
        addr
        for addr in nic.for_pods - frozenset(held)
        if addr.family is family and rest.until_s(addr) <= now_s
    )
    return tuple(sorted(usable, key=lambda addr: (rest.until_s(addr), addr)))


@dataclass(frozen=True, slots=True)
class Usage:
    """How many addresses of a NIC are there for pods, in use, and resting."""

    total: int
    used: int
    resting: int


def usage(
    nic: Nic, held: Collection[Addr], rest: Rest, now_s: float, family: Family = Family.V4
) -> Usage:
    """How much of one IP version's is left."""
    there = frozenset(addr for addr in nic.for_pods if addr.family is family)
    used = there.intersection(held)
    resting = sum(rest.until_s(addr) > now_s for addr in there - used)
    return Usage(len(there), len(used), resting)


def vanished(nic: Nic, held: Mapping[Addr, Attachment]) -> dict[Addr, str]:
    """What somebody holds although it cannot be a workload's any more, and why."""
    own = nic.own
    return {
        addr: "is the node's own now" if addr in own else "has left the NIC"
        for addr in sorted(held.keys() - nic.for_pods)
    }


@dataclass(frozen=True, slots=True)
class _Taken:
    """What cannot be given to everybody: what is held, what rests, and what the asker may keep."""

    held: Mapping[Addr, Attachment]
    rest: Rest
    mine: tuple[Addr, ...]


def _one(family: Family, nic: Nic, taken: _Taken, demand: Demand, now_s: float) -> Addr:
    wanted = next((addr for addr in demand.requested if addr.family is family), None)
    if wanted is not None:
        _refuse_taken(wanted, taken, now_s)
        return wanted
    usable = [addr for addr in nic.for_pods.intersection(taken.mine) if addr.family is family]
    # The asker's own before what it inherits.
    kept = sorted(usable, key=lambda addr: (taken.held[addr] != demand.who, addr))
    found = kept or free(nic, taken.held, taken.rest, now_s, family)
    if not found:
        raise Unavailable(_shortage(family, nic, taken, now_s), _REMEDY)
    return found[0]


def _shortage(family: Family, nic: Nic, taken: _Taken, now_s: float) -> str:
    found = usage(nic, taken.held, taken.rest, now_s, family)
    if not found.total:
        return f"the NIC {nic.mac} has no secondary IPv{family.value} address for pods"
    what = (
        f"no secondary IPv{family.value} address of the NIC {nic.mac} is free: "
        f"{found.used} of {found.total} are in use"
    )
    if not found.resting:
        return what
    free_addrs = (a for a in nic.for_pods - taken.held.keys() if a.family is family)
    ends_s = [taken.rest.until_s(addr) for addr in free_addrs]
    wait_s = max(1, round(min(ends_s) - now_s))
    last = text_of(int(max(ends_s)))
    return f"{what}, {found.resting} cool down until {last}, the first for {wait_s} s more"


def _refuse_requested(nic: Nic, requested: Collection[Addr]) -> None:
    """Refuse what can never be had.

    Raises:
        Invalid: with each such address.
    """
    problems = [
        Problem("", "ips", str(addr), rule) for addr in requested if (rule := _fault(nic, addr))
    ]
    if len({addr.family for addr in requested}) < len(requested):
        text = ",".join(map(str, requested))
        problems.append(Problem("", "ips", text, "are more than one of an IP version"))
    if problems:
        raise Invalid(problems)


def _fault(nic: Nic, addr: Addr) -> str:
    if addr in nic.own:
        return "is the node's own"
    if addr not in nic.for_pods:
        return f"is not on the NIC {nic.mac}; add it as an IP configuration"
    return ""


def _refuse_taken(addr: Addr, taken: _Taken, now_s: float) -> None:
    if addr in taken.mine:
        return
    if addr in taken.held:
        raise Conflict(f"the requested address {addr} belongs to another container")
    until_s = taken.rest.until_s(addr)
    if until_s > now_s:
        raise Unavailable(
            f"the requested address {addr} was given back a moment ago and cools down until "
            f"{text_of(int(until_s))}",
            "ask again then",
        )


def _families(nic: Nic) -> set[Family]:
    """IPv4, which everybody needs, and IPv6 where the NIC has it for pods."""
    return {Family.V4, *(addr.family for addr in nic.for_pods)}
