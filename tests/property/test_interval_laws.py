"""Interval sets are sets; a sweep is what a look at every point says; longest match is a scan."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from korat.core.net.address import Family, Prefix
from korat.core.net.interval import IntervalSet, sweep

POINTS = range(40)
spans = st.tuples(st.integers(0, 39), st.integers(0, 39)).map(lambda pair: (min(pair), max(pair)))
span_lists = st.lists(spans, max_size=8)


def points(intervals: IntervalSet) -> set[int]:
    return {point for first, last in intervals.spans for point in range(first, last + 1)}


@st.composite
def prefixes(draw: st.DrawFn, family: Family = Family.V4, span_bits: int = 6) -> Prefix:
    """Prefixes close together, so that they overlap; ``span_bits`` is how wide the area is."""
    host_bits = draw(st.integers(0, span_bits))
    base = draw(st.integers(0, (1 << span_bits) - 1)) >> host_bits << host_bits
    return Prefix(family, base, family.bits - host_bits)


@given(span_lists, span_lists)
def test_set_algebra_is_that_of_sets_of_points(left, right):
    a, b = IntervalSet.of(left), IntervalSet.of(right)
    assert points(a | b) == points(a) | points(b)
    assert points(a & b) == points(a) & points(b)
    assert points(a - b) == points(a) - points(b)
    assert {point for point in POINTS if point in a} == points(a)
    assert a.size == len(points(a))
    assert bool(a) is bool(points(a))


@given(span_lists, spans)
def test_a_complement_is_the_rest_of_its_frame(given_spans, frame):
    a = IntervalSet.of(given_spans)
    assert points(a.complement(*frame)) == set(range(frame[0], frame[1] + 1)) - points(a)


@given(span_lists, st.randoms(use_true_random=False))
def test_equal_sets_are_equal_values_however_they_were_given(given_spans, random):
    shuffled = [(point, point) for span in given_spans for point in range(span[0], span[1] + 1)]
    random.shuffle(shuffled)
    assert IntervalSet.of(shuffled) == IntervalSet.of(given_spans)


@given(st.lists(prefixes(), max_size=6))
def test_prefixes_come_back_as_the_fewest_that_say_the_same(given_prefixes):
    addresses = IntervalSet.of_prefixes(given_prefixes)
    found = list(addresses.prefixes(Family.V4))
    assert IntervalSet.of_prefixes(found) == addresses
    assert found == sorted(set(found))
    # Fewest: no prefix overlaps another, and no two are the halves of one.
    bases = {(prefix.base, prefix.length) for prefix in found}
    halves = [
        prefix
        for prefix in found
        if prefix.length and (prefix.base ^ 1 << (32 - prefix.length), prefix.length) in bases
    ]
    assert halves == []
    assert sum(prefix.last - prefix.first + 1 for prefix in found) == addresses.size


@given(st.lists(st.tuples(spans, st.sampled_from("abc")), max_size=8))
def test_a_sweep_is_what_every_point_says(items):
    pieces = sweep([(first, last, value) for (first, last), value in items])
    for point in POINTS:
        expected = {value for (first, last), value in items if first <= point <= last}
        found = [piece.value for piece in pieces if piece.first <= point <= piece.last]
        assert found == ([expected] if expected else [])
    assert all(piece.value for piece in pieces)
    for left, right in pairwise(pieces):
        assert left.last < right.first
        assert left.last + 1 < right.first or left.value != right.value


@given(st.lists(st.tuples(spans, st.sampled_from("abc")), max_size=8))
def test_equal_sets_of_a_sweep_are_one_object(items):
    pieces = sweep([(first, last, value) for (first, last), value in items])
    assert len({id(piece.value) for piece in pieces}) == len({piece.value for piece in pieces})
