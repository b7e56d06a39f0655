"""The NIC's addresses: none twice, never the node's, never one that left, none that cools down.

Random workloads come and go, the NIC changes, the clock runs and is put back, agents end and are
killed between any two writes. Each step is done by an agent that lives through all of it, too, on a
disk of its own: what the others give must be what that one gives. The laws are checked by a
dictionary and by true time, which no clock of the test shows.
"""

import shutil
import tempfile
from contextlib import contextmanager

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from structlog.testing import capture_logs

from korat.agent import nic_book
from korat.agent.address_folder import AddressFolder
from korat.agent.address_source import AddressRequest
from korat.agent.azure_ipam import AzureIpam
from korat.core.errors import Conflict, Invalid, KoratError, Unavailable
from korat.core.ipam.hostlocal import Owner
from korat.core.ipam.nic import Nic, NicAddress
from korat.core.net.address import Addr, Family
from korat.drivers.azure.metadata import Reading

COOL_DOWN_S = 30
#: Few, so that they are used up again and again.
ADDRS = [Addr.parse(text) for text in ("10.0.0.4", "10.0.0.5", "10.0.0.6", "fd00::5", "fd00::6")]
NUMBERS = st.integers(0, 3)
SOON = st.sampled_from([0.5, 7.0, 29.5, 30.0, 300.0])
BACK = st.sampled_from([0.0, 1.0, 20.0, 86_400.0])
SOME = st.sets(st.sampled_from(ADDRS))


class KilledError(BaseException):
    """Not an error that anybody handles."""


class Fragile(AddressFolder):
    """A folder whose process is killed before or after one of its writes."""

    left = None

    def __init__(self, data_dir, network, *, durable):
        """No machine loses its power here, and a disk is slow."""
        assert durable
        super().__init__(data_dir, network)

    def put(self, name, text):
        self._count()
        super().put(name, text)
        self._count()

    def remove(self, name):
        self._count()
        super().remove(name)
        self._count()

    @classmethod
    def _count(cls):
        if cls.left is not None:
            cls.left -= 1
            if cls.left < 0:
                cls.left = None
                raise KilledError


@contextmanager
def fragile():
    before, nic_book.AddressFolder = nic_book.AddressFolder, Fragile
    try:
        with capture_logs():
            yield
    finally:
        nic_book.AddressFolder = before


def owner(number):
    return Owner(f"c{number}", "eth0")


