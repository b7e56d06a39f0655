"""Tunnels between nodes on a real kernel: they carry, they are swept, and they are mended."""

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from pyroute2 import IPRoute

from korat.agent.tunnel import leave_tunnels
from korat.core.net.address import Addr, Family
from korat.core.route.tunnel import CALICO_TUNNELS, CLUSTER_PROTOCOL, TunnelState
from korat.core.route.vxlan import TunnelSettings
from korat.drivers.kernel.vxlan import Tunnel
from tunnel_world import Machine, World, captured, eventually, talks, world

pytestmark = pytest.mark.netns

V4, V6 = Family.V4, Family.V6
#: Longer than the agent waits before it looks at what it has heard of.
STILL_S = 0.5
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806


@pytest.fixture
def three() -> Iterator[World]:
    with world(3) as made:
        yield made


def run(machine: Machine, *words: str) -> str:
    def inside() -> str:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    return machine.inside(inside)


def wanted(made: World, machine: Machine, family: Family = V4) -> object:
    return made.plans(machine)[family].state


def index_of(machine: Machine, name: str = "vxlan.calico") -> int:
    def inside() -> int:
        with IPRoute() as ip:
            return int(next(iter(ip.link_lookup(ifname=name)), 0))

    return machine.inside(inside)


@pytest.mark.parametrize("families", [(V4,), (V4, V6)], ids=["IPv4", "dual stack"])
def test_pods_of_all_nodes_talk_and_the_wire_sees_only_the_tunnel(families):
    with world(3, families, "carry") as made:
        made.tell()
        one, two, three = made.machines
        with captured(made.wire, "m1") as frames:
            for family in families:
                assert talks(one, two, family)
                assert talks(three, one, family)
                assert made.state(one, family) == wanted(made, one, family)
        assert {kind for frame in frames for kind in kinds(frame)} == {"tunnel"}


