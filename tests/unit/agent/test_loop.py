"""The node loop against a kernel that remembers, fails and counts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from korat.agent.feed import Batch, Feed
from korat.agent.intent import NodeState, intent
from korat.agent.loop import NodeLoop
from korat.core.errors import Unavailable
from korat.core.model.codec import dump
from korat.core.model.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from korat.core.model.key import Key
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr
from korat.core.table.compile import NodeCompiler
from korat.drivers.store.memory import MemoryStore
from korat.ports import Record

WAIT_S = 5.0


class Kernel:
    """Keeps what it is told; ``faults`` are raised, one by one, by the next transactions."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.transactions: list[str] = []
        self.routes: dict[Addr, str] = {}
        self.stale: frozenset[Addr] = frozenset()
        self.forgotten: set[Addr] = set()
        self.judged: list = []
        self.may_apply = threading.Event()
        self.may_apply.set()

    def apply(self, transaction):
        self.may_apply.wait(WAIT_S)
        if self.faults:
            raise self.faults.pop(0)
        self.transactions.append(transaction)

    def sync_routes(self, routes):
        self.routes, removed = dict(routes), self.stale
        self.stale = frozenset()
        return removed

    def forget(self, addresses):
        self.forgotten |= addresses

    def rejudge(self, policy, felix, _own):
        self.judged.append((policy, felix, len(self.transactions)))

    def interfaces(self):
        return ()

    def links(self):
        return ()

    def sync_tunnels(self, plans, _felix):
        self.tunnels = plans


def endpoint(name: str, address: str, node: str = "vm1") -> WorkloadEndpoint:
    spec = WorkloadEndpointSpec(
        orchestrator="k8s",
        node=node,
        pod=name,
        endpoint="eth0",
        ip_networks=(f"{address}/32",),
        interface_name=f"cali{name}",
    )
    return WorkloadEndpoint(
        metadata=Metadata(name=f"{node}-k8s-{name}-eth0", namespace="ns"), spec=spec
    )


def batch(revision: int, *resources: WorkloadEndpoint, full: bool = False) -> Batch:
    records = {r.key: Record(r.key, dump(r), revision) for r in resources}
    return Batch(records, revision, full)


@contextmanager
def running(kernel: Kernel) -> Iterator[NodeLoop]:
    loop = NodeLoop(lambda: NodeState("vm1", {}), kernel)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield loop
    finally:
        kernel.may_apply.set()
        loop.stop()
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_nothing_is_written_before_the_first_complete_read():
    kernel = Kernel()
    with running(kernel) as loop:
        loop.refresh(reload=True)
        assert not loop.wait_applied(0, 0.1)
        assert not loop.ready
        assert kernel.transactions == []
        loop.deliver(batch(7, full=True))
        assert loop.wait_applied(7, WAIT_S)
        assert loop.ready
        assert len(kernel.transactions) == 1


def test_a_backlog_is_one_computation_and_one_transaction():
    kernel = Kernel()
    with running(kernel) as loop:
        loop.deliver(batch(1, full=True))
        assert loop.wait_applied(1, WAIT_S)
        kernel.may_apply.clear()
        loop.deliver(batch(2, endpoint("first", "10.0.0.1")))
        for number in range(3, 203):
            loop.deliver(batch(number, endpoint(f"p{number}", f"10.0.1.{number}")))
        kernel.may_apply.set()
        assert loop.wait_applied(202, WAIT_S)
    # the first, at most one that was taken while the kernel was held up, and the rest
    assert len(kernel.transactions) <= 3
    assert len(kernel.routes) == 201


def test_a_change_that_changes_nothing_here_is_no_transaction():
    kernel = Kernel()
    with running(kernel) as loop:
        loop.deliver(batch(1, endpoint("a", "10.0.0.1"), full=True))
        assert loop.wait_applied(1, WAIT_S)
        loop.deliver(batch(2, endpoint("far", "10.0.9.1", node="vm9")))
        assert loop.wait_applied(2, WAIT_S)
    assert len(kernel.transactions) == 1


