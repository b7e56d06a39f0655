"""Row "new connections/s": what a firewall costs a new connection, and whether that grows."""

from bench.connection import Load, load
from bench.perf import recorded
from bench.plan import Context
from bench.report import Row, at_least, measured
from bench.rounds import Comparison, Slices, interleaved
from bench.variant import (
    AGAIN,
    CONNTRACK,
    NONE,
    Variant,
    label,
    plain_of,
    tables_of,
    variants,
    ways_of,
)

ROW = "new connections/s"
_OF_ONE_RULE = at_least(0.95)
_OF_SMALLEST = at_least(0.97)
_PROFILED = 16  # so many times a slice


def rows(context: Context) -> list[Row]:
    """Measure the row."""
    sizes = context.plan.sizes
    names = (NONE, AGAIN, CONNTRACK, *map(tables_of, sizes), *map(plain_of, sizes))
    with variants(context, names) as made, load(ways_of(made)) as driving:
        context.say(f"driving {len(made)} lanes, {context.plan.rounds} rounds")
        found = interleaved(
            tuple(made),
            context.plan.rounds,
            lambda name: driving.drive(made[name].lane.ends, context.plan.windows),
        )
        _profile(context, driving, made)
    return _rows(context, found)


def _profile(context: Context, driving: Load, made: dict[str, Variant]) -> None:
    for name, variant in made.items() if context.profile else ():
        with recorded(context.profile_of(f"connection-{name.replace(' ', '-')}")):
            driving.drive(variant.lane.ends, _PROFILED * context.plan.windows)


def _rows(context: Context, found: Slices) -> list[Row]:
    sizes = context.plan.sizes
    smallest, largest = tables_of(sizes[0]), tables_of(sizes[-1])
    against = Comparison(ROW, found)
    one = "one conntrack rule"
    return [
        *(
            against.ratio(f"{label(s)} / {one}", tables_of(s), CONNTRACK, _OF_ONE_RULE)
            for s in sizes
        ),
        against.ratio("largest / smallest size", largest, smallest, _OF_SMALLEST),
        *(against.processor_ratio(f"{label(s)} / {one}", tables_of(s), CONNTRACK) for s in sizes),
        against.processor_ratio("largest / smallest size", largest, smallest),
        *(
            against.ratio(f"plain sequence: {label(s)} / {one}", plain_of(s), CONNTRACK)
            for s in sizes
        ),
        *(against.ratio(f"{label(s)} / no firewall", tables_of(s), NONE) for s in sizes),
        against.ratio(f"{one} / no firewall", CONNTRACK, NONE),
        against.ratio("no firewall / no firewall again", NONE, AGAIN),
        against.processor_ratio("no firewall / no firewall again", NONE, AGAIN),
        measured(ROW, one, "1/s", [each.rate for each in found[CONNTRACK]]),
        measured(
            ROW,
            f"{one}: time outside the kernel",
            "ratio",
            [each.user_share for each in found[CONNTRACK]],
        ),
    ]
