"""Row "pod elsewhere -> reachable": a new pod's first packet, and how many such changes a second.

A policy of the server pod selects pods by a label; one that comes up elsewhere has it. Single
ones are timed from the store write to their first packet. Then many are written as fast as the
store takes them, and the time is up when the last one's packet passes and a packet of each of
them does too.
"""

import time

from bench.agent import Agent, agent, head
from bench.cluster import fresh_address, idle_interfaces
from bench.lane import add_idle_links, lane
from bench.plan import Context
from bench.probe import Probe, Target, probe
from bench.process import BenchError, cores
from bench.report import Row, at_least, at_most, measured
from bench.statistic import percentile
from bench.writer import Writer, writer

ROW = "pod elsewhere -> reachable"
_P50 = at_most(3)
_RATE = at_least(5_000)
_LEAD_S = 0.02
#: A burst takes a second or two; a prober that never rests would take the writer's processor.
_BURST_PAUSE_S = 0.002
_PORT = 30_000


def rows(context: Context) -> list[Row]:
    """Measure the row."""
    agent_core, other_core = cores()
    plan = context.plan
    store = context.files.copy(plan.cluster)
    with lane("p") as made:
        add_idle_links(made, idle_interfaces(plan.cluster))
        profile = context.profile_of("pod-agent.txt")
        with (
            agent(made, store, agent_core, profile) as running,
            writer(store, other_core) as writing,
            probe(made, other_core) as probing,
        ):
            running.wait(head(store), plan.load_limit_s)
            writing.policy(_PORT, "one")
            running.catch_up(plan.load_limit_s)
            running.begin_profile()
            latencies = _single(context, running, writing, probing)
            bursts = _bursts(context, running, writing, probing, first=len(latencies))
    return _rows(latencies, bursts)


def _target(number: int, *, allowed: bool = True) -> Target:
    return Target(fresh_address(number), _PORT, allowed)


def _single(context: Context, running: Agent, writing: Writer, probing: Probe) -> list[float]:
    """Milliseconds of each pod that comes alone."""
    context.say(f"{context.plan.changes} pods, one by one")
    found: list[float] = []
    deadline = time.monotonic() + context.plan.budget_s
    while len(found) < context.plan.changes and time.monotonic() < deadline:
        number = len(found)
        probing.begin([_target(number)], context.plan.load_limit_s)
        time.sleep(_LEAD_S)
        begun, _ = writing.create(number, 1)
        found += [(at - begun) / 1e6 for at in probing.changes_ns()]
        running.catch_up()
    return found


def _bursts(
    context: Context, running: Agent, writing: Writer, probing: Probe, *, first: int
) -> list[tuple[float, float]]:
    """For each burst how many changes a second were enforced, and how many the store took."""
    count = context.plan.burst
    context.say(f"{context.plan.bursts} times {count} pods at once")
    found: list[tuple[float, float]] = []
    deadline = time.monotonic() + context.plan.budget_s
    while len(found) < context.plan.bursts and time.monotonic() < deadline:
        last_one = [_target(first + count - 1)]
        probing.begin(last_one, context.plan.load_limit_s, pause_s=_BURST_PAUSE_S)
        time.sleep(_LEAD_S)
        begun, ended = writing.create(first, count)
        (last,) = probing.changes_ns()
        missing = probing.missing([_target(first + n) for n in range(count)])
        if missing:
            raise BenchError(f"{missing} of {count} pods cannot be reached after the last one can")
        found.append((count * 1e9 / (last - begun), count * 1e9 / (ended - begun)))
        writing.delete(first, count)
        running.catch_up()
        left = count - probing.missing([_target(first + n, allowed=True) for n in range(count)])
        if left:
            raise BenchError(f"{left} of {count} pods can still be reached after they went")
    return found


def _rows(latencies: list[float], bursts: list[tuple[float, float]]) -> list[Row]:
    late = percentile(latencies, 0.99)
    return [
        measured(ROW, f"p50 of {len(latencies)}", "ms", latencies, _P50),
        measured(ROW, f"p99 of {len(latencies)}", "ms", latencies, figure=late),
        measured(ROW, "changes enforced", "1/s", [each for each, _ in bursts], _RATE),
        measured(ROW, "changes written", "1/s", [each for _, each in bursts]),
    ]