@pytest.mark.parametrize("fault", [Unavailable("busy"), ZeroDivisionError("a defect")])
def test_after_a_failure_everything_is_loaded_anew(fault: Exception):
    kernel = Kernel(fault, fault)
    with running(kernel) as loop:
        loop.deliver(batch(1, endpoint("a", "10.0.0.1"), full=True))
        assert loop.wait_applied(1, WAIT_S)
        assert len(kernel.transactions) == 1
        kernel.faults.append(fault)
        loop.deliver(batch(2, endpoint("b", "10.0.0.2")))
        assert loop.wait_applied(2, WAIT_S)
    assert '"calia"' in kernel.transactions[-1], "all of it, not the difference to a lost state"
    assert '"calib"' in kernel.transactions[-1]


def test_after_a_defect_in_the_middle_of_a_turn_the_state_is_made_from_a_complete_read(monkeypatch):
    """Half of the state has heard of the change, the other half has not."""
    store = MemoryStore()
    for each in (endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2")):
        store.create(each.key, dump(each))
    faults = [ZeroDivisionError("a defect"), ZeroDivisionError("another")]
    honest = NodeCompiler._replan

    def replan(compiler):
        if faults and len(compiler._local) == 3:
            for planned in compiler._plans.values():
                planned.clear()
            raise faults.pop()
        honest(compiler)

    monkeypatch.setattr(NodeCompiler, "_replan", replan)
    kernel, lost = Kernel(), threading.Event()
    loop = NodeLoop(lambda: NodeState("vm1", {}), kernel, on_lost=lost.set)
    feed = Feed(store, loop.deliver, lost)
    thread = threading.Thread(target=loop.run)
    thread.start()
    feed.start()
    try:
        assert loop.wait_applied(2, WAIT_S)
        third = endpoint("c", "10.0.0.3")
        revision = store.create(third.key, dump(third)).revision
        assert loop.wait_applied(revision, 3 * WAIT_S)
    finally:
        feed.stop()
        loop.stop()
        thread.join(WAIT_S)
    assert not faults
    resources = [endpoint(name, f"10.0.0.{n}") for n, name in enumerate("abc", 1)]
    assert kernel.transactions[-1] == intent({r.key: r for r in resources}, "vm1", {}).ruleset.text


def test_a_defect_while_objects_are_taken_does_not_end_the_loop(monkeypatch):
    faults = [ZeroDivisionError("a defect")]
    honest = NodeState.set

    def take(state, key, resource):
        if faults:
            raise faults.pop()
        honest(state, key, resource)

    monkeypatch.setattr(NodeState, "set", take)
    kernel = Kernel()
    with running(kernel) as loop:
        loop.deliver(batch(1, endpoint("a", "10.0.0.1"), full=True))
        loop.deliver(batch(2, endpoint("b", "10.0.0.2")))
        assert not loop.wait_applied(1, 0.5)
        loop.deliver(batch(3, endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2"), full=True))
        assert loop.wait_applied(3, WAIT_S)
    assert set(kernel.routes.values()) == {"calia", "calib"}


def test_who_left_is_forgotten_also_when_the_agent_was_away():
    kernel = Kernel()
    kernel.stale = frozenset({Addr.parse("10.0.0.9")})
    gone = endpoint("a", "10.0.0.1")
    with running(kernel) as loop:
        loop.deliver(batch(1, gone, endpoint("b", "10.0.0.2"), full=True))
        assert loop.wait_applied(1, WAIT_S)
        assert kernel.forgotten == {Addr.parse("10.0.0.9")}
        loop.deliver(Batch({gone.key: None}, 2))
        assert loop.wait_applied(2, WAIT_S)
    assert kernel.forgotten == {Addr.parse("10.0.0.9"), Addr.parse("10.0.0.1")}
    assert kernel.routes == {Addr.parse("10.0.0.2"): "calib"}


def test_live_connections_are_judged_by_a_policy_that_is_in_the_kernel():
    kernel = Kernel()
    with running(kernel) as loop:
        loop.deliver(batch(1, endpoint("a", "10.0.0.1"), full=True))
        assert loop.wait_applied(1, WAIT_S)
        (policy, felix, transactions), *_ = kernel.judged
        assert [each.interface for each in policy.endpoints] == ["calia"]
        assert felix.rejudge_connections
        assert transactions == 1
        kernel.faults.append(Unavailable("busy"))
        loop.deliver(batch(2, endpoint("b", "10.0.0.2")))
        assert loop.wait_applied(2, WAIT_S)
    assert [len(policy.endpoints) for policy, *_ in kernel.judged] == [1, 2]
    assert kernel.judged[-1][2] == len(kernel.transactions)


def test_somebody_elses_change_loads_everything_and_a_new_link_only_routes():
    kernel = Kernel()
    with running(kernel) as loop:
        loop.deliver(batch(1, endpoint("a", "10.0.0.1"), full=True))
        assert loop.wait_applied(1, WAIT_S)
        kernel.routes = {}
        loop.refresh(reload=False)
        loop.deliver(batch(2))
        assert loop.wait_applied(2, WAIT_S)
        assert kernel.routes == {Addr.parse("10.0.0.1"): "calia"}
        assert len(kernel.transactions) == 1
        loop.refresh(reload=True)
        loop.deliver(batch(3))
        assert loop.wait_applied(3, WAIT_S)
    assert len(kernel.transactions) == 2
    assert kernel.transactions[0] == kernel.transactions[1]


@pytest.mark.parametrize(
    "value",
    [b'{"spec": 7}', b'{"metadata":{"name":"\xff"}}', b'{"x":' + b"[" * 100_000, b""],
    ids=["wrong type", "no UTF-8", "endless nesting", "nothing"],
)
def test_an_object_that_cannot_be_read_does_not_stop_the_others(value: bytes):
    kernel = Kernel()
    broken = Key("NetworkPolicy", "ns", "broken")
    good = endpoint("a", "10.0.0.1")
    records = {broken: Record(broken, value, 1), good.key: Record(good.key, dump(good), 1)}
    with running(kernel) as loop:
        loop.deliver(Batch(records, 1, full=True))
        assert loop.wait_applied(1, WAIT_S)
    assert kernel.routes == {Addr.parse("10.0.0.1"): "calia"}


def test_the_way_there_does_not_matter():
    """The same objects, one by one or all at once, give the same table."""
    pods = [endpoint(f"p{n}", f"10.0.0.{n}") for n in range(1, 6)]
    tables = []
    for order in (pods, pods[::-1]):
        kernel = Kernel()
        with running(kernel) as loop:
            loop.deliver(batch(1, full=True))
            for revision, pod in enumerate(order, 2):
                loop.deliver(batch(revision, pod))
                assert loop.wait_applied(revision, WAIT_S)
            loop.refresh(reload=True)
            loop.deliver(batch(99))
            assert loop.wait_applied(99, WAIT_S)
        tables.append(kernel.transactions[-1])
    kernel = Kernel()
    with running(kernel) as loop:
        loop.deliver(batch(1, *pods, full=True))
        assert loop.wait_applied(1, WAIT_S)
    assert tables == [kernel.transactions[-1]] * 2


class Faulty(MemoryStore):
    """A store that is away at first, then loses its log."""

    def __init__(self) -> None:
        super().__init__(log_max=2)
        self.absent = 2

    def list(self, kinds=()):
        if self.absent:
            self.absent -= 1
            raise Unavailable("away")
        return super().list(kinds)


def test_the_feed_survives_a_store_that_is_away_and_one_that_forgot():
    store = Faulty()
    first = endpoint("a", "10.0.0.1")
    store.create(first.key, dump(first))
    delivered: list[Batch] = []
    arrived = threading.Condition()

    def deliver(one: Batch) -> None:
        with arrived:
            delivered.append(one)
            arrived.notify_all()

    def state() -> set[Key]:
        keys: set[Key] = set()
        for one in delivered:
            keys = (set() if one.full else keys) | set(one.changes)
            keys -= {key for key, record in one.changes.items() if record is None}
        return keys

    feed = Feed(store, deliver)
    feed.start()
    try:
        with arrived:
            assert arrived.wait_for(lambda: state() == {first.key}, WAIT_S)
        more = [endpoint(f"p{n}", f"10.0.1.{n}") for n in range(20)]
        for one in more:
            store.create(one.key, dump(one))
        store.delete(first.key)
        with arrived:
            assert arrived.wait_for(lambda: state() == {one.key for one in more}, WAIT_S)
        assert delivered[0].full
    finally:
        feed.stop()
