"""Choosing the store from Calico's own variables.

Source: libcalico-go/lib/apiconfig. One difference: with nothing said, korat's default is the
embedded sqlite store, where Calico's is Kubernetes.
"""

from collections.abc import Mapping
from pathlib import Path

from korat.core.errors import Invalid, Problem, Unsupported
from korat.drivers.store.memory import MemoryStore
from korat.drivers.store.sqlite import SqliteStore
from korat.ports import Store

DEFAULT_SQLITE_PATH = "/var/lib/korat/korat.db"

_TYPES = ("sqlite", "memory", "etcdv3", "kubernetes")


def open_store(environ: Mapping[str, str]) -> Store:
    """The store that DATASTORE_TYPE names; each variable may carry Calico's CALICO_ prefix.

    Raises:
        Invalid: DATASTORE_TYPE names no type of store.
        Unsupported: this version has no driver for it.
        Unavailable: the store cannot be reached now.
    """
    match _datastore_type(environ):
        case "sqlite":
            return SqliteStore(Path(environ.get("KORAT_SQLITE_PATH") or DEFAULT_SQLITE_PATH))
        case "memory":
            return MemoryStore()
        case "etcdv3" | "kubernetes" as missing:
            raise Unsupported(
                f"this version of korat has no driver for the datastore type {missing}",
                "set DATASTORE_TYPE=sqlite",
            )
        case unknown:
            rule = f"the datastore type is one of {', '.join(_TYPES)}"
            raise Invalid([Problem("environment", "DATASTORE_TYPE", unknown, rule)])


def _datastore_type(environ: Mapping[str, str]) -> str:
    named = _calico(environ, "DATASTORE_TYPE")
    if named:
        return named
    # As Calico does: naming etcd's servers is choosing etcd. Falling back to an empty file instead
    # would look like a cluster that has lost everything.
    return "etcdv3" if _calico(environ, "ETCD_ENDPOINTS") else "sqlite"


def _calico(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(f"CALICO_{name}") or ""
