"""The lab's etcd: what is said when it does not come up."""

import os
import sys
from pathlib import Path

import pytest

from korat.core.errors import Unavailable
from korat.core.net.address import Addr, Prefix
from korat.lab import etcd
from korat.lab.blueprint import Vm
from korat.lab.process import Child


def test_an_etcd_that_ends_is_not_waited_for_and_its_last_words_are_told(tmp_path: Path) -> None:
    words = "etcd on unsupported platform"
    program = [sys.executable, "-c", f"import sys; sys.exit({words!r})"]
    server = Child("etcd", program, dict(os.environ), tmp_path / "etcd.log")
    vm = Vm("etcd", Addr.parse("10.10.0.254"), "etcd-nic")
    try:
        with pytest.raises(Unavailable, match=f"etcd ended: {words}"):
            etcd.furnish(vm, "no-such-namespace", Prefix.parse("10.244.0.0/16"), server)
    finally:
        server.kill()
