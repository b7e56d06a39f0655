"""A node's own routes and its ears, in a namespace of the test's own."""

import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from korat.core.net.address import Addr
from korat.drivers.kernel import local_route, namespace, sysctl
from korat.drivers.kernel.monitor import Monitor
from korat.drivers.kernel.nft import Nft
from korat.drivers.kernel.veth import ROUTE_PROTOCOL

pytestmark = pytest.mark.netns

WAIT_S = 5.0
POD, OTHER = Addr.parse("10.9.0.2"), Addr.parse("10.9.0.3")


@pytest.fixture
def node() -> Iterator[str]:
    """A namespace with two pairs, calia and calib."""
    name = f"kt-{os.getpid()}-routes"
    namespace.create(name)
    try:
        namespace.run_in(name, lambda: [add_pair("calia"), add_pair("calib")])
        yield name
    finally:
        namespace.remove(name)


def add_pair(name: str) -> None:
    with IPRoute() as ip:
        ip.link("add", ifname=name, kind="veth", peer={"ifname": f"p{name}"})
        for end in (name, f"p{name}"):
            ip.link("set", index=ip.link_lookup(ifname=end)[0], state="up")


def routes(node: str) -> dict[str, tuple[str, int]]:
    """Destination -> (interface, protocol), of all /32 routes of the main table."""

    def read() -> dict[str, tuple[str, int]]:
        with IPRoute() as ip:
            names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in ip.get_links()}
            return {
                r.get_attr("RTA_DST"): (names[r.get_attr("RTA_OIF")], r["proto"])
                for r in ip.get_routes(family=2, table=254)
                if r["dst_len"] == 32
            }

    return namespace.run_in(node, read)


def synced(node: str, wanted: dict[Addr, str]) -> local_route.Synced:
    return namespace.run_in(node, lambda: local_route.sync(wanted))


def test_routes_are_made_moved_and_taken_away(node: str):
    assert synced(node, {POD: "calia", OTHER: "calib"}) == local_route.Synced(
        frozenset(), frozenset()
    )
    assert routes(node) == {
        "10.9.0.2": ("calia", ROUTE_PROTOCOL),
        "10.9.0.3": ("calib", ROUTE_PROTOCOL),
    }
    assert synced(node, {POD: "calib"}).removed == {OTHER}
    assert routes(node) == {"10.9.0.2": ("calib", ROUTE_PROTOCOL)}


def test_a_missing_interface_waits_and_others_routes_stay(node: str):
    def foreign() -> None:
        with IPRoute() as ip:
            index = ip.link_lookup(ifname="calia")[0]
            ip.route("add", dst="10.9.0.77/32", oif=index, proto=4)

    namespace.run_in(node, foreign)
    assert synced(node, {POD: "calinot"}).waiting == {POD}
    assert synced(node, {}).removed == frozenset()
    assert routes(node) == {"10.9.0.77": ("calia", 4)}


BOOT, STATIC = 3, 4


def other_route(node: str, verb: str, interface: str, proto: int = BOOT) -> None:
    """What another CNI plugin does to the route to POD."""

    def change() -> None:
        with IPRoute() as ip:
            index = ip.link_lookup(ifname=interface)[0]
            ip.route(verb, dst=f"{POD}/32", oif=index, proto=proto, scope="link")

    namespace.run_in(node, change)


@pytest.mark.parametrize("proto", [BOOT, STATIC])
def test_the_same_route_of_another_plugin_serves_until_it_goes(node: str, proto: int):
    other_route(node, "add", "calia", proto)
    assert synced(node, {POD: "calia"}) == local_route.Synced(frozenset(), frozenset())
    assert routes(node) == {"10.9.0.2": ("calia", proto)}
    other_route(node, "del", "calia", proto)
    synced(node, {POD: "calia"})
    assert routes(node) == {"10.9.0.2": ("calia", ROUTE_PROTOCOL)}


def test_another_plugins_route_stays_when_the_endpoint_goes(node: str):
    other_route(node, "add", "calia")
    synced(node, {POD: "calia"})
    assert synced(node, {}).removed == frozenset()
    assert routes(node) == {"10.9.0.2": ("calia", BOOT)}


def test_another_plugins_route_to_elsewhere_does_not_serve(node: str):
    other_route(node, "add", "calib")
    synced(node, {POD: "calia"})
    assert routes(node) == {"10.9.0.2": ("calia", ROUTE_PROTOCOL)}


