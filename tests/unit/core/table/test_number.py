"""Numbers: drawn from what they stand for, and for one thing at a time."""

import pytest

from korat.agent.intent import NodeState, intent
from korat.core.net.address import Addr
from korat.core.render.nft.diff import stages
from korat.core.render.nft.ruleset import Hook
from korat.core.render.nft.simulate import Packet, Simulator
from korat.core.table import number
from korat.core.table.number import Numbers, drawn
from nft_transaction import Table
from policy_world import NODE, allow, open_namespace, pod, policy, who

LAST = (1 << 32) - 1


@pytest.mark.parametrize("text", ["", "a", "labels app == 'x'", "x" * 10_000])
def test_a_number_is_drawn_from_the_text_alone_and_is_not_nothing(text):
    assert Numbers().give(text) == drawn(text) == drawn(text)
    assert 1 <= drawn(text) <= LAST


@pytest.mark.parametrize(("draws", "given"), [(7, [7, 8, 9]), (LAST, [LAST, 1, 2])])
def test_who_draws_a_number_that_is_taken_counts_on(monkeypatch, draws, given):
    monkeypatch.setattr(number, "drawn", lambda _: draws)
    numbers = Numbers()
    assert [numbers.give(text) for text in "abc"] == given


def test_a_number_that_was_given_back_rests_until_the_turn_ends(monkeypatch):
    monkeypatch.setattr(number, "drawn", lambda _: 7)
    numbers = Numbers()
    numbers.give("a")
    numbers.take_back(7)
    assert numbers.give("b") == 8, "packets still come with 7 for a"
    assert numbers.give("a") == 7, "who comes again in the turn has it again"
    numbers.take_back(7)
    numbers.settle()
    assert numbers.give("c") == 7


PEERS = [pod(n, f"10.0.1.{i}", node="there", app=n) for i, n in enumerate("abcdef", 1)]
RULES = {n: allow(who(selector=f"app == '{n}'"), protocol="TCP") for n in "abcdef"}


def objects(names, own="self"):
    """A pod that some may speak to over TCP, in the order in which policy names them."""
    ingress = [RULES[name] for name in names]
    return [open_namespace("red"), pod(own, "10.0.0.1"), *PEERS, policy("p", ingress=ingress)]


def who_may(ruleset):
    simulator = Simulator(ruleset)
    own = Addr.parse("10.0.0.1")
    return "".join(
        name
        for i, name in enumerate("abcdef", 1)
        if simulator.run(
            Packet("eth0", "cali-self", Addr.parse(f"10.0.1.{i}"), own, 6, 9, 80), Hook.FORWARD
        ).fate.value
        == "accept"
    )


@pytest.mark.parametrize("modulus", [1, 2, 3, 5])
def test_numbers_that_meet_are_told_apart_whatever_comes_and_goes(monkeypatch, modulus):
    """Also by the kernel, to which a number must never mean two things in one change."""
    monkeypatch.setattr(number, "drawn", lambda text: 1 + len(text) % modulus)
    state, kernel, there, loaded = NodeState(NODE, {}), Table(), {}, None
    for names in ("ab", "bc", "abcdef", "f", "", "fa", "cd", "dc", "acde"):
        wanted = {each.key: each for each in objects(names)}
        for key in there.keys() | wanted.keys():
            state.set(key, wanted.get(key))
        there, found = wanted, state.intent()
        assert who_may(found.ruleset) == "".join(sorted(names))
        for transaction in stages(loaded, found.ruleset):
            kernel.apply(transaction)
        whole = Table()
        whole.apply(found.ruleset.text)
        assert kernel == whole
        loaded = found.ruleset
    assert who_may(intent(there, NODE, {}).ruleset) == "acde"
