"""korat-azure-ipam on disk: what is kept, in which files, what is refused and what is told."""

import json
import threading

import pytest
from structlog.testing import capture_logs

from cni_world import names
from korat.agent.address_source import AZURE, AddressRequest, AddressSources
from korat.agent.azure_ipam import AzureIpam
from korat.core.errors import Invalid, Unavailable
from korat.core.ipam.hostlocal import Owner
from korat.core.ipam.nic import Nic, NicAddress
from korat.core.net.address import Addr
from korat.drivers.azure.metadata import Reading

NOW = 1_700_000_000.0


def addrs(*texts):
    return tuple(map(Addr.parse, texts))


def owner(number, ifname="eth0"):
    return Owner(f"c{number}", ifname)


class Node:
    """A node's NIC and clock, and an agent that can be started anew."""

    def __init__(self, folder):
        self.ipam = {"type": AZURE, "dataDir": str(folder)}
        self.folder = folder / "nic"
        self.now_s = NOW
        self.stale = ""
        self.uses = []
        self.has("10.0.0.5", "10.0.0.6", "10.0.0.7")
        self.start()

    def start(self):
        self.agent = AzureIpam(self.read, self.uses.append, lambda: self.now_s)

    def has(self, *pods):
        own = NicAddress(Addr.parse("10.0.0.4"), None, nodes_own=True)
        found = (NicAddress(addr, None, nodes_own=False) for addr in addrs(*pods))
        self.nic = Nic("000D3A000001", (own, *found))

    def read(self):
        return Reading(self.nic, "imds", 42.0, self.stale)

    def add(self, number, network="net", heir_of=None, requested=()):
        old = None if heir_of is None else owner(heir_of)
        asked = AddressRequest(network, self.ipam, owner(number), addrs(*requested), old)
        return self.agent.assign(asked)

    def release(self, number, network="net", ifname="eth0"):
        return self.agent.release(AddressRequest(network, self.ipam, owner(number, ifname)))

    def of(self, number, network="net"):
        return self.agent.of(network, self.ipam, owner(number))


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def test_a_file_per_address_with_its_holder_and_network(node):
    assert node.add(1) == addrs("10.0.0.5")
    assert names(node.folder) == ["10.0.0.5", "lock"]
    assert (node.folder / "10.0.0.5").read_bytes() == b"c1\r\neth0\r\nnet"
    assert (node.folder / "lock").stat().st_mode & 0o777 == 0o600


def test_asking_again_release_and_the_next_one(node):
    first = node.add(1)
    assert node.add(1) == first
    assert node.release(1, ifname="eth1") == ()
    assert node.release(1) == first
    assert node.release(1) == ()
    assert json.loads((node.folder / "released.json").read_bytes()) == {"10.0.0.5": NOW}
    assert node.add(2) == addrs("10.0.0.6")


def test_an_agent_that_starts_anew_goes_on(node):
    node.add(1)
    node.add(2)
    node.release(1)
    node.start()
    assert node.of(2) == addrs("10.0.0.6")
    assert node.add(3) == addrs("10.0.0.7")
    with pytest.raises(Unavailable, match=r"2 of 3 are in use, 1 cool down until .*for 30 s more"):
        node.add(4)
    node.now_s += 30
    assert node.add(4) == addrs("10.0.0.5")


def test_networks_share_the_nic_and_know_their_own(node):
    assert node.add(1) + node.add(1, network="other") == addrs("10.0.0.5", "10.0.0.6")
    assert node.agent.owners("net", node.ipam) == {owner(1)}
    assert node.release(1, network="third") == ()
    assert node.release(1, network="other") == addrs("10.0.0.6")
    assert node.of(1) == addrs("10.0.0.5")
    assert node.agent.owners("other", node.ipam) == frozenset()


def test_an_heir_keeps_the_address_and_the_old_ones_release_does_nothing(node):
    first = node.add(1)
    assert node.add(2, heir_of=1) == first
    assert node.release(1) == ()
    assert node.of(2) == first


def test_a_requested_address_and_what_it_replaces_cools_down(node):
    node.add(1)
    assert node.add(1, requested=["10.0.0.7"]) == addrs("10.0.0.7")
    assert node.of(1) == addrs("10.0.0.7")
    assert (node.add(2), node.of(2)) == (addrs("10.0.0.6"),) * 2
    with pytest.raises(Unavailable, match="cool down"):
        node.add(3)


def test_the_clock_is_put_back(node):
    """What was given back in the future rests once more, as long as ever, and no longer."""
    for number in (1, 2, 3):
        node.add(number)
    node.release(1)
    node.now_s -= 86_400
    with pytest.raises(Unavailable, match="cool down"):
        node.add(4)
    node.now_s += 29
    node.start()
    with pytest.raises(Unavailable, match="cool down"):
        node.add(4)
    node.now_s += 1
    assert node.add(4) == addrs("10.0.0.5")


