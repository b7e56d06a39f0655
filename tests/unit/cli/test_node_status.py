"""What an agent says of itself, as a person and a script read it."""

import json
import os

import pytest

from cli_driver import Korat
from korat.drivers.report import (
    AddressReport,
    NodeReport,
    TunnelReport,
    publish,
    publish_addresses,
    publish_tunnels,
)

GOOD = TunnelReport(
    family=4,
    device="vxlan.calico",
    address="192.168.1.0",
    node_address="10.10.0.4",
    mtu=1350,
    mtu_reason="eth0 has 1500, but Azure's fabric fragments packets above 1400",
    peers=1,
    routes=2,
    offload="off",
    offload_reason="UDP arrives at vm2 only without transmit checksum offload",
)
BAD = TunnelReport(family=6, fault="the kernel refuses it", problems=("Node a: is alone",))


@pytest.fixture
def korat(tmp_path, monkeypatch, capsys) -> Korat:
    monkeypatch.setenv("KORAT_LAB", "thereisnone")
    made = Korat(tmp_path, monkeypatch, capsys)
    monkeypatch.setenv("KORAT_LAB", "thereisnone")
    return made


def test_the_whole_story(korat):
    publish(korat.folder, NodeReport("vm1", os.getpid(), 57))
    publish_tunnels(korat.folder, (GOOD, BAD))
    assert korat("node", "status").out.splitlines() == [
        f"vm1: the agent runs (process {os.getpid()}); its kernel enforces revision 57",
        "  IPv4 tunnel vxlan.calico: 192.168.1.0 on 10.10.0.4, to 1 other node by 2 routes",
        "    MTU 1350: eth0 has 1500, but Azure's fabric fragments packets above 1400",
        "    checksum offload off: UDP arrives at vm2 only without transmit checksum offload",
        "  IPv6 tunnel: none",
        "    fault: the kernel refuses it",
        "    problem: Node a: is alone",
    ]


def test_the_nics_addresses(korat):
    publish(korat.folder, NodeReport("vm1", os.getpid(), 57))
    problems = ("10.0.0.5 of container c1 has left the NIC",)
    report = AddressReport("000D3A000001", "wireserver", 30, 3, 2, 42.1, "imds: away", problems)
    publish_addresses(korat.folder, report)
    assert korat("node", "status").out.splitlines()[1:] == [
        (
            "  IPv4 addresses of the NIC 000D3A000001: 3 of 30 are in use, 2 cool down;"
            " wireserver says so"
        ),
        "    42 s old: imds: away",
        "    problem: 10.0.0.5 of container c1 has left the NIC",
    ]
    (node,) = json.loads(korat("node", "status", "-o", "json").out)
    assert (node["addresses"]["total"], node["addresses"]["used"]) == (30, 3)
    publish_addresses(korat.folder, None)
    assert len(korat("node", "status").out.splitlines()) == 1


def test_for_scripts(korat):
    publish(korat.folder, NodeReport("vm1", os.getpid(), 57))
    publish_tunnels(korat.folder, (GOOD,))
    (node,) = json.loads(korat("node", "status", "-o", "json").out)
    assert (node["node"], node["running"], node["revision"]) == ("vm1", True, 57)
    assert node["tunnels"][0]["mtu"] == 1350


def test_a_dead_agents_last_words(korat):
    publish(korat.folder, NodeReport("vm1", 2**22 + 1, 57))
    assert "the agent does not run" in korat("node", "status").out


def test_without_tunnels(korat):
    publish(korat.folder, NodeReport("vm1", os.getpid(), 57))
    assert len(korat("node", "status").out.splitlines()) == 1


def test_no_agent_and_no_lab(korat):
    done = korat("node", "status")
    assert done.code == 1
    assert f"no agent keeps its files in {korat.folder}, and no lab is up" in done.err


def test_no_such_node(korat):
    publish(korat.folder, NodeReport("vm1", os.getpid(), 57))
    assert "there is no node vm9 here; there are vm1" in korat("node", "status", "vm9").err
