"""Source NAT of what leaves the cluster: pools with natOutgoing, to where pods are not known.

Destinations within any pool or within the excluded prefixes (the Azure virtual network, whose
route table knows the pods) keep the pod's address. Pods of a pool that is encapsulated are known
to nobody outside: of them only what goes to another pool keeps its address. What a node sends into
a tunnel with an address of its own gets the tunnel's, so that the answer comes back through it.
Source: felix/rules/nat.go; the priority is that of felix/nftables/table.go.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.interval import IntervalSet
from korat.core.net.port import Protocol
from korat.core.render.nft.key import Field, Span, Type
from korat.core.render.nft.ruleset import Base, Chain, Hook, Lookup, NamedSet, Rule, Ruleset, rule
from korat.core.render.nft.statement import InSet, Match, Nat, Statement

_PRIORITY = 110
_FIELDS = {
    Family.V4: (Field.IP_SADDR, Field.IP_DADDR, Type.IPV4),
    Family.V6: (Field.IP6_SADDR, Field.IP6_DADDR, Type.IPV6),
}


@dataclass(frozen=True, slots=True)
class NatSettings:
    """Whose packets are translated, and to what.

    ``encapsulated`` are those of ``translated`` to which ``untouched`` does not apply, but for
    ``pools``. ``ports`` is Felix's natPortRange, ``address`` its natOutgoingAddress (the outgoing
    interface's address without it), ``interface`` its iptablesNATOutgoingInterfaceFilter.
    ``tunnels`` are the tunnels' devices, with the node's own address on the fabric.
    """

    translated: tuple[Prefix, ...] = ()
    untouched: tuple[Prefix, ...] = ()
    encapsulated: tuple[Prefix, ...] = ()
    pools: tuple[Prefix, ...] = ()
    tunnels: tuple[tuple[str, Addr], ...] = ()
    ports: Span | None = None
    address: Addr | None = None
    interface: str = ""


def render_nat(settings: NatSettings) -> Ruleset:
    """The chain ``postrouting`` with its sets; nothing when neither pool nor tunnel wants it."""
    rules: list[Rule] = []
    lookups: dict[str, Lookup] = {}
    hidden = settings.encapsulated
    known = tuple(prefix for prefix in settings.translated if prefix not in hidden)
    outside = (*settings.translated, *settings.untouched)
    for family in Family:
        for name, translated, untouched in (
            ("nat", known, outside),
            ("nat-tunnelled", hidden, settings.pools),
        ):
            sources = _addresses(translated, family)
            if not sources:
                continue
            kind = _FIELDS[family][2]
            lookups[f"{name}-sources-{family}"] = _set(kind, sources)
            lookups[f"{name}-untouched-{family}"] = _set(kind, _addresses(untouched, family))
            rules += _rules(name, family, settings)
    for device, address in settings.tunnels:
        source = Match(_FIELDS[address.family][0], (address.value,))
        into = Match(Field.OIFNAME, (device,))
        rules.append(rule(into, source, Nat(None, None, fully_random=True)))
    if not rules:
        return Ruleset()
    base = Base("nat", Hook.POSTROUTING, _PRIORITY)
    return Ruleset(lookups, {"postrouting": Chain(tuple(rules), base)})


def _addresses(prefixes: Iterable[Prefix], family: Family) -> IntervalSet:
    return IntervalSet.of_prefixes(prefix for prefix in prefixes if prefix.family is family)


def _set(kind: Type, addresses: IntervalSet) -> NamedSet:
    spans = frozenset((Span(first, last),) for first, last in addresses.spans)
    return NamedSet((kind,), spans, interval=True)


def _rules(name: str, family: Family, settings: NatSettings) -> list[Rule]:
    source, destination, _ = _FIELDS[family]
    matches: list[Statement] = [
        InSet((source,), f"{name}-sources-{family}"),
        InSet((destination,), f"{name}-untouched-{family}", negated=True),
    ]
    if settings.interface:
        matches.append(Match(Field.OIFNAME, (settings.interface,)))
    address = settings.address
    to = address if address is not None and address.family is family else None
    plain = rule(*matches, Nat(to, None, fully_random=True))
    if settings.ports is None:
        return [plain]
    with_ports = Match(Field.L4PROTO, (Protocol.TCP, Protocol.UDP))
    return [rule(*matches, with_ports, Nat(to, settings.ports, fully_random=True)), plain]
