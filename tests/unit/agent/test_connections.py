"""The thread that judges live connections, against a kernel that remembers and fails."""

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from korat.agent.connections import Connections, Looked
from korat.agent.intent import NodeState
from korat.core.errors import Unavailable
from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr, Family
from korat.core.policy.cluster import Cluster
from korat.core.policy.platform import INSTANCE_METADATA as METADATA
from korat.core.table.compile import compile_node
from korat.core.table.rejudge import Connection, Tuple
from policy_world import NODE, allow, host, open_namespace, pod, policy, who

WAIT_S = 5.0
ONE, TWO, FAR = (Addr.parse(a) for a in ("10.0.0.1", "10.0.0.2", "10.0.9.9"))
FELIX = FelixSettings()
OFF = replace(FELIX, rejudge_connections=False)
PODS = (open_namespace("red"), pod("1", f"{ONE}/32", app="x"), pod("2", f"{TWO}/32", app="y"))


def to_two_policy(*ports):
    rules = [allow(protocol="TCP", destination=who(ports=list(ports)))] if ports else []
    return policy("p", selector="app == 'y'", types=("Ingress",), ingress=rules)


def to_two(*ports):
    return compile_node(Cluster.build([*PODS, to_two_policy(*ports)]), NODE)


@dataclass(frozen=True)
class Entry:
    connection: Connection
    timeout_s: int = 300


def tcp(src, dst, sport=40000, dport=80, master=None):
    return Connection(6, Tuple(src, dst, sport, dport), Tuple(dst, src, dport, sport), master)


@dataclass
class Kernel:
    """Connections that there are, and in which order what was done; raises ``faults`` first."""

    there: list[Entry] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    done: list[tuple] = field(default_factory=list)
    may_look: threading.Event = field(default_factory=threading.Event)
    looking: threading.Event = field(default_factory=threading.Event)
    guard_fault: Exception | None = None
    own: frozenset[Addr] = frozenset()

    def settle(self):
        self.done.append(("settle",))

    def own_addresses(self):
        return self.own

    def route(self, _addr, _own):
        return "eth0"

    def entries(self, addresses):
        self.looking.set()
        assert self.may_look.wait(WAIT_S)
        if self.faults:
            raise self.faults.pop(0)
        self.done.append(("entries", None if addresses is None else frozenset(addresses)))
        for entry in self.there:
            if addresses is None or {
                entry.connection.original.src,
                entry.connection.reply.src,
            } & set(addresses):
                yield entry

    def guard(self, cuts):
        self.done.append(("guard", cuts))
        if self.guard_fault:
            raise self.guard_fault

    def delete(self, doomed):
        self.done.append(("delete", [entry.connection for entry in doomed]))
        self.there = [entry for entry in self.there if entry not in doomed]
        return len(doomed)

    def did(self, what):
        return [each[1:] for each in self.done if each[0] == what]


class Watched:
    """Connections and what it has told of itself."""

    def __init__(self, kernel):
        self.told: list[Looked] = []
        self._heard = threading.Condition()
        self.connections = Connections(kernel, self._hear)

    def _hear(self, looked):
        with self._heard:
            self.told.append(looked)
            self._heard.notify_all()

    def changed(self, made, felix=FELIX, *, afresh=False):
        self.connections.changed(made, felix, afresh=afresh)

    def wait(self, count):
        with self._heard:
            assert self._heard.wait_for(lambda: len(self.told) >= count, WAIT_S), self.told


@contextmanager
def watching(kernel, *, held=False):
    if not held:
        kernel.may_look.set()
    made = Watched(kernel)
    try:
        yield made
    finally:
        kernel.may_look.set()
        made.connections.stop()


def test_at_first_all_are_judged_and_what_is_denied_goes_in_order():
    good, bad = Entry(tcp(FAR, TWO)), Entry(tcp(FAR, TWO, dport=81))
    kernel = Kernel([good, bad])
    with watching(kernel) as watched:
        watched.changed(to_two(80))
        watched.wait(1)
    assert watched.told == [Looked(2, 1)]
    key = (TWO.value, FAR.value, 6, 81, 40000)
    assert kernel.done == [
        ("settle",),
        ("entries", frozenset({ONE, TWO})),
        ("guard", {Family.V4: {key: 300}, Family.V6: {}}),
        ("delete", [bad.connection]),
    ]


