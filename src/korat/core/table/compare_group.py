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
from korat.core.table.compare import Change, Ruling
from korat.core.table.compare_traffic import Traffic

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
