"""How a node's settings are merged, and what is said of the rest."""

from dataclasses import replace

import pytest

from korat.core.model.config import FelixConfiguration
from korat.core.model.failsafe import Failsafe
from korat.core.model.felix import FelixSettings, settings
from korat.core.model.felix_field import FIELDS
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr, Prefix
from korat.core.net.port import PortRange


def config(name, created=None, **spec):
    return FelixConfiguration(metadata=Metadata(name=name, creation_timestamp=created), spec=spec)


def merged(*resources, **environ):
    return settings("vm1", {"zone": "a"}, resources, environ)


def test_defaults_are_felix_own():
    assert merged() == (FelixSettings(), [])


def test_precedence_from_low_to_high():
    layers = [
        config("node.vm1", logPrefix="node"),
        config("other", nodeSelector="zone == 'b'", logPrefix="other"),
        config("node.vm2", logPrefix="vm2"),
        config("zone-a", nodeSelector="zone == 'a'", logPrefix="selector"),
        config("default", logPrefix="global"),
    ]
    order = [("default", "global"), ("zone-a", "selector"), ("node.vm1", "node")]
    present = [layer for layer in layers if layer.metadata.name in {"other", "node.vm2"}]
    assert merged(*present)[0].log_prefix == "calico-packet"
    for name, expected in order:
        present += [layer for layer in layers if layer.metadata.name == name]
        assert merged(*present)[0].log_prefix == expected
    assert merged(*present, Felix_LogPREFIX="environment")[0].log_prefix == "environment"


