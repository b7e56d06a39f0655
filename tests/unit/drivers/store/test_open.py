"""Which store the environment chooses."""

import pytest

from korat.core.errors import Invalid, Unsupported
from korat.drivers.store.memory import MemoryStore
from korat.drivers.store.open import open_store
from korat.drivers.store.sqlite import SqliteStore


@pytest.mark.parametrize(
    "environ",
    [{}, {"DATASTORE_TYPE": "sqlite"}, {"DATASTORE_TYPE": ""}, {"CALICO_DATASTORE_TYPE": "sqlite"}],
    ids=str,
)
def test_sqlite_is_the_default(tmp_path, environ):
    path = tmp_path / "korat.db"
    store = open_store({**environ, "KORAT_SQLITE_PATH": str(path)})
    assert isinstance(store, SqliteStore)
    assert store.path == path
    store.close()


def test_memory():
    assert isinstance(open_store({"DATASTORE_TYPE": "memory"}), MemoryStore)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"DATASTORE_TYPE": "etcdv3"}, "etcdv3"),
        ({"CALICO_DATASTORE_TYPE": "kubernetes"}, "kubernetes"),
        ({"DATASTORE_TYPE": "kubernetes", "CALICO_DATASTORE_TYPE": "sqlite"}, "kubernetes"),
        ({"ETCD_ENDPOINTS": "https://127.0.0.1:2379"}, "etcdv3"),
    ],
    ids=str,
)
def test_drivers_that_are_not_there_yet(environ, named):
    with pytest.raises(Unsupported, match=f"no driver for the datastore type {named}; set"):
        open_store(environ)


def test_an_unknown_type_is_refused_by_name():
    with pytest.raises(Invalid, match="DATASTORE_TYPE 'etcd': the datastore type is one of sqlite"):
        open_store({"DATASTORE_TYPE": "etcd"})
