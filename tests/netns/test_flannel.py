"""The flannel side of a node on a real kernel: device, entries and file, whatever happens."""

import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from flannel_world import FELIX, NETWORK, Kept, Machine, give, take, world
from korat.agent.flannel_memory import recall
from korat.agent.networking_option import leave_others
from korat.agent.settings import node_settings
from korat.core.errors import Unavailable
from korat.core.net.address import Addr, Prefix
from korat.core.route.flannel.env import read_env
from korat.core.route.flannel.lease import Holder, TunnelEnd
from korat.core.route.flannel.plan import device_mac
from korat.drivers.store.client import Client, initialize
from korat.drivers.store.memory import MemoryStore
from lab_traffic import until

pytestmark = pytest.mark.netns

WAIT_S = 8.0


def ip(machine: Machine, *words: str) -> str:
    def run() -> str:
        done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=10)
        return done.stdout

    return machine.inside(run)


def routes(machine: Machine) -> str:
    return ip(machine, "ip", "route", "show", "dev", "flannel.1")


def has_device(machine: Machine, name: str = "flannel.1") -> bool:
    return name in ip(machine, "ip", "-br", "link")


def leads_to(machine: Machine, other: Machine) -> bool:
    if not has_device(machine):
        return False
    every = list(machine.kept.leases.values())
    own = next((each for each in every if str(each.public_ip) == other.address), None)
    if own is None:
        return False
    first = str(own.subnet).partition("/")[0]
    return (
        f"{own.subnet} via {first} onlink" in routes(machine)
        and f"{first} lladdr {own.ends[0].mac} PERMANENT"
        in ip(machine, "ip", "neigh", "show", "dev", "flannel.1")
        and f"{own.ends[0].mac} dst {other.address} self permanent"
        in ip(machine, "bridge", "fdb", "show", "dev", "flannel.1")
    )


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def two(tmp_path: Path, kept: Kept) -> Iterator[list[Machine]]:
    with world(2, tmp_path, kept) as machines:
        one, other = machines
        until(lambda: leads_to(one, other) and leads_to(other, one), WAIT_S, "no tunnel")
        yield machines


def reaches(machine: Machine, address: str) -> bool:
    """Whether the node itself gets an answer through the tunnel."""
    return "1 received" in ip(machine, "ping", "-c1", "-W2", address)


def test_a_tunnel_like_flannels_and_packets_go_through_it(two: list[Machine]) -> None:
    one, other = two
    (link,) = json.loads(ip(one, "ip", "-d", "-j", "link", "show", "flannel.1"))
    data = link["linkinfo"]["info_data"]
    assert (data["id"], data["port"], data["local"], data["link"]) == (1, 8472, one.address, "eth0")
    assert data["learning"] is False
    assert link["mtu"] == 1350
    assert link["address"] == device_mac(Addr.parse(one.address))
    theirs = read_env(other.env.read_text())
    assert reaches(one, str(Addr(theirs.subnet.family, theirs.subnet.base)))


def test_subnet_env_is_there_once_the_tunnel_is(two: list[Machine]) -> None:
    one = two[0]
    env = read_env(one.env.read_text())
    assert env.network == Prefix.parse("10.5.0.0/16")
    assert env.subnet == next(iter(one.kept.leases.values())).subnet
    assert (env.mtu_bytes, env.masquerade) == (1350, False)
    assert one.env.stat().st_mode & 0o777 == 0o644
    assert one.node.subnets(None) == (env.subnet,)
    assert one.node.pod_mtu_bytes(None) == 1350


def test_stale_entries_are_swept_when_the_agent_starts(two: list[Machine]) -> None:
    """flannel leaves what went while it was away; korat does not."""
    one, other = two
    one.stop()
    for words in (
        "ip route add 10.5.99.0/24 via 10.5.99.0 dev flannel.1 onlink",
        "ip neigh add 10.5.99.0 lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent",
        "bridge fdb add 02:00:00:00:00:99 dev flannel.1 dst 10.80.0.99",
    ):
        ip(one, *words.split())
    one.start()
    until(lambda: "10.5.99" not in routes(one), WAIT_S, "the stale route stays")
    assert "99" not in ip(one, "ip", "neigh", "show", "dev", "flannel.1")
    assert "10.80.0.99" not in ip(one, "bridge", "fdb", "show", "dev", "flannel.1")
    assert leads_to(one, other)


def test_a_restart_keeps_the_device_the_lease_and_the_traffic(two: list[Machine]) -> None:
    one, other = two
    before = json.loads(ip(one, "ip", "-j", "link", "show", "flannel.1"))[0]["ifindex"]
    leases = dict(one.kept.leases)
    one.stop()
    assert leads_to(one, other)
    one.start()
    until(lambda: one.node.tunnels.version > 0, WAIT_S, "no lease")
    assert json.loads(ip(one, "ip", "-j", "link", "show", "flannel.1"))[0]["ifindex"] == before
    assert one.kept.leases == leases


