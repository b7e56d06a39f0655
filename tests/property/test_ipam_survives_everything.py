"""The laws of addresses, whatever dies and whatever times out.

Several nodes, several operations of each, stopped and continued at every single request to the
store, which at any of them may refuse, or time out with the write done or not; programs killed
between any two; pools switched off, and made anew with another block size, in the middle.

What must hold after every request: no address is had twice, no block contradicts itself, a handle
never counts less than there is, and what somebody was given stays his until he gives it back. What
must hold at the end: the next operation of a node finishes or undoes whatever it left half-done,
and once everything is collected every address can be given out again.

Hypothesis tells short stories of a failure; walks of the same machine by plain dice make ten times
as many requests in the same time. ``KORAT_IPAM_EXAMPLES`` and ``KORAT_IPAM_STEPS`` make the former
run long, ``KORAT_IPAM_WALKS`` the latter (``KORAT_IPAM_SEED`` is the first walk's); how many
requests were made is printed at the end.
"""

import os
import sys
from collections import Counter
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ipam_steps import Act, Fault
from ipam_world import World, at
from korat.core.errors import NotFound
from korat.core.ipam.affinity import claim, release_affinity
from korat.core.ipam.assign import auto_assign
from korat.core.ipam.assign_ip import Wish, assign_ip
from korat.core.ipam.block import address_of, handle_at, is_resting, sequence_at
from korat.core.ipam.draw import Holder
from korat.core.ipam.handle import settle
from korat.core.ipam.host import release_host, release_pool
from korat.core.ipam.release import Return, free_rested, release_by_handle, release_ips
from korat.core.ipam.request import Read
from korat.core.ipam.setting import Settings, configure
from korat.core.ipam.tunnel import Tunnel, ensure_tunnel
from korat.core.ipam.view import Demand
from korat.core.model.codec import resource_of
from korat.core.model.key import Key
from korat.core.model.validate import validate
from korat.core.net.address import Addr, Family, Prefix

EXAMPLES = int(os.environ.get("KORAT_IPAM_EXAMPLES", "60"))
STEPS = int(os.environ.get("KORAT_IPAM_STEPS", "60"))
WALKS = int(os.environ.get("KORAT_IPAM_WALKS", "30"))
FIRST_SEED = int(os.environ.get("KORAT_IPAM_SEED", "1"))
WALK_TURNS = 150

HOSTS = ("n1", "n2", "n3")
POOLS = {Family.V4: Prefix.parse("10.0.0.0/28"), Family.V6: Prefix.parse("fd00::/125")}
SIZES = {Family.V4: (28, 29, 30), Family.V6: (125, 126, 127)}
POOL_KEYS = {family: Key("IPPool", "", f"pool{family.value}") for family in POOLS}
COOLDOWN_S = 30

BEGINNINGS = [
    *["assign"] * 6,
    *["assign_to_a_shared_handle"] * 2,
    *["release_handle"] * 3,
    *["release"] * 2,
    *["release_affinity"] * 2,
    *["claim"] * 2,
    "assign_ip",
    "configure",
    "free_rested",
    "make_the_pool_anew",
    "pass_time",
    "release_another_allocation",
    "release_host",
    "release_pool",
    "release_shared_handle",
    "settle",
    "switch_the_pool",
    "tunnel",
]


class Drawn(NamedTuple):
    """Whatever an operation may need to be told."""

    host: str
    family: Family
    number: int
    handle: str
    which: int
    choice: bool


which = st.integers(0, 10**6)
DRAWN = st.builds(
    Drawn,
    st.sampled_from(HOSTS),
    st.sampled_from(tuple(POOLS)),
    st.integers(1, 5),
    st.sampled_from(["a", "b"]),
    which,
    st.booleans(),
)
#: Most requests go well, else nothing would ever come about.
FAULTS = [Fault.NONE] * 24 + [Fault.CONFLICT, Fault.LOST, Fault.UNSURE]
fault = st.sampled_from(FAULTS)
PICKS = st.lists(st.tuples(which, fault), min_size=4, max_size=20)

#: Requests by what became of them, over all examples.
MADE: Counter = Counter()


