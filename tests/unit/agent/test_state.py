"""A node's state over many turns: what was is forgotten, however often it comes and goes."""

import gc
from random import Random
from types import FunctionType, ModuleType

import pytest
from msgspec.structs import replace

from korat.agent.intent import NodeState, intent
from korat.core.model.config import FelixConfiguration, IPPool, IPPoolSpec
from korat.core.model.resource import Metadata
from korat.core.table import paint
from korat.core.table.paint import IntricateError
from policy_world import NODE, address_set, allow, endpoint_slice, open_namespace, pod, policy, who
from strategies_policy import Dealer


def told(state, *resources, gone=()):
    """The intent after these came and those went."""
    for each in resources:
        state.set(each.key, each)
    for each in gone:
        state.set(each.key, None)
    return state.intent()


def forget_tables(state):
    """Tables are remembered beyond their time on purpose, up to a bound."""
    paint._painted.cache_clear()
    for subjects in state._compiler._subjects.values():
        subjects._interned.clear()


def held(root):
    """How many entries the containers have that can be come to from here."""
    seen, fresh, entries = set(), [root], 0
    while fresh:
        one = fresh.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType):
            continue
        seen.add(id(one))
        entries += len(one) if isinstance(one, dict | list | set) else 0
        fresh += gc.get_referents(one)
    return entries


def test_what_came_and_went_leaves_nothing():
    """Objects of every kind under names that never come again, thousands of them."""
    state, dice = NodeState(NODE, {}), Dealer(Random(1))
    sizes = []
    for turn in range(45):
        world = [renamed(each, turn) for each in (*dice.world(), *strange(turn))]
        told(state, *world)
        told(state, gone=world)
        forget_tables(state)
        if turn % 15 == 14:
            sizes.append(held(state))
    assert sizes[-1] <= sizes[0], sizes


def strange(turn):
    """Objects whose labels and services nobody else has, half of which cannot be read."""
    for n in range(10):
        yield pod(f"bad{n}", "nonsense", app=f"never-{turn}-{n}")
        yield endpoint_slice(f"served{n}", f"service-{turn}-{n}", "10.0.0.3")


def renamed(resource, turn):
    """The object under a name of this turn; profiles and tiers are named by others."""
    if resource.kind in ("Profile", "Tier"):
        return resource
    metadata = replace(resource.metadata, name=f"{resource.metadata.name}-{turn}")
    return replace(resource, metadata=metadata)


def fifty(first):
    return list(range(first, first + 100, 2))


CROSSED = [
    allow(who(selector="app == 'x'", ports=fifty(n)), who(ports=fifty(n)), protocol="TCP")
    for n in range(1, 3000, 100)
]
PLAIN = [
    allow(who(selector="app == 'x'"), who(ports=fifty(n)), protocol="TCP")
    for n in range(1, 3000, 100)
]


def test_tables_are_made_again_when_the_peer_is_gone_for_whom_they_were_intricate():
    base = [open_namespace("red"), pod("1", "10.0.0.1"), policy("p", ingress=[*CROSSED, *PLAIN])]
    peers = [pod(f"x{n}", f"10.0.1.{n}", node="there", app="x") for n in (1, 2)]
    state = NodeState(NODE, {})
    plain = told(state, *base)
    assert plain.problems == ()
    for peer in peers:  # and again, when it is known already that the table is intricate
        slow = told(state, peer)
        assert "rule by rule" in slow.problems[0].rule
        assert slow.policy is None
        after = told(state, gone=[peer])
        assert after.problems == ()
        assert after.ruleset == plain.ruleset


def test_what_is_said_does_not_depend_on_who_came_first():
    broken = [IPPool(metadata=Metadata(name=n), spec=IPPoolSpec(cidr="nonsense")) for n in "ab"]
    odd = FelixConfiguration(metadata=Metadata(name="default"), spec={"bpfEnabled": True})
    found = [told(NodeState(NODE, {}), *order) for order in ([*broken, odd], [odd, *broken[::-1]])]
    assert found[0].problems == found[1].problems
    assert found[0].problems


@pytest.mark.parametrize(
    "others",
    [
        [pod("y", "10.0.0.1", app="x")],  # one address
        [pod("y", "10.0.0.2", interface="cali-1", app="x")],  # one interface
        [address_set("s", "10.0.0.1/32", "10.0.0.0/24", "fd00::/64", "fd00::1/128", app="x")],
        [pod("1", "10.0.0.1", "fd00::1", app="x", node="there")],  # it moved
        [pod("1", "10.0.0.9", app="x"), pod("1", "10.0.0.1", interface="cali-9")],
    ],
    ids=["address", "interface", "set", "node", "other interface"],
)
def test_what_shares_with_a_pod_comes_and_goes(others):
    base = [
        open_namespace("red"),
        pod("1", "10.0.0.1", "fd00::1"),
        policy("p", ingress=[allow(who(selector="app == 'x'"))], egress=[allow()]),
        policy("q", selector="app == 'x'", ingress=[allow(who(nets=("10.0.0.0/30",)))]),
    ]
    state = NodeState(NODE, {})
    before = told(state, *base)
    for each in others:
        now = {r.key: r for r in base} | {each.key: each}
        found, fresh = told(state, each), intent(now, NODE, {})
        assert (found.ruleset, found.routes) == (fresh.ruleset, fresh.routes)
        back = told(state, *base, gone=[each] if each.key not in {r.key for r in base} else [])
        assert (back.ruleset, back.routes) == (before.ruleset, before.routes)


def test_intricate_tables_hold_no_frames():
    """An error that is kept would keep all that was worked on when it was raised."""
    state = NodeState(NODE, {})
    told(state, pod("1", "10.0.0.1"), policy("p", ingress=[*CROSSED, *PLAIN]))
    told(state, pod("x", "10.0.1.1", node="there", app="x"))
    errors = [each for each in gc.get_objects() if isinstance(each, IntricateError)]
    assert all(each.__traceback__ is None for each in errors)
