"""The lab's state file, and processes that are told apart from their successors."""

import os
import subprocess
import sys

import pytest

from korat.core.errors import Invalid, NotFound
from korat.lab import state
from korat.lab.state import (
    LabPaths,
    LabState,
    Process,
    alive,
    read_state,
    this_process,
    write_state,
)


@pytest.mark.parametrize("name", ["", "../x", "a b", "UP", "a-b", "x" * 17, "a/b", "a\n"])
def test_names_that_could_leave_the_directory_or_meet_anothers(name: str):
    with pytest.raises(Invalid, match="a lab's name is"):
        LabPaths(name)


def test_what_is_written_is_read_and_half_a_file_is_no_lab(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "ROOT", tmp_path)
    paths = LabPaths("x")
    with pytest.raises(NotFound, match="no lab named x is up"):
        read_state(paths)
    paths.root.mkdir()
    written = LabState("x", "udr", "ready", this_process("daemon"), "/store")
    write_state(paths, written)
    assert read_state(paths) == written
    paths.state.write_bytes(paths.state.read_bytes()[:40])
    with pytest.raises(NotFound):
        read_state(paths)


def test_a_process_is_known_by_its_start():
    me = this_process("me")
    assert alive(me)
    assert not alive(Process("another with my number", me.pid, me.started + 1))
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = this_process("child", child.pid)
    assert alive(identity)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not alive(identity), "a zombie is not alive"
    child.communicate()
    assert not alive(identity)
    with pytest.raises(NotFound):
        this_process("child", child.pid)
