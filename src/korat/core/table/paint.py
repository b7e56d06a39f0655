"""A verdict table from a plan and what is true of the two addresses."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from korat.core.policy.outcome import Action, Direction, Outcome, RuleRef
from korat.core.policy.rule import RuleAction
from korat.core.table.grid import Box, Grid, Patch, V, cuts_of
from korat.core.table.lower import OTHER_PROTOCOL, LoweredRule
from korat.core.table.plan import LoweredStage, LoweredTrial, Plan
from korat.core.table.value import Cell, Cells, VerdictTable, number_last


class Trail(NamedTuple):
    """What a region has passed, as in ``Outcome``: logs, staged policies' notes, who sent it on."""

    logs: tuple[RuleRef, ...] = ()
    staged: tuple[RuleRef, ...] = ()
    passes: tuple[RuleRef, ...] = ()


#: A rule with its boxes on one plane.
Brush = tuple[LoweredRule, tuple[Box, ...]]


class Trial(NamedTuple):
    """A staged policy on one plane, and what it notes where none of its rules matches."""

    brushes: Sequence[Brush]
    miss: RuleRef | None


class Layer(NamedTuple):
    """What is left of a stage on one plane between two addresses."""

    brushes: Sequence[Brush | Trial]
    end: RuleRef | None
    passing: RuleRef | None


#: How often boxes may meet slabs on one plane. Lists of source ports crossed with as many lists of
#: destination ports reach it, which hardly anybody needs; unbounded they would take all memory.
MEETINGS_MAX = 20_000
#: How many tables are remembered by what they were painted from.
_REMEMBERED = 16_384


class IntricateError(ValueError):
    """The rules cut a plane into too many pieces; trying them one by one is cheaper."""


#: A rule that matches between two addresses, with the bits of both that its ports depend on.
Admitted = tuple[LoweredRule, int, int]


class AdmittedTrial(NamedTuple):
    """A staged policy's rules that match between two addresses."""

    rules: tuple[Admitted, ...]
    miss: RuleRef | None


class AdmittedStage(NamedTuple):
    """What of a stage is left between two addresses."""

    rules: tuple[Admitted | AdmittedTrial, ...]
    end: RuleRef | None
    passing: RuleRef | None


def paint(plan: Plan, source: int, destination: int) -> VerdictTable:
    """The table of a plan between two addresses of which this is true.

    Raises:
        IntricateError: one of its planes has too many pieces.
    """
    peer = source if plan.direction is Direction.INGRESS else destination
    return _painted(tuple(_admitted(stage, peer, source, destination) for stage in plan.stages))


def _admitted(stage: LoweredStage, peer: int, source: int, destination: int) -> AdmittedStage:
    def admit(rule: LoweredRule) -> Admitted:
        return rule, source & rule.source.named, destination & rule.destination.named

    found: list[Admitted | AdmittedTrial] = []
    for rule in stage.candidates(peer):
        if isinstance(rule, LoweredTrial):
            own = tuple(admit(r) for r in rule.rules if r.admits(source, destination))
            found.append(AdmittedTrial(own, rule.miss))
        elif rule.admits(source, destination):
            found.append(admit(rule))
    return AdmittedStage(tuple(found), stage.end, stage.passing)


@lru_cache(maxsize=_REMEMBERED)
def _painted(stages: tuple[AdmittedStage, ...]) -> VerdictTable:
    """Paint what is left of all stages; most peers leave what others have left before."""
    flat = [rule for stage in stages for rule, _, _ in _flat(stage.rules)]
    protocols = sorted(frozenset[int]().union(*(rule.protocols for rule in flat)))

    def cells(protocol: int) -> Cells:
        layers = [
            Layer([_brush(rule, protocol) for rule in stage.rules], stage.end, stage.passing)
            for stage in stages
        ]
        return _plane(layers, number_last(protocol))

    (rest,) = cells(OTHER_PROTOCOL)
    return table({protocol: cells(protocol) for protocol in protocols}, rest.outcome)


def _flat(rules: Iterable[Admitted | AdmittedTrial]) -> Iterator[Admitted]:
    """The rules, those of staged policies among them."""
    for rule in rules:
        yield from (rule.rules if isinstance(rule, AdmittedTrial) else (rule,))


def _brush(rule: Admitted | AdmittedTrial, protocol: int) -> Brush | Trial:
    if isinstance(rule, AdmittedTrial):
        own = [(each, each.boxes(protocol, *ends)) for each, *ends in rule.rules]
        return Trial(own, rule.miss)
    lowered, source, destination = rule
    return lowered, lowered.boxes(protocol, source, destination)


