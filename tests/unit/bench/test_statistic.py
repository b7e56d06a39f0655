"""Medians, percentiles and ratios, against values worked out by hand and a slow twin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.statistic import percentile, quartiles, ratios

numbers = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50)


@pytest.mark.parametrize(
    ("values", "part", "found"),
    [
        ([1], 0.5, 1),
        ([4, 1, 3, 2], 0.5, 2),
        ([4, 1, 3, 2], 0.51, 3),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 301)), 0.99, 297),
        ([1, 2, 50], 0.99, 50),
        ([1, 2, 50], 1, 50),
    ],
)
def test_percentile_is_the_nearest_rank(values, part, found):
    assert percentile(values, part) == found


@given(values=numbers, part=st.floats(0.001, 1))
def test_at_least_that_part_is_not_above_a_percentile_and_less_is_below_it(values, part):
    found = percentile(values, part)
    assert found in values
    assert sum(v <= found for v in values) >= part * len(values)
    assert sum(v < found for v in values) < part * len(values)


@pytest.mark.parametrize(("values", "part"), [([], 0.5), ([1], 0), ([1], 1.1)])
def test_no_percentile_of_nothing(values, part):
    with pytest.raises(ValueError, match=r"no values|not a part"):
        percentile(values, part)


def test_quartiles_hold_the_middle_half():
    assert quartiles(range(1, 101)) == (25, 75)


def test_ratios_are_of_the_same_round():
    assert ratios([2, 9], [1, 3]) == [2, 3]
    with pytest.raises(ValueError, match="zip"):
        ratios([1, 2], [1])
