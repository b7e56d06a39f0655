"""Calico's VXLAN as a plan: what one node needs, line by line."""

from dataclasses import replace

import pytest

from korat.core.model.endpoint import Node, NodeBgp, NodeSpec
from korat.core.model.ipam import BlockAttribute, IPAMBlockSpec
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.holding import Holding, holding
from korat.core.route.mtu import Mtu, tunnel_mtu
from korat.core.route.vtep import TunnelNode, derived_mac, remote_vteps, tunnel_node
from korat.core.route.vxlan import Link, Overlay, TunnelPool, TunnelSettings, plan

V4, V6 = Family.V4, Family.V6
POOL = TunnelPool("pods", Prefix.parse("192.168.0.0/16"), "Always")
PLAIN = TunnelPool("plain", Prefix.parse("10.99.0.0/16"), "Never")
CROSS = replace(POOL, mode="CrossSubnet")
LAYER2 = TunnelSettings(layer2=True)


def node(number, subnet=0, *, tunnel=True):
    text = f"10.0.{subnet}.{number}/24"
    return TunnelNode(
        f"n{number}",
        Addr.parse_interface(text),
        Prefix.parse(text),
        Addr.parse(f"192.168.{number}.1") if tunnel else None,
        f"66:00:00:00:00:0{number}",
    )


def block(number, node_number, *lent):
    cidr = Prefix.parse(f"192.168.{number}.0/26")
    owner = f"n{node_number}" if node_number else ""
    return Holding(cidr, owner, tuple((Addr.parse(a), f"n{n}") for a, n in lent))


ETH0 = Link("eth0", 1500, frozenset({Addr.parse("10.0.0.1")}), underlay=True)
USUAL = Overlay(
    V4,
    node(1),
    [node(1), node(2), node(3, subnet=9)],
    [POOL, PLAIN],
    [block(1, 1), block(2, 2), block(3, 3)],
    [ETH0],
)


def lines(overlay):
    return str(plan(overlay).state).splitlines()


def told(overlay):
    return [str(problem) for problem in plan(overlay).problems]


DEVICE = (
    "link vxlan.calico vxlan id 4096 dstport 4789 local 10.0.0.1 dev eth0 nolearning "
    "address 66:00:00:00:00:01 mtu 1350 with 192.168.1.1"
)


def test_all_of_it():
    assert lines(USUAL) == [
        DEVICE,
        "neighbour 192.168.2.1 66:00:00:00:00:02",
        "neighbour 192.168.3.1 66:00:00:00:00:03",
        "forwarding 66:00:00:00:00:02 to 10.0.0.2",
        "forwarding 66:00:00:00:00:03 to 10.0.9.3",
        "route blackhole 192.168.1.0/26  (block of this node)",
        "route 192.168.2.0/26 via 192.168.2.1 onlink dev vxlan.calico mtu 1350  (block of n2)",
        "route 192.168.3.0/26 via 192.168.3.1 onlink dev vxlan.calico mtu 1350  (block of n3)",
    ]
    assert told(USUAL) == []


def routes(*holdings, nodes=USUAL.nodes, **more):
    """The routes to others, without what goes without saying."""
    overlay = replace(USUAL, holdings=holdings, nodes=nodes, **more)
    return [line for line in lines(overlay) if line.startswith("route")]


TUNNEL = "route {} via 192.168.{}.1 onlink dev vxlan.calico mtu 1350  ({})"
END = "route 192.168.{0}.1/32 dev vxlan.calico mtu 1350  (tunnel address of n{0})"


