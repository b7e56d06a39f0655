"""The guard of cut connections: what it drops, what it lets be, and how it outlives a reload."""

import pytest

from korat.core.net.address import Addr, Family
from korat.core.render.nft.cut import CUT_SETS, add_cuts, keep_cuts, read_cuts, replaces_table
from korat.core.render.nft.diff import diff
from korat.core.render.nft.hook import HookSettings, HostAction, render_hooks
from korat.core.render.nft.ruleset import Chain, Hook, NamedSet, Ruleset, rule
from korat.core.render.nft.simulate import Fate, Packet, Simulator
from korat.core.render.nft.statement import RETURN, CtState

SERVER, CLIENT = Addr.parse("10.0.0.2"), Addr.parse("10.0.9.9")
KEY = (SERVER.value, CLIENT.value, 6, 80, 40000)
UDP_KEY = (SERVER.value, CLIENT.value, 17, 53, 40000)
SIX = (Addr.parse("fd00::2").value, Addr.parse("fd00::9").value, 6, 80, 40000)
CUTS = {Family.V4: {KEY: 300, UDP_KEY: 120}, Family.V6: {SIX: 7}}


def table(elements=(), **fields):
    """The hooks under a policy that allows everything, with tuples that were cut."""
    hooks = render_hooks((), HookSettings(**fields))
    lookups = dict(hooks.lookups)
    if "cut-4" in lookups:
        kind = CUT_SETS["cut-4"]
        lookups["cut-4"] = NamedSet(kind.types, frozenset(elements))
    chains = {name: Chain((rule(RETURN),)) for name in ("egress", "ingress")}
    return Ruleset(lookups, {**hooks.chains, **chains})


def answer(**fields):
    """What the server of a cut connection sends."""
    usual = {
        "iif": "cali2",
        "oif": "eth0",
        "src": SERVER,
        "dst": CLIENT,
        "protocol": 6,
        "a": 80,
        "b": 40000,
        "opens": False,
    }
    return Packet(**{**usual, **fields})


@pytest.mark.parametrize(
    ("packet", "fate"),
    [
        (answer(), Fate.DROP),
        (answer(iif="eth0", oif="cali2"), Fate.DROP),
        (answer(protocol=17, a=53), Fate.DROP),
        (answer(opens=True), Fate.ACCEPT),
        (answer(state=CtState.ESTABLISHED), Fate.ACCEPT),
        (answer(a=81), Fate.ACCEPT),
        (answer(b=40001), Fate.ACCEPT),
        (answer(protocol=17), Fate.ACCEPT),
        (answer(src=CLIENT, dst=SERVER, a=40000, b=80), Fate.ACCEPT),
        (answer(iif="eth0", oif="eth1"), Fate.ACCEPT),
    ],
)
def test_forward(packet, fate):
    ruleset = table([KEY, UDP_KEY])
    assert Simulator(ruleset).run(packet, Hook.FORWARD).fate is fate
    assert Simulator(table(cuts=False)).run(packet, Hook.FORWARD).fate is Fate.ACCEPT


def test_what_is_established_meets_none_of_it():
    sent = answer(state=CtState.ESTABLISHED)
    assert Simulator(table([KEY])).run(sent, Hook.FORWARD).chains == ("forward",)


@pytest.mark.parametrize("action", [HostAction.ACCEPT, HostAction.RETURN])
def test_what_the_node_itself_answers(action):
    simulator = Simulator(table([KEY], endpoint_to_host=action))
    sent = answer(iif="", oif="cali9")
    assert simulator.run(sent, Hook.OUTPUT).fate is Fate.DROP
    for fine in ({"oif": "eth0"}, {"a": 81}, {"state": CtState.ESTABLISHED}, {"opens": True}):
        assert simulator.run(answer(**{"iif": "", "oif": "cali9", **fine}), Hook.OUTPUT).fate is (
            Fate.ACCEPT
        )


def test_where_no_workload_reaches_its_node_the_nodes_own_packets_meet_nothing():
    assert "output" not in render_hooks((), HookSettings()).chains


def test_denied_by_reject_where_policy_is():
    packet = answer()
    assert Simulator(table([KEY], reject=True)).run(packet, Hook.FORWARD).fate is Fate.REJECT


def test_elements_are_put_back_into_a_table_that_is_loaded_whole():
    ruleset = Ruleset(CUT_SETS)
    assert replaces_table(ruleset.text)
    assert not replaces_table(diff(Ruleset(), ruleset))
    assert keep_cuts(ruleset.text, CUTS) == ruleset.text + "".join(add_cuts(CUTS))
    without = Ruleset().text
    assert keep_cuts(without, CUTS) == without
    first = "10.0.0.2 . 10.0.9.9 . 6 . 80 . 40000 timeout 300s"
    second = "10.0.0.2 . 10.0.9.9 . 17 . 53 . 40000 timeout 120s"
    assert list(add_cuts(CUTS)) == [
        f"add element inet korat cut-4 {{ {first}, {second} }}\n",
        "add element inet korat cut-6 { fd00::2 . fd00::9 . 6 . 80 . 40000 timeout 7s }\n",
    ]


def test_what_is_in_the_sets_is_no_difference_and_how_they_are_is_one():
    old = Ruleset({"s": NamedSet(CUT_SETS["cut-4"].types, timeout_s=10, size=5)})
    assert diff(old, old) == ""
    new = Ruleset({"s": NamedSet(CUT_SETS["cut-4"].types, timeout_s=20, size=5)})
    assert replaces_table(diff(old, new))


def test_nfts_json_is_read_and_what_is_odd_left_out():
    elements = [
        {"elem": {"val": {"concat": ["10.0.0.2", "10.0.9.9", 6, 80, 40000]}, "expires": 299}},
        {"elem": {"val": {"concat": ["fd00::2", "fd00::9", 6, 80, 40000]}, "expires": 0}},
        {"elem": {"val": "10.0.0.2", "expires": 3}},
        "10.0.0.2",
    ]
    assert read_cuts(elements) == {KEY: 299, SIX: 1}