def test_later_only_whom_the_change_concerns_are_looked_for():
    kernel = Kernel([Entry(tcp(ONE, FAR)), Entry(tcp(FAR, TWO))])
    with watching(kernel) as watched:
        watched.changed(to_two(80))
        watched.wait(1)
        watched.changed(to_two(80))
        watched.wait(2)
        assert len(kernel.did("entries")) == 1, "nothing changed"
        watched.changed(to_two())
        watched.wait(3)
    assert kernel.did("entries")[1:] == [(frozenset({TWO}),)]
    assert kernel.did("delete") == [([tcp(FAR, TWO)],)]


def test_of_policies_that_come_meanwhile_the_newest_counts():
    kernel = Kernel([Entry(tcp(FAR, TWO))])
    with watching(kernel, held=True) as watched:
        watched.changed(to_two(80))
        assert kernel.looking.wait(WAIT_S)
        watched.changed(to_two())
        for port in range(1000, 1020):
            watched.changed(to_two(80, port))
        kernel.may_look.set()
        watched.wait(2)
    assert watched.told == [Looked(1, 0), Looked(0, 0)]
    assert kernel.did("delete") == []


def test_what_a_connection_announced_goes_with_it_and_with_nothing_else():
    control = tcp(ONE, TWO, dport=21)
    data = tcp(TWO, ONE, 20, 50000, master=control.original)
    more = tcp(TWO, ONE, 20, 50001, master=data.original)
    kernel = Kernel([Entry(more), Entry(data), Entry(control)])
    with watching(kernel) as watched:
        watched.changed(to_two(21))
        watched.wait(1)
        assert kernel.did("delete") == []
        watched.changed(to_two(80))
        watched.wait(2)
    assert kernel.did("delete") == [([control, data, more],)]


def test_a_kernel_that_fails_is_asked_again_about_all():
    kernel = Kernel([Entry(tcp(FAR, TWO))], [Unavailable("busy"), ZeroDivisionError("a defect")])
    with watching(kernel) as watched:
        watched.changed(to_two())
        watched.wait(1)
    assert watched.told == [Looked(1, 1)]
    assert kernel.did("entries") == [(frozenset({ONE, TWO}),)]


def test_what_cannot_be_guarded_is_cut_all_the_same():
    kernel = Kernel([Entry(tcp(FAR, TWO))], guard_fault=Unavailable("the set is full"))
    with watching(kernel) as watched:
        watched.changed(to_two())
        watched.wait(1)
    assert kernel.did("delete") == [([tcp(FAR, TWO)],)]


def test_switched_off_nothing_is_looked_at_and_switched_on_everything_is():
    kernel = Kernel([Entry(tcp(FAR, TWO))])
    with watching(kernel) as watched:
        watched.changed(to_two(80))
        watched.wait(1)
        watched.changed(to_two(), OFF)
        watched.wait(2)
        assert len(kernel.did("entries")) == 1
        watched.changed(to_two())
        watched.wait(3)
    assert kernel.did("entries")[1:] == [(frozenset({ONE, TWO}),)]
    assert kernel.did("delete") == [([tcp(FAR, TWO)],)]


def test_without_tables_connections_are_left_alone_until_there_are_some():
    kernel = Kernel([Entry(tcp(FAR, TWO))])
    with watching(kernel) as watched:
        watched.changed(None)
        watched.wait(1)
        assert kernel.done == []
        watched.changed(to_two())
        watched.wait(2)
    assert kernel.did("delete") == [([tcp(FAR, TWO)],)]


def test_after_a_table_that_somebody_else_had_all_are_judged():
    kernel = Kernel([Entry(tcp(FAR, TWO, dport=81))])
    with watching(kernel) as watched:
        same = to_two(80)
        watched.changed(same)
        watched.wait(1)
        kernel.there = [Entry(tcp(FAR, TWO, dport=82))]
        watched.changed(same, afresh=True)
        watched.wait(2)
    assert kernel.did("delete")[1:] == [([tcp(FAR, TWO, dport=82)],)]


def test_a_change_while_switched_off_is_caught_up_even_if_it_was_never_looked_at():
    kernel = Kernel([Entry(tcp(FAR, TWO))])
    with watching(kernel, held=True) as watched:
        watched.changed(to_two(80))
        assert kernel.looking.wait(WAIT_S)
        watched.changed(to_two(80), OFF)
        watched.changed(to_two(80))
        kernel.may_look.set()
        watched.wait(2)
    assert len(kernel.did("entries")) == 2


