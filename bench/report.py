"""What comes out: rows with their targets, as one table and as JSON.

A row is one figure: the median of its samples, or a percentile where the name says so. ``spread``
is the middle half of the samples. A row without a target stands beside one that has it. A row that
could not be measured has no figure, and is not reached.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from bench.statistic import median, quartiles


@dataclass(frozen=True, slots=True)
class Target:
    """What must be reached; ``at_least`` or else at most."""

    value: float
    at_least: bool

    @property
    def text(self) -> str:
        """As the issue writes it."""
        return f"{'>=' if self.at_least else '<='} {self.value:g}"

    def met(self, figure: float) -> bool:
        """Whether the figure reaches it."""
        return figure >= self.value if self.at_least else figure <= self.value


def at_least(value: float) -> Target:
    """The figure must not be below this."""
    return Target(value, at_least=True)


def at_most(value: float) -> Target:
    """The figure must not be above this."""
    return Target(value, at_least=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One line: ``ok`` is None where nothing must be reached."""

    row: str
    name: str
    figure: float | None
    unit: str
    target: str | None
    ok: bool | None
    spread: tuple[float, float] | None


def measured(
    row: str,
    name: str,
    unit: str,
    samples: Sequence[float],
    target: Target | None = None,
    figure: float | None = None,
) -> Row:
    """The row of these samples; ``figure`` where it is not their median."""
    shown = median(samples) if figure is None else figure
    words, ok = (None, None) if target is None else (target.text, target.met(shown))
    return Row(row, name, shown, unit, words, ok, quartiles(samples))


def unmeasured(row: str, name: str, unit: str, target: Target | None) -> Row:
    """The row of what could not be measured."""
    words, ok = (None, None) if target is None else (target.text, False)
    return Row(row, name, None, unit, words, ok, None)


def as_json(rows: Iterable[Row]) -> str:
    """The list that ``latest.json`` holds."""
    return json.dumps([asdict(row) for row in rows], indent=1) + "\n"


def as_table(rows: Sequence[Row]) -> str:
    """One table to read."""
    head = ("row", "name", "figure", "unit", "middle half", "target", "ok")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    texts = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([texts[0], "-" * sum(widths), *texts[1:]]) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    ok = {True: "yes", False: "NO", None: ""}[row.ok]
    figure = "not measured" if row.figure is None else number(row.figure)
    spread = "" if row.spread is None else " .. ".join(map(number, row.spread))
    return row.row, row.name, figure, row.unit, spread, row.target or "", ok


def number(value: float) -> str:
    """Three places for ratios and small times, none for what is large."""
    if abs(value) >= 1000:  # noqa: PLR2004 - where places say nothing any more
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"  # noqa: PLR2004
