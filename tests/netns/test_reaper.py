"""A killed test run leaves no namespace behind."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from korat.drivers.kernel import namespace

pytestmark = pytest.mark.netns

#: A test process that makes namespaces as tests name them, and is killed.
VICTIM = """
import os, sys
sys.path.insert(0, {tests!r})
import reaper
from korat.drivers.kernel import namespace
watcher = reaper.start()
for name in (f"kt-{{os.getpid()}}-one", f"korat-kt{{os.getpid()}}x1-fabric"):
    namespace.create(name)
print(os.getpid(), flush=True)
os.kill(os.getpid(), 9)
"""


def test_namespaces_of_a_killed_run_go():
    code = VICTIM.format(tests=str(Path(__file__).parents[1]))
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=30, check=False
    )
    pid = done.stdout.strip()
    assert done.returncode == -9
    assert pid.isdecimal()
    deadline = time.monotonic() + 10
    while [name for name in namespace.names("k") if pid in name]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
