"""Who may send into a tunnel, on a real kernel: the cluster's nodes, and nobody else."""

import pytest

from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr, Family
from korat.core.render.nft.diff import stages
from korat.core.render.nft.node import NodeInput, render
from korat.core.render.nft.tunnel import TunnelFilter
from korat.core.table.value import NodePolicy
from korat.drivers.kernel.conntrack import Conntrack
from korat.drivers.kernel.nft import Nft
from tunnel_world import Machine, talks, world

pytestmark = pytest.mark.netns

BOTH = pytest.mark.parametrize("family", list(Family), ids=["IPv4", "IPv6"])
#: Without a rule that asks for it the kernel tracks no connection.
TRACKING = """
add table inet kt-tracking
add chain inet kt-tracking in { type filter hook prerouting priority 0; }
add chain inet kt-tracking out { type filter hook output priority 0; }
add rule inet kt-tracking in ct state new
add rule inet kt-tracking out ct state new
"""


def load(machine: Machine, *peers: Addr) -> None:
    # The test's pod stands for nothing that policy knows: only the tunnel's rules are tried.
    felix = FelixSettings(interface_prefix=("none",))
    rules = render(
        NodeInput(NodePolicy((), {}), felix, filter=TunnelFilter(4789, frozenset(peers)))
    )
    kept = {name: chain for name, chain in rules.chains.items() if name.startswith("vxlan")}
    own = type(rules)({n: v for n, v in rules.lookups.items() if n.startswith("vxlan")}, kept)

    def apply() -> None:
        with Nft() as nft:
            nft.apply(TRACKING)
            for transaction in stages(None, own):
                nft.apply(transaction)

    machine.inside(apply)


def address(machine: Machine, family: Family) -> Addr:
    found = machine.node(family).address
    assert found is not None
    return found


@BOTH
def test_a_stranger_with_the_right_numbers_is_not_let_in(family: Family):
    with world(3, (Family.V4, Family.V6), "filter") as made:
        made.tell()
        one, two, three = made.machines
        load(one, address(two, family))
        assert talks(two, one, family)
        assert not talks(three, one, family)
        load(one, address(two, family), address(three, family))
        assert talks(three, one, family)


def test_the_tunnels_packets_are_not_tracked():
    with world(2, tag="track") as made:
        made.tell()
        one, two = made.machines
        load(one, address(two, Family.V4))
        assert talks(one, two)

        def tracked() -> set[tuple[int, int]]:
            with Conntrack() as conntrack:
                entries = list(conntrack.entries(None))
            return {(e.connection.protocol, e.connection.original.b) for e in entries}

        seen = one.inside(tracked)
        assert seen, "the connection inside is tracked"
        assert (17, 4789) not in seen
