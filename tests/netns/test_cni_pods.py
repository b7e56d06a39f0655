"""CNI on a real kernel: pods by the launcher, the socket and the agent in namespaces.

up (10.9.0.2) ---- node (10.9.0.1) ==cali…==== pod
192.0.2.1            the agent                 10.10.128.x, fd00:10::x
"""

import itertools
import os
import socket
import subprocess
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from cni_world import POD_CIDR, Runtime, agent_at, eventually, names, pod, store_with, workloads
from korat.agent.hostlocal import HostLocal
from korat.agent.workload import Workloads
from korat.core.errors import Conflict, Invalid, NotFound
from korat.core.model.kubernetes.workload import interface_name
from korat.core.net.address import Addr, Family, Prefix
from korat.drivers.kernel import namespace, sysctl
from korat.drivers.kernel.conntrack import Conntrack
from korat.drivers.kernel.veth import ROUTE_PROTOCOL, Veth, Veths

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]

POD_CIDR_V6 = Prefix.parse("fd00:10::/64")
DUAL = {"ranges": [[{"subnet": "usePodCidr"}], [{"subnet": "usePodCidrIPv6"}]]}
HOST_NAME = interface_name("shop", "web")
_numbers = itertools.count()


@dataclass
class World:
    """A node with its upstream neighbour, an agent's parts, and a runtime."""

    node: str
    runtime: Runtime
    work: Workloads
    spaces: list[str]

    def space(self, what):
        name = f"kt-{os.getpid()}-{next(_numbers)}-{what}"
        namespace.create(name)
        self.spaces.append(name)
        return name

    def inside(self, function, space=""):
        return namespace.run_in(space or self.node, function)

    def ping(self, space, target):
        argv = ["ping", "-n", "-c", "1", "-W", "2", target]
        return self.inside(
            lambda: subprocess.run(argv, capture_output=True, check=False).returncode == 0, space
        )

    def call(self, command, container="c1", space="", **more):
        netns = str(namespace.path_of(space)) if space else ""
        return self.runtime.call(command, container, netns=netns, **more)

    def links(self):
        return self.inside(lambda: dict(Veths().owners()))

    def routes(self):
        return self.inside(_own_routes)


def _own_routes():
    with IPRoute() as ip:
        return {
            f"{r.get_attr('RTA_DST')}/{r['dst_len']}"
            for family in (socket.AF_INET, socket.AF_INET6)
            for r in ip.get_routes(family=family, proto=ROUTE_PROTOCOL)
        }


def _wire(node, up):
    """The node's uplink: without a default route proxy ARP has nothing to answer for."""

    def node_side():
        with IPRoute() as ip:
            with namespace.path_of(up).open() as target:
                ip.link(
                    "add",
                    ifname="up0",
                    kind="veth",
                    peer={"ifname": "eth0", "net_ns_fd": target.fileno()},
                )
            index = ip.link_lookup(ifname="up0")[0]
            for each in (1, index):
                ip.link("set", index=each, state="up")
            ip.addr("add", index=index, address="10.9.0.1", prefixlen=24)
            ip.route("add", dst="0.0.0.0/0", gateway="10.9.0.2", oif=index)
        sysctl.write({"net/ipv4/ip_forward": 1})

    def up_side():
        with IPRoute() as ip:
            index = ip.link_lookup(ifname="eth0")[0]
            ip.link("set", index=index, state="up")
            for address, length in (("10.9.0.2", 24), ("192.0.2.1", 32)):
                ip.addr("add", index=index, address=address, prefixlen=length)
            ip.route("add", dst=str(POD_CIDR), gateway="10.9.0.1", oif=index)

    namespace.run_in(node, node_side)
    namespace.run_in(up, up_side)


@pytest.fixture
def world(tmp_path):
    spaces = []
    work = workloads(
        store_with(pod("web"), pod("db")),
        Veths(),
        ipam=HostLocal(lambda: [POD_CIDR, POD_CIDR_V6]),
        forget=_forget,
    )
    made = World("", Runtime(tmp_path), work, spaces)
    try:
        made.node = made.space("node")
        made.up = made.space("up")
        _wire(made.node, made.up)
        yield made
    finally:
        for space in spaces:
            namespace.remove(space)


@pytest.fixture
def served(world):
    with agent_at(world.runtime.socket, world.work, world.node):
        yield world


def dual(world):
    return {**DUAL, "dataDir": str(world.runtime.folder / "ipam")}


