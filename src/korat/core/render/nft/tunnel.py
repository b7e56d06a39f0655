"""VXLAN's own packets: only from and to the cluster's nodes, and without connection tracking.

    vxlan-raw-in    prerouting  -300   tracks none of them, as each node would fill its table
    vxlan-raw-out   output      -300   the same
    vxlan-in        input          0   takes them from known nodes, and from nobody else

A packet that somebody else sends to the tunnel's port would come out of the tunnel with whatever
source it claims. Workloads may not send any either; their own chains see to that (``hook``).
Host policy lets the nodes' packets by (``exemptions``). What a node sends into the tunnel with its
own address gets the tunnel's (``nat``), as the fabric would drop the answer.
Source: felix/rules/static.go (filterInputChain, StaticRawTableChains).
"""

from dataclasses import dataclass
from typing import NamedTuple

from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.interval import IntervalSet
from korat.core.net.port import Protocol
from korat.core.render.nft.key import Field, Span, Type
from korat.core.render.nft.ruleset import Base, Chain, Hook, Lookup, NamedSet, Rule, Ruleset, rule
from korat.core.render.nft.statement import ACCEPT, DROP, Counter, InSet, Match
from korat.core.render.nft.track import NoTrack

_RAW, _FILTER = -300, 0
_SOURCE = {Family.V4: Field.IP_SADDR, Family.V6: Field.IP6_SADDR}
_DESTINATION = {Family.V4: Field.IP_DADDR, Family.V6: Field.IP6_DADDR}
_TYPES = {Family.V4: Type.IPV4, Family.V6: Type.IPV6}


@dataclass(frozen=True, slots=True)
class TunnelFilter:
    """The tunnel's port, and who may send to it: the other nodes, and what a setting adds."""

    port: int
    nodes: frozenset[Addr]
    external: tuple[Prefix, ...] = ()


class Exemptions(NamedTuple):
    """What host policy lets by, each way."""

    inbound: tuple[Rule, ...] = ()
    outbound: tuple[Rule, ...] = ()


def render_tunnel(own: TunnelFilter, workloads: tuple[str, ...]) -> Ruleset:
    """The chains and sets; ``workloads`` are the prefixes of workloads' interfaces."""
    passing = [rule(Match(Field.IIFNAME, (f"{prefix}*",)), ACCEPT) for prefix in workloads]
    stranger = rule(*_to_port(own), Counter(), DROP, comment="VXLAN from no node of the cluster")
    chains = {
        "vxlan-raw-in": Chain(
            (*passing, *(rule(*_to_port(own), match, NoTrack()) for match in _peers(own, _SOURCE))),
            Base("filter", Hook.PREROUTING, _RAW),
        ),
        "vxlan-raw-out": Chain(
            tuple(rule(*_to_port(own), match, NoTrack()) for match in _peers(own, _DESTINATION)),
            Base("filter", Hook.OUTPUT, _RAW),
        ),
        "vxlan-in": Chain(
            (*exemptions(own).inbound, stranger), Base("filter", Hook.INPUT, _FILTER)
        ),
    }
    return Ruleset(_lookups(own), chains)


def exemptions(own: TunnelFilter | None) -> Exemptions:
    """The rules that accept what nodes send each other; they change only with settings."""
    if own is None:
        return Exemptions()
    return Exemptions(
        tuple(rule(*_to_port(own), match, ACCEPT) for match in _peers(own, _SOURCE)),
        tuple(rule(*_to_port(own), match, ACCEPT) for match in _peers(own, _DESTINATION)),
    )


def _to_port(own: TunnelFilter) -> tuple[Match, Match]:
    return Match(Field.L4PROTO, (Protocol.UDP,)), Match(Field.DPORT, (own.port,))


def _peers(own: TunnelFilter, side: dict[Family, Field]) -> list[InSet]:
    found = [InSet((side[family],), f"vxlan-nodes-{family}") for family in Family]
    families = {prefix.family for prefix in own.external}
    return found + [InSet((side[family],), f"vxlan-nets-{family}") for family in sorted(families)]


def _lookups(own: TunnelFilter) -> dict[str, Lookup]:
    found: dict[str, Lookup] = {}
    for family in Family:
        nodes = frozenset((addr.value,) for addr in own.nodes if addr.family is family)
        found[f"vxlan-nodes-{family}"] = NamedSet((_TYPES[family],), nodes)
        nets = IntervalSet.of_prefixes(p for p in own.external if p.family is family)
        if nets:
            spans = frozenset((Span(first, last),) for first, last in nets.spans)
            found[f"vxlan-nets-{family}"] = NamedSet((_TYPES[family],), spans, interval=True)
    return found