def test_what_a_newer_policy_has_let_in_meanwhile_is_spared():
    """The entry is one that the kernel let in by the newer policy, before that was told of."""
    kernel = Kernel([Entry(tcp(FAR, TWO)), Entry(tcp(FAR, TWO, dport=81))])
    with watching(kernel, held=True) as watched:
        watched.changed(to_two())
        assert kernel.looking.wait(WAIT_S)
        watched.connections.changing()
        kernel.may_look.set()
        watched.changed(to_two(80))
        watched.wait(2)
    assert kernel.did("delete") == [([tcp(FAR, TWO, dport=81)],)]
    assert watched.told == [Looked(2, 1), Looked(0, 0)]


def of_node(*resources):
    """A node without workloads' policy, and with that of its own interfaces."""
    state = NodeState(NODE, {})
    for resource in (*PODS, *resources):
        state.set(resource.key, resource)
    found = state.intent()
    return found.policy, found.own


def test_host_policy_is_asked_about_every_connection_and_only_when_it_has_changed():
    own = Addr.parse("172.16.0.1")
    kernel = Kernel([Entry(tcp(FAR, own)), Entry(tcp(FAR, own, dport=22)), Entry(tcp(FAR, TWO))])
    kernel.own = frozenset({own})
    every = host("*", name="h", role="host")
    opened = policy("p", namespace="", selector="role == 'host'", ingress=[allow()])
    with watching(kernel) as watched:

        def changed(*resources):
            made, ruled = of_node(*resources)
            watched.connections.changed(made, FELIX, ruled, afresh=False)
            watched.wait(len(watched.told) + 1)
            return watched.told[-1]

        assert changed() == Looked(1, 0), "nothing governs the node: pods are judged alone"
        assert changed(every, opened) == Looked(3, 0)
        assert changed(every, opened, to_two_policy(80)) == Looked(1, 0)
        assert changed(every) == Looked(3, 1)
        assert changed() == Looked(0, 0), "without a host endpoint nothing is denied"
    assert kernel.did("delete") == [([tcp(FAR, own)],)]
    assert kernel.did("entries")[1:] == [(None,), (frozenset({TWO}),), (None,)]


def test_a_pod_elsewhere_concerns_host_policy_by_its_own_connections_if_at_all():
    own, near = Addr.parse("172.16.0.1"), Addr.parse("10.0.9.8")
    kernel = Kernel([Entry(tcp(FAR, own)), Entry(tcp(near, own))])
    kernel.own = frozenset({own})
    asking = allow(who(selector="app == 'far'"))
    rules = policy("p", namespace="", selector="role == 'host'", ingress=[asking])
    state = NodeState(NODE, {})
    for each in (*PODS, host("*", role="host"), rules):
        state.set(each.key, each)
    with watching(kernel) as watched:

        def changed(*resources):
            for each in resources:
                state.set(each.key, each)
            found = state.intent()
            watched.connections.changed(found.policy, FELIX, found.own, afresh=False)
            watched.wait(len(watched.told) + 1)
            return watched.told[-1]

        far, other = (
            pod(str(at), f"{a}/32", node="there", app="far") for at, a in ((3, FAR), (4, near))
        )
        assert changed(far, other) == Looked(2, 0)
        assert changed(pod("5", "10.0.9.7/32", node="there", app="z")) == Looked(0, 0)
        assert changed(pod("3", f"{FAR}/32", node="there", app="z")) == Looked(1, 1)
    assert kernel.did("entries") == [(None,), (frozenset({FAR}),)]
    assert kernel.did("delete") == [([tcp(FAR, own)],)]


def test_what_a_setting_refuses_of_the_platform_is_cut_and_nothing_else_looked_at():
    there, other = METADATA.address, tcp(ONE, FAR)
    asking, by_name = tcp(ONE, there), tcp(ONE, there, dport=53)
    kernel = Kernel([Entry(asking), Entry(by_name), Entry(other)])
    shut = replace(FELIX, pods_to_instance_metadata=False)
    with watching(kernel) as watched:
        watched.changed(to_two(80))
        watched.wait(1)
        watched.changed(to_two(80), shut)
        watched.wait(2)
        watched.changed(to_two(80))
        watched.wait(3)
    assert watched.told == [Looked(3, 0), Looked(2, 1), Looked(0, 0)]
    assert kernel.did("entries")[1:] == [(frozenset({there}),)]
    assert kernel.did("delete") == [([asking],)]
