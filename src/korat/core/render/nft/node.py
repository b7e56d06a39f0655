"""The whole table of one node: hooks, policy and source NAT put together.

For: the agent, which hands the result to ``diff`` and the kernel. ``render`` uses the verdict
tables; ``render_slow`` makes the same table with the plain sequence in their place, for tests and
for policy whose tables would be too large.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr, Prefix
from korat.core.pmap import PMap
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Endpoint
from korat.core.policy.host import Failsafes, HostInterface, HostNode, governors
from korat.core.policy.outcome import RuleRef
from korat.core.policy.platform import PlatformAccess
from korat.core.render.nft.hook import HookSettings, HostAction, render_hooks
from korat.core.render.nft.host import HostInput, HostRenderer, HostSettings
from korat.core.render.nft.key import Span
from korat.core.render.nft.nat import NatSettings, render_nat
from korat.core.render.nft.outcome import DenyLog, OutcomeSettings
from korat.core.render.nft.platform import render_platform
from korat.core.render.nft.policy import PolicyRenderer
from korat.core.render.nft.ruleset import Ruleset
from korat.core.render.nft.sequence import render_sequences
from korat.core.render.nft.tunnel import TunnelFilter, exemptions, render_tunnel
from korat.core.table.host import HostSequences
from korat.core.table.member import Membership
from korat.core.table.value import NodePolicy

#: What korat's own CNI plugin names interfaces with: they are guarded whatever the setting says.
OWN_PREFIX = "cali"

Counters = Mapping[str, RuleRef]

_POOLS_AND_HOSTS = "IPPoolsAndHostIPs"


class Pool(NamedTuple):
    """What source NAT must know of an IPPool."""

    prefix: Prefix
    nat_outgoing: bool
    encapsulated: bool = False


class OwnPolicy(NamedTuple):
    """Host policy of a node as its kernel has it.

    ``rules`` are equal where the policy is the same, whoever is a member of its sets.
    """

    sequences: HostSequences
    members: Membership
    rules: Ruleset


@dataclass(frozen=True, slots=True)
class NodeInput:
    """All that the table is made from.

    ``untouched`` are prefixes to which pods keep their addresses, as the Azure virtual network;
    ``hosts`` are the nodes' addresses, which count when natOutgoingExclusions says so. ``own`` is
    None where no host endpoint governs the node's own interfaces, ``filter`` where no tunnel is to
    be guarded. ``tunnels`` are the tunnels' devices with the node's own address, ``tunnel_port`` is
    the port of a tunnel that is not korat's.
    """

    policy: NodePolicy
    felix: FelixSettings
    pools: tuple[Pool, ...] = ()
    untouched: tuple[Prefix, ...] = ()
    hosts: tuple[Addr, ...] = ()
    own: HostInput | None = None
    filter: TunnelFilter | None = None
    tunnels: tuple[tuple[str, Addr], ...] = ()
    tunnel_port: int | None = None


def render(node: NodeInput) -> Ruleset:
    """The table ``inet korat`` of a node, from scratch."""
    return NodeRenderer().render(node)


def render_slow(node: NodeInput, cluster: Cluster, local: Iterable[Endpoint]) -> Ruleset:
    """As ``render`` with every rule tried one by one; ``local`` are the node's endpoints."""
    policy = render_sequences(cluster, local, outcome_settings(node.felix))
    own = _render_own(HostRenderer(), node)
    platform = _render_platform(node.felix)
    return _union(
        _both(policy.counters, _both(own.counters, platform.counters)),
        render_hooks(node.policy.endpoints, _hooks_of(node)),
        policy,
        render_nat(nat_settings(node)),
        own,
        _render_tunnel(node),
        platform,
    )


class NodeRenderer:
    """Renders one state of a node after the other; what stays the same is not made again."""

    def __init__(self) -> None:
        self._hooks: tuple[object, Ruleset] = None, Ruleset()
        self._nat: tuple[object, Ruleset] = None, Ruleset()
        self._hosts = HostRenderer()
        self._own: HostInput | None = None
        self._tunnel: tuple[object, Ruleset] = None, Ruleset()
        self._platform: tuple[object, Ruleset] = None, Ruleset()
        self._counters: tuple[tuple[Counters, ...], Counters] = (), {}
        self._policy: tuple[object, PolicyRenderer | None] = None, None

    def render(self, node: NodeInput) -> Ruleset:
        """The table ``inet korat`` of a node."""
        hooks = node.policy.endpoints, _hooks_of(node)
        if self._hooks[0] != hooks:
            self._hooks = hooks, render_hooks(*hooks)
        nat = nat_settings(node)
        if self._nat[0] != nat:
            self._nat = nat, render_nat(nat)
        self._own, own = node.own, _render_own(self._hosts, node)
        if self._tunnel[0] != (node.filter, hooks[1]):
            self._tunnel = (node.filter, hooks[1]), _render_tunnel(node)
        wanted = PlatformAccess.of(node.felix), outcome_settings(node.felix)
        if self._platform[0] != wanted:
            self._platform = wanted, _render_platform(node.felix)
        policy, platform = self._rendered(node), self._platform[1]
        counters = self._counted(policy.counters, own.counters, platform.counters)
        parts = self._hooks[1], policy, self._nat[1], own, self._tunnel[1], platform
        return _union(counters, *parts)

    def _counted(self, *parts: Counters) -> Counters:
        """All; there may be thousands, so they are one object as long as they are the same."""
        known, counters = self._counters
        if len(known) != len(parts) or any(a is not b for a, b in zip(known, parts, strict=True)):
            some, own, platform = parts
            counters = _both(some, _both(own, platform))
            self._counters = parts, counters
        return counters

    def own_policy(self) -> OwnPolicy | None:
        """The policy of the node's own interfaces that was rendered last; None without one."""
        return None if self._own is None else OwnPolicy(*self._own, self._hosts.rules)

    def _rendered(self, node: NodeInput) -> Ruleset:
        settings = outcome_settings(node.felix)
        renderer = self._policy[1]
        if renderer is None or self._policy[0] != settings:
            renderer = PolicyRenderer(settings)
            self._policy = settings, renderer
        return renderer.render(node.policy)