def test_pod_comes_talks_is_checked_and_goes(served):
    space = served.space("pod")
    added = served.call("ADD", space=space, ipam=dual(served), mtu=1400)
    assert added.code == 0, added
    four, six = (ip["address"].split("/")[0] for ip in added.out["ips"])
    assert (four, six) == ("10.10.128.2", "fd00:10::2")
    assert served.ping(served.node, four)
    assert served.ping(served.node, six)
    assert served.ping(served.up, four)
    assert served.ping(space, "192.0.2.1"), "the way out by the default route"
    assert served.links() == {HOST_NAME: "korat k8s-pod-network c1 eth0"}
    assert served.routes() == {f"{four}/32", f"{six}/128"}
    previous = {"prevResult": added.out, "ipam": dual(served)}
    assert served.call("CHECK", space=space, **previous).code == 0
    for _ in range(2):
        deleted = served.call("DEL", space=space, ipam=dual(served))
        assert (deleted.code, deleted.out) == (0, None)
        assert (served.links(), served.routes()) == ({}, set())
    assert served.call("CHECK", space=space, **previous).out["code"] == 100


def test_kernel_settings_are_calicos(served):
    space = served.space("pod")
    assert served.call("ADD", space=space, ipam=dual(served), mtu=1400).code == 0
    expected = {
        f"net/ipv4/conf/{HOST_NAME}/proxy_arp": "1",
        f"net/ipv4/conf/{HOST_NAME}/forwarding": "1",
        f"net/ipv4/conf/{HOST_NAME}/route_localnet": "1",
        f"net/ipv4/neigh/{HOST_NAME}/proxy_delay": "0",
        f"net/ipv6/conf/{HOST_NAME}/accept_ra": "0",
        f"net/ipv6/conf/{HOST_NAME}/forwarding": "1",
    }
    assert {key: sysctl.read(key, served.node) for key in expected} == expected
    assert sysctl.read("net/ipv4/ip_forward", space) == "0"
    seen = served.inside(lambda: Veths().read(HOST_NAME, str(namespace.path_of(space)), "eth0"))
    assert (seen.host_mac, seen.mtu_bytes, seen.up) == ("ee:ee:ee:ee:ee:ee", 1400, True)
    assert seen.default_routes == frozenset(Family)


def test_ipv6_next_hop_is_there_even_where_the_kernel_makes_no_link_local_addresses(served):
    sysctl.write({"net/ipv6/conf/default/addr_gen_mode": 1}, served.node)
    space = served.space("pod")
    assert served.call("ADD", space=space, ipam=dual(served)).code == 0
    assert served.ping(space, "fe80::ecee:eeff:feee:eeee%eth0")


def test_pod_whose_namespace_is_gone_is_still_deleted(served):
    space = served.space("pod")
    assert served.call("ADD", space=space).code == 0
    namespace.remove(space)
    assert eventually(lambda: not served.links())
    assert served.call("DEL", space=space).code == 0
    assert served.call("DEL").code == 0
    assert "10.10.128.2" not in names(served.runtime.folder / "ipam" / "k8s-pod-network")


def test_add_twice_is_the_same(served):
    space = served.space("pod")
    first = served.call("ADD", space=space)
    assert served.call("ADD", space=space) == first
    assert len(served.links()) == 1


def test_new_sandbox_of_a_pod_takes_over_and_the_old_ones_del_is_harmless(served):
    old, new = served.space("old"), served.space("new")
    first = served.call("ADD", "c1", old)
    second = served.call("ADD", "c2", new)
    assert first.out["ips"] == second.out["ips"]
    assert served.call("DEL", "c1", old).code == 0
    assert served.ping(served.node, "10.10.128.2")
    assert served.call("DEL", "c2", new).code == 0
    assert served.links() == {}


@pytest.mark.parametrize("fault", ["taken-name", "foreign-route", "no-namespace", "policy"])
def test_add_that_fails_leaves_nothing(world, fault):
    space = world.space("pod")
    target, code = space, 101
    if fault == "taken-name":
        world.inside(lambda: _add_bridge("eth0"), space)
    elif fault == "foreign-route":
        world.inside(_add_foreign_route)
    elif fault == "no-namespace":
        target, code = f"kt-{os.getpid()}-missing", 100
    else:
        code = 11
    work = replace(world.work, wait_programmed=lambda *_: fault != "policy")
    with agent_at(world.runtime.socket, work, world.node):
        added = world.call("ADD", space=target)
    assert (added.code, added.out["code"]) == (1, code), added
    assert world.links() == {}
    assert world.routes() == set()
    assert work.store.list(["WorkloadEndpoint"]).records == ()
    assert names(world.runtime.folder / "ipam" / "k8s-pod-network") == [
        "last_reserved_ip.0",
        "lock",
    ]


def _add_bridge(name):
    with IPRoute() as ip:
        ip.link("add", ifname=name, kind="bridge")


def _add_foreign_route():
    with IPRoute() as ip:
        ip.route("add", dst="10.10.128.2/32", oif=ip.link_lookup(ifname="up0")[0])


def test_check_sees_what_somebody_took_away(served):
    space = served.space("pod")
    added = served.call("ADD", space=space)

    def lose_address():
        with IPRoute() as ip:
            index = ip.link_lookup(ifname="eth0")[0]
            ip.addr("del", index=index, address="10.10.128.2", prefixlen=32)

    served.inside(lose_address, space)
    checked = served.call("CHECK", space=space, prevResult=added.out)
    assert checked.code == 1
    assert "lost its address 10.10.128.2" in checked.out["msg"]


