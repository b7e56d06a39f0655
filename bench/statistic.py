"""Medians, spreads and percentiles of what was measured: pure."""

import math
from collections.abc import Sequence
from statistics import median

__all__ = ["median", "percentile", "quartiles", "ratios"]


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least this part of all does not exceed (nearest rank).

    Of few values a high percentile is the largest: never better than what was seen.

    Raises:
        ValueError: there are no values, or the part is not in (0, 1].
    """
    if not values:
        raise ValueError("no values")
    if not 0 < part <= 1:
        raise ValueError(f"not a part of all: {part}")
    return sorted(values)[math.ceil(part * len(values)) - 1]


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Between which two values the middle half lies."""
    return percentile(values, 0.25), percentile(values, 0.75)


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Each value over the one of the same round.

    Raises:
        ValueError: the two were not measured in the same rounds.
    """
    return [a / b for a, b in zip(over, under, strict=True)]
