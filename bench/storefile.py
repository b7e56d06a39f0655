"""Clusters as files of the embedded store: written at once, kept, and copied for each use.

Rows go straight into the store's own tables in one transaction, which takes seconds where one
commit an object would take minutes. A file is made once a shape and seed and lies in the run's
folder; agents get copies, since they write.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from bench.cluster import Shape, objects
from korat.core.model import codec
from korat.core.model.resource import Resource
from korat.drivers.store.schema import connect

_LOCK_S = 10.0


class StoreFiles:
    """The files of one run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[Shape, Path] = {}
        self._copies = 0

    def copy(self, shape: Shape) -> Path:
        """A file of its own with this cluster."""
        original = self._made.get(shape)
        if original is None:
            original = self._folder / f"cluster-{len(self._made)}.db"
            write(original, objects(shape))
            self._made[shape] = original
        self._copies += 1
        folder = self._folder / f"copy-{self._copies}"
        folder.mkdir(mode=0o700)
        return Path(shutil.copyfile(original, folder / "korat.db"))


def write(path: Path, resources: Iterable[Resource]) -> int:
    """Make the file with these objects; returns how many."""
    connection = connect(path, _LOCK_S)
    try:
        connection.execute("BEGIN IMMEDIATE")
        rows = ((*r.key, number, codec.dump(r)) for number, r in enumerate(resources, start=1))
        connection.executemany(
            "INSERT INTO object (kind, namespace, name, revision, value) VALUES (?, ?, ?, ?, ?)",
            rows,
        )
        (count,) = connection.execute("SELECT count(*) FROM object").fetchone()
        connection.execute("UPDATE head SET revision = ?", (count,))
        connection.execute("COMMIT")
        # One file without a log beside it, so that copying it is copying all.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
    return int(count)
