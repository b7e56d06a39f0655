"""Cleans up after a test process, also after one that was killed.

Started beside it with a pipe as standard input. When the pipe ends, the test process has ended, and
whatever carries its number goes: labs, network namespaces. Normally nothing is left to do.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from korat.drivers.kernel import namespace


def start() -> subprocess.Popen[bytes]:
    """Watch over this process; keep what is returned until it ends."""
    command = [sys.executable, __file__, str(os.getpid())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def main(pid: int) -> None:
    """Wait for the test process's end, then take away what is its own."""
    sys.stdin.buffer.read()
    for lab in sorted({m[1] for m in map(_of(rf"korat-(t{pid % 100000}[a-z]+)-.*"), _all()) if m}):
        environ = {**os.environ, "KORAT_LAB": lab}
        command = [sys.executable, "-m", "korat", "lab", "down"]
        subprocess.run(command, env=environ, capture_output=True, timeout=60, check=False)
    mine = _of(rf"kt-{pid}-.*|korat-kt{pid}x.*")
    for name in filter(mine, _all()):
        namespace.remove(name)


def _of(pattern: str):
    return re.compile(pattern).fullmatch


def _all() -> list[str]:
    folder = Path("/run/netns")
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


if __name__ == "__main__":
    main(int(sys.argv[1]))
