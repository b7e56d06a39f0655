"""A node's peer classes and verdict tables as chains: the chains ``egress`` and ``ingress``.

A packet's way through them, for egress (ingress looks at ``saddr`` and ``oifname``):

    egress:  ip daddr vmap @hosts-egress-4  ->  class-egress-4-N
             ip daddr vmap @nets-egress-4   ->  class-egress-4-N
             otherwise                      ->  class-egress-4-DEFAULT
    class-egress-4-N:  iifname vmap @class-egress-4-N  ->  table-HASH,
                       otherwise                       ->  class-egress-4-DEFAULT, which drops
    table-HASH:        meta l4proto . th dport vmap { ... }  ->  allow-HASH, deny-HASH
    allow-HASH:        counter name count-HASH return

Every step is a goto, so that allow's return leads back to the hook that asked. One more workload in
the cluster is one more element of ``hosts``; equal tables of any endpoints are one chain.
Source: nft(8), verdict maps; ``korat.core.table`` says what classes and tables are.
"""

from collections import defaultdict
from dataclasses import dataclass

from korat.core.net.address import Family
from korat.core.policy.outcome import Direction
from korat.core.render.nft.outcome import (
    OutcomeSettings,
    outcome_chain,
    outcome_counters,
    outcome_name,
)
from korat.core.render.nft.ruleset import Chain, Rule, Ruleset, VerdictMap, rule
from korat.core.render.nft.statement import (
    DROP,
    NFPROTO,
    Counter,
    Field,
    Key,
    MapLookup,
    Match,
    Span,
    Type,
    Verdict,
    goto,
    is_interface_name,
)
from korat.core.render.nft.table import table_chain
from korat.core.table.value import DirectionPolicy, NodePolicy, VerdictTable

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


def render_policy(policy: NodePolicy, settings: OutcomeSettings) -> Ruleset:
    """The chains ``egress`` and ``ingress`` and all that they lead to."""
    tables = {t for lookups in policy.directions.values() for t in lookups.tables.values()}
    outcomes = {outcome for table in tables for outcome in table.outcomes()}
    chains = dict(table_chain(table) for table in tables)
    chains |= {outcome_name(o): outcome_chain(o, settings) for o in outcomes}
    lookups: dict[str, VerdictMap] = {}
    for direction in Direction:
        entrance: list[Rule] = []
        for family in Family:
            branch = _Branch(family, direction)
            asked = policy.directions.get((family, direction))
            if asked is not None:
                lookups |= branch.lookups(asked)
                chains |= branch.class_chains(asked)
                entrance += branch.entrance(asked)
        chains[direction.value] = Chain((*entrance, UNKNOWN))
    return Ruleset(lookups, chains, outcome_counters(outcomes))


@dataclass(frozen=True, slots=True)
class _Branch:
    """The names and fields of one family and direction."""

    family: Family
    direction: Direction

    @property
    def _suffix(self) -> str:
        return f"{self.direction.value}-{self.family}"

    @property
    def _peer(self) -> Field:
        return PEER[self.family, self.direction]

    def _class(self, number: int) -> str:
        return f"class-{self._suffix}-{number}"

    def entrance(self, policy: DirectionPolicy) -> list[Rule]:
        """From the peer's address to its class."""
        return [
            rule(MapLookup((self._peer,), f"hosts-{self._suffix}")),
            rule(MapLookup((self._peer,), f"nets-{self._suffix}")),
            rule(
                Match(Field.NFPROTO, (NFPROTO[self.family],)),
                goto(self._class(policy.classes.default)),
            ),
        ]

    def lookups(self, policy: DirectionPolicy) -> dict[str, VerdictMap]:
        """The maps of addresses, and for each class the map of interfaces."""
        classes = policy.classes
        ways = {number: goto(self._class(number)) for number in classes.ids()}
        hosts: dict[Key, Verdict] = {a: ways[n] for a, n in classes.hosts.items()}
        nets: dict[Key, Verdict] = {(Span(*net[:2]),): ways[net[2]] for net in classes.nets}
        types = (self._peer.type,)
        found = {
            f"hosts-{self._suffix}": VerdictMap(types, hosts),
            f"nets-{self._suffix}": VerdictMap(types, nets, interval=True),
        }
        by_class: defaultdict[int, dict[Key, Verdict]] = defaultdict(dict)
        for (number, interface), table in policy.tables.items():
            if not is_interface_name(interface):
                continue  # It stays unknown, and so is dropped.
            by_class[number][interface,] = _way(table)
        for number in ways:
            found[self._class(number)] = VerdictMap((Type.IFNAME,), by_class[number])
        return found

    def class_chains(self, policy: DirectionPolicy) -> dict[str, Chain]:
        """From a class and the local interface to a table; most interfaces treat it as default."""
        local, default = LOCAL[self.direction], self._class(policy.classes.default)
        names = map(self._class, policy.classes.ids())
        return {
            name: Chain(
                (
                    rule(MapLookup((local,), name)),
                    UNKNOWN if name == default else rule(goto(default)),
                )
            )
            for name in names
        }


def _way(table: VerdictTable) -> Verdict:
    return goto(table_chain(table)[0])
