"""korat's client against a real etcd: what it reads, compares, leases and watches."""

import itertools
import json
import threading
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor

import pytest

from etcd_world import PATIENCE_S, put
from korat.core.errors import Invalid, NotFound
from korat.drivers.etcd.client import Etcd
from korat.drivers.etcd.error import Compacted
from korat.drivers.etcd.value import Absent, Delete, Get, Put, Unchanged

_NUMBERS = itertools.count()


@pytest.fixture
def etcd(etcd_server):
    with Etcd(etcd_server.settings()) as client:
        yield client


@pytest.fixture
def place():
    """A prefix that nobody else uses."""
    return f"/test/{next(_NUMBERS)}/"


def collect(watch, number):
    """The next ``number`` changes, however many polls they take."""
    changes = []
    deadline = time.monotonic() + PATIENCE_S
    while len(changes) < number:
        assert time.monotonic() < deadline, f"only {len(changes)} of {number} changes came"
        changes += watch.poll(1.0)
    return changes


def test_a_range_is_what_etcdctl_reads(etcd, etcd_server, place):
    lease = etcd.grant(60)
    for name in ("b", "a", "a/1", "c"):
        put(etcd, f"{place}{name}", f"value of {name}".encode(), lease if name == "b" else 0)
    put(etcd, f"{place[:-1]}0", b"the next key after the prefix")
    put(etcd, f"{place}a", b"changed")
    told = json.loads(etcd_server.ctl("get", "--prefix", place, "-w", "json"))
    found = etcd.range(place)
    assert [
        (item.key, item.value, item.created, item.revision, item.lease) for item in found.items
    ] == [
        (
            b64decode(each["key"]).decode(),
            b64decode(each["value"]),
            each["create_revision"],
            each["mod_revision"],
            each.get("lease", 0),
        )
        for each in told["kvs"]
    ]
    assert len(found.items) == 4
    assert found.revision == told["header"]["revision"]
    assert not found.more


def test_a_range_as_of_a_revision_with_a_limit_or_without_values(etcd, place):
    first = put(etcd, f"{place}a", b"1")
    put(etcd, f"{place}a", b"2")
    put(etcd, f"{place}b", b"3")
    assert [i.value for i in etcd.range(place, revision=first).items] == [b"1"]
    assert etcd.get(f"{place}a", revision=first).value == b"1"
    assert etcd.get(f"{place}b", revision=first) is None
    limited = etcd.range(place, limit=1)
    assert ([i.key for i in limited.items], limited.more) == ([f"{place}a"], True)
    assert [i.value for i in etcd.range(place, keys_only=True).items] == [b"", b""]


def test_the_empty_prefix_is_every_key(etcd, place):
    put(etcd, f"{place}a")
    assert f"{place}a" in {item.key for item in etcd.range("").items}


def test_a_key_that_is_no_text_survives(etcd, place):
    key = place + b"\xff\x00\xfe".decode("utf-8", "surrogateescape")
    put(etcd, key, b"1")
    assert [item.key for item in etcd.range(place + key[len(place)]).items] == [key]
    assert etcd.delete(key).value == b"1"


def test_a_key_is_made_once_and_changed_as_it_was_read(etcd, place):
    key = f"{place}a"
    made = etcd.txn([Absent(key)], [Put(key, b"1")], [Get(key)])
    again = etcd.txn([Absent(key)], [Put(key, b"2")], [Get(key)])
    assert (made.succeeded, made.items) == (True, (None,))
    assert (again.succeeded, again.items[0].value) == (False, b"1")
    changed = etcd.txn([Unchanged(key, made.revision)], [Put(key, b"3")])
    late = etcd.txn([Unchanged(key, made.revision)], [Delete(key)], [Get(key)])
    assert (changed.succeeded, late.succeeded) == (True, False)
    assert late.items[0].revision == changed.revision
    gone = etcd.txn([Unchanged(key, changed.revision)], [Delete(key), Get(f"{key}x")])
    assert (gone.succeeded, gone.items[0].value, gone.items[1]) == (True, b"3", None)
    assert etcd.get(key) is None
    assert not etcd.txn([Unchanged(key, changed.revision)], [Put(key, b"4")]).succeeded
    assert etcd.delete(key) is None


