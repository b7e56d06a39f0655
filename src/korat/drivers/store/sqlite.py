"""The embedded store: one file, many processes of one machine.

Every write takes sqlite's one write lock, so revisions are given in commit order and without gaps.
After its commit a writer touches the file; that wakes the watches of all processes through inotify.
(The write-ahead log itself changes *before* a commit can be seen, so it alone would wake them too
early. It is watched nevertheless, for a writer that dies between its commit and its touch.)

Not for network file systems: sqlite's write-ahead log needs shared memory.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Self

from typing_extensions import override

from korat.core.errors import Unavailable
from korat.core.model.key import Branch, Key, Selection
from korat.drivers.store.inotify import FileWatch
from korat.drivers.store.reason import already_exists, changed, gone, too_new, too_old
from korat.drivers.store.schema import connect, translated
from korat.ports import Event, Record, Snapshot, Store, Watch

#: How many changes are kept, at least, for watches that resume.
LOG_MAX = 10_000
#: How long a writer waits for other writers.
LOCK_TIMEOUT_S = 10.0
#: The most events that one ``poll`` returns.
EVENTS_MAX = 1_000
#: How soon to look again after the write-ahead log grew and no commit was to be seen yet.
_GRACE_S = 0.02


class SqliteStore(Store):
    """A store in a file; several threads may use it, and several processes."""

    def __init__(
        self, path: Path, *, log_max: int = LOG_MAX, lock_timeout_s: float = LOCK_TIMEOUT_S
    ) -> None:
        self.path = path.absolute()
        self._log_max = log_max
        self._lock_timeout_s = lock_timeout_s
        #: One connection for all threads: the lock keeps their transactions apart.
        self._lock = threading.Lock()
        self._connection = connect(self.path, lock_timeout_s)
        with translated(self.path):
            self._file = _identity(self.path)

    @override
    def list(self, wanted: Iterable[Selection] = ()) -> Snapshot:
        # One statement each: sqlite would answer an OR of these by reading the table.
        statements = [_where(selection) for selection in set(wanted)] or [("", ())]
        with self._transaction("BEGIN") as connection:
            revision = _head(connection)
            found = tuple(r for each in statements for r in _records(connection, *each))
        if len(statements) > 1:  # What two of them name comes once.
            by_key = {record.key: record for record in found}
            found = tuple(by_key[key] for key in sorted(by_key))
        return Snapshot(found, revision)

    @override
    def watch(self, after: int) -> Watch:
        return _SqliteWatch(self.path, after, self._lock_timeout_s)

    @override
    def create(self, key: Key, value: bytes) -> Record:
        with self._write() as connection:
            if _revision_of(connection, key) is not None:
                raise already_exists(key)
            return self._put(connection, key, value)

    @override
    def update(self, key: Key, value: bytes, revision: int) -> Record:
        with self._write() as connection:
            present = _revision_of(connection, key)
            if present is None:
                raise gone(key)
            if present != revision:
                raise changed(key, revision, present)
            return self._put(connection, key, value)

    @override
    def delete(self, key: Key, revision: int | None = None) -> Record | None:
        with self._write() as connection:
            row = connection.execute(
                "SELECT value, revision FROM object WHERE kind=? AND namespace=? AND name=?", key
            ).fetchone()
            if row is None:
                return None
            record = Record(key, *row)
            if revision is not None and record.revision != revision:
                raise changed(key, revision, record.revision)
            connection.execute("DELETE FROM object WHERE kind=? AND namespace=? AND name=?", key)
            self._log(connection, key, None)
            return record

    def close(self) -> None:
        """Close the file; the store's watches go on until they are closed themselves."""
        with self._lock, translated(self.path):
            self._connection.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, translated(self.path):
            _check_identity(self.path, self._file)
            self._connection.execute(begin)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # Some failures have ended the transaction already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN IMMEDIATE") as connection:
            before = connection.total_changes
            yield connection
        if connection.total_changes != before:
            with translated(self.path):
                os.utime(self.path)

    def _put(self, connection: sqlite3.Connection, key: Key, value: bytes) -> Record:
        revision = self._log(connection, key, value)
        connection.execute(
            "INSERT OR REPLACE INTO object (kind, namespace, name, value, revision)"
            " VALUES (?, ?, ?, ?, ?)",
            (*key, value, revision),
        )
        return Record(key, value, revision)

    def _log(self, connection: sqlite3.Connection, key: Key, value: bytes | None) -> int:
        revision = _head(connection) + 1
        connection.execute("UPDATE head SET revision = ?", (revision,))
        connection.execute("INSERT INTO change VALUES (?, ?, ?, ?, ?)", (revision, *key, value))
        # In strides, so that the cost is spread: the log holds up to a tenth more than its limit.
        if revision % max(1, self._log_max // 10) == 0:
            connection.execute(
                "DELETE FROM change WHERE revision <= ?", (revision - self._log_max,)
            )
        return revision


def _records(connection: sqlite3.Connection, where: str, values: Sequence[str]) -> Iterator[Record]:
    """The objects that fit, by key."""
    query = (
        "SELECT kind, namespace, name, value, revision"  # noqa: S608 - only question marks
        f" FROM object {where} ORDER BY kind, namespace, name"
    )
    for row in connection.execute(query, values):
        yield Record(Key(*row[:3]), row[3], row[4])


def _where(selection: Selection) -> tuple[str, Sequence[str]]:
    """The condition of a selection, which the primary key answers, and its values."""
    match selection:
        case Key():
            return "WHERE kind=? AND namespace=? AND name=?", selection
        case Branch(kind, prefix):
            # No name has Unicode's last character.
            return (
                "WHERE kind=? AND namespace='' AND name >= ? AND name < ?",
                (kind, prefix, f"{prefix}\U0010ffff"),
            )
        case kind:
            return "WHERE kind=?", (kind,)


def _head(connection: sqlite3.Connection) -> int:
    (revision,) = connection.execute("SELECT revision FROM head").fetchone()
    return int(revision)


def _revision_of(connection: sqlite3.Connection, key: Key) -> int | None:
    row = connection.execute(
        "SELECT revision FROM object WHERE kind=? AND namespace=? AND name=?", key
    ).fetchone()
    return None if row is None else int(row[0])


class _SqliteWatch(Watch):
    """Reads the log with a connection of its own, so that a write never waits for a watch."""

    def __init__(self, path: Path, after: int, lock_timeout_s: float) -> None:
        self._path = path
        self._after = after
        self._closed = False
        self._closing = threading.Lock()
        #: Held while polling: ``close`` releases nothing that a poll still uses.
        self._polling = threading.Lock()
        self._connection = connect(path, lock_timeout_s)
        try:
            with translated(path):
                self._file = _identity(path)
                # Before the first read, so that no commit falls between the two.
                self._files = FileWatch(path.parent, frozenset({path.name, f"{path.name}-wal"}))
        except BaseException:
            self._connection.close()
            raise

    @override
    def poll(self, timeout_s: float) -> Sequence[Event]:
        deadline = monotonic() + timeout_s
        with self._polling, translated(self._path):
            grace_s: float | None = None
            while not self._closed:
                events = self._read()
                left_s = deadline - monotonic()
                if events or left_s <= 0:
                    return events
                self._files.wait(left_s if grace_s is None else min(left_s, grace_s))
                # One more look after a change that brought nothing, then no more until the next.
                grace_s = _GRACE_S if self._files.drain() else None
                if grace_s:
                    _check_identity(self._path, self._file)
        return ()

    def _read(self) -> Sequence[Event]:
        connection = self._connection
        connection.execute("BEGIN")
        try:
            head = _head(connection)
            if head == self._after:
                return ()
            (oldest,) = connection.execute("SELECT min(revision) FROM change").fetchone()
            if self._after > head:
                raise too_new(self._after, head)
            if oldest is None or self._after < oldest - 1:
                raise too_old(self._after, head if oldest is None else oldest - 1)
            rows = connection.execute(
                "SELECT kind, namespace, name, value, revision FROM change"
                " WHERE revision > ? ORDER BY revision LIMIT ?",
                (self._after, EVENTS_MAX),
            ).fetchall()
        finally:
            connection.execute("COMMIT")
        self._after = rows[-1][4]
        return [_event(*row) for row in rows]

    @override
    def close(self) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._files.wake()
        with self._polling:
            self._files.close()
            self._connection.close()

    @override
    def __enter__(self) -> Self:
        return self

    @override
    def __exit__(self, *_: object) -> None:
        self.close()


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _check_identity(path: Path, opened: tuple[int, int]) -> None:
    """Writes to a file that was removed or replaced would be lost without a word."""
    if _identity(path) != opened:
        raise Unavailable(f"the store {path} was replaced by another file", "open it again")


def _event(kind: str, namespace: str, name: str, value: bytes | None, revision: int) -> Event:
    key = Key(kind, namespace, name)
    return Event(key, None if value is None else Record(key, value, revision), revision)