class Addresses(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.world = World()
        self.acts = []
        self.seconds = 0
        #: What a pod was told that it has, by its handle.
        self.owned = {}
        #: When an address was given back, by the time that the operation was told.
        self.rests = {}
        self.handles = 0
        #: Pods that are gone, whatever they are given after that.
        self.given_back = set()

    @initialize(cooldown=st.sampled_from([0, 0, COOLDOWN_S]), sizes=st.tuples(which, which))
    def begin(self, cooldown, sizes):
        self.cooldown = cooldown
        for own, choice in zip(POOLS, sizes, strict=True):
            self._make_pool(own, SIZES[own][choice % 3])
        for name in HOSTS:
            self.world.put("Node", name)
        self.world.run(configure(Settings(cooldown_s=cooldown)))

    def _make_pool(self, own, size, **fields):
        spec = {"cidr": str(POOLS[own]), "blockSize": size, "vxlanMode": "Always", **fields}
        self.world.put("IPPool", POOL_KEYS[own].name, spec)

    # What programs begin, and what users do to pools.

    @rule(name=st.sampled_from(BEGINNINGS), drawn=DRAWN)
    def begin_something(self, name, drawn):
        getattr(self, name)(drawn)

    def assign(self, drawn):
        self._begin_assign(drawn, self._own_handle())

    def assign_to_a_shared_handle(self, drawn):
        self._begin_assign(drawn, drawn.handle)

    def _begin_assign(self, drawn, own):
        holder = Holder(own, {"node": drawn.host})
        demand = Demand(drawn.host, drawn.family, drawn.number, holder)
        self._begin("assign", auto_assign(demand, self._moment), handle=own)

    def assign_ip(self, drawn):
        pool = POOLS[drawn.family]
        addr = Addr(drawn.family, pool.base + drawn.which % (pool.last - pool.base + 1))
        own = self._own_handle()
        wish = Wish(addr, drawn.host, Holder(own, {"node": drawn.host}))
        self._begin("assign_ip", assign_ip(wish, self._moment), handle=own, addr=addr)

    def _own_handle(self):
        """Of a pod: nobody else uses it, and the pod but once."""
        self.handles += 1
        return f"pod-{self.handles}"

    def release_shared_handle(self, drawn):
        self._begin("release", release_by_handle(drawn.handle, self._moment))

    def release_handle(self, drawn):
        """Of a pod that has its addresses, or of one that is still being given them."""
        own = f"pod-{drawn.which % (self.handles + 1)}"
        self.owned = {addr: each for addr, each in self.owned.items() if each != own}
        self.given_back.add(own)
        self._begin("release", release_by_handle(own, self._moment))

    def release(self, drawn):
        """One that a pod has, by its handle or by the very allocation."""
        if self.owned:
            addr = sorted(self.owned)[drawn.which % len(self.owned)]
            own, sequence = self.owned.pop(addr), self._sequence(addr)
            wanted = Return(addr, own) if drawn.choice else Return(addr, None, sequence)
            self._begin("release", release_ips([wanted], self._moment))

    def release_another_allocation(self, drawn):
        """Who says an old sequence number takes nothing from whoever has the address now."""
        if self.owned:
            addr = sorted(self.owned)[drawn.which % len(self.owned)]
            wanted = Return(addr, None, drawn.number)
            self._begin("release", release_ips([wanted], self._moment))

    def release_affinity(self, drawn):
        cidr = self._some_block(drawn)
        operation = release_affinity(f"host:{drawn.host}", cidr, require_empty=drawn.choice)
        self._begin("release_affinity", operation)

    def claim(self, drawn):
        operation = claim(f"host:{drawn.host}", self._some_block(drawn), self._moment)
        self._begin("claim", operation)

    def release_host(self, drawn):
        self._begin("release_host", release_host(drawn.host))

    def release_pool(self, drawn):
        self._begin("release_pool", release_pool(POOLS[drawn.family]))

    def tunnel(self, drawn):
        tunnel = next(each for each in Tunnel if each.family is drawn.family)
        self._begin("tunnel", ensure_tunnel(tunnel, drawn.host, None, self._moment))

    def settle(self, drawn):
        self._begin("settle", settle(drawn.handle, self._some_block(drawn)))

    def free_rested(self, drawn):
        self._begin("free_rested", free_rested(self._some_block(drawn), self._moment))

    def configure(self, drawn):
        wanted = Settings(
            strict_affinity=drawn.choice,
            max_blocks_per_host=drawn.number - 1 if drawn.choice else 0,
            cooldown_s=self.cooldown,
        )
        self._begin("configure", configure(wanted))

    def make_the_pool_anew(self, drawn):
        """With another block size, whatever blocks are there: the check of a user's is too late."""
        self.world.store.delete(POOL_KEYS[drawn.family])
        self._make_pool(drawn.family, SIZES[drawn.family][drawn.which % 3])

    def switch_the_pool(self, drawn):
        self._switch_the_pool(drawn.family, disabled=drawn.choice)

    def _switch_the_pool(self, own, *, disabled):
        (pool,) = self.world.store.list([POOL_KEYS[own]]).records
        self.world.store.delete(POOL_KEYS[own])
        self._make_pool(own, resource_of(pool).spec.block_size, disabled=disabled)

    def pass_time(self, drawn):
        self.seconds += (1, COOLDOWN_S, 61)[drawn.which % 3]

    # What becomes of it.

    @precondition(lambda self: self.acts)
    @rule(picks=PICKS)
    def go_on(self, picks):
        for pick, trouble in picks:
            if self.acts:
                act = self.acts[pick % len(self.acts)]
                self._step(act, trouble)
                self._settle_account(act)

    @precondition(lambda self: len(self.acts) > 2)
    @rule(picks=PICKS)
    def go_on_with_several(self, picks):
        """The same once more, so that there is as much of going on as of beginning."""
        self.go_on(picks)

    @precondition(lambda self: self.acts)
    @rule(which=which)
    def go_on_to_the_end(self, which):
        act = self.acts[which % len(self.acts)]
        while not act.is_over:
            self._step(act, Fault.NONE)
        self._settle_account(act)

    @precondition(lambda self: self.acts)
    @rule(which=which)
    def die(self, which):
        self.acts.pop(which % len(self.acts)).die()

    def _step(self, act, trouble):
        is_write = not isinstance(act.request, Read)
        MADE[trouble] += 1
        act.step(self.world.store, trouble)
        if is_write:
            self._look()

    def _begin(self, name, operation, **about):
        self.acts.append(Act(name, operation, {"began": self.seconds, **about}))

    def _settle_account(self, act):
        """What an operation came to, as its caller knows it."""
        if not act.is_over:
            return
        self.acts.remove(act)
        if act.error is not None:
            return
        if act.name == "assign":
            for given in act.result.given:
                self._own(given.addr, act)
        elif act.name == "assign_ip":
            self._own(act.about["addr"], act)
        elif act.name == "release":
            released = getattr(act.result, "released", act.result)
            self.rests |= dict.fromkeys(released, act.about["began"])

    def _own(self, addr, act):
        own = act.about["handle"]
        assert addr not in self.owned, f"{addr} was given twice"
        if own.startswith("pod-") and own not in self.given_back:
            if addr in self.rests:
                assert self.seconds >= self.rests.pop(addr) + self.cooldown
            assert self._held().get(addr) == own
            self.owned[addr] = own

    # The laws.

    @invariant()
    def look(self):
        self._look()

    def _look(self):
        held = Counter()
        counts = Counter()
        for block in self.world.objects("IPAMBlock"):
            assert not validate(block)
            for ordinal, index in enumerate(block.spec.allocations):
                if index is not None:
                    held[address_of(block, ordinal)] += 1
                    counts[handle_at(block, ordinal), block.spec.cidr] += 1
        assert not [addr for addr, times in held.items() if times > 1]
        handles = self.world.handles()
        for (own, cidr), count in counts.items():
            assert own is None or handles[own][cidr] >= count
        mine = self._held()
        assert not {a: own for a, own in self.owned.items() if mine.get(a) != own}

    def _held(self):
        return {
            address_of(block, ordinal): handle_at(block, ordinal)
            for block in self.world.objects("IPAMBlock")
            for ordinal, index in enumerate(block.spec.allocations)
            if index is not None and not is_resting(block, ordinal)
        }

    def teardown(self):
        if not hasattr(self, "cooldown"):
            return
        for act in self.acts:
            act.die()
        for own in POOLS:
            self._switch_the_pool(own, disabled=False)
        self._every_node_mends_its_own()
        self._everything_is_collected()
        self._everything_can_be_had_again()

    def _every_node_mends_its_own(self):
        self.world.run(configure(Settings(cooldown_s=self.cooldown)))
        for name in HOSTS:
            for own in POOLS:
                holder = Holder("mending", {"node": name})
                demand = Demand(host=name, family=own, number=1, holder=holder)
                self.world.run(auto_assign(demand, self._moment))
        self._look()
        blocks = {block.spec.cidr: block.spec.owner for block in self.world.objects("IPAMBlock")}
        for affinity in self.world.objects("BlockAffinity"):
            assert affinity.spec.is_confirmed
            assert blocks[affinity.spec.cidr] == affinity.spec.owner

    def _everything_is_collected(self):
        """What nobody knows of goes, then what somebody has, then the blocks."""
        for addr in sorted(set(self._held()) - set(self.owned)):
            self.world.run(release_ips([Return(addr)], self._moment))
        self._look()
        for name, counted in self.world.handles().items():
            for cidr in counted:
                self.world.run(settle(name, Prefix.parse(cidr)))
        counts = Counter(self.owned.values())
        assert {n: sum(blocks.values()) for n, blocks in self.world.handles().items()} == counts
        for own in sorted(set(counts)):
            self.world.run(release_by_handle(own, self._moment))
        assert not self.world.handles()
        self.seconds += COOLDOWN_S
        for block in self.world.objects("IPAMBlock"):
            self.world.run(free_rested(Prefix.parse(block.spec.cidr), self._moment))
        for name in HOSTS:
            self.world.run(release_host(name))
        assert not self.world.names("BlockAffinity")
        assert not self.world.names("IPAMBlock")

    def _everything_can_be_had_again(self):
        for own, pool in POOLS.items():
            size = pool.last - pool.base + 1
            demand = Demand(host="n1", family=own, number=size + 1, max_blocks=99)
            done = self.world.run(auto_assign(demand, self._moment))
            assert len(done.given) == len({given.addr for given in done.given}) == size

    # Words for the above.

    @property
    def _moment(self):
        return at(self.seconds, dice=self.seconds)

    def _some_block(self, drawn):
        """One that is there, or one that could be."""
        there = [Prefix.parse(block.spec.cidr) for block in self.world.objects("IPAMBlock")]
        pool, length = POOLS[drawn.family], SIZES[drawn.family][drawn.which % 3]
        size = 1 << (drawn.family.bits - length)
        count = 1 << (length - pool.length)
        could = Prefix(drawn.family, pool.base + drawn.which // 7 % count * size, length)
        choices = [*(cidr for cidr in there if cidr.family is drawn.family), could]
        return choices[drawn.which // 3 % len(choices)]

    def _sequence(self, addr):
        for block in self.world.objects("IPAMBlock"):
            cidr = Prefix.parse(block.spec.cidr)
            ordinal = addr.value - cidr.base
            if addr in cidr and block.spec.allocations[ordinal] is not None:
                return sequence_at(block, ordinal)
        raise NotFound(str(addr))


def walk(seed):
    """The machine, driven by dice."""
    dice = Random(seed)
    machine = Addresses()
    machine.begin(dice.choice([0, COOLDOWN_S]), (dice.randrange(3), dice.randrange(3)))
    for _ in range(WALK_TURNS):
        chance = dice.random()
        if chance < 0.5 or not machine.acts:
            drawn = Drawn(
                dice.choice(HOSTS),
                dice.choice(tuple(POOLS)),
                dice.randint(1, 5),
                dice.choice("ab"),
                dice.randrange(10**6),
                dice.random() < 0.5,
            )
            machine.begin_something(dice.choice(BEGINNINGS), drawn)
        elif chance < 0.54:
            machine.die(dice.randrange(10**6))
        elif chance < 0.6:
            machine.go_on_to_the_end(dice.randrange(10**6))
        else:
            picks = range(dice.randint(1, 20))
            machine.go_on([(dice.randrange(10**6), dice.choice(FAULTS)) for _ in picks])
    machine.teardown()


def test_walks():
    for seed in range(FIRST_SEED, FIRST_SEED + WALKS):
        try:
            walk(seed)
        except Exception as error:
            raise AssertionError(f"walk {seed} failed") from error


TestAddresses = Addresses.TestCase
TestAddresses.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS)


@pytest.fixture(scope="module", autouse=True)
def _tell_how_much(request):
    yield
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        told = ", ".join(f"{count} {fault.name}" for fault, count in sorted(MADE.items(), key=str))
        sys.stdout.write(f"\nipam: {sum(MADE.values())} requests ({told})\n")