def test_a_set_cool_down(node):
    node.ipam["coolDownSeconds"] = 0
    first = node.add(1)
    node.has("10.0.0.5")
    node.release(1)
    assert node.add(2) == first


@pytest.mark.parametrize("value", ["30", -1, 3601, True, None])
def test_a_cool_down_that_is_none(node, value):
    node.ipam["coolDownSeconds"] = value
    for ask in (lambda: node.add(1), lambda: node.agent.check(node.ipam)):
        with pytest.raises(Invalid, match=r"ipam.coolDownSeconds"):
            ask()


def test_times_that_are_damaged_let_everything_rest_anew(node):
    node.add(1)
    node.release(1)
    (node.folder / "released.json").write_text("{")
    node.now_s += 100
    assert node.release(1) == ()
    with capture_logs() as told, pytest.raises(Unavailable, match="3 cool down"):
        node.add(2)
    assert [line["event"] for line in told] == [
        "the times of release are lost; each address rests anew"
    ]
    node.now_s += 30
    assert node.add(2) == addrs("10.0.0.5")


def test_a_release_leaves_damaged_times_to_the_next_assignment(node):
    node.add(1)
    (node.folder / "released.json").write_text('{"x": 1}')
    node.release(1)
    with pytest.raises(Unavailable, match="3 cool down"):
        node.add(2)


@pytest.mark.parametrize("content", [b"", b"c1", b"c1\r\neth0", b"\xff\xfe"])
def test_a_damaged_file_holds_its_address_until_a_gc(node, content):
    node.add(1)
    (node.folder / "10.0.0.5").write_bytes(content)
    assert node.add(2) == addrs("10.0.0.6")
    nobody = Owner("", "")
    assert node.agent.owners("net", node.ipam) == {nobody, owner(2)}
    assert node.agent.release(AddressRequest("net", node.ipam, nobody)) == addrs("10.0.0.5")


def test_times_of_addresses_that_left_are_forgotten_when_they_have_rested(node):
    node.add(1)
    node.release(1)
    node.has("10.0.0.6", "10.0.0.7")
    node.add(2)
    assert "10.0.0.5" in (node.folder / "released.json").read_text()
    node.now_s += 31
    node.add(3)
    assert json.loads((node.folder / "released.json").read_bytes()) == {}


def test_each_use_is_told(node):
    node.add(1)
    node.release(2)
    assert node.uses == [node.ipam]
    node.release(1)
    node.agent.check(node.ipam)
    assert node.uses == [node.ipam] * 3


def test_what_needs_nothing_of_azure_asks_nothing(tmp_path):
    def read():
        raise Unavailable("nobody answers")

    agent, ipam = AzureIpam(read), {"dataDir": str(tmp_path)}
    assert (
        agent.of("net", ipam, owner(1))
        == agent.release(AddressRequest("net", ipam, owner(1)))
        == ()
    )
    assert agent.owners("net", ipam) == frozenset()
    for ask in (
        lambda: agent.check(ipam),
        lambda: agent.assign(AddressRequest("n", ipam, owner(1))),
    ):
        with pytest.raises(Unavailable, match="nobody answers"):
            ask()


def test_a_refusal_on_old_ground_says_so(node):
    for number in (1, 2, 3):
        node.add(number)
    node.stale = "imds: answers with status 503"
    with pytest.raises(Unavailable, match=r"3 of 3 are in use, as it was known 42 s ago \(imds: "):
        node.add(4)


def test_a_node_is_ready_with_all_addresses_in_use_but_not_without_any(node):
    for number in (1, 2, 3):
        node.add(number)
    node.agent.check(node.ipam)
    node.has("fd00::5")
    with pytest.raises(Unavailable, match="has no secondary IPv4 address for pods"):
        node.agent.check(node.ipam)


@pytest.mark.parametrize("folder", ["relative", "/a/../b"])
def test_a_data_dir_that_is_not_absolute(node, folder):
    node.ipam["dataDir"] = folder
    with pytest.raises(Invalid, match="dataDir"):
        node.add(1)


def test_threads_and_agents_never_get_one_address_twice(node):
    node.has(*(f"10.0.1.{n}" for n in range(12)))
    found, others = [], [AzureIpam(node.read) for _ in range(12)]

    def work(number):
        asked = AddressRequest("net", node.ipam, owner(number))
        found.extend(others[number].assign(asked))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == len(found) == 12
    with pytest.raises(Unavailable, match="12 of 12 are in use"):
        node.add(99)


def test_it_is_asked_by_its_type(node):
    sources = AddressSources({AZURE: node.agent})
    sources.check(node.ipam)
    assert sources.assign(AddressRequest("net", node.ipam, owner(1))) == addrs("10.0.0.5")
