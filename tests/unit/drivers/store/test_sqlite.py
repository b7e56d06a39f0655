"""The sqlite store's own matters: its file, its modes, and what it says when the file is bad."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from korat.core.errors import Conflict, NotFound, Unavailable, Unsupported
from korat.core.model.key import Branch, Key
from korat.drivers.store import sqlite
from korat.drivers.store.inotify import FileWatch
from korat.drivers.store.schema import SCHEMA_VERSION
from korat.drivers.store.sqlite import SqliteStore

A = Key("Node", "", "a")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "korat.db"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_file_and_its_directory_are_for_their_owner_only(tmp_path):
    path = tmp_path / "new" / "korat.db"
    store = SqliteStore(path)
    store.create(A, b"secret")
    assert mode(path.parent) == 0o700
    files = {each.name: mode(each) for each in path.parent.iterdir()}
    assert files == dict.fromkeys(("korat.db", "korat.db-wal", "korat.db-shm"), 0o600)
    store.close()


def test_a_directory_that_is_there_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    SqliteStore(tmp_path / "korat.db").close()
    assert mode(tmp_path) == 0o755


def test_what_was_written_is_there_after_reopening_and_watches_resume(path):
    store = SqliteStore(path)
    made = store.create(A, b"one")
    store.close()
    store = SqliteStore(path)
    assert store.list().records == (made,)
    with store.watch(0) as watch:
        assert [event.record for event in watch.poll(0)] == [made]
    updated = store.update(A, b"two", made.revision)
    assert updated.revision == made.revision + 1
    store.close()


def test_the_log_is_pruned_to_its_limit(path):
    store = SqliteStore(path, log_max=20)
    record = store.create(A, b"")
    for _ in range(200):
        record = store.update(A, b"", record.revision)
    store.close()
    with sqlite3.connect(path) as connection:
        (kept,) = connection.execute("SELECT count(*) FROM change").fetchone()
    connection.close()
    assert 20 <= kept <= 22


def test_a_watch_resumes_from_the_last_pruned_revision_and_not_before(path):
    store = SqliteStore(path, log_max=20)
    for each in range(40):
        store.create(Key("Node", "", f"{each}"), b"")
    with store.watch(20) as watch:
        assert [event.revision for event in watch.poll(0)] == list(range(21, 41))
    with store.watch(19) as watch, pytest.raises(NotFound, match="only those after 20; list again"):
        watch.poll(0)
    store.close()


def test_each_write_touches_the_file_after_its_commit(path):
    store = SqliteStore(path)
    files = FileWatch(path.parent, frozenset({path.name}))
    made = store.create(A, b"")
    assert files.drain()
    with pytest.raises(Conflict):
        store.create(A, b"")
    assert not files.drain(), "a refused write wakes nobody"
    store.delete(A, made.revision)
    assert files.drain()
    files.close()
    store.close()


def test_a_locked_file_is_unavailable(path):
    store = SqliteStore(path, lock_timeout_s=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match=r"korat\.db is locked by another process; try again"):
        store.create(A, b"")
    assert store.list().records == (), "readers do not wait for a writer"
    other.execute("ROLLBACK")
    store.create(A, b"")
    other.close()
    store.close()


def test_a_damaged_file_is_unavailable(path):
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(Unavailable, match="damaged or is no database"):
        SqliteStore(path)


def test_a_torn_file_is_unavailable(path):
    store = SqliteStore(path)
    for each in range(100):
        store.create(Key("Node", "", f"{each}"), b"x" * 500)
    store.close()
    torn = bytearray(path.read_bytes())
    torn[4096:] = b"\xff" * (len(torn) - 4096)
    path.write_bytes(torn)
    store = SqliteStore(path)
    with pytest.raises(Unavailable, match="damaged"):
        store.list()
    store.close()


@pytest.mark.parametrize("place", ["directory", "under a file"])
def test_a_path_that_cannot_be_a_file_is_unavailable(tmp_path, place):
    (tmp_path / "file").touch()
    path = tmp_path if place == "directory" else tmp_path / "file" / "korat.db"
    with pytest.raises(Unavailable, match="KORAT_SQLITE_PATH"):
        SqliteStore(path)


def test_a_newer_schema_is_unsupported(path):
    SqliteStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(Unsupported, match=f"schema version {SCHEMA_VERSION + 1}"):
        SqliteStore(path)


def test_another_programs_database_is_unsupported_and_untouched(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(Unsupported, match="another program's database"):
        SqliteStore(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    connection.close()


def test_a_failed_write_leaves_nothing_and_the_store_usable(path):
    store = SqliteStore(path)
    with pytest.raises(Unavailable, match="cannot be used"):
        store.create(Key("Node", "", object()), b"")
    assert store.list().revision == 0
    assert store.create(A, b"").revision == 1
    store.close()


def test_a_store_whose_file_was_replaced_is_unavailable(path):
    store, successor = SqliteStore(path), path.with_suffix(".new")
    SqliteStore(successor).close()
    path.unlink()
    with pytest.raises(Unavailable, match="No such file"):
        store.create(A, b"")
    successor.rename(path)
    with pytest.raises(Unavailable, match="replaced by another file; open it again"):
        store.create(A, b"")
    store.close()


@pytest.mark.parametrize("_again", range(25))
def test_several_openers_of_a_new_file_agree(path, _again):
    """Again and again, because one may look while another makes the tables."""
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: SqliteStore(path), range(8)))
        list(pool.map(lambda store: store.create(Key("Node", "", f"{id(store)}"), b""), stores))
    assert {store.list() for store in stores} == {stores[0].list()}
    assert stores[0].list().revision == 8
    for store in stores:
        store.close()


def test_a_closed_store_is_unavailable(path):
    store = SqliteStore(path)
    store.close()
    store.close()
    with pytest.raises(Unavailable, match="closed"):
        store.list()


def test_a_watch_notices_that_the_file_was_taken_away(path):
    store = SqliteStore(path)
    with store.watch(0) as watch:
        path.unlink()
        with pytest.raises(Unavailable):
            watch.poll(30)
    store.close()


def test_a_watch_notices_a_commit_whose_writer_died_before_its_touch(path):
    """Another program's write changes the write-ahead log only."""
    store = SqliteStore(path)
    store.create(A, b"one")
    with store.watch(1) as watch:
        assert list(watch.poll(0)) == []
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE head SET revision = 2")
        other.execute("INSERT INTO change VALUES (2, 'Node', '', 'a', NULL)")
        other.execute("COMMIT")
        assert [event.revision for event in watch.poll(30)] == [2]
        other.close()
    store.close()


@pytest.mark.parametrize("selection", ["Node", A, Branch("BlockAffinity", "host:n1/")])
def test_every_selection_is_answered_by_the_primary_key(path, selection):
    """Not by reading the table: an allocation reads few objects of a large cluster."""
    SqliteStore(path).close()
    where, values = sqlite._where(selection)
    with closing(sqlite3.connect(path)) as connection:
        query = f"EXPLAIN QUERY PLAN SELECT value FROM object {where}"  # noqa: S608 - our own text
        (step,) = connection.execute(query, values).fetchall()
    assert step[3].startswith("SEARCH object USING PRIMARY KEY (kind=?")
