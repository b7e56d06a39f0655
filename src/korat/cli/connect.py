"""Which store a verb talks to.

In this order: the environment, Calico's configuration file, a lab that is up, this machine's own
sqlite file. The environment's names and the file's format are Calico's; ``KORAT_SQLITE_PATH`` and
the datastore type ``sqlite`` are korat's.
Source: calicoctl's configuration (environment over file).
"""

import os
from collections.abc import Mapping
from pathlib import Path

from korat.cli.document import documents
from korat.core.errors import Invalid, NotFound, Problem, Unavailable
from korat.drivers.store.client import Client
from korat.drivers.store.open import open_store
from korat.lab.state import DEFAULT_NAME, LabPaths, living_state

DEFAULT_CONFIG = "/etc/calico/calicoctl.cfg"

#: Any of these in the environment chooses a store.
_CHOOSING = ("DATASTORE_TYPE", "ETCD_ENDPOINTS")

#: The file's field of each variable.
_FIELDS = {
    "datastoreType": "DATASTORE_TYPE",
    "etcdEndpoints": "ETCD_ENDPOINTS",
    "etcdDiscoverySrv": "ETCD_DISCOVERY_SRV",
    "etcdUsername": "ETCD_USERNAME",
    "etcdPassword": "ETCD_PASSWORD",
    "etcdKeyFile": "ETCD_KEY_FILE",
    "etcdCertFile": "ETCD_CERT_FILE",
    "etcdCACertFile": "ETCD_CA_CERT_FILE",
    "kubeconfig": "KUBECONFIG",
    "k8sAPIEndpoint": "K8S_API_ENDPOINT",
    "k8sKeyFile": "K8S_KEY_FILE",
    "k8sCertFile": "K8S_CERT_FILE",
    "k8sCAFile": "K8S_CA_FILE",
    "k8sAPIToken": "K8S_API_TOKEN",
    "k8sInsecureSkipTLSVerify": "K8S_INSECURE_SKIP_TLS_VERIFY",
    "sqlitePath": "KORAT_SQLITE_PATH",
}


def connect(config: str = "", environ: Mapping[str, str] | None = None) -> Client:
    """A client on the store that the environment, the file or a lab names.

    Raises:
        Invalid: the configuration is wrong.
        Unavailable: the store cannot be opened.
    """
    found = settings(config, os.environ if environ is None else environ)
    try:
        return Client(open_store(found))
    except OSError as error:
        where = found.get("KORAT_SQLITE_PATH") or "the store"
        why = os.strerror(error.errno or 0).lower()
        remedy = "run as root, or set KORAT_SQLITE_PATH to a file of yours"
        raise Unavailable(f"cannot open {where}: {why}", remedy) from error


def settings(config: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that describe the store, from whoever names one first.

    Raises:
        Invalid: the configuration file is not one.
    """
    given = dict(environ)
    file = _file(config)
    if _given(given, "KORAT_SQLITE_PATH") and not _given(given, "DATASTORE_TYPE"):
        return {**given, "DATASTORE_TYPE": "sqlite"}
    if any(_given(given, name) for name in _CHOOSING) or file:
        return {**file, **{name: value for name, value in given.items() if value}}
    path = _lab_store(given.get("KORAT_LAB") or "")
    return {**given, "DATASTORE_TYPE": "sqlite", **({"KORAT_SQLITE_PATH": path} if path else {})}


def _given(environ: Mapping[str, str], name: str) -> bool:
    """Whether a variable is set, under its own name or with Calico's prefix."""
    return bool(environ.get(name) or environ.get(f"CALICO_{name}"))


def _file(config: str) -> dict[str, str]:
    """What the configuration file says; the default file may be absent.

    Raises:
        Invalid: it is absent though asked for, unreadable, or no CalicoAPIConfig.
    """
    path = Path(config or DEFAULT_CONFIG)
    if not config and not path.exists():
        return {}
    try:
        found = documents(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "no text"
        raise Invalid([Problem(str(path), "", None, f"cannot be read: {why}")]) from error
    raw = found[0].value if len(found) == 1 else None
    if not isinstance(raw, Mapping) or raw.get("kind") != "CalicoAPIConfig":
        rule = "a configuration file holds one object of kind CalicoAPIConfig"
        raise Invalid([Problem(str(path), "", None, rule)])
    spec = raw.get("spec") or {}
    if not isinstance(spec, Mapping):
        raise Invalid([Problem(str(path), "spec", spec, "must be a mapping")])
    return {_FIELDS[name]: str(value) for name, value in spec.items() if name in _FIELDS}


def _lab_store(name: str) -> str:
    """The store of the lab that is up; empty when none is.

    Raises:
        NotFound: ``KORAT_LAB`` names a lab that is not up.
        Unavailable: the lab died, and its store with it.
    """
    try:
        return living_state(LabPaths(name or DEFAULT_NAME)).store_path
    except NotFound:
        if name:
            raise
        return ""
