"""The node's metrics for Prometheus: what policy counted, Felix' gauges, the process.

Off unless prometheusMetricsEnabled; on the loopback address unless prometheusMetricsHost. Felix'
names are used for what is the same thing. The kernel's counters are read when Prometheus asks.
Source: felix/calc/stats_collector.go for Felix' names; Prometheus' exposition format.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from korat.agent.intent import Intent
from korat.core.errors import KoratError
from korat.core.model.felix import FelixSettings
from korat.core.model.key import Key
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import Policy
from korat.core.render.nft.ruleset import NamedSet
from korat.core.selector import Selector
from korat.core.table.matches import SelectorMatches
from korat.drivers.metrics import LOOPBACK, Place
from korat.drivers.tally import Tally

log = structlog.get_logger(__name__)

_LABELS = ("direction", "tier", "kind", "namespace", "name", "rule", "action", "staged")


def place_of(felix: FelixSettings) -> Place | None:
    """Where the settings want metrics; None for nowhere."""
    if not felix.prometheus_metrics_enabled or not felix.prometheus_metrics_port:
        return None
    host = felix.prometheus_metrics_host or LOOPBACK
    return Place(host, felix.prometheus_metrics_port, felix.prometheus_process_metrics_enabled)


class NodeCollector(Collector):
    """Makes the metrics of the moment whenever it is asked."""

    def __init__(
        self,
        node_name: str,
        enforced: Callable[[], Intent | None],
        tallies: Callable[[], Iterable[Tally]],
    ) -> None:
        self._node_name = node_name
        self._enforced = enforced
        self._tallies = tallies

    @override
    def collect(self) -> Iterator[Metric]:
        host = GaugeMetricFamily("felix_host", "The name of this node.", labels=["host"])
        host.add_metric([self._node_name], 1)
        yield host
        enforced = self._enforced()
        if enforced is None:
            return
        for name, text, value in _gauges(enforced):
            yield GaugeMetricFamily(name, text, value=value)
        try:
            yield from _counters(self._tallies())
        except KoratError as error:
            # Without the counters a scrape still tells the rest.
            log.warning("counters are missing in the metrics", error=str(error))


def _counters(tallies: Iterable[Tally]) -> Iterator[Metric]:
    packets = CounterMetricFamily(
        "korat_policy_rule_packets", "Packets that a rule or a default has met.", labels=_LABELS
    )
    octets = CounterMetricFamily(
        "korat_policy_rule_bytes", "Bytes that a rule or a default has met.", labels=_LABELS
    )
    for tally in tallies:
        labels = [str(getattr(tally, name)) for name in _LABELS[:-1]]
        labels.append("true" if tally.staged else "false")
        packets.add_metric(labels, tally.packets)
        octets.add_metric(labels, tally.bytes)
    yield from (packets, octets)


def _gauges(enforced: Intent) -> Iterator[tuple[str, str, int]]:
    cluster, ruleset = enforced.around.cluster, enforced.ruleset
    policies = sum(len(tier.policies) for tier in cluster.tiers)
    sets = sum(isinstance(lookup, NamedSet) for lookup in ruleset.lookups.values())
    active = len(active_policies(cluster, enforced.endpoints))
    rules = sum(len(chain.rules) for chain in ruleset.chains.values())
    yield "felix_active_local_endpoints", "Workloads on this node.", len(enforced.endpoints)
    yield "felix_active_local_policies", "Policies that select a workload here.", active
    yield "felix_cluster_num_policies", "Policies in the cluster.", policies
    yield "felix_cluster_num_profiles", "Profiles in the cluster.", len(cluster.profiles)
    yield "felix_cluster_num_tiers", "Tiers in the cluster.", len(cluster.tiers)
    yield "felix_cluster_num_workload_endpoints", "Workloads.", enforced.around.workloads
    yield "felix_nft_chains", "Chains of the table inet korat.", len(ruleset.chains)
    yield "felix_nft_rules", "Rules of the table inet korat.", rules
    yield "felix_nft_sets", "Sets of the table inet korat.", sets
    yield "felix_nft_maps", "Maps of the table inet korat.", len(ruleset.lookups) - sets


def active_policies(cluster: Cluster, local: frozenset[Key]) -> frozenset[Key]:
    """The policies that select any of these endpoints."""
    of_selector: defaultdict[Selector, list[Policy]] = defaultdict(list)
    for tier in cluster.tiers:
        for policy in tier.policies:
            of_selector[policy.selector].append(policy)
    matches = SelectorMatches(of_selector)
    return frozenset(
        policy.key
        for endpoint in cluster.endpoints
        if endpoint.key in local
        for selector in matches.of(endpoint.labels)
        for policy in of_selector[selector]
    )