def _render_own(renderer: HostRenderer, node: NodeInput) -> Ruleset:
    if node.own is None:
        return Ruleset()
    return renderer.render(node.own, host_settings(node), outcome_settings(node.felix))


def _render_platform(felix: FelixSettings) -> Ruleset:
    return render_platform(PlatformAccess.of(felix), outcome_settings(felix))


def _render_tunnel(node: NodeInput) -> Ruleset:
    if node.filter is None:
        return Ruleset()
    return render_tunnel(node.filter, hook_settings(node.felix).interface_prefixes)


def host_sequences(
    cluster: Cluster, node: str, interfaces: Iterable[HostInterface], felix: FelixSettings
) -> HostSequences | None:
    """What governs a node's own interfaces; None where nothing does.

    Of the cluster only host endpoints and their policies count.
    """
    prefixes = hook_settings(felix).interface_prefixes
    who = governors(cluster, node, interfaces, prefixes)
    safe = Failsafes(felix.failsafe_inbound_host_ports, felix.failsafe_outbound_host_ports)
    return HostSequences.of(HostNode(cluster, who, safe, prefixes)) if who else None


def host_settings(node: NodeInput) -> HostSettings:
    """Felix's settings of host endpoints; they let the cluster's own tunnel by."""
    hooks, tunnel = hook_settings(node.felix), exemptions(node.filter)
    return HostSettings(
        drop_invalid=hooks.drop_invalid,
        cuts=hooks.cuts,
        exempt_in=tunnel.inbound,
        exempt_out=tunnel.outbound,
    )


def hook_settings(felix: FelixSettings) -> HookSettings:
    """Felix's settings of the workload chains."""
    return HookSettings(
        interface_prefixes=tuple(dict.fromkeys((OWN_PREFIX, *felix.interface_prefix))),
        endpoint_to_host=HostAction(felix.default_endpoint_to_host_action),
        drop_invalid=not felix.disable_conntrack_invalid_check,
        allow_vxlan=felix.allow_vxlan_packets_from_workloads,
        vxlan_port=felix.vxlan_port,
        allow_ipip=felix.allow_ipip_packets_from_workloads,
        spoofing_allowed=felix.workload_source_spoofing == "Any",
        cuts=felix.rejudge_connections,
        reject=felix.nftables_filter_deny_action == "Reject",
        platform=PlatformAccess.of(felix),
    )


def _hooks_of(node: NodeInput) -> HookSettings:
    """The same, with the port of the tunnel that this node has."""
    hooks = hook_settings(node.felix)
    port = node.tunnel_port if node.filter is None else node.filter.port
    return hooks if port is None else replace(hooks, vxlan_port=port)


def outcome_settings(felix: FelixSettings) -> OutcomeSettings:
    """Felix's settings of logs and denials."""
    return OutcomeSettings(
        reject=felix.nftables_filter_deny_action == "Reject",
        log_prefix=felix.log_prefix,
        log_rate=felix.log_action_rate_limit,
        log_burst=felix.log_action_rate_limit_burst,
        deny_log=DenyLog(
            felix.deny_log_group, felix.deny_log_rate_limit, felix.deny_log_rate_limit_burst
        )
        if felix.deny_log
        else None,
    )


def nat_settings(node: NodeInput) -> NatSettings:
    """Felix's settings of source NAT, with the pools they are about."""
    felix = node.felix
    hosts = node.hosts if felix.nat_outgoing_exclusions == _POOLS_AND_HOSTS else ()
    pools = tuple(pool.prefix for pool in node.pools)
    translated = [pool for pool in node.pools if pool.nat_outgoing]
    return NatSettings(
        translated=tuple(pool.prefix for pool in translated),
        untouched=(*pools, *node.untouched, *map(Prefix.of, hosts)),
        encapsulated=tuple(pool.prefix for pool in translated if pool.encapsulated),
        pools=(*pools, *map(Prefix.of, hosts)),
        tunnels=node.tunnels,
        ports=Span(*felix.nat_port_range) if felix.nat_port_range else None,
        address=felix.nat_outgoing_address,
    )


def _both(some: Counters, more: Counters) -> Counters:
    return some.changed(more) if isinstance(some, PMap) else {**some, **more}


def _union(counters: Counters, *parts: Ruleset) -> Ruleset:
    """Parts whose names do not meet, as one table, with the counters of all."""
    return Ruleset(
        {name: lookup for part in parts for name, lookup in part.lookups.items()},
        {name: chain for part in parts for name, chain in part.chains.items()},
        counters,
    )
