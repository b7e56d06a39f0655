"""A node's tunnel address: had, kept, moved, given back."""

import pytest

from ipam_steps import Act
from ipam_world import World
from korat.core.ipam.tunnel import Tunnel, ensure_tunnel, release_tunnel
from korat.core.model.key import Key
from korat.core.net.address import Addr


@pytest.fixture
def world():
    own = World()
    own.put("Node", "n1", labels={"zone": "east"})
    return own


def ensured(world, present=None, tunnel=Tunnel.VXLAN):
    present = Addr.parse(present) if present else None
    done = world.run(ensure_tunnel(tunnel, "n1", present, world.now))
    return str(done.addr) if done.addr else done.reason


def test_an_address_with_calicos_handle_and_type(world):
    world.pool(vxlanMode="Always")
    world.pool("six", "fd00::/120", 126, vxlanMode="CrossSubnet")
    first = ensured(world)
    assert ensured(world, first) == first
    assert world.held() == {first: "vxlan-tunnel-addr-n1"}
    attribute = world.objects("IPAMBlock")[0].spec.attributes[0]
    assert attribute.secondary == {"type": "vxlanTunnelAddress", "node": "n1"}
    other = ensured(world, tunnel=Tunnel.VXLAN_V6)
    assert world.held()[other] == "vxlan-v6-tunnel-addr-n1"


@pytest.mark.parametrize(
    "spec",
    [
        {"vxlanMode": "Never"},
        {"vxlanMode": "Always", "disabled": True},
        {"vxlanMode": "Always", "nodeSelector": "zone == 'west'"},
        {"vxlanMode": "Always", "allowedUses": ["Workload"]},
        {"vxlanMode": "Always", "assignmentMode": "Manual"},
    ],
)
def test_pools_that_give_none(world, spec):
    world.pool(**spec)
    assert ensured(world) == "no enabled VXLAN pool for tunnels is for node n1"


def test_without_a_pool_it_is_given_back(world):
    pool = world.pool(vxlanMode="Always")
    first = ensured(world)
    world.store.delete(pool.key)
    assert ensured(world, first).startswith("no enabled VXLAN pool")
    assert world.held() == {}
    assert world.handles() == {}


def test_when_its_pool_goes_it_moves(world):
    pool = world.pool(vxlanMode="Always")
    first = ensured(world)
    world.store.delete(pool.key)
    world.pool("other", "10.1.0.0/24", vxlanMode="Always")
    second = ensured(world, first)
    assert second.startswith("10.1.0.")
    assert list(world.held()) == [second]


def test_one_that_was_given_and_not_told_is_taken_up(world):
    """The agent dies before the Node says it."""
    world.pool(vxlanMode="Always")
    first = ensured(world)
    assert ensured(world, None) == first
    assert ensured(world, "10.0.0.250") == first


def test_one_that_is_anothers_is_not_kept(world):
    world.pool(vxlanMode="Always")
    world.assign_ip("10.0.0.7", handle="pod")
    assert ensured(world, "10.0.0.7") != "10.0.0.7"
    assert world.held()["10.0.0.7"] == "pod"


def test_of_two_the_present_one_stays(world):
    world.pool(vxlanMode="Always")
    first = ensured(world)
    world.assign_ip("10.0.0.99", handle="vxlan-tunnel-addr-n1")
    assert ensured(world, "10.0.0.99") == "10.0.0.99"
    assert first not in world.held()


def test_a_full_pool_says_so(world):
    world.pool(cidr="10.0.0.0/30", blockSize=30, vxlanMode="Always")
    world.assign(number=4)
    assert ensured(world).startswith("assigned 0 of 1 IPv4 addresses to n1: no more free")


def test_given_back(world):
    world.pool(vxlanMode="Always")
    first = ensured(world)
    assert list(map(str, world.run(release_tunnel(Tunnel.VXLAN, "n1", world.now)))) == [first]
    assert world.run(release_tunnel(Tunnel.VXLAN, "n1", world.now)) == ()


def test_cut_off_anywhere_it_is_one_in_the_end(world):
    world.pool(vxlanMode="Always")
    for steps in range(12):
        act = Act("tunnel", ensure_tunnel(Tunnel.VXLAN, "n1", None, world.now))
        for _ in range(steps):
            if not act.is_over:
                act.step(world.store)
        act.die()
    final = ensured(world)
    assert world.held() == {final: "vxlan-tunnel-addr-n1"}
    assert not world.store.list([Key("Node", "", "n2")]).records
