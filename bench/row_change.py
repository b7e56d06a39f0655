"""Row "policy change -> enforced": from the store write to the first packet with the new verdict.

One policy of the server pod is rewritten again and again: every other time another port is
allowed, every other time another peer. Each change denies what was allowed and allows what was
denied; both are watched, and what counts is the later of the two.
"""

import time

from bench.agent import Agent, agent, head
from bench.cluster import ASKER_ONE, ASKER_TWO, idle_interfaces
from bench.lane import add_idle_links, lane
from bench.plan import Context
from bench.probe import Probe, Target, probe
from bench.process import cores
from bench.report import Row, at_most, measured
from bench.statistic import percentile
from bench.writer import Writer, writer

ROW = "policy change -> enforced"
_P50, _P99 = at_most(5), at_most(25)
_ASKERS = {"one": ASKER_ONE, "two": ASKER_TWO}
_LEAD_S = 0.02
_PORT = 20_000


def rows(context: Context) -> list[Row]:
    """Measure the row."""
    agent_core, other_core = cores()
    store = context.files.copy(context.plan.cluster)
    with lane("c") as made:
        add_idle_links(made, idle_interfaces(context.plan.cluster))
        profile = context.profile_of("change-agent.txt")
        with (
            agent(made, store, agent_core, profile) as running,
            writer(store, other_core) as writing,
            probe(made, other_core) as probing,
        ):
            running.wait(head(store), context.plan.load_limit_s)
            writing.policy(_PORT, "one")
            running.catch_up(context.plan.load_limit_s)
            running.begin_profile()
            return _rows(_sampled(context, running, writing, probing))


def _sampled(
    context: Context, running: Agent, writing: Writer, probing: Probe
) -> list[tuple[float, float, float]]:
    """For each change the milliseconds to the denial, to the permission, and of the write."""
    context.say(f"changing a policy {context.plan.changes} times")
    found: list[tuple[float, float, float]] = []
    port, asker = _PORT, "one"
    deadline = time.monotonic() + context.plan.budget_s
    while len(found) < context.plan.changes and time.monotonic() < deadline:
        denied = Target(_ASKERS[asker], port, allowed=False)
        if len(found) % 2:
            asker = "two" if asker == "one" else "one"
        else:
            port += 1
        allowed = Target(_ASKERS[asker], port, allowed=True)
        probing.begin([denied, allowed], context.plan.load_limit_s)
        time.sleep(_LEAD_S)
        begun, ended = writing.policy(port, asker)
        to_denied, to_allowed = ((at - begun) / 1e6 for at in probing.changes_ns())
        found.append((to_denied, to_allowed, (ended - begun) / 1e6))
        running.catch_up()
    return found


def _rows(found: list[tuple[float, float, float]]) -> list[Row]:
    later = [max(denied, allowed) for denied, allowed, _ in found]
    count = f"of {len(found)}"
    return [
        measured(ROW, f"p50 {count}", "ms", later, _P50),
        measured(ROW, f"p99 {count}", "ms", later, _P99, figure=percentile(later, 0.99)),
        measured(ROW, "newly denied, p50", "ms", [each[0] for each in found]),
        measured(ROW, "newly allowed, p50", "ms", [each[1] for each in found]),
        measured(ROW, "the store write alone, p50", "ms", [each[2] for each in found]),
    ]
