"""Interleaving: every variant once a round, in turning order, compared within the round."""

from bench.rounds import Comparison, Slice, Spent, interleaved, spent

NAMES = ("a", "b", "c")


def slice_of(seconds, user_s=0.0, system_s=1.0):
    return Slice(100, Spent(seconds, user_s, system_s), Spent(0, user_s, system_s))


def test_each_round_drives_every_variant_once_and_begins_with_another():
    driven = []
    found = interleaved(NAMES, 3, lambda name: driven.append(name) or slice_of(1))
    assert "".join(driven) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(slices) for name, slices in found.items()} == dict.fromkeys(NAMES, 3)


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    # A slow second round for both: the ratio of medians would be another.
    found = {
        "a": [slice_of(1), slice_of(8), slice_of(3)],
        "b": [slice_of(2), slice_of(4), slice_of(6)],
    }
    row = Comparison("r", found).ratio("a / b", "a", "b")
    assert (row.figure, row.spread) == (2.0, (0.5, 2.0))


def test_processor_time_is_of_both_ends():
    found = {"a": [slice_of(1, 0.5, 1.5)], "b": [slice_of(1, 0.5, 0.5)]}
    row = Comparison("r", found).processor_ratio("a / b", "a", "b")
    assert row.figure == 0.5
    assert slice_of(1, 0.5, 1.5).user_share == 0.25


def test_a_variant_that_could_not_be_loaded_leaves_its_rows_unmeasured():
    row = Comparison("r", {"a": [slice_of(1)]}).ratio("a / b", "a", "b")
    assert row.figure is None


def test_what_is_spent_is_counted_for_all_times():
    done = []
    found = spent(3, lambda: done.append(sum(range(200_000))))
    assert len(done) == 3
    assert found.seconds > 0
    assert found.user_s > 0