@pytest.mark.parametrize(
    ("holdings", "expected"),
    [
        pytest.param((), [END.format(2), END.format(3)], id="no block leads to a tunnel's end"),
        pytest.param(
            (block(2, 3), block(3, 3)),
            [
                TUNNEL.format("192.168.2.0/26", 3, "block of n3"),
                END.format(2),
                TUNNEL.format("192.168.3.0/26", 3, "block of n3"),
            ],
            id="a tunnel's end in another node's block",
        ),
        pytest.param(
            (block(2, 2, ("192.168.2.9", 3)), block(3, 3)),
            [
                TUNNEL.format("192.168.2.0/26", 2, "block of n2"),
                TUNNEL.format("192.168.2.9/32", 3, "n3 uses it from the block of n2"),
                TUNNEL.format("192.168.3.0/26", 3, "block of n3"),
            ],
            id="an address borrowed by a third node",
        ),
        pytest.param(
            (block(1, 1, ("192.168.1.9", 2)), block(2, 2), block(3, 3)),
            [
                "route blackhole 192.168.1.0/26  (block of this node)",
                TUNNEL.format("192.168.1.9/32", 2, "n2 uses it from the block of n1"),
                TUNNEL.format("192.168.2.0/26", 2, "block of n2"),
                TUNNEL.format("192.168.3.0/26", 3, "block of n3"),
            ],
            id="an address of this node's block lent to another",
        ),
        pytest.param(
            (block(2, 2, ("192.168.2.9", 1)), block(3, 3)),
            [
                TUNNEL.format("192.168.2.0/26", 2, "block of n2"),
                TUNNEL.format("192.168.3.0/26", 3, "block of n3"),
            ],
            id="an address that this node borrows is its workload's",
        ),
        pytest.param(
            (block(2, 3, ("192.168.2.1", 2)), block(3, 3)),
            [
                TUNNEL.format("192.168.2.0/26", 3, "block of n3"),
                END.format(2),
                TUNNEL.format("192.168.3.0/26", 3, "block of n3"),
            ],
            id="a borrowed tunnel address",
        ),
        pytest.param(
            (block(2, 0, ("192.168.2.9", 3)), block(3, 3)),
            [
                END.format(2),
                TUNNEL.format("192.168.2.9/32", 3, "n3 uses it from the block of nobody"),
                TUNNEL.format("192.168.3.0/26", 3, "block of n3"),
            ],
            id="a block that nobody has any more",
        ),
        pytest.param(
            (Holding(Prefix.parse("10.99.0.0/26"), "n2"), block(2, 2), block(3, 3)),
            [
                TUNNEL.format("192.168.2.0/26", 2, "block of n2"),
                TUNNEL.format("192.168.3.0/26", 3, "block of n3"),
            ],
            id="a block of a pool without encapsulation",
        ),
        pytest.param(
            (Holding(Prefix.parse("192.168.1.4/32"), "n1"), block(2, 2), block(3, 3)),
            [
                TUNNEL.format("192.168.2.0/26", 2, "block of n2"),
                TUNNEL.format("192.168.3.0/26", 3, "block of n3"),
            ],
            id="a block of one address has no blackhole",
        ),
    ],
)
def test_routes(holdings, expected):
    assert routes(*holdings) == expected


def test_a_local_workloads_address_is_never_sent_away():
    lent = block(2, 2, ("192.168.2.9", 3))
    assert any("192.168.2.9" in line for line in routes(lent))
    assert not any("192.168.2.9" in r for r in routes(lent, local=[Addr.parse("192.168.2.9")]))


def test_cross_subnet_as_calico_has_it():
    """Within the subnet packets go as they are, beyond it through the tunnel."""
    found = replace(USUAL, pools=[CROSS], settings=LAYER2)
    assert lines(found)[-2:] == [
        "route 192.168.2.0/26 via 10.0.0.2 onlink dev eth0  (block of n2)",
        "route 192.168.3.0/26 via 192.168.3.1 onlink dev vxlan.calico mtu 1350  (block of n3)",
    ]
    assert told(found) == []


def test_cross_subnet_with_a_mask_of_one_address_is_always():
    own = replace(USUAL.own, subnet=Prefix.parse("10.0.0.1/32"))
    found = replace(USUAL, own=own, pools=[CROSS], settings=LAYER2)
    assert plan(found).state == plan(USUAL).state


def test_cross_subnet_on_azure_is_taken_as_always_and_named():
    found = replace(USUAL, pools=[CROSS])
    assert plan(found).state == plan(USUAL).state
    (problem,) = told(found)
    assert problem.startswith("IPPool pods: spec.vxlanMode 'CrossSubnet': is taken as Always")
    assert "write `vxlanMode: Always`" in problem


def test_nodes_without_an_end_are_named_and_left_out():
    nodes = [node(1), node(2, tunnel=False)]
    found = replace(USUAL, nodes=nodes)
    assert lines(found) == [DEVICE, "route blackhole 192.168.1.0/26  (block of this node)"]
    assert told(found) == [
        "Block 192.168.2.0/26: cannot be reached: node n2 has no tunnel address yet",
        "Block 192.168.3.0/26: cannot be reached: node n3 is not there",
    ]


@pytest.mark.parametrize(
    ("own", "links", "words"),
    [
        (replace(node(1), tunnel=None), [ETH0], "is not assigned yet"),
        (replace(node(1), address=None), [ETH0], "is not set"),
        (node(1), [], "is on no interface of this node"),
    ],
)
def test_without_an_own_end_there_is_no_device_but_the_blackhole(own, links, words):
    found = replace(USUAL, own=own, links=links)
    assert lines(found) == ["route blackhole 192.168.1.0/26  (block of this node)"]
    assert words in told(found)[0]


@pytest.mark.parametrize(
    "more",
    [
        {"pools": [PLAIN]},
        {"settings": TunnelSettings(enabled=False)},
        {"pools": [TunnelPool("six", Prefix.parse("fd00::/64"), "Always")]},
    ],
    ids=["no encapsulated pool", "vxlanEnabled is false", "pools of the other IP version"],
)
def test_nothing_is_wanted(more):
    assert lines(replace(USUAL, **more)) == []


def test_settings_reach_the_device():
    settings = TunnelSettings(vni=7, port=8472, mtu_bytes=9000)
    device = lines(replace(USUAL, settings=settings))[0]
    for words in ("vxlan id 7", "dstport 8472", "mtu 9000"):
        assert words in device


# Ends of tunnels.


