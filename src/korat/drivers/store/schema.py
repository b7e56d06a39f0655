"""The sqlite store's file: opening it, its tables, and the meaning of sqlite's errors.

One row of ``object`` per stored object, one row of ``change`` per write: the log from which watches
resume. ``head`` holds the last revision, which never goes back, whatever is pruned.

The write-ahead log lets readers go on while one process writes. ``synchronous=NORMAL`` survives
the death of any process; a power cut may lose the last commits but never the file.
"""

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from korat.core.errors import KoratError, Unavailable, Unsupported

#: "kora": tells our file from another program's.
APPLICATION_ID = 0x6B6F7261
SCHEMA_VERSION = 1

_TABLES = (
    "CREATE TABLE head (only INTEGER PRIMARY KEY CHECK (only = 0), revision INTEGER NOT NULL)",
    "INSERT INTO head VALUES (0, 0)",
    """
    CREATE TABLE object (
      kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
      revision INTEGER NOT NULL, value BLOB NOT NULL,
      PRIMARY KEY (kind, namespace, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE change (
      revision INTEGER PRIMARY KEY,
      kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
      value BLOB  -- NULL: deleted
    )
    """,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_RETRY_S = 0.01


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn sqlite's and the system's errors about this file into korat's."""
    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(path, error) from error
    except OSError as error:
        raise Unavailable(
            f"the store {path} cannot be used: {error.strerror or error}",
            "check the path in KORAT_SQLITE_PATH and its permissions",
        ) from error


def _meaning(path: Path, error: sqlite3.Error) -> KoratError:
    # The low byte is the class; errors that Python's binding finds itself have no code.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _LOCKED:
        return Unavailable(
            f"the store {path} is locked by another process", "try again, or end that process"
        )
    if code in _DAMAGED:
        return Unavailable(
            f"the store {path} is damaged or is no database: {error}",
            "move it away and restore a backup",
        )
    return Unavailable(
        f"the store {path} cannot be used: {error}",
        "check the path in KORAT_SQLITE_PATH, its permissions and the free disk space",
    )


#: How long the write-ahead log gets before it is worked into the file, which waits for the disk:
#: 16 MiB. Sqlite's own 4 MiB cost a third of the writes a second.
_CHECKPOINT_PAGES = 4000


def connect(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Open the file, made with its tables when it is not there; ``timeout_s`` bounds lock waits.

    Raises:
        Unavailable: the file is locked, damaged or cannot be reached.
        Unsupported: the file is another program's, or a newer korat's.
    """
    with translated(path):
        _make_file(path)
        connection = sqlite3.connect(
            path, timeout=timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            _use_write_ahead_log(path, connection, timeout_s)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            _make_tables(path, connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _make_file(path: Path) -> None:
    """Make the file, for its owner only; sqlite gives the files beside it the same mode."""
    if path.exists():
        return
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        # Not open and close: closing a descriptor would drop the locks that another thread's
        # connection of this process may hold on the file by now (sqlite.org/howtocorrupt.html).
        os.mknod(path, stat.S_IFREG | 0o600)
    except FileExistsError:
        return  # another process was faster


def _use_write_ahead_log(path: Path, connection: sqlite3.Connection, timeout_s: float) -> None:
    """Switch the file to the write-ahead log.

    Sqlite does not wait for other openers in this one statement, so the wait is here.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _LOCKED or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
        else:
            if mode != "wal":
                raise Unsupported(
                    f"the file system of {path} cannot hold a shared write-ahead log",
                    "name a file on a local disk in KORAT_SQLITE_PATH",
                )
            return


def _make_tables(path: Path, connection: sqlite3.Connection) -> None:
    # The look takes several reads, and another opener may commit between them.
    with _transaction(connection, "BEGIN"):
        if _is_ready(path, connection):
            return
    with _transaction(connection, "BEGIN IMMEDIATE"):
        if not _is_ready(path, connection):
            for statement in _TABLES:
                connection.execute(statement)


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _is_ready(path: Path, connection: sqlite3.Connection) -> bool:
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if owner == APPLICATION_ID and version == SCHEMA_VERSION:
        return True
    if owner == APPLICATION_ID:
        raise Unsupported(
            f"the store {path} has schema version {version}, this korat knows {SCHEMA_VERSION}",
            "use the korat that made it, or another KORAT_SQLITE_PATH",
        )
    if owner or version or tables:
        raise Unsupported(
            f"{path} is another program's database", "name another file in KORAT_SQLITE_PATH"
        )
    return False