def test_gc_takes_only_what_the_runtime_forgot(served):
    web, db = served.space("web"), served.space("db")
    assert served.call("ADD", "c1", web).code == 0
    assert served.call("ADD", "c2", db, pod_name="db").code == 0
    valid = {"cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}]}
    assert served.call("GC", cniVersion="1.1.0", **valid).code == 0
    assert served.links() == {interface_name("shop", "db"): "korat k8s-pod-network c2 eth0"}
    assert served.routes() == {"10.10.128.3/32"}
    assert served.ping(served.node, "10.10.128.3")


def test_many_pods_at_once(world):
    pods = [f"p{n}" for n in range(12)]
    work = replace(world.work, store=store_with(*map(pod, pods)))
    spaces = {name: world.space(name) for name in pods}
    codes = []
    with agent_at(world.runtime.socket, work, world.node):

        def both(name):
            codes.extend(
                world.call(command, f"c-{name}", spaces[name], pod_name=name).code
                for command in ("ADD", "DEL")
            )

        callers = [threading.Thread(target=both, args=(name,)) for name in pods]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert codes == [0] * 24
    assert (world.links(), world.routes()) == ({}, set())


def _track():
    """Connection tracking counts only where a rule asks for it."""
    rules = """
        add table inet kt
        add chain inet kt out { type filter hook output priority 0; }
        add rule inet kt out ct state new counter
    """
    argv = ["nft", "-f", "-"]
    subprocess.run(argv, input=rules, text=True, check=True)


def _tracked():
    return Path("/proc/thread-self/net/nf_conntrack").read_text()


def test_connections_of_an_address_are_forgotten_and_no_others(served):
    if not Path("/proc/net/nf_conntrack").exists():
        pytest.skip("this kernel shows no /proc/net/nf_conntrack")
    web, db = served.space("web"), served.space("db")
    served.call("ADD", "c1", web, ipam=dual(served))
    served.call("ADD", "c2", db, pod_name="db", ipam=dual(served))
    served.inside(_track)
    assert served.ping(served.node, "10.10.128.2")
    assert served.ping(web, "192.0.2.1")
    assert served.ping(served.node, "fd00:10::2")
    assert served.ping(served.node, "10.10.128.3")
    assert served.ping(served.node, "fd00:10::3")
    served.inside(_send_udp)
    before = served.inside(_tracked)
    assert before.count("src=10.10.128.2 ") == 3, before
    assert before.count("0002 ") >= 1, before
    both = [Addr.parse("10.10.128.2"), Addr.parse("fd00:10::2")]
    gone = served.inside(lambda: _forget(both))
    after = served.inside(_tracked)
    assert gone == 4
    assert "10.10.128.2 " not in after
    assert "10.10.128.3 " in after
    assert after.count("icmpv6") == before.count("icmpv6") - 1
    assert served.inside(lambda: _forget(both)) == 0


def _forget(addresses):
    """In the namespace of whoever calls."""
    with Conntrack() as conntrack:
        return conntrack.forget(addresses)


def _send_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x", ("10.10.128.2", 9))


def test_pair_is_made_whole_or_not_at_all(world):
    space = world.space("pod")
    world.inside(_add_foreign_route)
    addresses = (Addr.parse("fd00:10::2"), Addr.parse("10.10.128.2"))
    veth = Veth("calitest", str(namespace.path_of(space)), "eth0", addresses, "mine")
    with pytest.raises(Conflict, match="another interface"):
        world.inside(lambda: Veths().create(veth))
    assert world.inside(lambda: Veths().read("calitest", veth.netns, "eth0")) is None
    assert world.routes() == set()


def test_link_of_another_owner_is_not_deleted(world):
    space = world.space("pod")
    veth = Veth("calitest", str(namespace.path_of(space)), "eth0", (), "mine")
    world.inside(lambda: Veths().create(veth))
    assert not world.inside(lambda: Veths().delete("calitest", "another"))
    assert world.inside(lambda: Veths().read("calitest", veth.netns, "eth0")).owner == "mine"
    with pytest.raises(Conflict):
        world.inside(lambda: Veths().create(veth))
    assert world.inside(lambda: Veths().delete("calitest", "mine"))
    assert not world.inside(lambda: Veths().delete("calitest"))
    assert world.inside(lambda: Veths().read("calitest", veth.netns, "eth0")) is None
    with pytest.raises(NotFound):
        world.inside(lambda: Veths().create(replace(veth, netns="/run/netns/missing")))
    own = str(namespace.path_of(world.node))
    with pytest.raises(Invalid, match="node's own"):
        world.inside(lambda: Veths().create(replace(veth, netns=own)))
