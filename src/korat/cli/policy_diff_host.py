"""The part of policy diff that is about nodes: what changes at their interfaces."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from korat.cli.policy_source import Snapshot
from korat.cli.policy_words import ANY, Names, traffic_rows
from korat.cli.surroundings import surroundings
from korat.core.model.key import Key
from korat.core.net.address import Family
from korat.core.policy.spot import Spot
from korat.core.table.compare_group import HostGroup, Peers, grouped_hosts
from korat.core.table.compare_host import compare_hosts, compared_spots, governing

#: So many nodes are named rather than counted.
_FEW = 3
_FAMILIES = frozenset(Family)


@dataclass(frozen=True, slots=True)
class HostDifference:
    """What turned at the interfaces of nodes.

    ``governors`` has for each interface that was compared the host endpoints that govern it, after
    the change and before it; ``endpoints`` are all that there are on either side.
    """

    groups: Sequence[HostGroup]
    governors: Mapping[Spot, tuple[Key, ...]]
    endpoints: frozenset[Key]

    @property
    def touched(self) -> frozenset[Key]:
        """The host endpoints whose interfaces get other verdicts."""
        spots = (spot for group in self.groups for spot in group.spots)
        return frozenset(key for spot in spots for key in self.governors[spot])


def host_difference(before: Snapshot, after: Snapshot) -> HostDifference:
    """Compare what host endpoints' policies say.

    Raises:
        IntricateError: port lists cut each other into too many pieces.
        CrowdedError: there are too many pairs of ends.
    """
    old, new = (surroundings(side.objects, side.cluster) for side in (before, after))
    where = compared_spots(old, new)
    named = [governing(side, where) for side in (new, old)]
    governors = {
        spot: tuple(dict.fromkeys(key for side in named if (key := side[spot]) is not None))
        for spot in where
    }
    hosts = (*before.cluster.hosts, *after.cluster.hosts)
    groups = grouped_hosts(compare_hosts(old, new))
    return HostDifference(groups, governors, frozenset(host.key for host in hosts))


def host_rows(found: HostDifference, names: Names) -> Iterator[tuple[HostGroup, dict[str, Any]]]:
    """Every change for scripts, and the group it is of, which knows who ruled."""
    for group in found.groups:
        ends = ANY if group.ends is None else who(group.ends, names)
        for spot in group.spots:
            for peer in who(group.peers, names):
                for protocol, ports in traffic_rows(group.traffic):
                    row = {
                        "direction": group.way.direction.value,
                        "way": group.way.value,
                        "node": spot.node,
                        "interface": spot.interface.name,
                        "endpoint": found.governors[spot][0].name,
                        "peer": peer,
                        "ends": ends,
                        "protocol": protocol,
                        "ports": ports,
                    }
                    yield group, row


def who(peers: Peers, names: Names) -> list[str]:
    """Everybody among some addresses, each by name."""
    whole = names.whole(peers, _FAMILIES)
    return [whole] if whole else [*names.pods(peers, _FAMILIES), *names.strangers(peers, _FAMILIES)]


def spots_words(some: Iterable[Spot], everywhere: Iterable[Spot]) -> str:
    """``eth0 of vm1 and vm2``, ``* of all 12 nodes compared``; of many, the few that are not."""
    chosen, there = _by_name(some), _by_name(everywhere)
    words = [_of_nodes(name, nodes, there[name]) for name, nodes in chosen.items()]
    return ", ".join(words)


def _by_name(spots: Iterable[Spot]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for spot in spots:
        found[spot.interface.name].append(spot.node)
    return dict(found)


def _of_nodes(name: str, nodes: Sequence[str], there: Collection[str]) -> str:
    missing = sorted(set(there) - set(nodes))
    if len(nodes) <= max(_FEW, len(missing)):
        return f"{name} of {_listed(nodes)}"
    words = f"{name} of all {len(there)} nodes compared"
    return f"{words} but {_listed(missing)}" if missing else words


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
