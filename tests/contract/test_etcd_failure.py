"""korat's client of etcd when members die, hang or forget."""

import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from etcd_world import PATIENCE_S, follow, free_port, put, running, wire
from korat.core.errors import NotFound, Unavailable
from korat.drivers.etcd import connection
from korat.drivers.etcd.client import Etcd
from korat.drivers.etcd.error import OutcomeUnknown
from korat.drivers.etcd.etcd_pb2 import RangeRequest
from korat.drivers.etcd.quiet import grpc
from korat.drivers.etcd.settings import Endpoint, EtcdSettings
from korat.drivers.etcd.value import Absent, Put


@pytest.fixture
def own(tmp_path):
    """An etcd of the test's own, to be stopped and wiped."""
    with running(tmp_path / "etcd") as world:
        yield world


@contextmanager
def writer(etcd, prefix):
    """Writes one key after another; gives the revisions that etcd confirmed."""
    wrote, stop = {}, threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            try:
                wrote[put(etcd, f"{prefix}{number}")] = number
            except Unavailable:
                continue
            time.sleep(0.002)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield wrote
    finally:
        stop.set()
        thread.join(PATIENCE_S)


def test_a_watch_over_a_wire_that_is_cut_again_and_again(etcd_server):
    prefix = "/cut/"
    with (
        wire(etcd_server.member) as line,
        Etcd(etcd_server.settings()) as near,
        Etcd(EtcdSettings((line.endpoint,))) as far,
    ):
        start = near.range(prefix).revision
        with far.watch(prefix, start) as watch, writer(near, prefix) as wrote:
            changes, cuts = [], 0
            while cuts < 8:
                if changes_now := watch.poll(0.2):
                    changes += changes_now
                    line.cut()
                    cuts += 1
        with far.watch(prefix, changes[-1].revision) as watch:
            if max(wrote) > changes[-1].revision:
                changes += follow(watch, max(wrote))
    assert [c.revision for c in changes] == sorted(wrote)
    assert len(changes) > 50


def test_a_write_whose_answer_is_lost_is_told_apart(etcd_server):
    with (
        wire(etcd_server.member) as line,
        Etcd(EtcdSettings((line.endpoint,), timeout_s=1.0)) as far,
        Etcd(etcd_server.settings()) as near,
    ):
        put(far, "/lost/before")
        line.deaf = True
        with pytest.raises(OutcomeUnknown, match="read before it is tried again"):
            far.txn([Absent("/lost/key")], [Put("/lost/key", b"written")])
        # It was done, which only a reader can tell.
        assert near.get("/lost/key").value == b"written"
        line.deaf = False
        assert not far.txn([Absent("/lost/key")], [Put("/lost/key", b"")]).succeeded


def test_a_write_that_was_not_sent_is_no_unknown_one(own):
    with Etcd(own.settings(timeout_s=0.5)) as etcd:
        put(etcd, "/a")
        own.member.kill()
        # The connection may still be taken for good once.
        with pytest.raises(Unavailable):
            put(etcd, "/b")
        with pytest.raises(Unavailable, match="refused") as caught:
            put(etcd, "/c")
        assert not isinstance(caught.value, OutcomeUnknown)
        assert "ETCD_ENDPOINTS" in str(caught.value)


def test_a_member_that_hangs(own):
    with Etcd(own.settings(timeout_s=0.5)) as etcd:
        put(etcd, "/a", b"1")
        with own.member.paused():
            start = time.monotonic()
            with pytest.raises(OutcomeUnknown):
                put(etcd, "/a", b"2")
            with pytest.raises(Unavailable) as caught:
                etcd.get("/a")
            assert not isinstance(caught.value, OutcomeUnknown)
            assert time.monotonic() - start < 3
        assert etcd.get("/a").value in {b"1", b"2"}


def test_a_member_that_never_says_a_word_is_left_for_another(etcd_server, monkeypatch):
    monkeypatch.setattr("korat.drivers.etcd.connection._CONNECT_S", 0.3)
    asked_first = 0
    monkeypatch.setattr("korat.drivers.etcd.connection.secrets.randbelow", lambda _: asked_first)
    with wire(etcd_server.member) as line:
        line.deaf = True
        endpoints = (line.endpoint, etcd_server.member.endpoint)
        for asked_first in range(2):
            start = time.monotonic()
            with Etcd(etcd_server.settings(endpoints=endpoints)) as etcd:
                assert put(etcd, "/silent/a") == etcd.get("/silent/a").revision
            assert (time.monotonic() - start > 0.3) == (asked_first == 0)


