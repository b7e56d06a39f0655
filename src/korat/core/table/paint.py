"""A verdict table from a plan and what is true of the two addresses."""

from collections.abc import Iterable, Iterator, Sequence

from korat.core.policy.outcome import Action, Outcome, RuleRef
from korat.core.policy.rule import RuleAction
from korat.core.table.grid import Box, Grid, Patch, V, cuts_of
from korat.core.table.lower import OTHER_PROTOCOL, LoweredRule, Plan
from korat.core.table.value import Cell, Cells, VerdictTable, number_last

#: The Log rules that a region has passed.
Trail = tuple[RuleRef, ...]
#: A rule with its boxes on one plane.
Brush = tuple[LoweredRule, tuple[Box, ...]]
#: What is left of a stage on one plane between two addresses.
Layer = tuple[Sequence[Brush], RuleRef | None]

#: How often boxes may meet slabs on one plane. Lists of source ports crossed with as many lists of
#: destination ports reach it, which hardly anybody needs; unbounded they would take all memory.
MEETINGS_MAX = 20_000


class IntricateError(ValueError):
    """The rules cut a plane into too many pieces; trying them one by one is cheaper."""


def paint(plan: Plan, source: int, destination: int) -> VerdictTable:
    """The table of a plan between two addresses of which this is true.

    Raises:
        IntricateError: one of its planes has too many pieces.
    """
    stages = [
        (
            [
                rule
                for rule in stage.rules
                if rule.source.admits(source) and rule.destination.admits(destination)
            ],
            stage.end,
        )
        for stage in plan.stages
    ]

    def cells(protocol: int) -> Cells:
        layers = [
            ([(rule, rule.boxes(protocol, source, destination)) for rule in rules], end)
            for rules, end in stages
        ]
        return _plane(layers, number_last(protocol))

    (rest,) = cells(OTHER_PROTOCOL)
    return table({protocol: cells(protocol) for protocol in plan.protocols}, rest.outcome)


def table(planes: dict[int, Cells], other: Outcome) -> VerdictTable:
    """The canonical table with these planes."""
    unlike = {
        protocol: cells
        for protocol, cells in planes.items()
        if len(cells) > 1 or cells[0].outcome != other
    }
    return VerdictTable(tuple(sorted(unlike.items(), key=lambda plane: plane[0])), other)


def _plane(layers: Iterable[Layer], last: int) -> Cells:
    layers = list(layers)
    grid: Grid[Trail] = _cut(
        last, [box for brushes, _ in layers for _, boxes in brushes for box in boxes]
    )
    grid.fill(())
    painted: list[Patch[Outcome]] = []
    for brushes, end in layers:
        passed = _stage(grid, brushes, painted)
        left = grid.take(grid.whole)
        if end is None:
            passed.extend(left)
        else:
            painted.extend(_coloured(left, Action.DENY, end))
        if not passed:
            break
        grid.put(passed)
    return grid.cells(painted)


def _cut(last: int, boxes: Sequence[Box]) -> Grid[V]:
    """An empty grid for these boxes."""
    grid: Grid[V] = Grid(last, cuts_of(boxes))
    if sum(map(grid.slabs, boxes)) > MEETINGS_MAX:
        raise IntricateError(f"more than {MEETINGS_MAX} pieces of source and destination ports")
    return grid


def _stage(
    grid: Grid[Trail], brushes: Iterable[Brush], painted: list[Patch[Outcome]]
) -> list[Patch[Trail]]:
    """Let each rule take what is left of its boxes; returns the regions that Pass sends on."""
    passed: list[Patch[Trail]] = []
    for rule, boxes in brushes:
        taken = [patch for box in boxes for patch in grid.take(box)]
        match rule.action:
            case RuleAction.ALLOW:
                painted.extend(_coloured(taken, Action.ALLOW, rule.ref))
            case RuleAction.DENY:
                painted.extend(_coloured(taken, Action.DENY, rule.ref))
            case RuleAction.PASS:
                passed.extend(taken)
            case RuleAction.LOG:
                grid.put(patch._replace(value=(*patch.value, rule.ref)) for patch in taken)
        if not grid:
            break
    return passed


def _coloured(
    patches: Iterable[Patch[Trail]], action: Action, ref: RuleRef
) -> Iterator[Patch[Outcome]]:
    for slab, first, last, trail in patches:
        yield Patch(slab, first, last, Outcome(action, ref, trail))


def strictest(tables: Sequence[VerdictTable]) -> VerdictTable:
    """The table that allows what all of these allow; a denial names the first that denies.

    Of what all allow, the first table's outcome is kept.
    """
    if len(set(tables)) == 1:
        return tables[0]
    protocols = sorted({protocol for table in tables for protocol, _ in table.protocols})

    def cells(protocol: int) -> Cells:
        each = [cell for table in tables for cell in table.cells(protocol)]
        denied = [cell for cell in each if cell.outcome.action is Action.DENY]
        return _overlay([*denied, *tables[0].cells(protocol)], number_last(protocol))

    (rest,) = cells(OTHER_PROTOCOL)
    return table({protocol: cells(protocol) for protocol in protocols}, rest.outcome)


def _overlay(layers: Sequence[Cell], last: int) -> Cells:
    """Paint cells over each other, the first on top; together they cover the plane."""
    grid: Grid[None] = _cut(last, [Box(*cell[:4]) for cell in layers])
    grid.fill(None)
    painted = [
        Patch(slab, first, end, cell.outcome)
        for cell in layers
        for slab, first, end, _ in grid.take(Box(*cell[:4]))
    ]
    return grid.cells(painted)
