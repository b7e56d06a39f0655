"""The program as it is started: with the SDK's own managed identity, a sqlite store, signals."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from azure_site import Site, cloud_config, put_node, target
from korat.core.model.builtin import INFORMATION
from korat.drivers.store.sqlite import SqliteStore
from korat.lab.arm.resource import interface

START = [sys.executable, "-m", "korat", "controllers", "run"]
WAIT_S = 20.0


@pytest.fixture
def environ(site: Site, tmp_path: Path) -> dict[str, str]:
    config = tmp_path / "azure.json"
    config.write_text(json.dumps(cloud_config(site.server.url)))
    return {
        "PATH": os.environ["PATH"],
        "KORAT_AZURE_CONFIG": str(config),
        "KORAT_CLUSTER_CIDR": "10.10.128.0/17",
        "KORAT_SQLITE_PATH": str(tmp_path / "korat.db"),
        "KORAT_READY_FILE": str(tmp_path / "ready"),
        **site.server.environment,
    }


def _until(fulfilled: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not fulfilled():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # a file of another process makes no event here


def _read(path: Path) -> str:
    """What a file says; nothing while it is not there, which it may cease to be at any time."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""


def test_it_gets_ready_and_ends_at_once_when_told(environ: dict[str, str]):
    store = SqliteStore(Path(environ["KORAT_SQLITE_PATH"]))
    ready = Path(environ["KORAT_READY_FILE"])
    ready.write_text("of an earlier run")
    put_node(store, "vm1", "10.10.0.4", "10.10.128.0/24")
    environ["ROUTE_RECONCILIATION_PERIOD"] = "1h"
    with subprocess.Popen(START, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            _until(lambda: "10.10.128.0/24 10.10.0.4" in _read(ready))
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=WAIT_S)  # the next look is an hour away
        finally:
            process.kill()
    store.close()
    assert process.returncode == 0, said
    assert "add route vm1: 10.10.128.0/24 -> 10.10.0.4" in said
    assert "Traceback" not in said


def test_a_wrong_configuration_ends_it_with_the_reason(environ: dict[str, str]):
    del environ["KORAT_CLUSTER_CIDR"]
    done = subprocess.run(START, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        "KORAT_CLUSTER_CIDR is not set: name the cluster's pod CIDRs"
        in done.stderr.splitlines()[-1]
    )


def test_without_routes_nothing_of_azure_is_needed(environ: dict[str, str]):
    """As with VXLAN, whose pods the fabric never sees."""
    ready = Path(environ["KORAT_READY_FILE"])
    own = {name: environ[name] for name in ("PATH", "KORAT_SQLITE_PATH", "KORAT_READY_FILE")}
    own["KORAT_AZURE_ROUTES"] = "Disabled"
    with subprocess.Popen(START, env=own, stderr=subprocess.PIPE, text=True) as process:
        try:
            _until(ready.exists)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    assert process.returncode == 0, said


def test_without_routes_a_cloud_that_is_named_is_announced_and_addresses_are_asked_for(
    site: Site, environ: dict[str, str]
):
    """As with Azure CNI, whose pods need addresses and nodes that know what not to masquerade."""
    store = SqliteStore(Path(environ["KORAT_SQLITE_PATH"]))
    put_node(store, "vm1", "10.10.0.4")
    own = environ | {"KORAT_AZURE_ROUTES": "Disabled", "KORAT_AZURE_ADDRESSES": "Enabled"}
    del own["KORAT_CLUSTER_CIDR"]

    def announced() -> bool:
        records = store.list([INFORMATION]).records
        return any(b'"korat/azure-vnet":"10.10.0.0/16"' in record.value for record in records)

    nic = target("networkInterfaces", "vm1-nic")
    with subprocess.Popen(START, env=own, stderr=subprocess.PIPE, text=True) as process:
        try:
            _until(announced)
            _until(lambda: len(interface.addresses(site.model.find(nic))) == 17)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    store.close()
    assert process.returncode == 0, said
    assert "add 16 addresses of subnet nodes to NIC vm1-nic (1 -> 17)" in said
    assert site.model.lookup(target("routeTables", "korat-routes")) is None
