"""A node's peer classes and verdict tables as chains and maps: the chains ``egress``, ``ingress``.

A packet carries a number on its way (its priority, which means nothing there): first its peer's
class, then the table of this class and the local interface, then the outcome. For ingress (egress
looks at ``daddr`` and ``iifname``):

    ingress:          meta priority set none
                      meta nfproto ipv4 jump class-ingress-4
                      meta nfproto ipv6 jump class-ingress-6
                      goto verdict                            in ``outcome_map``; asks ``table``
    class-ingress-4:  meta priority set ip saddr map @nets-ingress-4
                      meta priority set ip saddr map @hosts-ingress-4
                      meta priority != none meta priority set \
                          meta priority . oifname map @cells-ingress-4 return
                      meta priority set oifname map @defaults-ingress-4 return
                      drop                                    unknown workload interface

All of it is elements of maps of numbers, which the kernel changes in microseconds however many
there are; one more workload in the cluster is one more element of ``hosts``. Most classes mean
nothing to most interfaces, and are not in ``cells`` then.
Source: nft(8), maps; ``korat.core.table`` says what classes and tables are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from korat.core.net.address import Family
from korat.core.pmap import PMap, differences
from korat.core.policy.outcome import Direction
from korat.core.render.nft.key import NFPROTO, Field, Key, Span, Type, is_interface_name
from korat.core.render.nft.outcome import OutcomeSettings
from korat.core.render.nft.outcome_map import OutcomeMap
from korat.core.render.nft.ruleset import Chain, Lookup, NumberMap, Ruleset, rule
from korat.core.render.nft.statement import (
    DROP,
    RETURN,
    Carry,
    CarryFrom,
    Counter,
    Match,
    goto,
    jump,
)
from korat.core.render.nft.table import TableMap
from korat.core.table.value import (
    NOBODY,
    DirectionPolicy,
    Net,
    NodePolicy,
    VerdictTable,
)

#: The field that holds the peer's address.
PEER = {
    (Family.V4, Direction.EGRESS): Field.IP_DADDR,
    (Family.V4, Direction.INGRESS): Field.IP_SADDR,
    (Family.V6, Direction.EGRESS): Field.IP6_DADDR,
    (Family.V6, Direction.INGRESS): Field.IP6_SADDR,
}
#: The field that holds the local workload's interface.
LOCAL = {Direction.EGRESS: Field.IIFNAME, Direction.INGRESS: Field.OIFNAME}

#: What happens to a packet of a workload interface that no endpoint has.
UNKNOWN = rule(Counter(), DROP, comment="unknown workload interface")

#: Most strangers are in no class, and spared one lookup.
_OF_A_CLASS = Match(Field.CARRIED, (NOBODY,), negated=True)

_NOTHING: PMap[tuple[int, str], VerdictTable] = PMap()


class PolicyRenderer:
    """Renders one policy after the other; what stays the same is not made again."""

    def __init__(self, settings: OutcomeSettings) -> None:
        self._outcomes = OutcomeMap(settings)
        self._tables = TableMap(self._outcomes)
        self._branches = {
            (family, direction): _Branch(family, direction, self._tables)
            for family in Family
            for direction in Direction
        }

    def render(self, policy: NodePolicy) -> Ruleset:
        """The chains ``egress`` and ``ingress`` and all that they lead to."""
        lookups: dict[str, Lookup] = {}
        chains: dict[str, Chain] = {}
        for way, branch in self._branches.items():
            asked = policy.directions.get(way)
            lookups |= branch.lookups(asked)
            chains |= branch.chain(asked)
        for direction in Direction:
            chains[direction.value] = _entrance(direction)
        lookups |= self._tables.settle()
        lookups |= self._outcomes.settle()
        chains["outcome"] = self._tables.outcome_chain()
        chains["verdict"] = self._outcomes.verdict_chain()
        chains |= self._tables.chains
        chains |= self._outcomes.chains
        return Ruleset(lookups, chains, self._outcomes.counters)


def _entrance(direction: Direction) -> Chain:
    ways = (
        rule(Match(Field.NFPROTO, (NFPROTO[family],)), jump(f"class-{direction.value}-{family}"))
        for family in Family
    )
    return Chain((rule(Carry(0)), *ways, rule(goto("verdict"))))


@dataclass(slots=True)
class _Branch:
    """One family and direction: its maps as of the last turn."""

    family: Family
    direction: Direction
    tables: TableMap
    before: PMap[tuple[int, str], VerdictTable]
    cells: PMap[Key, int]
    defaults: PMap[Key, int]
    nets: tuple[tuple[Net, ...], dict[Key, int]]

    def __init__(self, family: Family, direction: Direction, tables: TableMap) -> None:
        self.family = family
        self.direction = direction
        self.tables = tables
        self.before = _NOTHING
        self.cells = PMap()
        self.defaults = PMap()
        self.nets = (), {}

    @property
    def _suffix(self) -> str:
        return f"{self.direction.value}-{self.family}"

    @property
    def _peer(self) -> Field:
        return PEER[self.family, self.direction]

    def lookups(self, policy: DirectionPolicy | None) -> dict[str, Lookup]:
        """The maps of addresses, and of classes and interfaces."""
        self._turn(policy.tables if policy else _NOTHING)
        # A place is a key of one part; mappings are invariant in their keys.
        hosts = cast("Mapping[Key, int]", policy.classes.hosts if policy else {})
        numbers = policy.classes.numbers if policy else {}
        nets = policy.classes.nets if policy else ()
        if nets is not self.nets[0]:
            self.nets = nets, {(Span(net[0], net[1]),): net[2] for net in nets}
        address = (self._peer.type,)
        return {
            f"hosts-{self._suffix}": NumberMap(address, hosts),
            f"nets-{self._suffix}": NumberMap(address, self.nets[1], True),
            f"cells-{self._suffix}": NumberMap(
                (Type.NUMBER, Type.IFNAME), self.cells, carried=numbers
            ),
            f"defaults-{self._suffix}": NumberMap((Type.IFNAME,), self.defaults),
        }

    def _turn(self, after: PMap[tuple[int, str], VerdictTable]) -> None:
        """Follow the tables from the last turn to this one."""
        cells: dict[Key, int | None] = {}
        defaults: dict[Key, int | None] = {}
        gone = []
        for spot, old, new in differences(self.before, after):
            number, interface = spot
            if not is_interface_name(interface):
                continue  # It stays unknown, and so is dropped.
            gone += [old] if old is not None else []
            found = None if new is None else self.tables.use(new)
            if number == NOBODY:
                defaults[interface,] = found
            else:
                cells[spot] = found
        for table in gone:
            self.tables.drop(table)
        self.before = after
        self.cells, self.defaults = self.cells.changed(cells), self.defaults.changed(defaults)

    def chain(self, policy: DirectionPolicy | None) -> dict[str, Chain]:
        """From the peer's address and the local interface to a table."""
        suffix, local, peer = self._suffix, LOCAL[self.direction], (self._peer,)
        nets = [rule(CarryFrom(peer, f"nets-{suffix}"))] if policy and policy.classes.nets else []
        rules = (
            *nets,
            rule(CarryFrom(peer, f"hosts-{suffix}")),
            rule(_OF_A_CLASS, CarryFrom((Field.CARRIED, local), f"cells-{suffix}"), RETURN),
            rule(CarryFrom((local,), f"defaults-{suffix}"), RETURN),
            UNKNOWN,
        )
        return {f"class-{suffix}": Chain(rules)}
