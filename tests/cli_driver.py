"""Runs ``korat`` in this process as a shell would: words in; exit code, output and errors out."""

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from korat.cli.main import run
from korat.drivers.store.client import Client
from korat.drivers.store.sqlite import SqliteStore

_ENVIRONMENT = ("DATASTORE_TYPE", "ETCD_ENDPOINTS", "KORAT_LAB", "KORAT_DEBUG", "NO_COLOR")


@dataclass(frozen=True)
class Result:
    """What one command did."""

    code: int
    out: str
    err: str


class Korat:
    """The program with a store of its own."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self.path = folder / "store.db"
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        for name in _ENVIRONMENT:
            for prefix in ("", "CALICO_"):
                monkeypatch.delenv(prefix + name, raising=False)
        monkeypatch.setenv("KORAT_SQLITE_PATH", str(self.path))
        monkeypatch.setenv("KORAT_RUN_DIR", str(folder))

    def __call__(self, *words: str, stdin: str = "") -> Result:
        """Run one command line."""
        text = io.TextIOWrapper(io.BytesIO(stdin.encode()))
        self._monkeypatch.setattr(sys, "stdin", text)
        self._capsys.readouterr()
        code = run(words)
        said = self._capsys.readouterr()
        return Result(code, said.out, said.err)

    def file(self, name: str, text: str) -> str:
        """Write a file and return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return str(path)

    def client(self) -> Client:
        """The store, without the command line."""
        return Client(SqliteStore(self.path))

    def stored(self) -> set[str]:
        """What the store holds, by title."""
        store = SqliteStore(self.path)
        try:
            return {str(record.key) for record in store.list().records}
        finally:
            store.close()


def policy(name: str, spec: str = "{}", namespace: str = "shop") -> str:
    """A NetworkPolicy's manifest."""
    return (
        "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
