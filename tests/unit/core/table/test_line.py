"""The number line: what is true between two numbers, piece by piece."""

from hypothesis import given
from hypothesis import strategies as st

from korat.core.table.line import Line

LAST = 20
numbers = st.integers(0, LAST)
spans = st.tuples(numbers, numbers).map(lambda ends: tuple(sorted(ends)))
items = st.lists(st.tuples(spans, st.integers(1, 7)).map(lambda item: (*item[0], item[1])))


@given(items, spans)
def test_across_is_beneath_number_by_number(laid, asked):
    first, last = asked
    line = Line(laid)
    pieces = list(line.across(first, last))
    told = [(at, piece.truth) for piece in pieces for at in range(piece.first, piece.last + 1)]
    assert told == [(at, line.beneath(at)) for at in range(first, last + 1)]