def test_the_oldest_selector_wins_and_the_others_are_named():
    own, problems = merged(
        config("b", "2026-01-02T00:00:00Z", nodeSelector="all()", logPrefix="new"),
        config("a", "2026-01-01T00:00:00Z", nodeSelector="has(zone)", logPrefix="old"),
    )
    assert own.log_prefix == "old"
    assert [p.where for p in problems] == ["FelixConfiguration b"]


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("FELIX_INTERFACEPREFIX", "azv, cali", "interface_prefix", ("azv", "cali")),
        ("FELIX_INTERFACEPREFIX", "", "interface_prefix", ("cali",)),
        ("FELIX_INTERFACEPREFIX", "none", "interface_prefix", ("cali",)),
        ("felix_interfaceexclude", "kube-ipvs0,/^x/", "interface_exclude", ("kube-ipvs0", "/^x/")),
        (
            "FELIX_DEFAULTENDPOINTTOHOSTACTION",
            "ACCEPT",
            "default_endpoint_to_host_action",
            "Accept",
        ),
        ("FELIX_DISABLECONNTRACKINVALIDCHECK", "yes", "disable_conntrack_invalid_check", True),
        ("FELIX_KORATDENYLOG", "disabled", "deny_log", False),
        ("FELIX_KORATDENYLOGGROUP", "77", "deny_log_group", 77),
        ("FELIX_KORATDENYLOGRATELIMIT", "3/minute", "deny_log_rate_limit", "3/minute"),
        ("FELIX_KORATDENYLOGRATELIMIT", "", "deny_log_rate_limit", "10/second"),
        ("FELIX_KORATDENYLOGRATELIMIT", "none", "deny_log_rate_limit", "10/second"),
        ("FELIX_KORATDENYLOGRATELIMITBURST", "1", "deny_log_rate_limit_burst", 1),
        ("FELIX_KORATREJUDGECONNECTIONS", "disabled", "rejudge_connections", False),
        ("FELIX_KORATPODSTOWIRESERVER", "allowed", "pods_to_wireserver", True),
        ("FELIX_KORATPODSTOINSTANCEMETADATA", "refused", "pods_to_instance_metadata", False),
        ("FELIX_PROMETHEUSMETRICSENABLED", "true", "prometheus_metrics_enabled", True),
        ("FELIX_PROMETHEUSMETRICSHOST", "0.0.0.0", "prometheus_metrics_host", "0.0.0.0"),
        ("FELIX_PROMETHEUSMETRICSPORT", "9999", "prometheus_metrics_port", 9999),
        ("FELIX_ROUTESOURCE", "workloadips", "routes_of_workloads", True),
        ("FELIX_WORKLOADSOURCESPOOFING", "any", "workload_source_spoofing", "Any"),
        (
            "FELIX_NATOUTGOINGEXCLUSIONS",
            "ippoolsandhostips",
            "nat_outgoing_exclusions",
            "IPPoolsAndHostIPs",
        ),
        ("FELIX_NATPORTRANGE", "32768:65000", "nat_port_range", (32768, 65000)),
        ("FELIX_NATPORTRANGE", "0", "nat_port_range", None),
        ("FELIX_NATPORTRANGE", "none", "nat_port_range", None),
        ("FELIX_NATOUTGOINGADDRESS", "10.0.0.9", "nat_outgoing_address", Addr.parse("10.0.0.9")),
        ("FELIX_NATOUTGOINGADDRESS", "none", "nat_outgoing_address", None),
        ("FELIX_LOGACTIONRATELIMIT", "5/minute", "log_action_rate_limit", "5/minute"),
        ("FELIX_LOGACTIONRATELIMITBURST", "9", "log_action_rate_limit_burst", 9),
        ("FELIX_IPV6SUPPORT", "false", "ipv6_support", False),
        ("FELIX_FAILSAFEINBOUNDHOSTPORTS", "none", "failsafe_inbound_host_ports", ()),
        ("FELIX_FAILSAFEOUTBOUNDHOSTPORTS", "", "failsafe_outbound_host_ports", ()),
        (
            "FELIX_FAILSAFEINBOUNDHOSTPORTS",
            "tcp:22, udp:68,443,tcp:10.0.0.0/8:443,TCP:[fd00::/8]:80",
            "failsafe_inbound_host_ports",
            (
                Failsafe(6, PortRange(22, 22)),
                Failsafe(17, PortRange(68, 68)),
                Failsafe(6, PortRange(443, 443)),
                Failsafe(6, PortRange(443, 443), Prefix.parse("10.0.0.0/8")),
                Failsafe(6, PortRange(80, 80), Prefix.parse("fd00::/8")),
            ),
        ),
        ("FELIX_NFTABLESFILTERDENYACTION", "reject", "nftables_filter_deny_action", "Reject"),
    ],
)
def test_a_variable(variable, text, field, value):
    own, problems = merged(**{variable: text})
    assert problems == []
    assert own == replace(FelixSettings(), **{field: value})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FELIX_IPV6SUPPORT", "perhaps"),
        ("FELIX_ROUTESOURCE", "Blocks"),
        ("FELIX_LOGACTIONRATELIMITBURST", "many"),
        ("FELIX_DEFAULTENDPOINTTOHOSTACTION", "Explode"),
        ("FELIX_NATOUTGOINGADDRESS", "10.0.0.0/8"),
        ("FELIX_NATPORTRANGE", "9:1"),
        ("FELIX_FAILSAFEINBOUNDHOSTPORTS", "tcp:ssh"),
        ("FELIX_FAILSAFEINBOUNDHOSTPORTS", "tcp:1:2:3"),
        ("FELIX_LOGPREFIX", "bad\nprefix"),
        ("FELIX_INTERFACEPREFIX", "cali*"),
        ("FELIX_INTERFACEPREFIX", 'x" accept'),
        ("FELIX_INTERFACEPREFIX", "a-name-too-long-"),
    ],
)
def test_a_wrong_value_gives_the_default_and_is_named(variable, text):
    own, problems = merged(**{variable: text})
    assert own == FelixSettings()
    assert [(p.where, p.value) for p in problems] == [(f"environment {variable}", text)]


def test_what_is_not_used_is_said():
    own, problems = merged(
        config("default", bpfEnabled=True, nodeSelector="all()"),
        FELIX_IPIPMTU="1400",
        FELIX_TYPO="1",
        FELIX_DATASTORETYPE="kubernetes",
        OTHER="x",
    )
    assert own == FelixSettings()
    assert sorted((p.where, p.field) for p in problems) == [
        ("FelixConfiguration default", "bpfEnabled"),
        ("environment", "FELIX_TYPO"),
        ("environment FELIX_IPIPMTU", "ipipMTU"),
    ]


def test_failsafes_of_the_store():
    own, problems = merged(
        config(
            "default",
            failsafeInboundHostPorts=[{"protocol": "tcp", "port": 22, "net": "10.0.0.0/8"}],
            failsafeOutboundHostPorts=[],
        )
    )
    assert problems == []
    assert own.failsafe_inbound_host_ports == (
        Failsafe(6, PortRange(22, 22), Prefix.parse("10.0.0.0/8")),
    )
    assert own.failsafe_outbound_host_ports == ()


def test_a_broken_node_selector_is_said():
    _, problems = merged(config("x", nodeSelector="zone ="))
    assert [p.field for p in problems] == ["spec.nodeSelector"]


def test_the_table_has_every_documented_field():
    assert len([name for name in FIELDS if not name.startswith("korat")]) == 188
