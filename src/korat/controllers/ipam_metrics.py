"""What Prometheus is told of addresses, under the names of Calico's kube-controllers.

The store is read when Prometheus asks, so the numbers are of that moment; which addresses are
suspects, and how many were taken back, the collector says. The counter has Calico's name, without
the ``_total`` that Prometheus would have it end in.
Source: kube-controllers/pkg/controllers/node (ipam.go).
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from korat.core.errors import KoratError
from korat.core.ipam.block import cidr_of
from korat.core.ipam.living import Allocation, allocations_in
from korat.core.ipam.pool import Pool, pools_of
from korat.core.ipam.request import Seen, read
from korat.core.ipam.survey import sound
from korat.core.ipam.usage import pool_holding, usage
from korat.core.model.config import IPPool
from korat.core.model.controllers import KubeControllersConfiguration
from korat.core.model.ipam import HOST, IPAMBlock, IPReservation
from korat.core.net.address import Addr, Prefix
from korat.drivers.metrics import Place
from korat.drivers.store.ipam import run
from korat.ports import Store

log = structlog.get_logger(__name__)

PORT = 9094
#: Labels of what lies in no pool, of a block that is nobody's, of whom does not say his node.
NO_POOL, NO_AFFINITY, UNKNOWN_NODE = "no_ippool", "no_affinity", "unknown_node"
_RECLAIMED = "ipam_allocations_gc_reclamations"
_HELP = {
    "ipam_allocations_in_use": "Addresses that somebody has.",
    "ipam_allocations_borrowed": "Those that a node has from a block of another one.",
    "ipam_allocations_gc_candidates": "Those that seem to have leaked and are not taken back yet.",
    "ipam_blocks": "Blocks, by the node that they are affine to.",
    _RECLAIMED: "Leaked addresses that were taken back.",
    "ipam_allocations_per_node": "Addresses that somebody has, over all pools.",
    "ipam_allocations_borrowed_per_node": "Borrowed addresses, over all pools.",
    "ipam_blocks_per_node": "Blocks, over all pools.",
}
#: Which of them are also told over all pools.
_SUMS = {
    "ipam_allocations_in_use": "ipam_allocations_per_node",
    "ipam_allocations_borrowed": "ipam_allocations_borrowed_per_node",
    "ipam_blocks": "ipam_blocks_per_node",
}

#: How many, by pool and node.
_Numbers = Counter[tuple[str, str]]


def metrics_place(own: KubeControllersConfiguration | None, host: str) -> Place | None:
    """Where the settings want metrics; None for nowhere."""
    port = own.spec.prometheus_metrics_port if own is not None else None
    port = PORT if port is None else port
    return Place(host, port, process=True) if port else None


class AddressMetrics(Collector):
    """Makes the metrics of the moment whenever it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._suspects: frozenset[tuple[Addr, int]] = frozenset()
        self._reclaimed: _Numbers = Counter()
        self._lock = threading.Lock()

    def suspect(self, allocations: Iterable[Allocation]) -> None:
        """These seem to have leaked, and no others."""
        self._suspects = frozenset((own.addr, own.sequence) for own in allocations)

    def count(self, pools: Sequence[Pool], allocations: Iterable[Allocation]) -> None:
        """These were taken back."""
        with self._lock:
            self._reclaimed.update((_pool(pools, own.block), _node(own)) for own in allocations)

    def forget(self, node: str) -> None:
        """The node is gone, and its numbers with it."""
        with self._lock:
            for key in [key for key in self._reclaimed if key[1] == node]:
                del self._reclaimed[key]

    @override
    def collect(self) -> Iterator[Metric]:
        try:
            seen = run(self._store, read("IPPool", "IPReservation", "IPAMBlock", "Node"))
        except KoratError as error:
            log.warning("metrics of addresses are missing", error=str(error))
            return
        yield from _sizes(seen)
        numbers = self._numbers(seen)
        for name, own in numbers.items():
            yield _by_both(name, own)
        for name, total in _SUMS.items():
            yield _by_node(total, numbers[name])

    def _numbers(self, seen: Seen) -> Mapping[str, _Numbers]:
        """Of each node in each pool, zeros among them, so that a share of nothing is nothing."""
        pools = pools_of(seen.readable(IPPool))
        zeros = {(pool.name, key.name): 0 for pool in pools for key in seen.keys("Node")}
        found = {name: Counter(zeros) for name in _HELP if name not in _SUMS.values()}
        found["ipam_blocks"] = Counter()
        suspects = self._suspects
        for block in sound(seen.readable(IPAMBlock)):
            pool = _pool(pools, cidr_of(block))
            found["ipam_blocks"][pool, _owner(block)] += 1
            for own in allocations_in(block):
                place = pool, _node(own)
                is_suspect = (own.addr, own.sequence) in suspects
                found["ipam_allocations_in_use"][place] += 1
                found["ipam_allocations_borrowed"][place] += own.is_borrowed
                found["ipam_allocations_gc_candidates"][place] += is_suspect
        with self._lock:
            found[_RECLAIMED] = self._reclaimed.copy()
        return found


def _pool(pools: Iterable[Pool], block: Prefix) -> str:
    pool = pool_holding(pools, block)
    return NO_POOL if pool is None else pool.name


def _node(own: Allocation) -> str:
    return own.node or UNKNOWN_NODE


def _owner(block: IPAMBlock) -> str:
    kind, _, node = block.spec.owner.partition(":")
    return node if kind == HOST else NO_AFFINITY


def _sizes(seen: Seen) -> Iterator[Metric]:
    size = GaugeMetricFamily("ipam_ippool_size", "Addresses of a pool.", labels=["ippool"])
    held = GaugeMetricFamily("ipam_ippool_reserved", "Those reserved.", labels=["ippool"])
    for each in usage([*seen.readable(IPPool), *seen.readable(IPReservation)]):
        if each.pool is not None and each.usage is not None:
            size.add_metric([each.pool.name], each.usage.total)
            held.add_metric([each.pool.name], each.usage.reserved)
    yield from (size, held)


def _by_both(name: str, numbers: _Numbers) -> Metric:
    metric = Metric(name, _HELP[name], "unknown" if name == _RECLAIMED else "gauge")
    for (pool, node), number in sorted(numbers.items()):
        metric.add_sample(name, {"ippool": pool, "node": node}, number)
    return metric


def _by_node(name: str, numbers: _Numbers) -> Metric:
    metric = GaugeMetricFamily(name, _HELP[name], labels=["node"])
    sums: Counter[str] = Counter()
    for (_, node), number in numbers.items():
        sums[node] += number
    for node, number in sorted(sums.items()):
        metric.add_metric([node], number)
    return metric
