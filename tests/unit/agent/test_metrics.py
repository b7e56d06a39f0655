"""Metrics as Prometheus reads them, and the server that follows the settings."""

import socket
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from korat.agent.intent import intent
from korat.agent.metrics import NodeCollector, place_of
from korat.core.errors import Unavailable
from korat.core.model.felix import FelixSettings
from korat.drivers.metrics import LOOPBACK, MetricsServer, Place
from korat.drivers.tally import Tally
from policy_world import NODE, allow, open_namespace, pod, policy, tier

TALLY = Tally("ingress", "ops", "NetworkPolicy", "red", 'a"b', "0", "Deny", True, 7, 420)


def enforced():
    objects = [
        open_namespace("red"),
        pod("1", "10.0.0.1/32"),
        pod("2", "10.0.0.2/32", node="elsewhere"),
        tier("ops", 1.0),
        policy("here", ingress=[allow()], tier="ops"),
        policy("nowhere", ingress=[allow()], selector="app == 'none'"),
    ]
    return intent({each.key: each for each in objects}, NODE, {})


def scraped(port):
    with urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def server():
    made = []

    def make(tallies, known=enforced):
        made.append(MetricsServer(NodeCollector("vm1", known, tallies)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def free_port():
    with socket.create_server((LOOPBACK, 0)) as sock:
        return sock.getsockname()[1]


def test_a_scrape_has_counters_with_labels_and_felix_gauges(server):
    metrics = server(lambda: [TALLY])
    metrics.move(Place(LOOPBACK, free_port(), process=True))
    found = scraped(metrics.port)
    labels = sorted(
        {
            "direction": "ingress",
            "tier": "ops",
            "kind": "NetworkPolicy",
            "namespace": "red",
            "name": 'a"b',
            "rule": "0",
            "action": "Deny",
            "staged": "true",
        }.items()
    )
    assert found["korat_policy_rule_packets_total", *labels] == 7
    assert found["korat_policy_rule_bytes_total", *labels] == 420
    assert found["felix_host", ("host", "vm1")] == 1
    assert found["felix_active_local_endpoints",] == 1
    assert found["felix_active_local_policies",] == 1
    assert found["felix_cluster_num_policies",] == 2
    assert found["felix_cluster_num_workload_endpoints",] == 2
    assert found["felix_cluster_num_tiers",] == 2
    assert found["felix_nft_rules",] > found["felix_nft_chains",] > 5
    assert found["process_open_fds",] > 3


def test_a_kernel_that_does_not_answer_leaves_the_gauges(server):
    def away():
        raise Unavailable("busy")

    metrics = server(away)
    metrics.move(Place(LOOPBACK, free_port(), process=False))
    found = scraped(metrics.port)
    assert found["felix_active_local_endpoints",] == 1
    assert not [name for name, *_ in found if name.startswith(("korat", "process"))]


def test_the_server_follows_the_settings_without_a_restart(server):
    metrics = server(list, lambda: None)
    first, second = free_port(), free_port()
    metrics.move(Place(LOOPBACK, first, process=False))
    assert len(scraped(first)) == 1
    metrics.move(Place(LOOPBACK, second, process=False))
    assert len(scraped(second)) == 1
    with pytest.raises(URLError):
        scraped(first)
    metrics.move(None)
    assert metrics.port == 0
    with pytest.raises(URLError):
        scraped(second)


def test_a_taken_port_is_tried_again(server):
    metrics = server(list, lambda: None)
    with socket.create_server((LOOPBACK, 0)) as other:
        place = Place(LOOPBACK, other.getsockname()[1], process=False)
        metrics.move(place)
        assert metrics.port == 0
    metrics.move(place)
    assert metrics.port == place.port


@pytest.mark.parametrize(
    ("felix", "place"),
    [
        (FelixSettings(), None),
        (FelixSettings(prometheus_metrics_enabled=True), Place(LOOPBACK, 9091, process=True)),
        (FelixSettings(prometheus_metrics_enabled=True, prometheus_metrics_port=0), None),
        (
            FelixSettings(
                prometheus_metrics_enabled=True,
                prometheus_metrics_host="0.0.0.0",
                prometheus_metrics_port=9999,
                prometheus_process_metrics_enabled=False,
            ),
            Place("0.0.0.0", 9999, process=False),
        ),
    ],
)
def test_metrics_are_off_and_on_the_loopback_unless_settings_say_otherwise(felix, place):
    assert place_of(felix) == place
