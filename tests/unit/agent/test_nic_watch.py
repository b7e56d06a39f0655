"""Whose address has left the NIC: named once, and reported for ``korat node status``."""

import threading

import pytest
from structlog.testing import capture_logs

from korat.agent import nic_watch
from korat.agent.address_source import AddressRequest
from korat.agent.azure_ipam import AzureIpam
from korat.agent.nic_watch import NicWatch, azure_ipam
from korat.core.errors import Invalid, Unavailable
from korat.core.ipam.hostlocal import Owner
from korat.core.ipam.nic import Nic, NicAddress
from korat.core.net.address import Addr
from korat.drivers.azure.metadata import Reading
from korat.drivers.report import AddressReport

NOW = 1_700_000_000.0


class Node:
    """A NIC, workloads with its addresses, and what the watch reports."""

    def __init__(self, folder):
        self.ipam = {"dataDir": str(folder)}
        self.reads, self.reports = 0, []
        self.reported = threading.Event()
        self.fault = None
        self.has(5, 6, 7)
        self.watch = NicWatch(self.read, self.report, lambda: NOW)
        self.agent = AzureIpam(self.read, self.watch.used, lambda: NOW)

    def has(self, *lasts, own=(4,)):
        self.nic = Nic(
            "000D3A000001",
            tuple(
                NicAddress(Addr.parse(f"10.0.0.{last}"), None, last in own)
                for last in (*own, *lasts)
            ),
        )

    def read(self):
        self.reads += 1
        if self.fault is not None:
            raise self.fault
        return Reading(self.nic, "wireserver", 2.5, "")

    def report(self, report):
        self.reports.append(report)
        self.reported.set()

    def add(self, number):
        self.agent.assign(AddressRequest("net", self.ipam, Owner(f"c{number}", "eth0")))

    def looked(self):
        """The lines that a look logs."""
        with capture_logs() as told:
            self.watch.look()
        return [(line["log_level"], line["address"], line.get("reason")) for line in told]


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def test_before_the_first_use_nobody_is_asked(node):
    node.watch.look()
    assert (node.reads, node.reports) == (0, [])


def test_numbers(node):
    node.add(1)
    node.add(2)
    node.agent.release(AddressRequest("net", node.ipam, Owner("c1", "eth0")))
    assert node.looked() == []
    assert node.reports == [AddressReport("000D3A000001", "wireserver", 3, 1, 1, 2.5)]


def test_a_holder_of_what_left_is_named_once_until_it_is_no_problem(node):
    node.add(1)
    node.add(2)
    node.has(7, own=(4, 6))
    assert node.looked() == [
        ("warning", "10.0.0.5", "it has left the NIC"),
        ("warning", "10.0.0.6", "it is the node's own now"),
    ]
    assert node.reports[-1].problems == (
        "10.0.0.5 of container c1 has left the NIC",
        "10.0.0.6 of container c2 is the node's own now",
    )
    assert node.looked() == []
    node.has(5, 7, own=(4, 6))
    assert node.looked() == [("info", "10.0.0.5", None)]
    node.has(7, own=(4, 6))
    assert node.looked() == [("warning", "10.0.0.5", "it has left the NIC")]
    node.agent.release(AddressRequest("net", node.ipam, Owner("c1", "eth0")))
    assert node.looked() == [("info", "10.0.0.5", None)]


def test_a_use_is_looked_at_soon_and_then_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(nic_watch, "_SETTLE_S", 0.01)
    monkeypatch.setattr(nic_watch, "_PERIOD_S", 0.02)
    node = Node(tmp_path)
    with capture_logs() as told, node.watch.watching():
        assert not node.reported.wait(0.1)
        node.fault = Unavailable("nobody answers")
        node.watch.used(node.ipam)
        while not told:
            assert not node.reported.wait(0.01)
        node.fault = None
        for _ in range(2):
            node.reported.clear()
            assert node.reported.wait(10)
    assert {line["error"] for line in told} == {"nobody answers"}


def test_a_wrong_place_is_refused_at_the_agents_start():
    with pytest.raises(Invalid, match="KORAT_AZURE_WIRESERVER"):
        azure_ipam({"KORAT_AZURE_WIRESERVER": "168.63.129.16"}, print)
