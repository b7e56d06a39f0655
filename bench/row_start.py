"""Row "cold start of an agent": process start to programmed, and the most memory on the way.

The kernel has no table of korat's when the agent starts, and everything in the store is in the
kernel when it is done.
"""

import time
from pathlib import Path

from bench.agent import agent, head, unload
from bench.cluster import idle_interfaces
from bench.lane import Lane, add_idle_links, lane
from bench.plan import Context
from bench.process import cores
from bench.report import Row, at_most, measured

ROW = "cold start of an agent"
_SECONDS, _MEMORY = at_most(15), at_most(600)


def rows(context: Context) -> list[Row]:
    """Measure the row."""
    plan = context.plan
    store = context.files.copy(plan.cluster)
    times: list[float] = []
    peaks: list[float] = []
    with lane("s") as made:
        add_idle_links(made, idle_interfaces(plan.cluster))
        if context.profile:  # once more than counts: the sampler costs time and memory
            _start(context, made, store, context.profile_of("start-agent.txt"))
        context.say(f"starting {plan.starts} agents")
        deadline = time.monotonic() + plan.budget_s
        while len(times) < plan.starts and (not times or time.monotonic() < deadline):
            seconds, peak_mib = _start(context, made, store, None)
            times.append(seconds)
            peaks.append(peak_mib)
    return [
        measured(ROW, f"process start to programmed, of {len(times)}", "s", times, _SECONDS),
        measured(ROW, "peak resident memory", "MiB", peaks, _MEMORY),
    ]


def _start(context: Context, made: Lane, store: Path, profile: Path | None) -> tuple[float, float]:
    """One start on a kernel without korat's table: seconds, and MiB."""
    unload(made)
    with agent(made, store, cores()[0], profile) as running:
        seconds = running.wait(head(store), context.plan.load_limit_s)
        return seconds, running.peak_mib()
