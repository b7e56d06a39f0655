"""A persistent map is a dict that is copied at each change, and tells what differs."""

from hypothesis import given
from hypothesis import strategies as st

from korat.core.pmap import PMap, differences

#: Few keys and values, so that changes meet; 1 == True and 2.0 == 2 tell equality from identity.
KEYS = st.integers(0, 40)
CHANGES = st.dictionaries(KEYS, st.sampled_from([None, 1, 2, True, 2.0]), max_size=12)
START = st.dictionaries(KEYS, st.sampled_from([1, 2, True]), min_size=5, max_size=41)


@given(START, st.lists(CHANGES, max_size=6), st.data())
def test_changing_it_makes_another_one_and_leaves_the_old_alone(start, steps, data):
    twins, maps = [start], [PMap(start)]
    for step in steps:
        # Of any one before, so that some are no descendants of each other.
        at = data.draw(st.integers(0, len(maps) - 1))
        maps.append(maps[at].changed(step))
        merged = twins[at] | step
        twins.append({key: value for key, value in merged.items() if value is not None})
    for twin, each in zip(twins, maps, strict=True):
        assert dict(each) == twin
        assert len(each) == len(twin)
        assert [key for key in range(41) if key in each] == sorted(twin)
    for old_twin, old in zip(twins, maps, strict=True):
        for new_twin, new in zip(twins, maps, strict=True):
            found = {key: (before, after) for key, before, after in differences(old, new)}
            assert found == {
                key: (old_twin.get(key), new_twin.get(key))
                for key in old_twin.keys() | new_twin.keys()
                if old_twin.get(key) != new_twin.get(key)
            }


@given(START, CHANGES)
def test_a_change_of_what_is_gone_is_told_all_the_same(start, step):
    """The map in between is nobody's any more, so the two share dicts and nothing else."""
    old = PMap(start)
    new = old.changed({0: 1}).changed(step)
    wanted = {k: v for k, v in (start | {0: 1} | step).items() if v is not None}
    told = [key for key, *_ in differences(old, new)]
    assert sorted(told) == sorted(
        key for key in start.keys() | wanted.keys() if start.get(key) != wanted.get(key)
    )
