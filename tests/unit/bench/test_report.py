"""The rows: whether a target is met, the shape of the JSON, one line a row in the table."""

import json

import pytest

from bench.report import as_json, as_table, at_least, at_most, measured, number, unmeasured

SAMPLES = [0.9, 1.1, 1.0, 0.5, 2.0]
FIELDS = ["row", "name", "figure", "unit", "target", "ok", "spread"]


@pytest.mark.parametrize(
    ("target", "ok"),
    [
        (at_least(1), True),
        (at_least(1.01), False),
        (at_most(1), True),
        (at_most(0.99), False),
        (None, None),
    ],
)
def test_the_median_is_held_against_the_target(target, ok):
    row = measured("r", "n", "ratio", SAMPLES, target)
    assert (row.figure, row.ok, row.spread) == (1.0, ok, (0.9, 1.1))


def test_a_percentile_is_held_against_the_target_when_the_row_is_about_one():
    assert measured("r", "n", "ms", SAMPLES, at_most(1.5), figure=2.0).ok is False


def test_what_was_not_measured_is_not_reached():
    assert unmeasured("r", "n", "ms", at_most(5)).ok is False
    assert unmeasured("r", "n", "ms", None).ok is None


def test_json_is_a_list_of_rows_with_these_fields():
    rows = [measured("r", "n", "ms", SAMPLES, at_most(5)), unmeasured("r", "m", "ms", None)]
    first, second = json.loads(as_json(rows))
    assert list(first) == FIELDS
    assert first == dict(zip(FIELDS, ["r", "n", 1.0, "ms", "<= 5", True, [0.9, 1.1]], strict=True))
    assert second == dict(zip(FIELDS, ["r", "m", None, "ms", None, None, None], strict=True))


def test_the_table_has_a_line_a_row_and_shouts_what_is_not_reached():
    rows = [
        measured("r", "met", "ratio", SAMPLES, at_least(0.95)),
        measured("r", "missed", "1/s", [1234.5], at_least(5000)),
        unmeasured("r", "unknown", "ms", at_most(5)),
    ]
    met, missed, unknown = as_table(rows).splitlines()[2:]
    assert met.split()[1:3] == ["met", "1.000"]
    assert met.endswith(">= 0.95  yes")
    assert "1,234" in missed
    assert missed.endswith("NO")
    assert "not measured" in unknown


@pytest.mark.parametrize(
    ("value", "text"), [(0.9567, "0.957"), (9.9999, "10.000"), (12.34, "12.3"), (5000, "5,000")]
)
def test_numbers_have_the_places_that_say_something(value, text):
    assert number(value) == text
