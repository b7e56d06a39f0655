"""Law: painting boxes on a grid is painting pixels, first come first served, in canonical form."""

from hypothesis import example, given
from hypothesis import strategies as st

from korat.core.policy.outcome import Action, Direction, Outcome, RuleRef
from korat.core.table.grid import Box, Grid, Patch, cuts_of, minus
from korat.core.table.value import _canonical

LAST = 6
COLOURS = [Outcome(Action.ALLOW, RuleRef.tier_default(Direction.INGRESS, str(i))) for i in range(3)]

spans = st.tuples(st.integers(0, LAST), st.integers(0, LAST)).map(lambda s: (min(s), max(s)))
boxes = st.tuples(spans, spans).map(lambda s: Box(*s[0], *s[1]))
strokes = st.lists(st.tuples(boxes, st.sampled_from(COLOURS)), max_size=8)


def pixels(box):
    return {
        (a, b)
        for a in range(box.a_first, box.a_last + 1)
        for b in range(box.b_first, box.b_last + 1)
    }


WHOLE = Box(0, LAST, 0, LAST)


def painted(painting):
    """Cells of a painting on a grid; what nobody painted gets the first colour."""
    grid = Grid(LAST, cuts_of(box for box, _ in painting))
    grid.fill(None)
    patches = [
        Patch(slab, first, last, colour)
        for box, colour in [*painting, (grid.whole, COLOURS[0])]
        for slab, first, last, _ in grid.take(box)
    ]
    assert not grid
    return grid.cells(patches)


@given(strokes)
@example([(Box(0, 1, 2, 3), COLOURS[1]), (Box(2, 6, 2, 3), COLOURS[1])])
def test_painting_is_pixel_by_pixel(painting):
    canvas = {}
    for box, colour in [*painting, (WHOLE, COLOURS[0])]:
        for pixel in pixels(box):
            canvas.setdefault(pixel, colour)
    cells = painted(painting)
    found = [(pixel, cell.outcome) for cell in cells for pixel in pixels(Box(*cell[:4]))]
    assert len(found) == len(canvas)
    assert dict(found) == canvas
    assert _canonical(cells, LAST)
    # The form depends on the picture alone: dots in any order give the same cells.
    dots = [(Box(a, a, b, b), colour) for (a, b), colour in reversed(canvas.items())]
    assert painted(dots) == cells


@given(st.lists(boxes, max_size=5), boxes)
def test_what_is_put_back_is_as_if_never_taken(taken, asked):
    cuts = cuts_of([*taken, asked])
    touched, untouched = Grid(LAST, cuts), Grid(LAST, cuts)
    for grid in (touched, untouched):
        grid.fill("paper")
    for box in taken:
        touched.put([patch._replace(value="marked") for patch in touched.take(box)])

    def area(grid):
        return {
            (slab, b) for slab, first, last, _ in grid.take(asked) for b in range(first, last + 1)
        }

    assert area(touched) == area(untouched)


@given(st.lists(boxes, max_size=5), boxes)
def test_values_follow_their_regions(marked, asked):
    grid = Grid(LAST, range(LAST + 1))
    grid.fill(frozenset())
    for number, box in enumerate(marked):
        grid.put([p._replace(value=p.value | {number}) for p in grid.take(box)])
    for slab, first, last, value in grid.take(asked):
        for b in range(first, last + 1):
            assert value == {n for n, box in enumerate(marked) if (slab, b) in pixels(box)}


@given(st.lists(boxes, max_size=5))
@example([Box(0, 0, 0, LAST)])
def test_a_grid_is_true_while_anything_is_left(taken):
    grid = Grid(LAST, cuts_of(taken))
    assert not grid
    grid.fill(None)
    left = pixels(WHOLE)
    for box in taken:
        grid.take(box)
        left -= pixels(box)
        assert bool(grid) == bool(left)


@given(boxes, boxes)
def test_minus_is_set_difference(box, hole):
    pieces = [pixel for piece in minus(box, hole) for pixel in pixels(piece)]
    assert len(pieces) == len(set(pieces))
    assert set(pieces) == pixels(box) - pixels(hole)
