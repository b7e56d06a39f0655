"""Waiting for a file's change, on real files."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from korat.drivers.store.inotify import FileWatch

PATIENCE_S = 30


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[FileWatch]:
    (tmp_path / "mine").touch()
    (tmp_path / "other").touch()
    watch = FileWatch(tmp_path, frozenset({"mine", "mine-too"}))
    yield watch
    watch.close()


@pytest.mark.parametrize(
    ("change", "is_mine"),
    [
        (lambda directory: (directory / "mine").write_text("x"), True),
        (lambda directory: os.utime(directory / "mine"), True),
        (lambda directory: (directory / "mine").unlink(), True),
        (lambda directory: (directory / "mine-too").touch(), True),
        (lambda directory: (directory / "other").rename(directory / "mine"), True),
        (lambda directory: (directory / "other").write_text("x"), False),
        (lambda directory: (directory / "mine-not").touch(), False),
    ],
    ids=["write", "touch", "remove", "make", "move", "write another", "make another"],
)
def test_changes_wake_and_only_the_names_watched_count(watch, tmp_path, change, is_mine):
    change(tmp_path)
    assert watch.wait(PATIENCE_S)
    assert watch.drain() is is_mine
    assert not watch.wait(0)


def test_reading_is_no_change(watch, tmp_path):
    (tmp_path / "mine").read_bytes()
    assert not watch.wait(0)
    assert not watch.drain()


def test_a_wake_from_another_thread_ends_this_and_every_later_wait(watch):
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(watch.wait, PATIENCE_S)
        watch.wake()
        assert waiting.result(PATIENCE_S / 2)
    assert not watch.drain()
    assert watch.wait(PATIENCE_S)


def test_a_directory_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(OSError, match="missing: No such file"):
        FileWatch(tmp_path / "missing", frozenset({"x"}))
