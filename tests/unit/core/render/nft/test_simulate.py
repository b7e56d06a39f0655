"""What the simulator says of packets that lack what a rule asks for; the kernel's own answers."""

import pytest

from korat.core.net.address import Addr
from korat.core.render.nft.key import Field, Type
from korat.core.render.nft.ruleset import Base, Chain, Hook, NamedSet, Ruleset, rule
from korat.core.render.nft.simulate import Fate, Packet, simulate
from korat.core.render.nft.statement import DROP, InSet

A, B = Addr.parse("10.0.0.1"), Addr.parse("10.0.0.2")


@pytest.mark.parametrize(
    ("protocol", "negated", "fate"),
    [
        pytest.param(1, True, Fate.DROP, id="the checksum of ICMP is no port of the set"),
        pytest.param(1, False, Fate.ACCEPT, id="nor is it in one"),
        pytest.param(17, True, Fate.ACCEPT, id="a port that is in the set"),
        pytest.param(17, False, Fate.DROP, id="and found"),
    ],
)
def test_a_packet_without_ports_has_something_in_their_place(protocol, negated, fate):
    ports = NamedSet((Type.PORT,), frozenset({(0,), (53,)}))
    dropping = rule(InSet((Field.DPORT,), "ports", negated), DROP)
    table = Ruleset(
        {"ports": ports}, {"forward": Chain((dropping,), Base("filter", Hook.FORWARD, 0))}
    )
    packet = Packet("cali1", "cali2", A, B, protocol, 0, 53 if protocol == 17 else 0)
    assert simulate(table, packet, Hook.FORWARD).fate is fate