def test_an_agent_that_starts_while_etcd_is_away_goes_on_with_what_it_knew(
    two: list[Machine], kept: Kept
) -> None:
    """Above all, who had no lease may not send into the tunnel."""
    one, other = two
    one.stop()
    kept.fault = Unavailable("etcd is away")
    one.start()
    until(lambda: kept.refusals >= 1, WAIT_S, "not asked")
    guard = one.node.tunnels.surroundings(FELIX).filter
    assert guard is not None
    assert guard.nodes == {Addr.parse(other.address)}
    ip(one, "ip", "link", "del", "flannel.1")
    one.refresh()
    until(lambda: leads_to(one, other), WAIT_S, "the tunnel is not kept")
    kept.fault = None
    kept.remove(next(k for k, each in kept.leases.items() if str(each.public_ip) == other.address))
    until(lambda: "via" not in routes(one), WAIT_S, "the leases are not followed")


def test_what_was_known_before_and_cannot_be_read_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "flannel.json").write_text("{")
    assert recall(tmp_path) is None
    assert recall(tmp_path / "nowhere") is None


def test_what_others_remove_comes_back(two: list[Machine]) -> None:
    one, other = two
    ip(one, "ip", "link", "del", "flannel.1")
    until(lambda: leads_to(one, other), WAIT_S, "no device")
    ip(one, "ip", "route", "flush", "dev", "flannel.1")
    until(lambda: leads_to(one, other), WAIT_S, "no route")


def test_leases_that_come_change_and_go_are_followed(two: list[Machine], kept: Kept) -> None:
    one = two[0]
    subnet, node = Prefix.parse("10.5.50.0/24"), Addr.parse("10.80.0.50")
    holder = Holder(node, "vxlan", (TunnelEnd(node, 1, "02:00:00:00:00:50"),))
    kept.put(holder.lease(subnet, None))
    until(lambda: "10.5.50.0/24" in routes(one), WAIT_S, "no route")
    kept.put(replace(holder, ends=(TunnelEnd(node, 1, "02:00:00:00:00:51"),)).lease(subnet, None))
    until(
        lambda: "02:00:00:00:00:51" in ip(one, "ip", "neigh", "show", "dev", "flannel.1"),
        WAIT_S,
        "the old MAC stays",
    )
    assert "02:00:00:00:00:50" not in ip(one, "bridge", "fdb", "show", "dev", "flannel.1")
    kept.remove("10.5.50.0-24")
    until(lambda: "10.5.50.0/24" not in routes(one), WAIT_S, "the route stays")


def test_a_lease_that_somebody_deletes_is_taken_again(two: list[Machine], kept: Kept) -> None:
    one = two[0]
    key = next(k for k, lease in kept.leases.items() if str(lease.public_ip) == one.address)
    kept.remove(key)
    until(lambda: key in kept.leases, WAIT_S, "no lease again")
    assert str(kept.leases[key].public_ip) == one.address


def test_a_node_that_moves_keeps_its_subnet(two: list[Machine], kept: Kept) -> None:
    one, other = two
    key = next(k for k, lease in kept.leases.items() if str(lease.public_ip) == other.address)
    old, other.address = other.address, "10.80.0.77"
    other.node._settings = replace(other.node._settings, ip="autodetect")
    other.inside(lambda: take("eth0", f"{old}/24"))
    other.inside(lambda: give("eth0", "10.80.0.77/24"))
    other.node.heard()
    until(lambda: str(kept.leases[key].public_ip) == "10.80.0.77", WAIT_S, "the lease stays")
    until(lambda: leads_to(one, other) and leads_to(other, one), WAIT_S, "no tunnel")


def test_a_node_that_moves_while_its_lease_is_written_says_so(
    two: list[Machine], kept: Kept
) -> None:
    one = two[0]
    key = next(k for k, lease in kept.leases.items() if str(lease.public_ip) == one.address)
    store = MemoryStore()
    initialize(Client(store), "test")
    kept.meanwhile = lambda: one.node._moved(store, ("10.80.0.78/24", ""))
    one.node._look_again()
    until(lambda: str(kept.leases[key].public_ip) == "10.80.0.78", WAIT_S, "the lease stays")


def test_an_end_does_not_wait_for_who_keeps_the_leases(tmp_path: Path, kept: Kept) -> None:
    """The leases' own close ends a call that would wait, and the thread begins no other."""
    asked, closed = threading.Event(), threading.Event()
    ended: list[bool] = []

    def hang() -> None:
        asked.set()
        ended.append(closed.wait(WAIT_S))
        raise Unavailable("the connection was closed")

    kept.meanwhile, kept.on_close = hang, closed.set
    with world(1, tmp_path, kept) as (one,):
        assert asked.wait(WAIT_S)
        one.stop()
        assert ended == [True]


