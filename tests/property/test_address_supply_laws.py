"""The laws of the plan for NICs' addresses, against a model of Azure that gives what there is."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.network import Interface, Network
from korat.core.route.supply import NIC_MOST, SupplyNode, SupplySettings, plan_supply

VNET = Prefix.parse("10.10.0.0/16")
SUBNETS = ("/vnet/subnets/a", "/vnet/subnets/b")
rules = st.builds(SupplySettings, batch=st.integers(1, 300), headroom=st.integers(0, 300))
few = st.one_of(st.integers(1, 20), st.integers(230, NIC_MOST))


def given_out(number, count, offset=0):
    """Addresses of NIC ``number``, of which no other NIC has any."""
    first = VNET.first + (number << 10) + 4 + offset
    return tuple(Addr(Family.V4, first + each) for each in range(count))


@st.composite
def worlds(draw):
    """Nodes and NICs; some nodes have none, some share one, some pods have strange addresses."""
    nics, nodes = [], []
    for number in range(draw(st.integers(0, 3))):
        own = given_out(number, draw(few))
        six = tuple(Addr.parse(f"fd00::{number}:{each}") for each in range(draw(st.integers(0, 2))))
        mine = (*own, *six)[:NIC_MOST]
        subnet = draw(st.sampled_from(SUBNETS))
        nics.append(Interface(f"/nics/n{number}", f"n{number}", mine, (subnet,)))
    for number in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, 3))
        held = draw(st.integers(0, 260))
        strange = given_out(number, draw(st.integers(0, 3)), offset=700)
        nodes.append(
            SupplyNode(
                f"vm{number}",
                given_out(at, draw(st.integers(0, 2)))[draw(st.integers(0, 1)) :],
                frozenset((*given_out(at, held)[1:], *strange)),
                draw(st.integers(0, 40)),
            )
        )
    return tuple(nodes), Network("/vnet", "westeurope", (VNET,), (), tuple(nics))


def applied(network, steps):
    """What Azure would hold: new addresses that nobody has, after those there are."""
    by_id = {step.interface_id: step for step in steps}
    nics = []
    for number, nic in enumerate(network.interfaces):
        step = by_id.get(nic.id)
        more = step.total - len(nic.addresses) if step else 0
        nics.append(replace(nic, addresses=(*nic.addresses, *given_out(number, more, 300))))
    return replace(network, interfaces=tuple(nics))


def totals(network):
    return {nic.id: len(nic.addresses) for nic in network.interfaces}


def pods_could(node, nic):
    """The slow obvious twin: how many more pods find an address."""
    ready = [a for a in nic.addresses[1:] if a.family is Family.V4 and a not in node.addresses]
    return sum(addr not in node.held for addr in ready) - node.waiting


def alone(nodes, network):
    """The nodes that have a NIC of their own, with it."""
    found = []
    for node in nodes:
        first = next((n for a in node.addresses for n in network.interfaces if a in n.addresses), 0)
        found += [(node, first)] if first else []
    nics = [nic.id for _, nic in found]
    return [(node, nic) for node, nic in found if nics.count(nic.id) == 1]


@given(worlds(), rules)
def test_an_applied_plan_leaves_nothing_to_plan(world, settings):
    nodes, network = world
    first = plan_supply(nodes, network, settings)
    second = plan_supply(nodes, applied(network, first.steps), settings)
    assert second.empty
    assert {problem.where for problem in second.problems} == {p.where for p in first.problems}


@given(worlds(), rules)
def test_every_node_then_has_the_headroom_or_is_told_why_not(world, settings):
    nodes, network = world
    plan = plan_supply(nodes, network, settings)
    after = applied(network, plan.steps)
    told = {problem.where for problem in plan.problems}
    helped = [node for node, _ in alone(nodes, network)]
    assert {f"Node {node.name}" for node in nodes if node not in helped} <= told
    for node, nic in alone(nodes, after):
        enough = pods_could(node, nic) >= settings.headroom
        assert enough is (f"Node {node.name}" not in told)
        assert enough or len(nic.addresses) == NIC_MOST


@given(worlds(), rules)
def test_no_nic_gets_more_than_it_may_and_none_fewer_than_it_had(world, settings):
    nodes, network = world
    steps = plan_supply(nodes, network, settings).steps
    before, after = totals(network), totals(applied(network, steps))
    assert all(before[nic] <= after[nic] <= NIC_MOST for nic in before)
    for step in steps:
        assert step.had == before[step.interface_id]
        assert step.count % settings.batch == 0 or step.total == NIC_MOST
    assert len({step.interface_id for step in steps}) == len(steps)


@given(worlds(), rules, st.integers(0, 50), st.randoms(use_true_random=False))
def test_more_pods_never_mean_fewer_addresses(world, settings, more, random):
    nodes, network = world
    busier = tuple(
        replace(
            node,
            waiting=node.waiting + random.randrange(more + 1),
            held=node.held | set(given_out(random.randrange(4), random.randrange(more + 1))),
        )
        for node in nodes
    )
    few_, many = (
        totals(applied(network, plan_supply(each, network, settings).steps))
        for each in (nodes, busier)
    )
    assert all(few_[nic] <= many[nic] for nic in few_)


@given(worlds(), rules, st.randoms(use_true_random=False))
def test_the_order_of_nodes_and_nics_is_no_matter(world, settings, random):
    nodes, network = world
    nics = list(network.interfaces)
    shuffled = random.sample(nodes, len(nodes))
    random.shuffle(nics)
    other = plan_supply(shuffled, replace(network, interfaces=tuple(nics)), settings)
    assert other == plan_supply(nodes, network, settings)
