"""Changes put together for people: alike endpoints and both families side by side.

Nothing is rounded: a group says of each of its endpoints, each of its peers and all of its traffic
exactly what the changes in it said.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from korat.core.model.key import Key
from korat.core.net.address import Family
from korat.core.net.interval import IntervalSet
from korat.core.policy.outcome import Action, Direction
from korat.core.policy.spot import Spot
from korat.core.table.compare import Change, Ruling, Turn
from korat.core.table.compare_host import HostChange
from korat.core.table.compare_traffic import Traffic
from korat.core.table.host_plan import Way

#: Addresses of both families; a family without any is not there.
Peers = tuple[tuple[Family, IntervalSet], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The same change at several endpoints."""

    direction: Direction
    endpoints: tuple[Key, ...]
    peers: Peers
    traffic: Traffic
    before: Ruling
    after: Ruling


def grouped(changes: Iterable[Change]) -> list[Group]:
    """The groups by direction and endpoints; what is denied now comes before what is allowed."""
    both: defaultdict[tuple[Direction, Key, Traffic, Ruling, Ruling], dict[Family, IntervalSet]]
    both = defaultdict(dict)
    for change in changes:
        place = change.direction, change.endpoint, change.traffic, change.before, change.after
        both[place][change.family] = change.peers
    alike: defaultdict[tuple[Direction, Peers, Traffic, Ruling, Ruling], list[Key]]
    alike = defaultdict(list)
    for (direction, endpoint, traffic, before, after), families in both.items():
        peers = tuple(sorted(families.items()))
        alike[direction, peers, traffic, before, after].append(endpoint)
    groups = [
        Group(direction, tuple(sorted(endpoints)), peers, traffic, before, after)
        for (direction, peers, traffic, before, after), endpoints in alike.items()
    ]
    return sorted(groups, key=_rank)


def _rank(group: Group) -> tuple[str, tuple[Key, ...], bool, str, str, str]:
    return (
        group.direction.value,
        group.endpoints,
        group.after.action is Action.ALLOW,
        group.after.ref.text,
        group.before.ref.text,
        repr((group.traffic, group.peers)),
    )


@dataclass(frozen=True, slots=True)
class HostGroup:
    """The same change at several interfaces of nodes; ``ends`` as in ``HostChange``."""

    way: Way
    spots: tuple[Spot, ...]
    peers: Peers
    ends: Peers | None
    traffic: Traffic
    before: Ruling
    after: Ruling


#: What of a change at an interface may be alike elsewhere.
_Alike = tuple[Way, Peers, Peers | None, Turn]


def grouped_hosts(changes: Iterable[HostChange]) -> list[HostGroup]:
    """The groups by way and interfaces; what is denied now comes before what is allowed.

    Both families are side by side where all ends are meant. Otherwise each stands alone, for a
    group would say of addresses of one family what is meant of those of the other.
    """
    both: defaultdict[tuple[Way, Spot, Turn], dict[Family, IntervalSet]] = defaultdict(dict)
    alike: defaultdict[_Alike, list[Spot]] = defaultdict(list)
    for change in changes:
        turn = Turn(change.traffic, change.before, change.after)
        if change.ends is None:
            both[change.way, change.spot, turn][change.family] = change.peers
        else:
            peers, ends = ((change.family, each) for each in (change.peers, change.ends))
            alike[change.way, (peers,), (ends,), turn].append(change.spot)
    for (way, spot, turn), families in both.items():
        alike[way, tuple(sorted(families.items())), None, turn].append(spot)
    groups = [
        HostGroup(way, tuple(sorted(spots)), peers, ends, *turn)
        for (way, peers, ends, turn), spots in alike.items()
    ]
    return sorted(groups, key=_host_rank)


def _host_rank(group: HostGroup) -> tuple[int, tuple[Spot, ...], bool, str, str, str]:
    return (
        list(Way).index(group.way),
        group.spots,
        group.after.action is Action.ALLOW,
        group.after.ref.text,
        group.before.ref.text,
        repr((group.traffic, group.peers, group.ends)),
    )
