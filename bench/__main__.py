"""``make bench``: measures every row, prints one table, writes ``bench/out/latest.json``.

Exit code 0 when everything that was to be measured was, whether or not targets were reached;
1 when a row failed. Root is needed, for network namespaces.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import plan, row_change, row_connection, row_flow, row_option, row_pod, row_start
from bench.plan import Context, Plan
from bench.process import BenchError
from bench.reaper import watched
from bench.report import Row, as_json, as_table, unmeasured
from bench.storefile import StoreFiles
from korat.core.errors import KoratError

OUT = Path(__file__).resolve().parent / "out"

_ROWS: dict[str, tuple[str, Callable[[Context], list[Row]]]] = {
    "connection": (row_connection.ROW, row_connection.rows),
    "flow": (row_flow.ROW, row_flow.rows),
    "change": (row_change.ROW, row_change.rows),
    "pod": (row_pod.ROW, row_pod.rows),
    "start": (row_start.ROW, row_start.rows),
    "option": (row_option.ROW, row_option.rows),
}
_PLANS = {"full": plan.FULL, "quick": plan.QUICK, "smoke": plan.SMOKE}


def main(arguments: list[str]) -> int:
    """Run the benchmark; returns the exit code."""
    asked = _parsed(arguments)
    if os.geteuid() != 0:
        say("the benchmark makes network namespaces; run it as root")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that every block is left
    out: Path = asked.out
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"kt-{os.getpid()}-bench-"))
    profile = out / "profile" if asked.profile else None
    if profile:
        profile.mkdir(exist_ok=True)
    with watched(folder):
        context = Context(_plan(asked), StoreFiles(folder), profile, say)
        rows, failed = _measure(context, asked.rows, out / "latest.json")
    sys.stdout.write(as_table(rows))
    return int(failed)


def _measure(context: Context, names: list[str], path: Path) -> tuple[list[Row], bool]:
    """All rows that were asked for; one that fails does not keep the others back.

    The file is written after each, so that a run that is ended leaves what it had.
    """
    rows: list[Row] = []
    failed = False
    for name in names:
        title, measure = _ROWS[name]
        say(f"== {title}")
        try:
            rows += measure(context)
        except (BenchError, KoratError) as error:
            failed = True
            say(f"{title}: failed: {error}")
            rows.append(unmeasured(title, f"failed: {str(error)[:80]}", "", None))
        path.write_text(as_json(rows), "utf-8")
    return rows, failed


def _plan(asked: argparse.Namespace) -> Plan:
    chosen = _PLANS[asked.plan]
    return chosen if asked.scale == 1 else chosen.scaled(asked.scale)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--plan", choices=_PLANS, default="full", help="sizes and samples")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the clusters' sizes")
    parser.add_argument("--rows", nargs="+", choices=_ROWS, default=list(_ROWS))
    parser.add_argument("--out", type=Path, default=OUT, help="folder of latest.json and profiles")
    parser.add_argument("--profile", action="store_true", help="write profiles beside latest.json")
    return parser.parse_args(arguments)


_BEGUN = time.monotonic()


def say(text: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(f"{time.monotonic() - _BEGUN:7.1f} s  {text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
