"""host-local's law: an address has one owner, a release frees it, and the scan comes round.

The model is a dictionary and the rule in its plainest form: the first free address after the last
one that was given out, going round.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from korat.core.errors import Unavailable
from korat.core.ipam.hostlocal import Owner, State, assign, range_sets
from korat.core.net.address import Addr

SUBNET = {"subnet": "10.0.0.0/28", "rangeStart": "10.0.0.3", "rangeEnd": "10.0.0.9"}
GATEWAY = {**SUBNET, "gateway": "10.0.0.5"}
USABLE = [Addr.parse(f"10.0.0.{n}") for n in (3, 4, 6, 7, 8, 9)]

OWNERS = st.builds(Owner, st.sampled_from("abcdefghi"), st.sampled_from(["eth0", "eth1"]))


class HostLocal(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.sets = range_sets(GATEWAY, [])
        self.held = {}
        self.last = None

    @rule(owner=OWNERS)
    def add(self, owner):
        state = State(dict(self.held), {} if self.last is None else {0: self.last})
        mine = [a for a, o in self.held.items() if o == owner]
        start = 0 if self.last is None else USABLE.index(self.last) + 1
        free = [a for a in (USABLE * 2)[start : start + len(USABLE)] if a not in self.held]
        try:
            (addr,) = assign(self.sets, state, owner)
        except Unavailable:
            assert not mine
            assert not free
            return
        assert addr == (mine or free)[0]
        if not mine:
            assert addr not in self.held
            self.held[addr] = owner
            self.last = addr

    @rule(owner=OWNERS)
    def release(self, owner):
        self.held = {a: o for a, o in self.held.items() if o != owner}

    @invariant()
    def each_owner_has_at_most_one(self):
        owners = list(self.held.values())
        assert len(owners) == len(set(owners))


TestHostLocal = HostLocal.TestCase
TestHostLocal.settings = settings(stateful_step_count=40)
