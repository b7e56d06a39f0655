"""The lab's stand-in for flanneld on a real etcd and a real kernel, in flanneld's own words.

What is expected here is what flanneld v0.28.9 was seen to write and to make. Where
``KORAT_LAB_FLANNELD`` names one, it stands beside the stand-in, and each expectation is its too.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from korat.drivers.kernel import namespace
from korat.lab.flanneld.launch import REAL, command
from korat.lab.process import Child

ETCD = shutil.which("etcd")
ETCDCTL = shutil.which("etcdctl")
pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(
        not (ETCD and ETCDCTL), reason="no etcd: apt-get install etcd-server etcd-client"
    ),
]

NAMES = f"kt-{os.getpid()}-fl"
WIRE = f"{NAMES}-wire"
URL = "http://10.99.0.1:2379"
PREFIX = "/coreos.com/network"
CONFIG = '{"Network":"10.5.0.0/16","EnableNFTables":true,"Backend":{"Type":"vxlan"}}'
WAIT_S = 10.0
STAND_IN: dict[str, str] = {}
#: Who is on the first and who on the second node.
PAIRS = {"two stand-ins": (STAND_IN, STAND_IN)}
if os.environ.get(REAL):
    REAL_ONE = {REAL: os.environ[REAL]}
    PAIRS |= {"with a real one": (STAND_IN, REAL_ONE), "two real ones": (REAL_ONE, REAL_ONE)}


def run(netns: str, *words: str) -> str:
    def inside() -> str:
        environ = {**os.environ, "ETCDCTL_API": "3"}
        return subprocess.run(words, check=True, capture_output=True, text=True, env=environ).stdout

    return namespace.run_in(netns, inside)


def read(netns: str, *words: str) -> list[dict]:
    return [each for each in json.loads(run(netns, *words) or "[]") if each]


def etcdctl(*words: str) -> str:
    return run(WIRE, "etcdctl", f"--endpoints={URL}", *words)


def leases() -> dict[str, str]:
    lines = etcdctl("get", "--prefix", f"{PREFIX}/subnets").splitlines()
    return dict(zip(lines[::2], lines[1::2], strict=True))


def eventually(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class Node:
    """A node's namespace, and the flanneld in it."""

    number: int
    program: dict[str, str]
    folder: Path
    child: Child | None = None

    @property
    def netns(self) -> str:
        return f"{NAMES}-{self.number}"

    @property
    def public_ip(self) -> str:
        return f"10.99.0.{10 + self.number}"

    @property
    def subnet_file(self) -> Path:
        return self.folder / str(self.number) / "subnet.env"

    def start(self, *, ip_masq: bool = False) -> None:
        words = command(
            self.program,
            etcd_endpoints=URL,
            interface="eth0",
            subnet_file=self.subnet_file,
            ip_masq=ip_masq,
        )
        log = self.folder / f"{self.number}.log"
        self.child = Child("flanneld", words, os.environ, log, namespace.path_of(self.netns))

    def stop(self) -> int | None:
        assert self.child is not None
        self.child.stop()
        return self.child.exit_code

    @property
    def subnet(self) -> str:
        """The first two thirds of its addresses: 10.5.34."""
        return self.env()["FLANNEL_SUBNET"].rpartition(".")[0]

    @property
    def address(self) -> str:
        return f"{self.subnet}.0"

    def env(self) -> dict[str, str]:
        return dict(line.split("=") for line in self.subnet_file.read_text().splitlines())

    def link(self) -> dict:
        return read(self.netns, "ip", "-j", "-d", "link", "show", "dev", "flannel.1")[0]

    def ways(self) -> tuple[list[dict], list[dict], list[dict]]:
        """Neighbours, forwarding entries and routes of the tunnel."""
        on = ("dev", "flannel.1")
        return (
            read(self.netns, "ip", "-4", "-j", "neigh", "show", *on),
            read(self.netns, "bridge", "-j", "fdb", "show", *on),
            read(self.netns, "ip", "-4", "-j", "-d", "route", "show", *on),
        )

    def reaches(self, other: "Node") -> bool:
        words = ["ping", "-c1", "-W1", "-I", self.address, other.address]
        return namespace.run_in(
            self.netns,
            lambda: subprocess.run(words, capture_output=True, check=False).returncode == 0,
        )


