"""A block against its plain twin: a dictionary of who has what, and a list of what is free."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ipam_world import at
from korat.core.ipam.block import (
    address_of,
    counted,
    fresh,
    freshened,
    give_back,
    handle_at,
    is_resting,
    ordinal_of,
    sequence_at,
    take,
    take_these,
)
from korat.core.ipam.instant import seconds_of, text_of
from korat.core.model.codec import dump, load
from korat.core.model.ipam import BlockAttribute
from korat.core.model.validate import validate
from korat.core.net.address import Prefix

CIDR = Prefix.parse("10.0.0.16/28")
COOLDOWN_S = 5
HANDLES = st.sampled_from(["a", "b", "c"])
PLACES = st.sets(st.integers(0, 15), min_size=1)


class Block(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.block = fresh(CIDR, "host:n", at())
        self.free = list(range(16))
        self.had = {}
        self.resting = []
        self.seconds = 0
        self.number = self.block.spec.sequence_number
        self.numbers = {}

    def _write(self, block):
        self.block = counted(block)
        self.number += 1

    @rule(number=st.integers(1, 6), handle=HANDLES, reserved=st.sets(st.integers(0, 15)))
    def take(self, number, handle, reserved):
        attribute = BlockAttribute(handle_id=handle, secondary={"node": "n"})
        block, taken = take(
            self.block, number, attribute, lambda a: ordinal_of(self.block, a) in reserved
        )
        expected = [place for place in self.free if place not in reserved][:number]
        assert [ordinal_of(block, addr) for addr in taken] == expected
        self._write(block)
        self._have(expected, handle)

    @rule(places=PLACES, handle=HANDLES)
    def take_these(self, places, handle):
        free = places & set(self.free)
        if free:
            self._write(take_these(self.block, free, BlockAttribute(handle_id=handle)))
            self._have(free, handle)

    def _have(self, places, handle):
        for place in places:
            self.free.remove(place)
            self.had[place] = handle
            self.numbers[place] = self.number

    @precondition(lambda self: self.had)
    @rule(places=PLACES, rest=st.booleans())
    def give_back(self, places, rest):
        mine = sorted(places & set(self.had))
        self._write(give_back(self.block, mine, at(self.seconds), COOLDOWN_S if rest else 0))
        for place in mine:
            del self.had[place], self.numbers[place]
            if rest:
                self.resting.append((self.seconds, place))
            else:
                self.free.append(place)

    @rule(seconds=st.integers(0, 6))
    def pass_time(self, seconds):
        self.seconds += seconds
        ready = sorted(item for item in self.resting if item[0] + COOLDOWN_S <= self.seconds)
        self._write(freshened(self.block, at(self.seconds), COOLDOWN_S))
        self.resting = [item for item in self.resting if item not in ready]
        self.free += [place for _, place in ready]

    @invariant()
    def is_its_twin(self):
        block = self.block
        assert not validate(block)
        assert list(block.spec.unallocated) == self.free
        assert {p for p in range(16) if is_resting(block, p)} == {p for _, p in self.resting}
        had = {p: handle_at(block, p) for p in range(16) if handle_at(block, p)}
        assert had == self.had
        assert {p: sequence_at(block, p) for p in had} == self.numbers
        assert block.spec.sequence_number == self.number
        assert load(block.key, dump(block)) == block
        assert address_of(block, 3).value == CIDR.base + 3


TestBlock = Block.TestCase


@given(st.integers(0, 253402300799))
def test_times_are_the_standard_librarys(seconds):
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert text_of(seconds) == text.rjust(20, "0")
    assert seconds_of(text.rjust(20, "0")) == seconds