def table(planes: dict[int, Cells], other: Outcome) -> VerdictTable:
    """The canonical table with these planes."""
    unlike = {
        protocol: cells
        for protocol, cells in planes.items()
        if len(cells) > 1 or cells[0].outcome != other
    }
    return VerdictTable(tuple(sorted(unlike.items(), key=lambda plane: plane[0])), other)


def _plane(layers: Sequence[Layer], last: int) -> Cells:
    grid: Grid[Trail] = _cut(
        last, [box for layer in layers for _, boxes in _brushes(layer.brushes) for box in boxes]
    )
    grid.fill(Trail())
    painted: list[Patch[Outcome]] = []
    for brushes, end, passing in layers:
        passed = _stage(grid, brushes, painted)
        left = grid.take(grid.whole)
        if end is None:
            more = Trail((), (), (passing,) if passing else ())
            passed.extend(_passing(left, more))
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


def _brushes(brushes: Iterable[Brush | Trial]) -> Iterator[Brush]:
    """The brushes, those of staged policies among them."""
    for brush in brushes:
        yield from (brush.brushes if isinstance(brush, Trial) else (brush,))


def _stage(
    grid: Grid[Trail], brushes: Iterable[Brush | Trial], painted: list[Patch[Outcome]]
) -> list[Patch[Trail]]:
    """Let each rule take what is left of its boxes; returns the regions that Pass sends on."""
    passed: list[Patch[Trail]] = []
    for brush in brushes:
        if isinstance(brush, Trial):
            _note(grid, brush)
            continue
        rule, boxes = brush
        taken = [patch for box in boxes for patch in grid.take(box)]
        match rule.action:
            case RuleAction.ALLOW:
                painted.extend(_coloured(taken, Action.ALLOW, rule.ref))
            case RuleAction.DENY:
                painted.extend(_coloured(taken, Action.DENY, rule.ref))
            case RuleAction.PASS:
                passed.extend(_passing(taken, Trail((), (), (rule.ref,))))
            case RuleAction.LOG:
                grid.put(_passing(taken, Trail((rule.ref,))))
        if not grid:
            break
    return passed


def _note(grid: Grid[Trail], trial: Trial) -> None:
    """Note on each region the first rule of a staged policy that matches there, or the miss."""
    noted: list[Patch[Trail]] = []
    for rule, boxes in trial.brushes:
        for box in boxes:
            noted.extend(_passing(grid.take(box), Trail((), (rule.ref,))))
    if trial.miss is not None:
        noted.extend(_passing(grid.take(grid.whole), Trail((), (trial.miss,))))
    grid.put(noted)


def _passing(patches: Iterable[Patch[Trail]], more: Trail) -> Iterator[Patch[Trail]]:
    """The regions with more on their trails."""
    for patch in patches:
        own = patch.value
        yield patch._replace(
            value=Trail(own.logs + more.logs, own.staged + more.staged, own.passes + more.passes)
        )


def _coloured(
    patches: Iterable[Patch[Trail]], action: Action, ref: RuleRef
) -> Iterator[Patch[Outcome]]:
    for slab, first, last, trail in patches:
        yield Patch(slab, first, last, Outcome(action, ref, *trail))


def strictest(tables: Sequence[VerdictTable]) -> VerdictTable:
    """The table that allows what all of these allow; a denial names the first that denies.

    Of what all allow, the first table's outcome is kept.
    """
    if len(set(tables)) == 1:
        return tables[0]

    def layers(protocol: int) -> list[Cell]:
        each = [cell for table in tables for cell in table.cells(protocol)]
        denied = [cell for cell in each if cell.outcome.action is Action.DENY]
        return [*denied, *tables[0].cells(protocol)]

    return _laid(tables, layers)


def first_decided(tables: Sequence[VerdictTable]) -> VerdictTable:
    """The table of several that are asked in turn, as the sets of a host endpoint's policies are.

    Who denies, or allows by a rule, has the say; what only was let by is for the next to decide.
    """
    *before, last = tables
    if not before:
        return last

    def layers(protocol: int) -> list[Cell]:
        each = [cell for table in before for cell in table.cells(protocol)]
        decided = [cell for cell in each if _is_final(cell.outcome)]
        return [*decided, *last.cells(protocol)]

    return _laid(tables, layers)


def _is_final(outcome: Outcome) -> bool:
    return outcome.action is Action.DENY or outcome.ref.decides


def _laid(tables: Sequence[VerdictTable], layers: Callable[[int], Sequence[Cell]]) -> VerdictTable:
    """The table of the layers of every protocol."""
    protocols = sorted({protocol for table in tables for protocol, _ in table.protocols})

    def cells(protocol: int) -> Cells:
        return _overlay(layers(protocol), number_last(protocol))

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