def test_the_same_of_ipv6(node: str):
    pod = Addr.parse("fd00:9::2")

    def found() -> list[tuple[str, int]]:
        with IPRoute() as ip:
            return [
                (r.get_attr("RTA_DST"), r["proto"])
                for r in ip.get_routes(family=10, table=254)
                if r["dst_len"] == 128
            ]

    def change(verb: str) -> None:
        with IPRoute() as ip:
            index = ip.link_lookup(ifname="calia")[0]
            ip.route(verb, family=10, dst=f"{pod}/128", oif=index, proto=BOOT)

    namespace.run_in(node, lambda: change("add"))
    synced(node, {pod: "calia"})
    assert namespace.run_in(node, found) == [(str(pod), BOOT)]
    namespace.run_in(node, lambda: change("del"))
    synced(node, {pod: "calia"})
    assert namespace.run_in(node, found) == [(str(pod), ROUTE_PROTOCOL)]


def test_a_host_route_of_anothers_that_goes_is_heard_and_ones_own_is_not(node: str):
    heard = threading.Event()
    sysctl.write({"net/ipv6/conf/all/disable_ipv6": 1}, node)  # its addresses come when they like
    other_route(node, "add", "calia")
    synced(node, {OTHER: "calib"})
    monitor = namespace.run_in(node, lambda: Monitor("korat", heard.set, lambda: None))
    try:
        while heard.wait(0.3):
            heard.clear()
        synced(node, {})
        with pytest.raises(NetlinkError):
            other_route(node, "del", "calib")
        assert not heard.wait(0.2), "its own route, and one that is not there"
        other_route(node, "del", "calia")
        assert heard.wait(WAIT_S)
    finally:
        monitor.close()


def test_the_second_time_changes_nothing(node: str):
    synced(node, {POD: "calia"})
    before = routes(node)
    assert synced(node, {POD: "calia"}).removed == frozenset()
    assert routes(node) == before


TABLE = "table inet korat {\n chain c {\n }\n}\n"


def test_others_changes_are_heard_and_ones_own_are_not(node: str):
    """Own changes come from a thread that lives, as the agent's loop does."""
    links, tables = threading.Event(), threading.Event()
    monitor = namespace.run_in(node, lambda: Monitor("korat", links.set, tables.set))
    try:
        with ThreadPoolExecutor(1, initializer=namespace.enter, initargs=(node,)) as ours:
            ours.submit(load, TABLE).result(WAIT_S)
            ours.submit(load, "table inet other {\n chain c {\n }\n}\n").result(WAIT_S)
            theirs(node, "add table inet other2")
            ours.submit(add_pair, "calic").result(WAIT_S)
            assert links.wait(WAIT_S), "after all of the above"
            assert not tables.is_set(), "only ours, by others, counts"
            theirs(node, "add chain inet korat d")
            assert tables.wait(WAIT_S)
    finally:
        monitor.close()


def test_what_a_flood_of_messages_hid_is_taken_for_a_change(node: str, monkeypatch):
    """Else a table that went in a flood (nft flush ruleset) would stay away, and workloads open."""
    monkeypatch.setattr("korat.drivers.kernel.monitor._QUEUE_BYTES", 4096)
    heard = threading.Semaphore(0)
    held = threading.Event()

    def on_link() -> None:
        held.wait(WAIT_S)  # the monitor is busy while the flood comes

    theirs(node, "add table inet korat")
    theirs(node, "add table inet other")
    monitor = namespace.run_in(node, lambda: Monitor("korat", on_link, heard.release))
    try:
        namespace.run_in(node, lambda: add_pair("calid"))
        chains = "".join(f"add chain inet other c{number}\n" for number in range(2000))
        namespace.run_in(node, lambda: load(f"{chains}delete table inet korat\n"))
        held.set()
        assert heard.acquire(timeout=WAIT_S)
    finally:
        held.set()
        monitor.close()


def load(text: str) -> None:
    with Nft() as nft:
        nft.apply(text)


def theirs(node: str, command: str) -> None:
    """Have another process run nft in the namespace."""
    words = ["/usr/sbin/nft", *command.split()]
    namespace.run_in(node, lambda: subprocess.run(words, check=True))