def test_a_read_is_asked_of_another_member_when_the_first_hangs(etcd_server, monkeypatch):
    monkeypatch.setattr("korat.drivers.etcd.connection.secrets.randbelow", lambda _: 0)
    with wire(etcd_server.member) as line:
        endpoints = (line.endpoint, etcd_server.member.endpoint)
        with Etcd(etcd_server.settings(endpoints=endpoints, timeout_s=2.0)) as etcd:
            assert etcd.get("/none") is None
            line.deaf = True
            assert etcd.get("/none") is None
            put(etcd, "/some")


def test_a_watch_leaves_a_member_that_has_fallen_silent(etcd_server, monkeypatch):
    monkeypatch.setattr("korat.drivers.etcd.connection.secrets.randbelow", lambda _: 0)
    # As it is, but ten times as fast.
    options = tuple(
        (name, value // 10 if name.endswith("_ms") else value)
        for name, value in connection._OPTIONS
    )
    monkeypatch.setattr(connection, "_OPTIONS", options)
    with wire(etcd_server.member) as line, Etcd(etcd_server.settings()) as near:
        endpoints = (line.endpoint, etcd_server.member.endpoint)
        with (
            Etcd(etcd_server.settings(endpoints=endpoints)) as far,
            far.watch("/fallen/", put(near, "/fallen/a")) as watch,
        ):
            assert len(follow(watch, put(near, "/fallen/b"))) == 1
            line.deaf = True
            assert len(follow(watch, put(near, "/fallen/c"))) == 1


def test_a_member_of_three_dies(tmp_path):
    with running(tmp_path / "etcd", size=3) as world, Etcd(world.settings(timeout_s=4.5)) as etcd:
        start = etcd.range("/die/").revision
        by_port = {member.port: member for member in world.members}
        with etcd.watch("/die/", start) as watch, writer(etcd, "/die/") as wrote:
            changes = []
            while len(changes) < 20:
                changes += watch.poll(0.5)
            with etcd._caller.use(time.monotonic() + 1) as used:
                dying = by_port[used.endpoint.port]
            dying.kill()
            before = len(wrote)
            deadline = time.monotonic() + PATIENCE_S
            while len(wrote) < before + 50:
                assert time.monotonic() < deadline
                changes += watch.poll(0.2)
        with etcd.watch("/die/", start) as fresh:
            everything = follow(fresh, max(wrote))
        # Whatever was confirmed is there; the watch that lived through it heard the same.
        told = {change.revision for change in everything}
        assert set(wrote) <= told
        assert changes == everything[: len(changes)]
        assert len({c.revision for c in changes}) == len(changes)
        _check_without_quorum(world, dying, etcd)


def _check_without_quorum(world, dead, etcd):
    alive = [member for member in world.members if member is not dead]
    alive[0].kill()
    last = alive[1]
    with Etcd(world.settings(endpoints=(last.endpoint,), timeout_s=0.7)) as lonely:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < deadline
            try:
                put(lonely, "/lonely")
            except OutcomeUnknown:
                continue  # It has not noticed yet.
            except Unavailable as error:
                assert "no leader" in str(error)  # noqa: PT017 - one of two errors, by time
                break
    alive[0].start(",".join(f"{m.name}={m.peer_url}" for m in world.members))
    alive[0].wait()
    assert put(etcd, "/again")


def test_another_etcd_in_the_same_place(own, etcd_server):
    with Etcd(etcd_server.settings()) as other, Etcd(own.settings()) as near:
        after = put(near, "/a")
        while put(other, "/other") <= after:
            pass  # So that its revisions alone do not give it away.
        with (
            wire(own.member) as line,
            Etcd(EtcdSettings((line.endpoint,))) as far,
            far.watch("/", after) as watch,
        ):
            assert [change.key for change in follow(watch, put(near, "/b"))] == ["/b"]
            line.lead_to(etcd_server.member)
            with pytest.raises(NotFound, match=r"another cluster .* list again"):
                follow(watch, 1 << 40)


def test_an_etcd_that_was_wiped(own):
    with Etcd(own.settings()) as etcd:
        for _ in range(5):
            revision = put(etcd, "/a")
        own.member.kill()
        shutil.rmtree(own.member.folder / own.member.name)
        own.start()
        with (
            etcd.watch("/", revision) as watch,
            pytest.raises(NotFound, match=r"never had .* list again"),
        ):
            follow(watch, revision + 1)


def test_a_restart_is_no_end_of_a_watch(own):
    with Etcd(own.settings()) as etcd:
        revision = put(etcd, "/a")
        with etcd.watch("/", revision) as watch:
            assert watch.poll(0.2) == ()
            own.member.kill()
            own.start()
            revision = put(etcd, "/b")
            assert [c.key for c in follow(watch, revision)] == ["/b"]


def test_a_silent_watch_says_so(own):
    with Etcd(own.settings(timeout_s=0.5)) as etcd, etcd.watch("/", put(etcd, "/a")) as watch:
        assert watch.poll(0.2) == ()
        own.member.kill()
        assert re.search(r"interrupted for .* goes on trying", str(hear(watch)))
        own.start()
        revision = put(etcd, "/b")
        while isinstance(heard := hear(watch), Unavailable):
            pass
        assert [c.revision for c in heard] == [revision]


def hear(watch):
    """What comes first of a watch: changes, or an error."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            changes = watch.poll(0.2)
        except Unavailable as error:
            return error
        if changes:
            return changes
    raise AssertionError("nothing came")


class Broken(grpc.GenericRpcHandler):
    """A member that is up, and can do nothing that it is asked."""

    def __init__(self):
        self.asked = 0

    def service(self, _details):
        def answer(asked, context):
            if asked == RangeRequest().SerializeToString():
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: key is not provided")
            self.asked += 1
            context.abort(grpc.StatusCode.INTERNAL, "broken")

        return grpc.unary_unary_rpc_method_handler(answer)


def test_a_member_that_fails_at_once_is_not_asked_all_the_time():
    broken = Broken()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[broken])
    endpoint = Endpoint("127.0.0.1", server.add_insecure_port("127.0.0.1:0"), secure=False)
    server.start()
    try:
        with (
            Etcd(EtcdSettings((endpoint,), timeout_s=0.5)) as etcd,
            pytest.raises(Unavailable, match="broken"),
        ):
            etcd.get("/a")
    finally:
        server.stop(0).wait()
    assert 2 <= broken.asked <= 7


def test_nobody_is_there():
    endpoint = Endpoint("127.0.0.1", free_port(), secure=False)
    with Etcd(EtcdSettings((endpoint,), timeout_s=0.5)) as etcd:
        start = time.monotonic()
        with pytest.raises(Unavailable, match=rf"{endpoint.target}: .*refused"):
            etcd.range("/")
        assert time.monotonic() - start < 2


def test_a_client_that_is_closed_ends_its_watches(etcd_server):
    etcd = Etcd(etcd_server.settings())
    watch = etcd.watch("/closed/", etcd.range("/closed/").revision)
    assert watch.poll(0.1) == ()
    etcd.close()
    with pytest.raises(Unavailable, match="has ended"):
        watch.poll(PATIENCE_S)
    with pytest.raises(Unavailable, match="was closed"):
        etcd.get("/a")


def test_closing_ends_a_call_that_waits(own):
    with Etcd(own.settings()) as etcd:
        put(etcd, "/a")
        with own.member.paused(), ThreadPoolExecutor(1) as caller:
            asked = caller.submit(etcd.get, "/a")
            with pytest.raises(TimeoutError):
                asked.result(0.2)
            etcd.close()
            with pytest.raises(Unavailable, match="was closed"):
                asked.result(2.0)


def test_closing_ends_a_watch_on_a_member_that_calls_have_left(etcd_server, monkeypatch):
    monkeypatch.setattr("korat.drivers.etcd.connection.secrets.randbelow", lambda _: 0)
    with wire(etcd_server.member) as line:
        endpoints = (line.endpoint, etcd_server.member.endpoint)
        etcd = Etcd(etcd_server.settings(endpoints=endpoints, timeout_s=1.0))
        watch = etcd.watch("/left/", put(etcd, "/left/a"))
        follow(watch, put(etcd, "/left/b"))
        line.deaf = True
        etcd.get("/left/a")
        etcd.close()
        with pytest.raises(Unavailable, match="has ended"):
            watch.poll(2.0)  # Sooner than the silence would end it.
