"""A node's tunnels depend on what is there, not on how it came about; and little is made anew."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from korat.agent.overlay import Overlays
from korat.core.model.config import IPPool, IPPoolSpec
from korat.core.model.endpoint import Node, NodeBgp, NodeSpec
from korat.core.model.felix import FelixSettings
from korat.core.model.ipam import BlockAttribute, IPAMBlock, IPAMBlockSpec, block_name
from korat.core.model.resource import Metadata, Resource
from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.vxlan import Link

NAMES = ("n0", "n1", "n2")
ETH0 = Link("eth0", 1500, frozenset({Addr.parse("10.0.0.1"), Addr.parse("fd80::1")}))
FELIX = FelixSettings()


@st.composite
def nodes(draw: st.DrawFn) -> Resource:
    number = draw(st.integers(0, 2))
    four = draw(st.sampled_from(("", f"10.0.0.{number + 1}/24", "10.0.0.400/24")))
    bgp = NodeBgp(ipv4_address=four, ipv6_address=draw(st.sampled_from(("", "fd80::1/64"))))
    spec = NodeSpec(
        bgp=bgp,
        ipv4_vxlan_tunnel_addr=draw(st.sampled_from(("", f"192.168.{number}.1", "192.168.9.1"))),
        ipv6_vxlan_tunnel_addr=draw(st.sampled_from(("", f"fd00::{number}"))),
    )
    return Node(metadata=Metadata(name=NAMES[number]), spec=spec)


@st.composite
def pools(draw: st.DrawFn) -> Resource:
    cidr = draw(st.sampled_from(("192.168.0.0/16", "fd00::/64", "nonsense")))
    mode = draw(st.sampled_from(("Never", "Always", "CrossSubnet", "")))
    spec = IPPoolSpec(cidr=cidr, vxlan_mode=mode)
    return IPPool(metadata=Metadata(name=draw(st.sampled_from("ab"))), spec=spec)


@st.composite
def blocks(draw: st.DrawFn) -> Resource:
    cidr = Prefix.parse(draw(st.sampled_from(("192.168.0.0/29", "192.168.1.0/29", "fd00::/125"))))
    owner = draw(st.sampled_from((None, *(f"host:{name}" for name in NAMES))))
    user = BlockAttribute(secondary={"node": draw(st.sampled_from(NAMES))})
    used = draw(st.integers(0, 3))
    spec = IPAMBlockSpec(
        cidr=str(cidr),
        affinity=owner,
        allocations=(0,) * used + (None,) * (8 - used),
        attributes=(user,) if used else (),
    )
    return IPAMBlock(metadata=Metadata(name=block_name(cidr)), spec=spec)


RESOURCES = nodes() | pools() | blocks()


@given(st.lists(st.tuples(RESOURCES, st.booleans()), max_size=25), st.booleans())
def test_step_by_step_and_all_at_once_come_to_the_same(changes, linked):
    kept = Overlays("n0")
    there: dict = {}
    links = (ETH0,) if linked else ()
    local = frozenset({Addr.parse("192.168.1.1")})
    for resource, gone in changes:
        kept.set(resource.key, None if gone else resource)
        there.pop(resource.key, None)
        if not gone:
            there[resource.key] = resource
        kept.plans(FELIX, links, local)
    fresh = Overlays("n0")
    for key in sorted(there, reverse=True):
        fresh.set(key, there[key])
    assert kept.plans(FELIX, links, local) == fresh.plans(FELIX, links, local)
    assert kept.surroundings(FELIX) == fresh.surroundings(FELIX)


@given(st.lists(RESOURCES, max_size=15), blocks(), st.integers(0, 8))
def test_pods_that_come_and_go_change_no_tunnel(resources, block, used):
    """Allocations of the block's own host are most writes of a cluster."""
    own = (block.spec.affinity or "host:n1").removeprefix("host:")
    mine = (BlockAttribute(secondary={"node": own}),)

    def with_used(count: int) -> IPAMBlock:
        allocations = (0,) * count + (None,) * (8 - count)
        spec = block.spec
        return IPAMBlock(
            metadata=block.metadata,
            spec=IPAMBlockSpec(spec.cidr, f"host:{own}", None, allocations, (), mine),
        )

    kept = Overlays("n0")
    for resource in (*resources, with_used(0)):
        kept.set(resource.key, resource)
    before = kept.plans(FELIX, (ETH0,), ())
    kept.set(block.key, with_used(used))
    assert kept.plans(FELIX, (ETH0,), ()) is before


def test_workloads_interfaces_change_no_tunnel():
    kept = Overlays("n0")
    node = Node(
        metadata=Metadata(name="n0"),
        spec=NodeSpec(
            bgp=NodeBgp(ipv4_address="10.0.0.1/24"), ipv4_vxlan_tunnel_addr="192.168.0.1"
        ),
    )
    pool = IPPool(
        metadata=Metadata(name="a"), spec=IPPoolSpec(cidr="192.168.0.0/16", vxlan_mode="Always")
    )
    for resource in (node, pool):
        kept.set(resource.key, resource)
    before = kept.plans(FELIX, (ETH0,), ())
    assert before[Family.V4].state.device is not None
    cali = Link("cali123", 1350, frozenset())
    assert kept.plans(FELIX, (ETH0, cali), ()) is before
    smaller = kept.plans(FELIX, (replace(ETH0, mtu_bytes=1300), cali), ())
    assert smaller[Family.V4].mtu.size_bytes == 1250