@pytest.fixture(scope="module")
def wire(tmp_path_factory) -> Iterator[None]:
    """A bridge with an etcd on it; the lab's launcher ends etcd with this process."""
    folder = tmp_path_factory.mktemp("etcd")
    namespace.create(WIRE)
    try:
        run(WIRE, "ip", "link", "add", "wire", "type", "bridge")
        run(WIRE, "ip", "addr", "add", "10.99.0.1/24", "dev", "wire")
        for name in ("lo", "wire"):
            run(WIRE, "ip", "link", "set", name, "up")
        urls = (f"--listen-client-urls={URL}", f"--advertise-client-urls={URL}")
        words = [str(ETCD), f"--data-dir={folder / 'data'}", "--log-level=error", *urls]
        words += ["--heartbeat-interval=50", "--election-timeout=500"]
        etcd = Child("etcd", words, os.environ, folder / "log", namespace.path_of(WIRE))
        try:
            eventually(lambda: etcd.exit_code is not None or healthy())
            assert etcd.exit_code is None, etcd.last_words()
            yield
        finally:
            etcd.kill()
    finally:
        namespace.remove(WIRE)


def healthy() -> bool:
    try:
        etcdctl("endpoint", "health", "--command-timeout=1s")
    except subprocess.CalledProcessError:
        return False
    return True


@pytest.fixture(params=PAIRS.values(), ids=PAIRS)
def nodes(request, wire, tmp_path) -> Iterator[list[Node]]:
    made = [Node(number, program, tmp_path) for number, program in enumerate(request.param, 1)]
    try:
        etcdctl("put", f"{PREFIX}/config", CONFIG)
        for node in made:
            namespace.create(node.netns)
            there = ("peer", "name", f"node{node.number}", "netns", WIRE)
            run(node.netns, "ip", "link", "add", "eth0", "type", "veth", *there)
            run(WIRE, "ip", "link", "set", f"node{node.number}", "master", "wire", "up")
            run(node.netns, "ip", "addr", "add", f"{node.public_ip}/24", "dev", "eth0")
            for name in ("lo", "eth0"):
                run(node.netns, "ip", "link", "set", name, "up")
        yield made
    finally:
        for node in made:
            if node.child is not None:
                node.child.kill()
            # By hand: a namespace that is removed loses its links some time later.
            run(WIRE, "ip", "link", "del", f"node{node.number}")
            namespace.remove(node.netns)
        etcdctl("del", "--prefix", PREFIX)


def together(nodes: list[Node], **how: bool) -> None:
    for node in nodes:
        node.start(**how)
    eventually(lambda: all(node.subnet_file.exists() and all(node.ways()) for node in nodes))


def test_nodes_lease_their_subnets_and_talk(nodes: list[Node]):
    together(nodes)
    one, two = nodes
    assert leases() == {
        f"{PREFIX}/subnets/{node.address}-24": (
            f'{{"PublicIP":"{node.public_ip}","PublicIPv6":null,"BackendType":"vxlan",'
            f'"BackendData":{{"VNI":1,"VtepMAC":"{node.link()["address"]}"}}}}'
        )
        for node in nodes
    }
    found = json.loads(etcdctl("get", "--prefix", f"{PREFIX}/subnets", "-w", "json"))["kvs"]
    for pair in found:
        told = json.loads(etcdctl("lease", "timetolive", f"{pair['lease']:x}", "-w", "json"))
        assert told["granted-ttl"] == 24 * 60 * 60
    for node in nodes:
        assert node.subnet_file.read_text() == (
            f"FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET={node.subnet}.1/24\n"
            "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
        )
        assert node.subnet_file.stat().st_mode & 0o777 == 0o644
    assert one.reaches(two)
    assert two.reaches(one)