def test_macs_are_felixs():
    """0x66 and the first five bytes that sha1sum prints for the name."""
    assert derived_mac("node1", V4) == "66:f9:37:c3:7e:94"
    assert derived_mac("node1", V6) == "66:0f:35:f2:60:df"


def stored(name, **spec):
    bgp = NodeBgp(ipv4_address="10.0.0.4/24", ipv6_address="fd01::4/64")
    return Node(metadata=Metadata(name=name), spec=NodeSpec(bgp=bgp, **spec))


def test_what_a_node_says():
    own = stored(
        "a",
        ipv4_vxlan_tunnel_addr="192.168.0.1",
        ipv6_vxlan_tunnel_addr="fd00::1",
        vxlan_tunnel_mac_addr="66:AA:00:00:00:01",
    )
    four, six = tunnel_node(own, V4), tunnel_node(own, V6)
    assert (str(four.address), str(four.subnet)) == ("10.0.0.4", "10.0.0.0/24")
    assert (str(four.tunnel), four.mac) == ("192.168.0.1", "66:aa:00:00:00:01")
    assert (str(six.tunnel), six.mac) == ("fd00::1", derived_mac("a", V6))
    assert derived_mac("a", V6) != derived_mac("a", V4)


def test_a_node_that_says_little_has_no_end():
    assert tunnel_node(stored("a"), V4).vtep is None
    assert tunnel_node(Node(metadata=Metadata(name="a")), V4).vtep is None


@pytest.mark.parametrize(
    "change",
    [
        {"mac": "66:00:00:00:00:02"},
        {"tunnel": Addr.parse("192.168.2.1")},
        {"address": Addr.parse("10.0.0.2")},
    ],
    ids=["MAC", "tunnel address", "node address"],
)
def test_of_two_that_claim_the_same_the_first_by_name_has_it(change):
    vteps, problems = remote_vteps([replace(node(3), **change), node(2)], node(1))
    assert set(vteps) == {"n2"}
    assert [p.where for p in problems] == ["Node n3"]
    assert "node n2 has it too" in problems[0].rule


def test_nobody_takes_what_is_this_nodes_own():
    vteps, problems = remote_vteps([replace(node(2), mac=node(1).mac)], node(1))
    assert vteps == {}
    assert len(problems) == 1


# Blocks.


def stored_block(owner="host:n1", allocations=(), users=(), **more):
    attributes = tuple(BlockAttribute(secondary={"node": user} if user else {}) for user in users)
    return IPAMBlockSpec(
        cidr="192.168.1.0/29",
        affinity=owner,
        allocations=(*allocations, *[None] * (8 - len(allocations))),
        attributes=attributes,
        **more,
    )


@pytest.mark.parametrize(
    ("spec", "node_name", "lent"),
    [
        (stored_block(), "n1", []),
        (stored_block(allocations=(0, 1), users=("n1", "")), "n1", []),
        (stored_block(allocations=(0, 1, 0), users=("n2", "n1")), "n1", [(0, "n2"), (2, "n2")]),
        (stored_block(None, (None, 0), ("n2",)), "", [(1, "n2")]),
        (stored_block("virtual:load-balancer"), "", []),
        (stored_block(None, host_affinity="n3"), "n3", []),
        (stored_block(allocations=(5,), users=("n2",)), "n1", []),
    ],
)
def test_what_a_block_says(spec, node_name, lent):
    base = Prefix.parse("192.168.1.0/29").base
    expected = tuple((Addr(V4, base + at), user) for at, user in lent)
    assert holding(spec) == Holding(Prefix.parse("192.168.1.0/29"), node_name, expected)


def test_a_block_on_its_way_out_is_nobodys():
    assert holding(stored_block(deleted=True)) is None


# Sizes.

FABRIC = "but Azure's fabric fragments packets above 1400: 1400 less VXLAN's"


@pytest.mark.parametrize(
    ("family", "setting", "underlay", "expected"),
    [
        (V4, 0, [("eth0", 1500)], Mtu(1350, f"eth0 has 1500, {FABRIC} 50; vxlanMTU sets another")),
        (
            V6,
            0,
            [("eth0", 1500)],
            Mtu(1330, f"eth0 has 1500, {FABRIC} 70; vxlanMTUV6 sets another"),
        ),
        (V4, 0, [("eth0", 1400)], Mtu(1350, "eth0 has 1400, less VXLAN's 50")),
        (V4, 0, [("eth1", 1500), ("eth0", 1280)], Mtu(1230, "eth0 has 1280, less VXLAN's 50")),
        (
            V4,
            0,
            [],
            Mtu(1350, f"no interface tells, so 1460 is taken, {FABRIC} 50; vxlanMTU sets another"),
        ),
        (V4, 1410, [("eth0", 1500)], Mtu(1410, "vxlanMTU is set")),
        (V6, 8930, [("eth0", 9000)], Mtu(8930, "vxlanMTUV6 is set")),
    ],
)
def test_mtu(family, setting, underlay, expected):
    assert tunnel_mtu(family, setting, underlay) == expected