def kinds(frame: bytes) -> Iterator[str]:
    """What a frame on the wire is; neighbours and groups are the wire's own affair."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ARP:
        return
    at = 14 + (frame[14] & 15) * 4 if kind == IPV4 else 54
    protocol = frame[23] if kind == IPV4 else frame[20]
    if protocol in ((0, 58) if kind == IPV6 else (2,)):
        return
    port = int.from_bytes(frame[at + 2 : at + 4], "big")
    yield "tunnel" if protocol == 17 and port == 4789 else f"{kind:#x} {protocol} {port}"


def test_what_an_earlier_agent_left_is_swept_and_others_routes_stay(three: World):
    one = three.machines[0]
    run(one, "ip", "link", "add", "vxlan.calico", "type", "vxlan", "id", "7", "dstport", "8472")
    run(one, "ip", "link", "set", "vxlan.calico", "up")
    run(one, "ip", "route", "add", "192.168.99.0/26", "dev", "vxlan.calico")
    run(one, "ip", "route", "add", "blackhole", "192.168.98.0/26", "proto", str(CLUSTER_PROTOCOL))
    run(one, "ip", "route", "add", "blackhole", "192.168.97.0/26")
    three.tell()
    assert three.state(one) == wanted(three, one)
    left = run(one, "ip", "route")
    assert "192.168.99.0" not in left
    assert "192.168.98.0" not in left
    assert "192.168.97.0" in left, "not korat's"
    assert talks(one, three.machines[1])


DAMAGE = {
    "the device is removed": "ip link del vxlan.calico",
    "the device is set down": "ip link set vxlan.calico down",
    "its MTU is changed": "ip link set vxlan.calico mtu 900",
    "its address is removed": "ip addr flush dev vxlan.calico",
    "an address is added": "ip addr add 192.168.77.1/32 dev vxlan.calico",
    "neighbours are removed": "ip neigh flush nud permanent dev vxlan.calico",
    "a neighbour is changed": (
        "ip neigh replace 192.168.2.1 lladdr 66:66:66:66:66:66 nud permanent dev vxlan.calico"
    ),
    "a neighbour is added": (
        "ip neigh add 192.168.9.1 lladdr 66:66:66:66:66:66 nud permanent dev vxlan.calico"
    ),
    "a forwarding entry is removed": "bridge fdb del {mac2} dev vxlan.calico",
    "a forwarding entry is changed": "bridge fdb replace {mac2} dst 10.80.0.9 dev vxlan.calico",
    "a flood entry is added": "bridge fdb append 00:00:00:00:00:00 dst 10.80.0.9 dev vxlan.calico",
    "a route is removed": "ip route del 192.168.2.0/26",
    "a route is changed": (
        "ip route replace 192.168.2.0/26 via 192.168.3.1 dev vxlan.calico proto 80 onlink"
    ),
    "a route is added": "ip route add 192.168.9.0/26 dev vxlan.calico",
    "the blackhole is removed": "ip route del blackhole 192.168.1.0/26 proto 80",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_somebody_breaks_is_mended(three: World, damage: str):
    three.tell()
    one, two, _ = three.machines
    state = wanted(three, one)
    assert three.state(one) == state
    run(one, *damage.format(mac2=two.node(V4).mac).split())
    assert eventually(lambda: three.state(one) == state)
    assert talks(one, two)


def test_who_breaks_it_again_and_again_does_not_keep_the_node_busy(
    three: World, monkeypatch: pytest.MonkeyPatch
):
    three.tell()
    one = three.machines[0]
    reads: list[int] = []
    original = Tunnel.read
    monkeypatch.setattr(Tunnel, "read", lambda self: reads.append(1) or original(self))
    for _ in range(50):
        run(one, *["ip", "neigh", "flush", "nud", "permanent", "dev", "vxlan.calico"])
        time.sleep(0.03)
    assert len(reads) < 12
    assert eventually(lambda: three.state(one) == wanted(three, one), 10.0)


def test_a_size_and_an_address_change_without_a_new_device(three: World):
    three.tell()
    one, two, _ = three.machines
    index = index_of(one)
    three.settings = TunnelSettings(mtu_bytes=1300)
    three.tell()
    assert three.state(one) == wanted(three, one)
    assert index_of(one) == index
    assert talks(one, two)


@pytest.mark.parametrize("settings", [TunnelSettings(vni=5), TunnelSettings(port=8472)])
def test_what_cannot_be_changed_takes_a_new_device(three: World, settings: TunnelSettings):
    three.tell()
    one, two, _ = three.machines
    index = index_of(one)
    three.settings = settings
    three.tell()
    assert three.state(one) == wanted(three, one)
    assert index_of(one) != index
    assert talks(one, two)


def test_nodes_that_come_and_go_are_followed(three: World):
    one, two, _ = three.machines
    three.tell(three.machines[:2])
    assert str(three.machines[2].block(V4)) not in run(one, "ip", "route")
    three.tell()
    assert talks(one, three.machines[2])
    three.tell([one, two])
    assert three.state(one) == three.plans(one, [one, two])[V4].state
    assert talks(one, two)


def test_a_node_that_moves_to_another_address_is_followed(three: World):
    three.tell()
    one, two, _ = three.machines
    moved = Addr.parse("10.80.0.22")
    run(two, "ip", "addr", "add", "10.80.0.22/24", "dev", "eth0")
    run(two, "ip", "addr", "del", "10.80.0.2/24", "dev", "eth0")
    original = two.node
    two.node = lambda family: replace(original(family), address=moved)  # type: ignore[method-assign]  # it moves
    three.tell()
    assert three.state(one) == wanted(three, one)
    assert talks(one, two)
    assert talks(two, one)


def test_a_change_reads_nothing_of_the_kernel(three: World, monkeypatch: pytest.MonkeyPatch):
    """With a thousand nodes, reading all of it at each change would be most of the work."""
    reads = []
    original = Tunnel.read
    monkeypatch.setattr(Tunnel, "read", lambda self: reads.append(1) or original(self))
    one = three.machines[0]
    fewer, all_of_them = three.plans(one, three.machines[:2]), three.plans(one)
    one.want(all_of_them)
    # Once at first, and once more for the device, which was heard of before it was up.
    assert eventually(lambda: len(reads) >= 2 and one.tunnels.settled)
    before = eventually_still(lambda: len(reads))
    for plans in (fewer, all_of_them, fewer):
        one.want(plans)
        # What is heard of a change when the next one is made already is looked at, to be sure.
        assert eventually_still(lambda: len(reads)) == before
    assert three.state(one) == fewer[V4].state


def eventually_still(measure: Callable[[], int]) -> int:
    """The measure once it has not grown for a while: what the monitor hears takes its time."""
    last, since = measure(), time.monotonic()
    while time.monotonic() - since < STILL_S:
        time.sleep(0.02)
        if measure() != last:
            last, since = measure(), time.monotonic()
    return last


def test_a_parent_that_comes_late_is_waited_for():
    with world(2, tag="late") as made:
        one, two = made.machines
        plans = made.plans(one)
        run(one, "ip", "link", "set", "eth0", "name", "eth9")
        one.want(plans)
        assert index_of(one) == 0
        two.want(made.plans(two))
        run(one, "ip", "link", "set", "eth9", "name", "eth0")
        assert eventually(lambda: talks(one, two), 15.0)


def test_without_pools_nothing_is_left(three: World):
    three.tell()
    three.mode = "Never"
    three.tell()
    one = three.machines[0]
    assert index_of(one) == 0
    assert f"proto {CLUSTER_PROTOCOL}" not in run(one, "ip", "route")


def test_a_node_with_another_networking_option_loses_its_old_tunnel():
    with world(2, tag="leaves") as made:
        made.tell()
        one = made.machines[0]
        one.tunnels.close()
        run(one, "ip", "route", "add", "blackhole", "192.168.97.0/26")
        assert made.state(one) == wanted(made, one)
        assert index_of(one)
        for _ in range(2):
            one.inside(lambda: leave_tunnels(CALICO_TUNNELS))
            assert made.state(one) == TunnelState()
        assert index_of(one) == 0
        assert "192.168.97.0" in run(one, "ip", "route"), "not korat's"


def test_the_last_tunnel_is_the_kernels_when_the_agent_ends():
    with world(2, tag="ends") as made:
        made.tell()
        one, two = made.machines
        one.tunnels.close()
        assert talks(one, two)
        again = Machine(1, one.netns, one.families)
        index = index_of(one)
        made.machines[0] = again
        again.inside(again.tunnels.start)
        made.tell()
        assert index_of(one) == index, "what is right is not made again"
        assert talks(again, two)
