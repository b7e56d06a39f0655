"""What every store owes its users, whichever driver it is.

A driver joins by one entry in ``OPENERS``. Tests with several processes take ``shared``, which is
sqlite: memory has no second process, and a server's driver has none to itself.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from korat.core.errors import Conflict, NotFound
from korat.core.model.key import Branch, Key
from korat.drivers.store.memory import MemoryStore
from korat.drivers.store.sqlite import SqliteStore
from korat.ports import Event, Record, Store, Watch

LOG_MAX = 100
PATIENCE_S = 30.0
A = Key("Node", "", "a")
B = Key("NetworkPolicy", "shop", "b")
COUNTER = Key("Node", "", "counter")
PING = Key("Node", "", "ping")
PONG = Key("Node", "", "pong")

OPENERS: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(log_max=LOG_MAX),
    "sqlite": lambda path: SqliteStore(path, log_max=LOG_MAX),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "korat.db"


@pytest.fixture(params=OPENERS)
def store(request: pytest.FixtureRequest, path: Path) -> Iterator[Store]:
    opened = OPENERS[request.param](path)
    yield opened
    opened.close()


@pytest.fixture
def shared(path: Path) -> Iterator[Store]:
    """A store that other processes use too; they find it by ``path``."""
    opened = SqliteStore(path)
    yield opened
    opened.close()


@contextmanager
def process(path: Path, role: str, number: int) -> Iterator[None]:
    """Another process of ``store_process.py``; waits for its end and wants it to be good."""
    script = Path(__file__).with_name("store_process.py")
    command = [sys.executable, str(script), str(path), role, str(number)]
    with subprocess.Popen(command) as child:
        try:
            yield
            assert child.wait(PATIENCE_S) == 0
        finally:
            child.kill()


def events_of(watch: Watch, number: int) -> list[Event]:
    """The next ``number`` events, however many polls they take."""
    events: list[Event] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(events) < number:
        assert time.monotonic() < deadline, f"only {len(events)} of {number} events came"
        events += watch.poll(PATIENCE_S)
    return events


def counted(store: Store) -> Record:
    return next(record for record in store.list().records if record.key == COUNTER)


def increment(store: Store, times: int) -> None:
    done = 0
    while done < times:
        record = counted(store)
        try:
            store.update(COUNTER, b"%d" % (int(record.value) + 1), record.revision)
        except Conflict:
            continue
        done += 1


# Reading and writing


def test_a_new_store_is_empty_at_revision_0(store):
    assert store.list().records == ()
    assert store.list().revision == 0


def test_what_is_created_is_listed(store):
    made = store.create(A, b"\x00one")
    assert made == Record(A, b"\x00one", made.revision)
    assert made.revision > 0
    assert store.list().records == (made,)
    assert store.list().revision == made.revision


def test_creating_twice_is_a_conflict_that_changes_nothing(store):
    made = store.create(A, b"one")
    with pytest.raises(Conflict, match="Node a exists already"):
        store.create(A, b"two")
    assert store.list().records == (made,)
    assert store.list().revision == made.revision


def test_an_update_with_the_present_revision_replaces(store):
    made = store.create(A, b"one")
    updated = store.update(A, b"two", made.revision)
    assert updated.revision > made.revision
    assert store.list().records == (updated,)


def test_an_update_with_another_revision_is_a_conflict_that_changes_nothing(store):
    made = store.create(A, b"one")
    updated = store.update(A, b"two", made.revision)
    with pytest.raises(Conflict, match="Node a was changed by someone else"):
        store.update(A, b"three", made.revision)
    assert store.list().records == (updated,)


def test_an_update_of_the_missing_is_not_found(store):
    with pytest.raises(NotFound, match="Node a does not exist"):
        store.update(A, b"one", 1)
    gone = store.create(A, b"one")
    store.delete(A)
    with pytest.raises(NotFound):
        store.update(A, b"two", gone.revision)
    assert store.list().records == ()


def test_a_delete_returns_what_was_there(store):
    made = store.create(A, b"one")
    assert store.delete(A) == made
    assert store.list().records == ()
    assert store.list().revision > made.revision


def test_deleting_the_missing_is_none_and_no_change(store):
    made = store.create(A, b"one")
    assert store.delete(B) is None
    assert store.delete(B, revision=7) is None
    assert store.list().revision == made.revision


def test_a_delete_compares_the_revision_when_it_is_given(store):
    made = store.create(A, b"one")
    updated = store.update(A, b"two", made.revision)
    with pytest.raises(Conflict, match="changed by someone else"):
        store.delete(A, made.revision)
    assert store.delete(A, updated.revision) == updated


def test_a_revision_is_never_given_twice_even_to_the_same_name(store):
    first = store.create(A, b"one")
    store.delete(A)
    again = store.create(A, b"one")
    with pytest.raises(Conflict):
        store.update(A, b"two", first.revision)
    assert again.revision > first.revision


def test_list_keeps_to_the_kinds_asked_for_in_the_order_of_keys(store):
    keys = [Key("Tier", "", "z"), A, B, Key("NetworkPolicy", "shop", "a"), Key("Node", "", "b")]
    made = {key: store.create(key, key.name.encode()) for key in keys}
    assert [record.key for record in store.list().records] == sorted(keys)
    nodes = [made[A], made[Key("Node", "", "b")]]
    assert list(store.list(["Node"]).records) == nodes
    assert [record.key.kind for record in store.list(iter(["Tier", "Node"])).records] == [
        "Node",
        "Node",
        "Tier",
    ]
    assert store.list(["Profile"]).records == ()
    assert store.list(["Profile"]).revision == store.list().revision


def test_list_by_keys_and_branches_at_one_revision(store):
    names = ["host:n1/10.0.0.0-26", "host:n1/fd00::-122", "host:n10/10.0.0.64-26", "host:n"]
    made = {name: store.create(Key("BlockAffinity", "", name), b"") for name in names}
    node, policy = store.create(A, b""), store.create(B, b"")
    below = [made[names[0]], made[names[1]]]
    assert list(store.list([Branch("BlockAffinity", "host:n1/")]).records) == below
    assert store.list([Branch("Node", "host:n1/")]).records == ()
    assert store.list([A]).records == (node,)
    assert store.list([Key("Node", "", "x"), Key("Node", "x", "a")]).records == ()
    mixed = store.list([A, Branch("BlockAffinity", "host:n1/"), Key(*A), B, "NetworkPolicy"])
    assert list(mixed.records) == [*below, policy, node]
    assert mixed.revision == store.list().revision


# Watching


def test_a_watch_sees_each_change_once_in_order(store):
    with store.watch(0) as watch:
        made = store.create(A, b"one")
        other = store.create(B, b"else")
        updated = store.update(A, b"two", made.revision)
        store.delete(A)
        events = events_of(watch, 4)
        assert [(event.key, event.record) for event in events] == [
            (A, made),
            (B, other),
            (A, updated),
            (A, None),
        ]
        revisions = [event.revision for event in events]
        assert revisions[:3] == [made.revision, other.revision, updated.revision]
        assert revisions == sorted(set(revisions))
        assert revisions[-1] == store.list().revision
        assert list(watch.poll(0)) == []


def test_a_watch_after_a_list_continues_it(store):
    store.create(A, b"one")
    snapshot = store.list()
    made = store.create(B, b"two")
    with store.watch(snapshot.revision) as watch:
        assert [event.record for event in events_of(watch, 1)] == [made]


def test_two_watches_see_the_same(store):
    with store.watch(0) as one, store.watch(0) as two:
        store.create(A, b"one")
        assert events_of(one, 1) == events_of(two, 1)


def test_a_refused_write_is_no_event(store):
    made = store.create(A, b"one")
    with store.watch(made.revision) as watch:
        with pytest.raises(Conflict):
            store.create(A, b"two")
        with pytest.raises(Conflict):
            store.delete(A, made.revision + 1)
        store.delete(B)
        last = store.create(B, b"three")
        assert [event.record for event in events_of(watch, 1)] == [last]


def test_a_watch_resumes_from_any_revision_that_is_kept(store):
    made = [store.create(Key("Node", "", f"n{each}"), b"") for each in range(LOG_MAX // 2)]
    for start in (0, 1, len(made) // 2, len(made) - 1):
        after = made[start - 1].revision if start else 0
        with store.watch(after) as watch:
            records = [event.record for event in events_of(watch, len(made) - start)]
        assert records == made[start:]


def test_a_watch_from_a_pruned_revision_says_list_again(store):
    first = store.create(A, b"")
    last = first
    for _ in range(2 * LOG_MAX):
        last = store.update(A, b"", last.revision)
    with store.watch(first.revision) as watch, pytest.raises(NotFound, match="list again"):
        watch.poll(0)
    with store.watch(last.revision - LOG_MAX) as watch:
        assert len(events_of(watch, LOG_MAX)) == LOG_MAX


def test_a_watch_from_a_revision_that_was_never_given_says_list_again(store):
    store.create(A, b"")
    with store.watch(1000) as watch, pytest.raises(NotFound, match="list again"):
        watch.poll(0)


def test_a_poll_without_changes_ends_with_its_time(store):
    with store.watch(store.list().revision) as watch:
        before = time.monotonic()
        assert list(watch.poll(0.05)) == []
        assert time.monotonic() - before >= 0.049


def test_an_idle_poll_does_no_work(store):
    with store.watch(0) as watch:
        watch.poll(0)
        before = time.thread_time()
        watch.poll(0.5)
        assert time.thread_time() - before < 0.05


def test_closing_wakes_a_poll_in_another_thread(store):
    watch = store.watch(0)
    with ThreadPoolExecutor(1) as pool:
        polling = pool.submit(watch.poll, PATIENCE_S)
        watch.close()
        assert list(polling.result(PATIENCE_S / 2)) == []


def test_closing_twice_is_fine_and_a_closed_watch_is_empty(store):
    watch = store.watch(0)
    store.create(A, b"")
    watch.close()
    watch.close()
    assert list(watch.poll(PATIENCE_S)) == []


def test_a_change_wakes_a_waiting_watch(store):
    """A hundred rounds of ping and pong; looking every 100 ms would take ten seconds."""
    rounds = 100
    ping = store.create(PING, b"")
    pong = store.create(PONG, b"")

    def answer(watch: Watch) -> None:
        revision, answered = pong.revision, 0
        while answered < rounds:
            for event in watch.poll(PATIENCE_S):
                if event.key == PING:
                    revision = store.update(PONG, event.record.value, revision).revision
                    answered += 1

    with store.watch(pong.revision) as answers, store.watch(pong.revision) as watch:
        thread = threading.Thread(target=answer, args=(answers,))
        thread.start()
        before = time.monotonic()
        _play(store, ping, watch, rounds)
        assert time.monotonic() - before < 5
        thread.join(PATIENCE_S)


def _play(store: Store, ping: Record, watch: Watch, rounds: int) -> None:
    """Send pings, awaiting the pong of each before the next."""
    heard: list[bytes] = []
    for each in range(rounds):
        ping = store.update(PING, b"%d" % each, ping.revision)
        while len(heard) == each:
            heard += [e.record.value for e in watch.poll(PATIENCE_S) if e.key == PONG]
        assert heard[-1] == b"%d" % each


# Many writers


def test_no_update_of_several_threads_is_lost(store):
    store.create(COUNTER, b"0")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: increment(store, 50), range(4)))
    assert counted(store).value == b"200"


def test_one_of_several_threads_creates(store):
    def created(_: int) -> bool:
        try:
            store.create(A, b"")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(created, range(8))) == 1


def test_a_watch_sees_every_write_of_several_threads_once(store):
    with store.watch(0) as watch, ThreadPoolExecutor(4) as pool:
        keys = [Key("Node", "", f"{each}") for each in range(LOG_MAX)]
        writing = pool.map(lambda key: store.create(key, b""), keys)
        events = events_of(watch, len(keys))
        written = list(writing)
    assert sorted(event.key for event in events) == sorted(keys)
    assert [e.record for e in events] == sorted(written, key=lambda record: record.revision)


# Many processes


def test_no_update_of_several_processes_is_lost(shared, path):
    shared.create(COUNTER, b"0")
    with process(path, "count", 100), process(path, "count", 100), process(path, "count", 100):
        increment(shared, 100)
    assert counted(shared).value == b"400"


def test_a_watch_sees_every_write_of_other_processes_once_in_order(shared, path):
    with shared.watch(0) as watch, process(path, "create", 200), process(path, "create", 200):
        events = events_of(watch, 400)
    assert [event.revision for event in events] == list(range(1, 401))
    assert [event.record for event in events] == sorted(
        shared.list().records, key=lambda record: record.revision
    )


def test_a_change_wakes_watches_of_other_processes(shared, path):
    """As between threads, but with another process that answers."""
    ping = shared.create(PING, b"")
    with shared.watch(ping.revision) as watch, process(path, "echo", 100):
        assert events_of(watch, 1)[0].key == PONG
        before = time.monotonic()
        _play(shared, ping, watch, 100)
        assert time.monotonic() - before < 5