def test_each_object_is_as_flanneld_makes_it(nodes: list[Node]):
    together(nodes, ip_masq=True)
    for node, peer in (nodes, reversed(nodes)):
        assert_device(node)
        assert_ways(node, peer)
        assert_masquerading(node)


def assert_device(node: Node) -> None:
    link = node.link()
    assert (link["mtu"], "UP" in link["flags"]) == (1450, True)
    assert int(link["address"][:2], 16) & 3 == 2, "the node's own to give, and one station's"
    assert link["linkinfo"]["info_data"] == {
        "id": 1,
        "local": node.public_ip,
        "link": "eth0",
        "port": 8472,
        "port_range": {"low": 0, "high": 0},
        "learning": False,
        "ttl": 0,
        "df": "unset",
        "ageing": 300,
        "udp_csum": True,
        "udp_zero_csum6_tx": False,
        "udp_zero_csum6_rx": False,
    }
    addresses = read(node.netns, "ip", "-4", "-j", "addr", "show", "dev", "flannel.1")[0]
    assert [(each["local"], each["prefixlen"]) for each in addresses["addr_info"]] == [
        (node.address, 32)
    ]
    assert run(node.netns, "cat", "/proc/sys/net/ipv6/conf/flannel.1/accept_ra") == "0\n"


def assert_ways(node: Node, peer: Node) -> None:
    mac = peer.link()["address"]
    neighbours, entries, routes = node.ways()
    assert neighbours == [{"dst": peer.address, "lladdr": mac, "state": ["PERMANENT"]}]
    assert entries == [{"mac": mac, "dst": peer.public_ip, "flags": ["self"], "state": "permanent"}]
    assert [(r["dst"], r["gateway"], r["protocol"], r["scope"], r["flags"]) for r in routes] == [
        (f"{peer.address}/24", peer.address, "boot", "global", ["onlink"])
    ]


def assert_masquerading(node: Node) -> None:
    own = f"{node.address}/24"
    table = run(node.netns, "nft", "list", "table", "ip", "flannel-ipv4")
    chain = re.search(r"chain postrtg \{(.*?)\}", table, re.DOTALL)
    assert [line.strip() for line in chain[1].splitlines() if "comment" not in line][1:-1] == [
        "type nat hook postrouting priority srcnat; policy accept;",
        "meta mark 0x00004000 return",
        f"ip saddr {own} ip daddr 10.5.0.0/16 return",
        f"ip saddr 10.5.0.0/16 ip daddr {own} return",
        f"ip saddr != {own} ip daddr 10.5.0.0/16 return",
        "ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random",
        "ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade fully-random",
    ]
    assert node.env()["FLANNEL_IPMASQ"] == "true"


def test_what_is_left_at_sigterm_is_taken_up_again(nodes: list[Node]):
    together(nodes)
    one, two = nodes
    before = (leases(), one.link()["address"], one.link()["ifindex"], one.ways())
    assert one.stop() == 0
    assert (leases(), one.link()["address"], one.link()["ifindex"], one.ways()) == before
    assert two.reaches(one)
    one.subnet_file.unlink()
    one.start()
    eventually(one.subnet_file.exists)
    assert (leases(), one.link()["address"], one.link()["ifindex"], one.ways()) == before
    one.child.kill()
    eventually(lambda: not run(WIRE, "ip", "netns", "pids", one.netns))


def test_who_loses_its_lease_ends_and_its_peer_forgets_it(nodes: list[Node]):
    together(nodes)
    one, two = nodes
    etcdctl("del", f"{PREFIX}/subnets/{two.address}-24")
    eventually(lambda: two.child.exit_code is not None)
    assert two.child.exit_code == 0
    assert two.ways() != ([], [], []), "it leaves what it made"
    eventually(lambda: one.ways() == ([], [], []))
    was = two.subnet
    two.start()
    eventually(lambda: all(one.ways()))
    assert two.subnet == was, "the subnet of its earlier subnet.env"
