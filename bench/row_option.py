"""Row "networking option": what each option costs a flow, a new connection, a pod and a node.

A lab of every option is up, and all are driven in turn. A way between pods of two nodes is compared
with the way between the nodes themselves in the same lab, without pod and without tunnel.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing

from bench.connection import load
from bench.ends import Ends
from bench.flow import DATA, SINGLE, Kind, flows
from bench.lab import GUARDED, OPEN, Lab, labs, run
from bench.option import Option, OptionPlan
from bench.plan import Context
from bench.report import Row, measured
from bench.rounds import Comparison, Slices, interleaved
from bench.starter import Starter

ROW = "networking option"
_ADDED = "vm3"

#: What is timed of an option, by the words of its row.
_Timed = Mapping[str, Callable[[Starter], float]]
_STARTS: _Timed = {
    "pod start": lambda starter: starter.start(OPEN),
    "pod start, one policy": lambda starter: starter.start(GUARDED),
    "CNI ADD": Starter.add_by_hand,
}


def rows(context: Context) -> list[Row]:
    """Measure the row."""
    plan = context.plan.option
    with labs(plan.options, context.say) as made:
        # What forks comes first: the store is not to be taken across.
        carried = [lab for lab in made if not lab.option.beside]
        names = [lab.option.name for lab in carried]
        lines = [
            *flow_rows("", names, _flows(context, carried, DATA)),
            *flow_rows("a packet a segment: ", names, _flows(context, carried, SINGLE)),
            *connection_rows(names, _connections(context, carried)),
        ]
        with ExitStack() as stack:
            starters = {lab.option: stack.enter_context(closing(Starter(lab))) for lab in made}
            return [*lines, *_timed(context, plan, starters)]


def flow_rows(kind: str, options: Sequence[str], found: Slices) -> list[Row]:
    """The lines of one kind of flow."""
    against, lines = Comparison(ROW, found), []
    for option in options:
        pods, vms = pods_of(option), vms_of(option)
        lines += [
            against.ratio(f"{kind}{pods} / {vms}", pods, vms),
            against.processor_ratio(f"{kind}{pods} / {vms}", pods, vms),
            *(
                measured(ROW, f"{kind}{way}", "Gbit/s", [8e-9 * each.rate for each in found[way]])
                for way in (pods, vms)
            ),
        ]
    for option in options[1:]:
        first, other = vms_of(options[0]), vms_of(option)
        lines.append(against.ratio(f"{kind}{other} / {first}", other, first))
    return lines


def connection_rows(options: Sequence[str], found: Slices) -> list[Row]:
    """The lines of new connections."""
    against, lines = Comparison(ROW, found), []
    for option in options:
        pods, vms = pods_of(option), vms_of(option)
        name = f"new connections: {pods}"
        lines += [
            against.ratio(f"{name} / {vms}", pods, vms),
            measured(ROW, name, "1/s", [each.rate for each in found[pods]]),
        ]
    return lines


def pods_of(option: str) -> str:
    """The name of the way between pods of two nodes."""
    return f"{option} pods"


def vms_of(option: str) -> str:
    """The name of the way between the two nodes."""
    return f"{option} VMs"


def _flows(context: Context, made: Sequence[Lab], kind: Kind) -> Slices:
    ways = _ways(made)
    numbers = {name: number for number, name in enumerate(ways)}
    plan = context.plan.option
    with flows(tuple(ways.values()), kind) as driving:
        context.say(f"driving {len(ways)} flows, {kind.name}, {plan.rounds} rounds")
        return interleaved(
            tuple(ways), plan.rounds, lambda name: driving.drive(numbers[name], plan.flow_turns)
        )


def _connections(context: Context, made: Sequence[Lab]) -> Slices:
    ways, plan = _ways(made), context.plan.option
    with load(tuple(ways.values())) as driving:
        context.say(f"new connections on {len(ways)} ways, {plan.rounds} rounds")
        return interleaved(
            tuple(ways), plan.rounds, lambda name: driving.drive(ways[name], plan.windows)
        )


def _ways(made: Sequence[Lab]) -> dict[str, Ends]:
    pods = {pods_of(lab.option.name): lab.pods for lab in made}
    return pods | {vms_of(lab.option.name): lab.vms for lab in made}


def _timed(context: Context, plan: OptionPlan, starters: Mapping[Option, Starter]) -> list[Row]:
    context.say(f"{plan.starts} times three pods in {len(starters)} labs")
    pods = _in_turn(starters, _STARTS, plan.starts)
    lines = [
        measured(ROW, f"{what}: {option.name}", "ms", [1000 * each for each in samples])
        for (what, option), samples in pods.items()
    ]
    if not plan.nodes:
        return lines
    context.say(f"{plan.nodes} times a node more in {len(starters)} labs")
    added = _in_turn(starters, {"node added, its pod answers": _add_node}, plan.nodes)
    return lines + [
        measured(ROW, f"{what}: {option.name}", "s", samples)
        for (what, option), samples in added.items()
    ]


def _in_turn(
    starters: Mapping[Option, Starter], timed: _Timed, times: int
) -> dict[tuple[str, Option], list[float]]:
    """Seconds of each thing in each lab, one after the other in a turning order."""
    wanted = [(what, option) for what in timed for option in starters]
    return interleaved(wanted, times, lambda each: timed[each[0]](starters[each[1]]))


def _add_node(starter: Starter) -> float:
    """Seconds until a pod of a node that is added reaches a pod of another one."""
    begun = time.monotonic()
    run(starter.lab, "lab", "node", "add")
    added = time.monotonic() - begun
    first = starter.start(OPEN, _ADDED)
    run(starter.lab, "lab", "node", "remove", _ADDED)
    starter.rest()
    return added + first
