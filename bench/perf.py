"""Where the kernel's time goes: perf(1) around a piece of a row, where perf is installed."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.process import die_with_parent

_WAIT_S = 10.0
_POLL_S = 0.01


@contextmanager
def recorded(path: Path | None) -> Iterator[None]:
    """Record the whole machine into ``path``.data and the top of it into ``path``.txt.

    Without a path, or without perf, nothing is recorded.
    """
    perf = shutil.which("perf")
    if path is None or perf is None:
        yield
        return
    data = path.with_suffix(".data")
    data.unlink(missing_ok=True)
    command = [perf, "record", "-q", "-a", "-g", "-F", "1999", "-o", str(data)]
    with subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - no other threads run here
    ) as recording:
        try:
            _await(lambda: data.exists() and data.stat().st_size > 0)
            yield
        finally:
            # Not SIGINT, which a program in the background may have been told to ignore.
            recording.terminate()
            if not _await(lambda: recording.poll() is not None):
                recording.kill()
    show = [perf, "report", "--stdio", "--no-children", "-g", "none", "--percent-limit", "0.5"]
    with path.with_suffix(".txt").open("wb") as text:
        subprocess.run([*show, "-i", str(data)], stdout=text, stderr=text, check=False)


def _await(condition: Callable[[], bool]) -> bool:
    """Whether it comes true within some seconds."""
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
