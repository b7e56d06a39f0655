"""The benchmark works: every row is measured at a size that says nothing, and nothing is left.

Not here: the row that brings labs up, which tests/lab/test_bench_options.py measures.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from korat.drivers.kernel import namespace

pytestmark = pytest.mark.netns

ROOT = Path(__file__).resolve().parents[2]
ROWS = {
    "new connections/s",
    "established TCP",
    "policy change -> enforced",
    "pod elsewhere -> reachable",
    "cold start of an agent",
}
WITHOUT_LABS = ("connection", "flow", "change", "pod", "start")


def command(out, *more):
    return [sys.executable, "-m", "bench", "--plan", "smoke", "--out", str(out), *more]


def traces(pid, folder):
    """What a benchmark with this number has lying about."""
    folders = (path for place in (folder, Path("/run")) for path in place.glob(f"kt-{pid}-*"))
    return [*namespace.names(f"kt-{pid}-"), *folders]


def test_every_row_has_its_figures_and_nothing_stays(tmp_path):
    running = subprocess.Popen(
        command(tmp_path, "--rows", *WITHOUT_LABS),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    table, talk = running.communicate(timeout=300)
    assert running.returncode == 0, talk
    rows = json.loads((tmp_path / "latest.json").read_text())
    assert {row["row"] for row in rows} == ROWS
    assert not [row for row in rows if row["figure"] is None]
    assert len(table.splitlines()) == 2 + len(rows)
    assert not traces(running.pid, tmp_path)


def test_a_profile_says_where_the_agent_was(tmp_path):
    subprocess.run(command(tmp_path, "--rows", "start", "--profile"), cwd=ROOT, check=True)
    text = (tmp_path / "profile" / "start-agent.txt").read_text()
    assert "samples of threads at work" in text
    assert "main (cli/main.py)" in text


def test_a_killed_benchmark_is_swept_with_its_agent(tmp_path):
    running = subprocess.Popen(
        command(tmp_path, "--rows", "start", "--scale", "50"),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert until(lambda: agents_of(running.pid)), "no agent was started"
        agents = agents_of(running.pid)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert until(lambda: not traces(running.pid, tmp_path))
    assert not [pid for pid in agents if Path(f"/proc/{pid}/ns/net").exists()]


def agents_of(pid):
    """The processes that the benchmark has inside its namespaces."""
    inodes = {namespace.path_of(name).stat().st_ino for name in namespace.names(f"kt-{pid}-")}
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if inode(path) in inodes]


def inode(process):
    try:
        return (process / "ns" / "net").stat().st_ino
    except OSError:
        return None


def until(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