def test_many_threads_that_count_lose_no_count(etcd, place):
    key = f"{place}count"
    put(etcd, key, b"0")

    def count(_):
        while True:
            item = etcd.get(key)
            number = str(int(item.value) + 1).encode()
            if etcd.txn([Unchanged(key, item.revision)], [Put(key, number)]).succeeded:
                return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(40)))
    assert etcd.get(key).value == b"40"


def test_what_etcd_refuses_for_what_it_says(etcd, place):
    with pytest.raises(Invalid, match="duplicate key"):
        etcd.txn((), [Put(f"{place}a", b""), Put(f"{place}a", b"")])
    with pytest.raises(NotFound, match="lease not found"):
        put(etcd, f"{place}a", b"", lease=1234)
    with pytest.raises(NotFound, match="future revision"):
        etcd.get(f"{place}a", revision=1 << 40)


def test_keys_end_with_their_lease(etcd, place):
    kept, ending = etcd.grant(3600), etcd.grant(1)
    start = etcd.range(place).revision
    put(etcd, f"{place}kept", b"1", kept)
    put(etcd, f"{place}ending", b"2", ending)
    assert etcd.keep_alive(kept) == 3600
    assert 3590 <= etcd.time_to_live(kept) <= 3600
    with etcd.watch(place, start) as watch:
        end = collect(watch, 3)[2]
    assert (end.key, end.item, end.before.value) == (f"{place}ending", None, b"2")
    for ask in (etcd.keep_alive, etcd.time_to_live):
        with pytest.raises(NotFound, match=f"lease {ending:x} has ended"):
            ask(ending)
    etcd.revoke(kept)
    etcd.revoke(kept)
    assert etcd.range(place).items == ()


def test_a_watch_tells_every_change_below_its_prefix(etcd, place):
    start = etcd.range(place).revision
    put(etcd, f"{place}a", b"1")
    with etcd.watch(place, start) as watch:
        first = collect(watch, 1)
        put(etcd, f"{place[:-1]}0/elsewhere")
        both = etcd.txn((), [Put(f"{place}a", b"2"), Put(f"{place}b", b"3")]).revision
        etcd.delete(f"{place}a")
        rest = collect(watch, 3)
        assert watch.poll(0.05) == ()
    assert [(c.key, c.item.value, c.before) for c in first] == [(f"{place}a", b"1", None)]
    assert [(c.key, c.item and c.item.value, c.before and c.before.value) for c in rest] == [
        (f"{place}a", b"2", b"1"),
        (f"{place}b", b"3", None),
        (f"{place}a", None, b"2"),
    ]
    assert [c.revision for c in rest] == [both, both, both + 1]
    with etcd.watch(place, start) as again:
        assert collect(again, 4) == first + rest


def test_closing_a_watch_wakes_a_poll(etcd, place):
    watch = etcd.watch(place, etcd.range(place).revision)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(watch.poll(PATIENCE_S)))
    waiting.start()
    time.sleep(0.1)
    start = time.monotonic()
    watch.close()
    watch.close()
    waiting.join(PATIENCE_S)
    assert answers == [()]
    assert time.monotonic() - start < 2
    assert watch.poll(PATIENCE_S) == ()


def test_what_is_compacted_has_to_be_listed_again(etcd, etcd_server, place):
    old = put(etcd, f"{place}a", b"1")
    put(etcd, f"{place}a", b"2")
    new = put(etcd, f"{place}a", b"3")
    etcd_server.ctl("compact", str(new))
    with pytest.raises(Compacted, match="list again"):
        etcd.get(f"{place}a", revision=old)
    with etcd.watch(place, old) as watch:
        for _ in range(2):
            with pytest.raises(Compacted, match=f"only those from {new} on; list again"):
                watch.poll(PATIENCE_S)
    with etcd.watch(place, new) as watch:
        last = put(etcd, f"{place}a", b"4")
        assert [c.revision for c in collect(watch, 1)] == [last]


def test_a_slow_reader_is_waited_for(etcd, place, monkeypatch):
    monkeypatch.setattr("korat.drivers.etcd.watch.WAITING_MAX", 10)
    start = etcd.range(place).revision
    with etcd.watch(place, start) as watch:
        wrote = [put(etcd, f"{place}{n % 7}", b"x" * 1000) for n in range(200)]
        time.sleep(0.3)
        first = watch.poll(PATIENCE_S)
        assert len(first) < 100  # The rest waits in etcd.
        assert [c.revision for c in (*first, *collect(watch, 200 - len(first)))] == wrote
