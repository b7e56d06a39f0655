"""Connections, the node itself and source NAT, with real sockets on real stacks.

pod one (cali1) ──┐
pod two (cali2) ──┤ node ──── outside: 203.0.113.10 (the internet), 10.10.0.9 (in the VNet)
"""

import errno
import os
import socket
from contextlib import ExitStack, contextmanager

import pytest
from pyroute2 import IPRoute

from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr, Prefix
from korat.core.policy.cluster import Cluster
from korat.core.render.nft.diff import diff
from korat.core.render.nft.node import NodeInput, Pool, render
from korat.core.table.compile import compile_node
from korat.drivers.kernel import namespace, sysctl
from korat.drivers.kernel.nft import Nft
from policy_world import NODE, allow, open_namespace, pod, policy, who

pytestmark = pytest.mark.netns

ONE, TWO = "10.0.0.1", "10.0.0.2"
NODE_ADDR, OTHER_NODE_ADDR = "10.10.0.4", "10.10.0.44"
INTERNET, VNET_HOST = "203.0.113.10", "10.10.0.9"
PORT = 8080
MAC = "02:00:00:00:00:01"
POOLS = (Pool(Prefix.parse("10.0.0.0/16"), nat_outgoing=True),)
VNET = (Prefix.parse("10.10.0.0/16"),)
PODS = (open_namespace("red"), pod("1", f"{ONE}/32", app="x"), pod("2", f"{TWO}/32", app="y"))
DENY_ALL = policy("p", selector="app == 'y'", types=("Ingress",))
ALLOW_PORT = policy(
    "p",
    ingress=[allow(protocol="TCP", destination=who(ports=[PORT]))],
    selector="app == 'y'",
    types=("Ingress",),
)


class Node:
    """A node with two pods and the world outside; loads rules and opens sockets anywhere."""

    def __init__(self, stack):
        self._stack = stack
        self.prefix = f"kt-{os.getpid()}-st"
        for place in ("node", "one", "two", "out"):
            namespace.create(self.name(place))
            stack.callback(namespace.remove, self.name(place))
        sysctl.write({"net/ipv4/ip_forward": 1}, self.name("node"))
        self._link("cali-1", "one", [ONE], ONE)
        self._link("cali-2", "two", [TWO], TWO)
        self._link("eth0", "out", [INTERNET, VNET_HOST], "0.0.0.0/0", NODE_ADDR)
        namespace.run_in(self.name("node"), _second_address)
        self.nft = stack.enter_context(namespace.run_in(self.name("node"), Nft))
        self.ruleset = None

    def name(self, place):
        return f"{self.prefix}-{place}"

    def _link(self, interface, place, addresses, route, own="169.254.1.1"):
        # Both ends have one hardware address and no ARP: what one sends is always the other's.
        there = {"ifname": "eth0", "net_ns_fd": self.name(place), "address": MAC}

        def here():
            with IPRoute() as ip:
                ip.link("add", ifname=interface, kind="veth", peer=there, address=MAC)
                index = _up(ip, interface)
                ip.addr("add", index=index, address=own, prefixlen=32)
                for prefix in [*addresses, route] if place == "out" else [route]:
                    ip.route("add", dst=prefix, oif=index, scope=253)

        def beyond():
            with IPRoute() as ip:
                _up(ip, "lo")
                index = _up(ip, "eth0")
                for address in addresses:
                    ip.addr("add", index=index, address=address, prefixlen=32)
                ip.route("add", dst="0.0.0.0/0", oif=index, scope=253)

        namespace.run_in(self.name("node"), here)
        namespace.run_in(self.name(place), beyond)

    def load(self, *policies, felix=None, whole=False):
        """Bring the kernel to these policies by the smallest change."""
        compiled = compile_node(Cluster.build([*PODS, *policies]), NODE)
        ruleset = render(NodeInput(compiled, felix or FelixSettings(), POOLS, VNET))
        self.nft.apply(diff(None if whole else self.ruleset, ruleset))
        self.ruleset = ruleset

    def listen(self, place):
        """A TCP listener."""
        sock = namespace.socket_in(self.name(place))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", PORT))
        sock.listen()
        sock.settimeout(5)
        return sock

    def connect(self, place, address):
        """A connected socket."""
        sock = namespace.socket_in(self.name(place))
        sock.settimeout(5)
        try:
            sock.connect((address, PORT))
        except OSError:
            sock.close()
            raise
        return sock

    def dropped(self, comment):
        """How many packets the rule or the counter with this comment has counted."""
        listed = self.nft.list_json()
        own = (each["counter"] for each in listed if "counter" in each)
        rules = (each["rule"] for each in listed if "rule" in each)
        said = [rule for rule in rules if rule.get("comment") == comment]
        inside = (s["counter"] for rule in said for s in rule["expr"] if "counter" in s)
        own_of_rules = (each for each in inside if isinstance(each, dict))  # not one by its name
        named = (each for each in own if each.get("comment") == comment)
        return sum(each["packets"] for each in (*named, *own_of_rules))

    def refuses(self, place, address, comment):
        """Whether a connection's first packet is dropped, by the rule with this comment."""
        before = self.dropped(comment)
        sock = namespace.socket_in(self.name(place))
        sock.setblocking(False)
        with sock:
            # The kernel works the packet off before connect returns, so its counter tells at once.
            assert sock.connect_ex((address, PORT))
            return self.dropped(comment) > before


