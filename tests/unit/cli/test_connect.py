"""Which store: the environment before the file before a lab before this machine's own."""

import msgspec
import pytest

from korat.cli.connect import settings
from korat.core.errors import Invalid, NotFound
from korat.lab import state
from korat.lab.state import LabPaths, LabState, this_process

FILE = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n"


@pytest.fixture
def lab(monkeypatch, tmp_path):
    """A lab's state file."""
    monkeypatch.setattr(state, "ROOT", tmp_path / "lab")

    def up(name):
        paths = LabPaths(name)
        paths.root.mkdir(parents=True)
        found = LabState(name, "udr", "ready", this_process("daemon"), f"/lab/{name}.db")
        paths.state.write_bytes(msgspec.json.encode(found))

    return up


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "calicoctl.cfg"

    def write(text):
        path.write_text(text)
        return str(path)

    return write


def chosen(found):
    return {name: found[name] for name in ("DATASTORE_TYPE", "KORAT_SQLITE_PATH") if name in found}


@pytest.mark.parametrize(
    ("environ", "file", "labs", "expected"),
    [
        ({}, "", [], {"DATASTORE_TYPE": "sqlite"}),
        ({}, "", ["lab"], {"DATASTORE_TYPE": "sqlite", "KORAT_SQLITE_PATH": "/lab/lab.db"}),
        ({}, "", ["other"], {"DATASTORE_TYPE": "sqlite"}),
        ({"KORAT_LAB": "other"}, "", ["lab", "other"],
         {"DATASTORE_TYPE": "sqlite", "KORAT_SQLITE_PATH": "/lab/other.db"}),
        ({}, "  datastoreType: sqlite\n  sqlitePath: /f.db\n", ["lab"],
         {"DATASTORE_TYPE": "sqlite", "KORAT_SQLITE_PATH": "/f.db"}),
        ({"KORAT_SQLITE_PATH": "/e.db"}, "  datastoreType: sqlite\n  sqlitePath: /f.db\n", ["lab"],
         {"DATASTORE_TYPE": "sqlite", "KORAT_SQLITE_PATH": "/e.db"}),
        ({"DATASTORE_TYPE": "etcdv3"}, "  datastoreType: sqlite\n", ["lab"],
         {"DATASTORE_TYPE": "etcdv3"}),
        ({"CALICO_DATASTORE_TYPE": "etcdv3"}, "", ["lab"], {}),
    ],
)  # fmt: skip
def test_the_order(lab, config, environ, file, labs, expected):
    for name in labs:
        lab(name)
    path = config(FILE + file) if file else ""
    assert expected == chosen(settings(path, environ))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("kind: Fish\n", "a configuration file holds one object of kind CalicoAPIConfig"),
        ("", "a configuration file holds one object of kind CalicoAPIConfig"),
        (FILE + "  - x\n", "must be a mapping"),
        ("x: [", "is not YAML"),
    ],
)
def test_a_file_that_is_none(config, lab, text, rule):
    with pytest.raises(Invalid, match=rule):
        settings(config(text), {})


def test_a_file_that_is_asked_for_must_be_there(tmp_path):
    with pytest.raises(Invalid, match="cannot be read: no such file"):
        settings(str(tmp_path / "no.cfg"), {"KORAT_SQLITE_PATH": "/e.db"})


def test_a_lab_that_is_asked_for_must_be_up(lab):
    with pytest.raises(NotFound, match="no lab named x is up; start one with: korat lab up"):
        settings("", {"KORAT_LAB": "x"})
