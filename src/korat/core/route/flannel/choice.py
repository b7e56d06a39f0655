"""Which subnet a node takes: the one it has, the one it had, or one that is free.

Two nodes may choose the same one at the same time. The one whose transaction comes second finds it
taken, and chooses again. So nothing here depends on who else is choosing.
Source: flannel's pkg/subnet/etcd/local_manager.go.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from korat.core.errors import Unavailable
from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.flannel.lease import Lease
from korat.core.route.flannel.network import FlannelNetwork, Subnets

#: Among how many free subnets one is drawn, so that nodes that start together differ.
_DRAWN_FROM = 100

Draw = Callable[[int], int]
"""A number from 0 up to, and without, the one that is given."""

Pair = tuple[Prefix, Prefix | None]


@dataclass(frozen=True, slots=True)
class Choice:
    """The subnets to take; ``stale`` is a lease of this node's that must go first.

    ``held`` is the lease that has them already, to be renewed with what is true now.
    """

    subnet: Prefix
    subnet6: Prefix | None
    held: Lease | None = None
    stale: Lease | None = None


def choose(
    network: FlannelNetwork,
    leases: Collection[Lease],
    taken: Collection[Pair],
    own: Addr,
    previous: Pair | None,
    draw: Draw,
) -> Choice:
    """What the node with this address takes.

    ``leases`` are all that can be read, ``taken`` the subnets of all that there are, readable or
    not; ``previous`` is what the node had when it ran last.

    Raises:
        Unavailable: no subnet is free.
    """
    mine = next((lease for lease in leases if lease.public_ip == own), None)
    if mine is not None and _admits(network, (mine.subnet, mine.subnet6)):
        return Choice(mine.subnet, mine.subnet6, held=mine)
    others = [pair for pair in taken if mine is None or pair != (mine.subnet, mine.subnet6)]
    if previous is not None and _admits(network, previous) and _free(previous, others):
        return Choice(*previous, stale=mine)
    subnet = _drawn(network.ipv4, [pair[0] for pair in others], draw)
    if subnet is None:
        raise Unavailable(
            "flannel has no free IPv4 subnet",
            "widen Network in flannel's configuration, or delete leases of nodes that are gone",
        )
    subnet6 = _drawn(network.ipv6, [pair[1] for pair in others if pair[1] is not None], draw)
    if network.ipv6 is not None and subnet6 is None:
        raise Unavailable(
            "flannel has no free IPv6 subnet", "widen IPv6Network in flannel's configuration"
        )
    return Choice(subnet, subnet6, stale=mine)


def _admits(network: FlannelNetwork, pair: Pair) -> bool:
    """Whether the configuration would give these subnets."""
    subnet, subnet6 = pair
    if network.ipv4 is None or not network.ipv4.admits(subnet):
        return False
    return subnet6 is None if network.ipv6 is None else network.ipv6.admits(subnet6)


def _free(pair: Pair, others: Collection[Pair]) -> bool:
    return not any(
        mine is not None and theirs is not None and mine.overlaps(theirs)
        for other in others
        for mine, theirs in zip(pair, other, strict=True)
    )


def _drawn(subnets: Subnets | None, taken: Collection[Prefix], draw: Draw) -> Prefix | None:
    """One of the first that are free; None where there is none."""
    if subnets is None:
        return None
    free = list(islice(_unclaimed(subnets, taken), _DRAWN_FROM))
    return free[draw(len(free))] if free else None


def _unclaimed(subnets: Subnets, taken: Collection[Prefix]) -> Iterator[Prefix]:
    """Subnets that overlap none that is taken, from the lowest on."""
    family: Family = subnets.network.family
    size = 1 << (family.bits - subnets.length)
    spans = sorted((other.first, other.last) for other in taken if other.family is family)
    at, last = subnets.first.base, subnets.last.base
    for low, high in spans:
        while at + size <= low and at <= last:
            yield Prefix(family, at, subnets.length)
            at += size
        if high >= at:
            at = (high // size + 1) * size
    while at <= last:
        yield Prefix(family, at, subnets.length)
        at += size