def _second_address():
    with IPRoute() as ip:
        index = ip.link_lookup(ifname="eth0")[0]
        ip.addr("add", index=index, address=OTHER_NODE_ADDR, prefixlen=32)


def _up(ip, interface):
    index = ip.link_lookup(ifname=interface)[0]
    ip.link("set", index=index, arp=False, state="up")
    return index


@pytest.fixture(scope="module")
def built():
    with ExitStack() as stack:
        yield Node(stack)


@pytest.fixture
def node(built):
    built.load(whole=True)
    return built


@contextmanager
def talk(node, listener, place, address):
    """A connection as (client's end, server's end, the client's address as the server sees it)."""
    with node.connect(place, address) as client:
        server, (seen, port) = listener.accept()
        with server:
            yield client, server, seen, port


def heard(sender, receiver):
    sender.sendall(b"hello")
    return receiver.recv(5) == b"hello"


DENIED = "ingress default tier default"


def test_replies_and_established_connections_pass(node):
    node.load(ALLOW_PORT)
    with (
        node.listen("two") as listener,
        talk(node, listener, "one", TWO) as (client, server, seen, _),
    ):
        assert seen == ONE
        assert heard(client, server)
        assert heard(server, client)
        node.load(DENY_ALL)
        assert heard(client, server)
        assert node.refuses("one", TWO, DENIED)


def test_only_the_open_direction_is_open(node):
    node.load(ALLOW_PORT)
    with node.listen("one") as listener, talk(node, listener, "two", ONE) as (client, server, *_):
        assert heard(client, server)
    node.load(DENY_ALL)
    with node.listen("one") as listener, talk(node, listener, "two", ONE) as (client, server, *_):
        assert heard(server, client)


def test_a_rule_keeps_its_counter_when_other_policy_comes_and_goes(node):
    node.load(ALLOW_PORT)
    with node.listen("two") as listener, talk(node, listener, "one", TWO):
        pass
    counted = node.dropped("ingress default NetworkPolicy red/p rule 0")
    assert counted == 1
    node.load(ALLOW_PORT, policy("q", selector="app == 'x'", types=("Ingress",)))
    node.load(ALLOW_PORT)
    assert node.dropped("ingress default NetworkPolicy red/p rule 0") == counted


def test_the_node_reaches_its_pods_whatever_their_policy(node):
    node.load(DENY_ALL)
    with node.listen("two") as listener, talk(node, listener, "node", TWO) as (client, server, *_):
        assert heard(server, client)


@pytest.mark.parametrize(("action", "open_"), [("Drop", False), ("Accept", True), ("Return", True)])
def test_a_pod_reaches_its_node_as_configured(node, action, open_):
    node.load(felix=FelixSettings(default_endpoint_to_host_action=action))
    with node.listen("node") as listener:
        if open_:
            with talk(node, listener, "one", NODE_ADDR) as (client, server, *_):
                assert heard(server, client)
        else:
            assert node.refuses("one", NODE_ADDR, "workload to its node")


def test_egress_policy_comes_before_the_node_is_reached(node):
    node.load(
        policy("e", selector="app == 'x'", types=("Egress",)),
        felix=FelixSettings(default_endpoint_to_host_action="Accept"),
    )
    assert node.refuses("one", NODE_ADDR, "egress default tier default")


def test_a_foreign_source_is_dropped_on_its_way_to_the_node_too(node):
    node.load(felix=FelixSettings(default_endpoint_to_host_action="Accept"))
    why = "source is not the workload's"
    before = node.dropped(why)
    with namespace.socket_in(node.name("one"), socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT: any source address
        sock.bind(("10.0.0.77", 0))
        sock.sendto(b"x", (NODE_ADDR, 53))
        sock.sendto(b"x", (TWO, 53))
    assert node.dropped(why) == before + 2


@pytest.mark.parametrize(("target", "seen_as"), [(INTERNET, NODE_ADDR), (VNET_HOST, ONE)])
def test_only_what_leaves_the_virtual_network_is_translated(node, target, seen_as):
    with (
        node.listen("out") as listener,
        talk(node, listener, "one", target) as (client, server, seen, _),
    ):
        assert seen == seen_as
        assert heard(server, client)


def test_pods_see_each_other_untranslated(node):
    with node.listen("two") as listener, talk(node, listener, "one", TWO) as (*_, seen, _port):
        assert seen == ONE


def test_the_port_range_and_address_of_translation_are_honoured(node):
    node.load(felix=FelixSettings(nat_port_range=(32000, 32003)))
    with node.listen("out") as listener, talk(node, listener, "one", INTERNET) as (*_, seen, port):
        assert seen == NODE_ADDR
        assert 32000 <= port <= 32003
    node.load(felix=FelixSettings(nat_outgoing_address=Addr.parse(OTHER_NODE_ADDR)))
    with node.listen("out") as listener, talk(node, listener, "one", INTERNET) as (*_, seen, _port):
        assert seen == OTHER_NODE_ADDR


def test_reject_answers_at_once(node):
    node.load(DENY_ALL, felix=FelixSettings(nftables_filter_deny_action="Reject"))
    with namespace.socket_in(node.name("one")) as sock:
        sock.settimeout(5)
        assert sock.connect_ex((TWO, PORT)) == errno.ECONNREFUSED
