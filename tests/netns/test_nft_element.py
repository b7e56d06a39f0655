"""Elements and counters written over netlink: the table that libnftables makes of the same text."""

import os
import random

import pytest

from korat.core.errors import Conflict
from korat.core.net.address import Addr, Family
from korat.core.policy.outcome import Direction, RuleRef
from korat.core.render.nft.diff import stages
from korat.core.render.nft.key import Type
from korat.core.render.nft.outcome import counter_name
from korat.core.render.nft.ruleset import (
    CounterMap,
    NamedSet,
    NumberMap,
    Pace,
    Ruleset,
    add_timed_elements,
)
from korat.drivers.kernel import namespace
from korat.drivers.kernel.nft import Nft
from korat.drivers.kernel.nft_element import ElementWriter

pytestmark = pytest.mark.netns


@pytest.fixture
def handles():
    """libnftables and the writer in a namespace of their own."""
    name = f"kt-{os.getpid()}-element"
    namespace.create(name)
    try:
        with namespace.run_in(name, Nft) as nft:
            writer = namespace.run_in(name, ElementWriter)
            yield nft, writer
            writer.close()
    finally:
        namespace.remove(name)


def ruleset(dice):
    """Maps and sets of every type that a node's changing lookups have, at random."""
    refs = [RuleRef.tier_default(Direction.INGRESS, f"t{n}") for n in dice.sample(range(40), 20)]
    counters = {counter_name(ref): ref for ref in refs}
    v6 = Addr.parse("fd00::").value

    def number():
        return dice.randrange(1, 1 << 32)

    return Ruleset(
        {
            "hosts4": NumberMap(
                (Type.IPV4,),
                {(0x0A000000 + n,): number() for n in dice.sample(range(999), 600)},
            ),
            "hosts6": NumberMap((Type.IPV6,), {(v6 + number(),): number() for _ in range(20)}),
            "cells": NumberMap(
                (Type.NUMBER, Type.IFNAME),
                {(n, f"cali{n:x}"): number() for n in dice.sample(range(1, 90), 30)},
            ),
            "ports": NumberMap(
                (Type.NUMBER, Type.PROTO, Type.PORT),
                {(n, 6, dice.randrange(1, 65536)): number() for n in dice.sample(range(1, 90), 30)},
                pace=Pace.CONTENT,
            ),
            "allowed": NumberMap((Type.NUMBER,), {(number(),): 0 for _ in range(9)}),
            "counts": CounterMap(
                (Type.NUMBER,), {(number(),): dice.choice(list(counters)) for _ in range(20)}
            ),
            "sources": NamedSet(
                (Type.IFNAME, Type.IPV4),
                frozenset((f"cali{n}", n) for n in dice.sample(range(90), 30)),
            ),
        },
        {},
        counters,
    )


def listed(nft):
    """The table without the handles that the kernel counts up."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items() if key != "handle"}
        if isinstance(value, list):
            return sorted((plain(each) for each in value), key=str)
        return value

    found = plain(nft.list_json())
    # A map that is still making room for many elements may leave some out when it is listed.
    while (again := plain(nft.list_json())) != found:
        found = again
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_writer_makes_what_libnftables_makes(handles, seed):
    dice = random.Random(seed)
    nft, writer = handles
    before, after = ruleset(dice), ruleset(dice)
    nft.apply(before.text)
    writer.learn(before.text)
    for transaction in stages(before, after):
        assert writer.apply(transaction)
    written = listed(nft)
    nft.apply(after.text)
    assert written == listed(nft)


def test_elements_that_go_by_themselves(handles):
    nft, writer = handles
    types = (Type.IPV4, Type.IPV4, Type.PROTO, Type.PORT, Type.PORT)
    own = NamedSet(types, timeout_s=60, size=100)
    table = Ruleset({"cut": own})
    nft.apply(table.text)
    writer.learn(table.text)
    times = {(1, 2, 6, 80, 1000): 500, (3, 4, 17, 53, 1001): 7}
    for command in add_timed_elements("cut", own, times):
        assert writer.apply(f"{command}\n")
    [held] = [each["set"] for each in nft.list_json() if "set" in each]
    found = {tuple(e["elem"]["val"]["concat"]): e["elem"]["timeout"] for e in held["elem"]}
    assert found == {
        ("0.0.0.1", "0.0.0.2", 6, 80, 1000): 500,
        ("0.0.0.3", "0.0.0.4", 17, 53, 1001): 7,
    }


def test_what_is_refused_changes_nothing(handles):
    nft, writer = handles
    table = ruleset(random.Random(1))
    nft.apply(table.text)
    writer.learn(table.text)
    before = listed(nft)
    there = str(Addr(Family.V4, next(iter(table.lookups["hosts4"].elements))[0]))
    bad = (
        "add element inet korat allowed { 0:77 : none }\n"
        "delete element inet korat hosts4 { 192.0.2.1 }\n"
        f"delete element inet korat hosts4 {{ {there} }}\n"
    )
    with pytest.raises(Conflict):
        writer.apply(bad)
    assert listed(nft) == before
    assert writer.apply(f"delete element inet korat hosts4 {{ {there} }}\n")
    assert listed(nft) != before


def test_a_batch_larger_than_a_sockets_own_buffer(handles):
    nft, writer = handles
    hosts = {"hosts": NumberMap((Type.IPV4,), {(n,): n for n in range(1, 30_000)})}
    before, after = Ruleset({"hosts": NumberMap((Type.IPV4,))}), Ruleset(hosts)
    nft.apply(before.text)
    writer.learn(before.text)
    (transaction,) = stages(before, after)
    assert writer.apply(transaction)
    written = listed(nft)
    nft.apply(after.text)
    assert written == listed(nft)


def test_answers_that_were_left_unheard_answer_nothing_later(handles):
    """As when a signal broke the hearing off: what is refused then must not look as if done."""
    nft, writer = handles
    table = ruleset(random.Random(3))
    nft.apply(table.text)
    writer.learn(table.text)
    heard, writer._hear = writer._hear, lambda *_: None
    for text in ("add", "delete"):
        writer.apply(f"{text} element inet korat allowed {{ 0:77 : none }}\n")
    writer._hear = heard
    with pytest.raises(Conflict):
        writer.apply("delete element inet korat allowed { 0:77 }\n")


def test_messages_are_counted_anew_before_their_numbers_end(handles):
    nft, writer = handles
    table = ruleset(random.Random(4))
    nft.apply(table.text)
    writer.learn(table.text)
    writer._sequence = (1 << 32) - 2
    assert writer.apply("add element inet korat allowed { 0:77 : none }\n")
    with pytest.raises(Conflict):
        writer.apply("delete element inet korat allowed { 0:78 }\n")


@pytest.mark.parametrize(
    "text",
    [
        "add chain inet korat c\n",
        "add element inet korat unknown { 1.2.3.4 : 0:1 }\n",
        "flush map inet korat hosts4\n",
        "add element inet korat allowed { 0:1 : none }\nadd chain inet korat c\n",
    ],
)
def test_what_is_not_elements_is_left_to_libnftables(handles, text):
    nft, writer = handles
    table = ruleset(random.Random(2))
    nft.apply(table.text)
    writer.learn(table.text)
    before = listed(nft)
    assert not writer.apply(text)
    assert listed(nft) == before
