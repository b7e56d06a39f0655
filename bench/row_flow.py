"""Row "established TCP": what a firewall costs a long flow, which it has allowed already."""

from bench.flow import BARE, DATA, SINGLE, Kind, flows
from bench.perf import recorded
from bench.plan import Context
from bench.report import Row, at_least, measured
from bench.rounds import Comparison, Slices, interleaved
from bench.variant import AGAIN, CONNTRACK, NONE, Variant, label, tables_of, variants, ways_of

ROW = "established TCP"
_OF_NONE = at_least(0.98)
_PROFILED = 8  # so many times a slice


def rows(context: Context) -> list[Row]:
    """Measure the row."""
    size, turns = context.plan.sizes[-1], context.plan.flow_turns
    names = (NONE, AGAIN, CONNTRACK, tables_of(size))
    with variants(context, names) as made:
        data, bare, single = (
            Comparison(ROW, _driven(context, made, turns, kind)) for kind in (DATA, BARE, SINGLE)
        )
    tables, shown = tables_of(size), label(size)
    lines = [data.ratio(f"{shown} / no firewall", tables, NONE, _OF_NONE)]
    for kind, against in (("", data), ("nothing copied: ", bare), ("a packet a segment: ", single)):
        if kind:
            lines.append(against.ratio(f"{kind}{shown} / no firewall", tables, NONE))
        lines += [
            against.processor_ratio(f"{kind}{shown} / no firewall", tables, NONE),
            against.ratio(f"{kind}one conntrack rule / no firewall", CONNTRACK, NONE),
            against.ratio(f"{kind}{shown} / one conntrack rule", tables, CONNTRACK),
            against.ratio(f"{kind}no firewall / no firewall again", NONE, AGAIN),
            _speed(f"{kind}no firewall", against.found),
        ]
    return lines


def _speed(name: str, found: Slices) -> Row:
    return measured(ROW, name, "Gbit/s", [8e-9 * each.rate for each in found[NONE]])


def _driven(context: Context, made: dict[str, Variant], turns: int, kind: Kind) -> Slices:
    numbers = {name: number for number, name in enumerate(made)}
    with flows(ways_of(made), kind) as driving:
        context.say(f"driving {len(made)} flows, {kind.name}, {context.plan.rounds} rounds")
        found = interleaved(
            tuple(made),
            context.plan.rounds,
            lambda name: driving.drive(numbers[name], turns),
        )
        for name in made if context.profile else ():
            with recorded(context.profile_of(f"flow-{kind.name}-{name.replace(' ', '-')}")):
                driving.drive(numbers[name], _PROFILED * turns)
    return found
