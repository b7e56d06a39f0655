"""The base chains: where a packet of a workload meets anti-spoofing and policy.

Traffic of interfaces that are not workloads' is none of korat's business: it leaves every base
chain after one or two comparisons. The chains ``egress`` and ``ingress`` come from ``policy`` or,
as their slow twin, from ``sequence``; they return what they allow.

- prerouting, before connection tracking: the source must be the workload's own, on every packet,
  also of established connections, and for traffic to the node as well
- forward: established connections pass; then the sender's egress policy, then the receiver's
  ingress policy; what both allow is accepted, as the base chain's own end
- input: the sender's egress policy, then what is configured for workloads' traffic to their node
- output: as a node may always reach its own workloads, nothing but replies of connections that
  were cut, where workloads may reach their node at all

Source: felix/rules/static.go and endpoints.go.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from korat.core.net.address import Family, Prefix
from korat.core.net.port import Protocol
from korat.core.policy.outcome import Direction
from korat.core.policy.platform import EVERYTHING, PlatformAccess
from korat.core.render.nft.cut import ask_cut, render_cut
from korat.core.render.nft.key import Field, Key, Span, Type, is_interface_name
from korat.core.render.nft.platform import ask_platform
from korat.core.render.nft.ruleset import (
    Base,
    Chain,
    Hook,
    Lookup,
    NamedSet,
    Rule,
    Ruleset,
    rule,
)
from korat.core.render.nft.statement import (
    ACCEPT,
    DROP,
    RETURN,
    Counter,
    CtMatch,
    CtState,
    InSet,
    Match,
    Verdict,
    goto,
    jump,
)
from korat.core.table.value import LocalEndpoint

_RAW, _FILTER = -300, 0
_IPIP = 4
#: Multicast listener and neighbour discovery: an IPv6 workload cannot do without.
_NEIGHBOUR_TYPES = (130, 131, 132, 133, 135, 136)
#: Sources of neighbour discovery that are no endpoint's: the unspecified and link-local addresses.
_LINK_SOURCES = (0, Span(0xFE80 << 112, (0xFEC0 << 112) - 1))
_LOOPBACK = Span(127 << 24, (128 << 24) - 1)


_ESTABLISHED = rule(CtMatch((CtState.ESTABLISHED, CtState.RELATED)), ACCEPT)


class HostAction(Enum):
    """What becomes of allowed traffic from a workload to its node (Calico's words)."""

    DROP = "Drop"
    RETURN = "Return"
    ACCEPT = "Accept"


_HOST_VERDICT = {
    HostAction.DROP: DROP,
    HostAction.RETURN: RETURN,
    HostAction.ACCEPT: ACCEPT,
}


@dataclass(frozen=True, slots=True)
class HookSettings:
    """Felix's settings of the workload chains, with Felix's defaults."""

    interface_prefixes: tuple[str, ...] = ("cali",)
    endpoint_to_host: HostAction = HostAction.DROP
    drop_invalid: bool = True
    allow_vxlan: bool = False
    vxlan_port: int = 4789
    allow_ipip: bool = False
    spoofing_allowed: bool = False
    cuts: bool = True
    reject: bool = False
    platform: PlatformAccess = EVERYTHING


def render_hooks(endpoints: Iterable[LocalEndpoint], settings: HookSettings) -> Ruleset:
    """The base chains and the sets of allowed sources."""
    arriving = [Match(Field.IIFNAME, (f"{p}*",)) for p in settings.interface_prefixes]
    leaving = [Match(Field.OIFNAME, (f"{p}*",)) for p in settings.interface_prefixes]
    forward = [
        _ESTABLISHED,
        *(rule(match, jump("from-workload")) for match in arriving),
        *(rule(match, jump("to-workload")) for match in leaving),
    ]
    chains = {
        "prerouting": _base(
            Hook.PREROUTING, _RAW, [rule(match, goto("sources")) for match in arriving]
        ),
        "forward": _base(Hook.FORWARD, _FILTER, forward),
        "input": _base(
            Hook.INPUT,
            _FILTER,
            [_ESTABLISHED, *(rule(match, goto("workload-to-host")) for match in arriving)],
        ),
        "sources": _sources(),
        "from-workload": _from_workload(settings),
        "to-workload": Chain((*_stateful(settings), rule(goto(Direction.INGRESS.value)))),
        "workload-to-host": _to_host(settings),
    }
    cut = _cut(leaving, settings) if settings.cuts else Ruleset()
    lookups = _source_sets(endpoints, settings)
    return Ruleset({**lookups, **cut.lookups}, {**chains, **cut.chains})


def _cut(leaving: Iterable[Match], settings: HookSettings) -> Ruleset:
    """What holds up replies of connections that were cut.

    The node's own replies come by output; with the default action for workloads' traffic to their
    node there are none, and no packet pays.
    """
    cut = render_cut(reject=settings.reject)
    if settings.endpoint_to_host is HostAction.DROP:
        return cut
    rules = [_ESTABLISHED, *(rule(match, jump("from-node")) for match in leaving)]
    chains = {"output": _base(Hook.OUTPUT, _FILTER, rules), "from-node": Chain(ask_cut())}
    return Ruleset(cut.lookups, {**cut.chains, **chains})


def _base(hook: Hook, priority: int, rules: list[Rule]) -> Chain:
    return Chain(tuple(rules), Base("filter", hook, priority))


def _sources() -> Chain:
    """Anti-spoofing: what is not an address of the endpoint behind the interface is dropped.

    So is what asks for the node's loopback. A workload's interface has ``route_localnet`` so that
    others may translate to it, which they do after this; the kernel would take it as it comes too.
    """
    elsewhere = Match(Field.IP_DADDR, (_LOOPBACK,), negated=True)
    return Chain(
        (
            # Every packet of a workload comes here: the usual one leaves by the first rule.
            rule(InSet((Field.IIFNAME, Field.IP_SADDR), "sources-4"), elsewhere, RETURN),
            rule(InSet((Field.IIFNAME, Field.IP6_SADDR), "sources-6"), RETURN),
            rule(Match(Field.IP_DADDR, (_LOOPBACK,)), Counter(), DROP, comment="node's loopback"),
            rule(InSet((Field.IIFNAME, Field.IP_SADDR), "source-nets-4"), RETURN),
            rule(InSet((Field.IIFNAME, Field.IP6_SADDR), "source-nets-6"), RETURN),
            rule(Match(Field.IP6_SADDR, _LINK_SOURCES), _NEIGHBOUR, RETURN),
            rule(Counter(), DROP, comment="source is not the workload's"),
        )
    )


_NEIGHBOUR = Match(Field.ICMPV6_TYPE, _NEIGHBOUR_TYPES)


def _source_sets(endpoints: Iterable[LocalEndpoint], settings: HookSettings) -> dict[str, Lookup]:
    own: defaultdict[Family, set[Key]] = defaultdict(set)
    lent: defaultdict[str, set[Prefix]] = defaultdict(set)
    for endpoint in filter(lambda e: is_interface_name(e.interface), endpoints):
        for addr in endpoint.addresses:
            own[addr.family].add((endpoint.interface, addr.value))
        if settings.spoofing_allowed:
            lent[endpoint.interface].update(endpoint.spoof_allowed)
    spans = [(p.family, (i, Span(p.first, p.last))) for i in lent for p in _widest(lent[i])]
    found: dict[str, Lookup] = {}
    for family, kind in ((Family.V4, Type.IPV4), (Family.V6, Type.IPV6)):
        types = (Type.IFNAME, kind)
        found[f"sources-{family}"] = NamedSet(types, frozenset(own[family]))
        nets = frozenset(key for of, key in spans if of is family)
        found[f"source-nets-{family}"] = NamedSet(types, nets, interval=True)
    return found


def _widest(prefixes: set[Prefix]) -> list[Prefix]:
    """The prefixes that no other one covers: they do not overlap."""
    return [p for p in prefixes if not any(q != p and q.covers(p) for q in prefixes)]


def _stateful(settings: HookSettings) -> tuple[Rule, ...]:
    """What of no connection is never let in: nonsense, and what belongs to one that was cut."""
    invalid = rule(CtMatch((CtState.INVALID,)), Counter(), DROP, comment="invalid connection")
    dropped = (invalid,) if settings.drop_invalid else ()
    return (*dropped, *ask_cut()) if settings.cuts else dropped


def _from_workload(settings: HookSettings) -> Chain:
    """Before policy: no tunnels from workloads, which could reach past it, nor Azure's own."""
    rules = list(_stateful(settings))
    if not settings.allow_vxlan:
        vxlan = (Match(Field.L4PROTO, (Protocol.UDP,)), Match(Field.DPORT, (settings.vxlan_port,)))
        rules.append(rule(*vxlan, Counter(), DROP, comment="VXLAN from a workload"))
    if not settings.allow_ipip:
        ipip = Match(Field.L4PROTO, (_IPIP,))
        rules.append(rule(ipip, Counter(), DROP, comment="IPIP from a workload"))
    return Chain((*rules, *ask_platform(settings.platform), rule(goto(Direction.EGRESS.value))))


def _to_host(settings: HookSettings) -> Chain:
    end: Verdict = _HOST_VERDICT[settings.endpoint_to_host]
    return Chain(
        (
            rule(_NEIGHBOUR, ACCEPT),
            rule(jump("from-workload")),
            rule(Counter(), end, comment="workload to its node"),
        )
    )