def test_each_outage_is_told_once(two: list[Machine], kept: Kept) -> None:
    def told() -> int:
        text = "flannel's lease is not followed"
        return sum(each["event"] == text and "etcd is away" in each["error"] for each in heard)

    def outage() -> None:
        refusals, answers = kept.refusals, kept.answers
        kept.fault = Unavailable("etcd is away")
        two[0].node._look_again()
        until(lambda: kept.refusals >= refusals + 2, WAIT_S, "not asked")
        kept.fault = None
        until(lambda: kept.answers > answers, WAIT_S, "not followed again")

    with structlog.testing.capture_logs() as heard:
        outage()
        outage()
    assert told() == 2


def test_another_vni_is_another_device(two: list[Machine], kept: Kept) -> None:
    one, other = two
    kept.config = json.dumps({**NETWORK, "Backend": {**NETWORK["Backend"], "VNI": 7}})
    for machine in two:
        machine.node._look_again()
    until(lambda: has_device(one, "flannel.7") and has_device(other, "flannel.7"), WAIT_S)
    until(lambda: not has_device(one), WAIT_S, "the old device stays")


@pytest.mark.parametrize(
    ("environ", "stays"),
    [
        ({}, False),
        ({"CALICO_NETWORKING_BACKEND": "vxlan"}, False),
        ({"CLUSTER_TYPE": "k8s,canal"}, True),
        ({"CLUSTER_TYPE": "k8s,canal", "FLANNELD_ETCD_ENDPOINTS": "http://127.0.0.1:1"}, True),
    ],
)
def test_a_node_that_leaves_flannel_loses_its_tunnel(
    two: list[Machine], environ: dict[str, str], *, stays: bool
) -> None:
    """Beside a flanneld it is that one's; and where korat did not make it, it stays too."""
    one = two[0]
    one.stop()
    settings = node_settings({"KORAT_RUN_DIR": str(one.root / one.name), **environ})
    one.inside(lambda: leave_others(settings))
    assert has_device(one) is stays
    assert ("10.5.2.0/24" in ip(one, "ip", "route")) is stays
    one.inside(lambda: leave_others(node_settings({"KORAT_RUN_DIR": str(one.root)})))
    assert has_device(one) is stays


def test_a_lease_is_renewed_before_it_ends(tmp_path: Path) -> None:
    kept = Kept(left_s=1.6)
    with world(1, tmp_path, kept) as (one,):
        until(lambda: kept.renewals >= 2, WAIT_S, "not renewed")
        assert has_device(one)


def test_both_families_have_a_tunnel_each(tmp_path: Path) -> None:
    kept = Kept()
    kept.config = json.dumps({**NETWORK, "EnableIPv6": True, "IPv6Network": "fd05::/48"})
    with world(2, tmp_path, kept, dual=True) as (one, other):
        until(lambda: leads_to(one, other) and leads_to(other, one), WAIT_S, "no IPv4 tunnel")
        until(lambda: has_device(one, "flannel-v6.1"), WAIT_S, "no IPv6 device")
        theirs = next(e for e in kept.leases.values() if str(e.public_ip) == other.address)
        assert theirs.key.endswith("-64")
        assert theirs.subnet6 is not None
        first = str(Addr(theirs.subnet6.family, theirs.subnet6.base))
        until(lambda: reaches(one, first), WAIT_S, "nothing through the IPv6 tunnel")
        (link,) = json.loads(ip(one, "ip", "-d", "-j", "link", "show", "flannel-v6.1"))
        data = link["linkinfo"]["info_data"]
        assert (data["id"], data["port"], data["local6"]) == (1, 8472, one.address6)
        env = read_env(one.env.read_text())
        assert env.network6 == Prefix.parse("fd05::/48")
        assert len(one.node.subnets(None)) == 2


def test_alloc_has_a_lease_and_a_file_but_no_tunnel(tmp_path: Path) -> None:
    kept = Kept()
    kept.config = json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "alloc"}})
    with world(1, tmp_path, kept) as (one,):
        until(one.env.exists, WAIT_S, "no file")
        assert read_env(one.env.read_text()).mtu_bytes == 1500
        assert "flannel" not in ip(one, "ip", "-br", "link")


def test_a_configuration_that_azure_cannot_carry_is_refused(tmp_path: Path) -> None:
    kept = Kept()
    kept.config = json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "host-gw"}})
    with structlog.testing.capture_logs() as heard, world(1, tmp_path, kept) as (one,):
        until(lambda: any("Backend.Type" in each.get("error", "") for each in heard), WAIT_S)
        assert not one.env.exists()
        assert not kept.leases
        kept.config = json.dumps(NETWORK)
        until(one.env.exists, WAIT_S, "not even once it is mended")
