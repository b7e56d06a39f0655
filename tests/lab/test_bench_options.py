"""The benchmark of the networking options works, and takes its labs down, also when killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.lab import name_of, names_of
from korat.core.errors import NotFound
from korat.lab.state import READY, LabPaths, read_state
from lab_world import processes_of

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]


def begun(out):
    words = [sys.executable, "-m", "bench", "--plan", "smoke", "--rows", "option", "--out", out]
    return subprocess.Popen(
        list(map(str, words)),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(out)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def phase_of(pid, number):
    try:
        return read_state(LabPaths(name_of(pid, number))).phase
    except NotFound:
        return ""


def left_of(pid):
    names = names_of(pid)
    return [*names, *(each for n in range(2) for each in processes_of(name_of(pid, n)))]


def test_each_option_has_its_figures_and_no_lab_stays(tmp_path):
    running = begun(tmp_path)
    _, talk = running.communicate(timeout=180)
    assert running.returncode == 0, talk
    rows = json.loads((tmp_path / "latest.json").read_text())
    assert not [row for row in rows if row["figure"] is None or row["figure"] <= 0]
    for option in ("udr", "vxlan"):
        assert len([row for row in rows if option in row["name"].split()]) >= 10
    assert not left_of(running.pid)


def test_a_killed_benchmark_leaves_no_lab(tmp_path):
    """Killed when its labs stand on their own; one that is not up ends with who asked for it."""
    running = begun(tmp_path)
    try:
        assert until(lambda: [phase_of(running.pid, n) for n in range(2)] == [READY, READY])
    finally:
        running.send_signal(signal.SIGKILL)
        running.communicate()
    assert until(lambda: not left_of(running.pid)), left_of(running.pid)


def until(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
