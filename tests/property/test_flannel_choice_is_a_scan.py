"""The choice of a subnet for flannel against the obvious way: to look at one after the other."""

from hypothesis import given
from hypothesis import strategies as st

from korat.core.errors import Unavailable
from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.flannel.choice import choose
from korat.core.route.flannel.network import FlannelNetwork, Subnets, Vxlan

OWN = Addr.parse("10.10.0.4")
BASE = Addr.parse("10.5.0.0").value


@st.composite
def subnets(draw):
    length = draw(st.integers(18, 28))
    network = Prefix(Family.V4, BASE, 16)
    size = 1 << (32 - length)
    count = 1 << (length - 16)
    first = draw(st.integers(0, count - 1))
    last = draw(st.integers(first, min(count - 1, first + draw(st.sampled_from([0, 3, 300])))))
    ends = (Prefix(Family.V4, BASE + place * size, length) for place in (first, last))
    return Subnets(network, length, *ends)


@st.composite
def prefixes(draw):
    length = draw(st.integers(15, 32))
    value = BASE + draw(st.integers(0, (1 << 17) - 1)) - (1 << 16)
    return Prefix(Family.V4, value >> (32 - length) << (32 - length), length)


def scanned(own: Subnets, taken: list[Prefix]) -> list[Prefix]:
    """All that is free, the first hundred."""
    size = 1 << (32 - own.length)
    every = (
        Prefix(Family.V4, base, own.length)
        for base in range(own.first.base, own.last.base + 1, size)
    )
    return [each for each in every if not any(each.overlaps(t) for t in taken)][:100]


@given(own=subnets(), taken=st.lists(prefixes(), max_size=8), number=st.integers(0, 99))
def test_the_subnet_that_is_drawn_is_one_of_the_first_free_ones(own, taken, number):
    network = FlannelNetwork(own, None, Vxlan())
    expected = scanned(own, taken)
    counts = []

    def draw(count):
        counts.append(count)
        return number % count

    try:
        found = choose(network, (), [(t, None) for t in taken], OWN, None, draw).subnet
    except Unavailable:
        assert not expected
        return
    assert counts == [len(expected)]
    assert found == expected[number % len(expected)]
    assert own.admits(found)