class NicAddresses(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folders = [tempfile.mkdtemp(prefix="kt-nic-") for _ in range(2)]
        self.true_s, self.ahead_s = 0.0, 1_700_000_000.0
        self.nic = Nic("M", ())
        self.held, self.freed_s, self.seen_s = {}, {}, 0.0
        self.jumped = False
        self.lasting = self.agent()
        self.agents = self.agent()

    def teardown(self):
        for folder in self.folders:
            shutil.rmtree(folder)

    def agent(self):
        return AzureIpam(
            lambda: Reading(self.nic, "imds", 0.0), clock=lambda: self.true_s + self.ahead_s
        )

    @initialize(own=SOME)
    def with_a_nic(self, own):
        self.nic_becomes(set(ADDRS), own)

    @rule(there=SOME, own=SOME)
    def nic_becomes(self, there, own):
        self.nic = Nic("M", tuple(NicAddress(a, None, a in own) for a in sorted(there)))

    @rule(address=st.sampled_from(ADDRS))
    def gets_one_more(self, address):
        self.nic = Nic("M", (*self.nic.addresses, NicAddress(address, None, nodes_own=False)))

    @rule(seconds=SOON)
    def time_goes_by(self, seconds):
        self.true_s += seconds

    @rule(seconds=BACK)
    def the_clock_is_put_back(self, seconds):
        self.ahead_s -= seconds
        self.jumped = self.jumped or seconds > 0

    @rule()
    def the_agent_starts_anew(self):
        self.agents = self.agent()

    @rule(
        number=NUMBERS,
        heir_of=st.none() | NUMBERS,
        requested=st.just(()) | st.lists(st.sampled_from(ADDRS), max_size=2).map(tuple),
        killed_at=st.none() | st.integers(0, 7),
    )
    def add(self, number, heir_of, requested, killed_at):
        who, old = owner(number), None if heir_of in (None, number) else owner(heir_of)

        def ask(agent, ipam):
            return agent.assign(AddressRequest("net", ipam, who, requested, old))

        lasting, found = self.both(ask, killed_at)
        assert (type(lasting), str(lasting)) == (type(found), str(found))
        if isinstance(found, Invalid | Conflict):
            assert requested
            return
        self.seen_s, self.jumped = (self.true_s if self.jumped else self.seen_s), False
        if isinstance(found, Unavailable):
            assert requested or self.short_of(who, old), found
            return
        self.judge(found, who, old, requested)
        for addr in self.of(who, old):
            if addr not in found:
                del self.held[addr]
                self.freed_s[addr] = self.true_s
        self.held.update(dict.fromkeys(found, who))

    @rule(number=NUMBERS, killed_at=st.none() | st.integers(0, 4))
    def release(self, number, killed_at):
        who = owner(number)
        lasting, found = self.both(
            lambda agent, ipam: agent.release(AddressRequest("net", ipam, who)), killed_at
        )
        assert lasting == tuple(sorted(self.of(who)))
        # Who asks again is not told what was given back before the kill.
        assert set(found) <= set(lasting)
        for addr in self.of(who):
            del self.held[addr]
            self.freed_s[addr] = self.true_s

    @rule(number=NUMBERS, other=NUMBERS, seconds=SOON, back=BACK)
    def one_follows_another(self, number, other, seconds, back):
        """What random steps seldom come to: all but one address in use, and that at rest."""
        for each in range(4):
            self.add(each, None, (), None)
        self.release(number, None)
        self.the_clock_is_put_back(back)
        for wait_s in (0.0, seconds):
            self.time_goes_by(wait_s)
            self.add(other, None, (), None)

    def both(self, ask, killed_at):
        """What both say to it; who is killed is asked again, by a new agent."""
        outcomes = []
        with fragile():
            for agent, folder in zip((self.lasting, self.agents), self.folders, strict=True):
                ipam = {"dataDir": folder, "coolDownSeconds": COOL_DOWN_S}
                Fragile.left = killed_at if agent is self.agents else None
                try:
                    outcomes.append(said(ask, agent, ipam))
                except KilledError:
                    self.agents = self.agent()
                    outcomes.append(said(ask, self.agents, ipam))
                Fragile.left = None
        return outcomes

    def judge(self, found, who, old, requested):
        """The laws of what is given."""
        families = [addr.family for addr in found]
        assert families in ([Family.V4], [Family.V4, Family.V6])
        had = self.of(who, old)
        for addr in found:
            assert addr in self.pods
            assert self.held.get(addr) in (None, who, old)
            assert addr in had or self.true_s - self.freed_s.get(addr, -1e9) >= COOL_DOWN_S
        mine = set(self.of(who))
        if not requested and mine <= self.pods and Family.V4 in {addr.family for addr in mine}:
            assert set(found) == mine
        else:
            assert set(requested) <= set(found)
            assert set(families) >= {addr.family for addr in self.pods}

    def short_of(self, who, old):
        """Whether of an IP version that is needed nothing is certainly free."""
        needed = {Family.V4, *(addr.family for addr in self.pods)}
        return needed - {
            addr.family
            for addr in self.pods
            if addr in self.of(who, old) or (addr not in self.held and self.rested(addr))
        }

    def rested(self, addr):
        freed_s = self.freed_s.get(addr)
        return freed_s is None or self.true_s - max(freed_s, self.seen_s) >= COOL_DOWN_S

    def of(self, *owners):
        return [addr for addr, holder in self.held.items() if holder in owners]

    @property
    def pods(self):
        own = {each.addr for each in self.nic.addresses if each.nodes_own}
        return {each.addr for each in self.nic.addresses} - own

    @invariant()
    def disk_and_dictionary_agree(self):
        for agent, folder in zip((self.lasting, self.agents), self.folders, strict=True):
            ipam = {"dataDir": folder}
            owners = agent.owners("net", ipam)
            assert owners == set(self.held.values())
            for each in owners:
                assert set(agent.of("net", ipam, each)) == set(self.of(each))


def said(ask, agent, ipam):
    try:
        return ask(agent, ipam)
    except KoratError as error:
        return error


TestNicAddresses = NicAddresses.TestCase
TestNicAddresses.settings = settings(stateful_step_count=20)
