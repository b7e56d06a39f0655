import pytest

from korat.core.net.address import Addr
from korat.core.policy.outcome import Action, Direction, Outcome, RuleRef
from korat.core.table.value import Cell, PeerClasses, VerdictTable, number_last

IN = Direction.INGRESS
YES = Outcome(Action.ALLOW, RuleRef.tier_default(IN, "yes"))
NO = Outcome(Action.DENY, RuleRef.tier_default(IN, "no"))
ANY = (0, 65535)
WEB = (Cell(*ANY, 0, 79, NO), Cell(*ANY, 80, 80, YES), Cell(*ANY, 81, 65535, NO))
BAD = {
    "nothing": (),
    "a gap": (Cell(*ANY, 0, 79, NO), Cell(*ANY, 81, 65535, YES)),
    "a gap at the end": (Cell(*ANY, 0, 79, NO),),
    "an overlap": (Cell(*ANY, 0, 80, NO), Cell(*ANY, 80, 65535, YES)),
    "equal neighbours": (Cell(*ANY, 0, 79, NO), Cell(*ANY, 80, 65535, NO)),
    "equal slabs": (Cell(0, 9, *ANY, YES), Cell(10, 65535, *ANY, YES)),
    "a gap between slabs": (Cell(0, 9, *ANY, YES), Cell(11, 65535, *ANY, NO)),
    "disorder": (WEB[1], WEB[0], WEB[2]),
}


@pytest.mark.parametrize("cells", BAD.values(), ids=BAD)
def test_cells_that_are_not_canonical_are_refused(cells):
    with pytest.raises(ValueError, match="canonical"):
        VerdictTable(((6, cells),), NO)


def test_protocols_are_sorted_and_differ_from_the_others():
    with pytest.raises(ValueError, match="sorted"):
        VerdictTable(((17, WEB), (6, WEB)), NO)
    with pytest.raises(ValueError, match="sorted"):
        VerdictTable(((6, WEB), (6, WEB)), NO)
    with pytest.raises(ValueError, match="no different"):
        VerdictTable(((6, (Cell(*ANY, *ANY, NO),)),), NO)


@pytest.mark.parametrize(
    ("protocol", "a", "b", "expected"),
    [
        (6, 0, 79, NO),
        (6, 65535, 80, YES),
        (6, 0, 81, NO),
        (17, 1, 80, NO),
        (47, 0, 0, YES),
        (47, 9, 9, YES),
        (1, 8, 0, NO),
    ],
)
def test_lookup(protocol, a, b, expected):
    table = VerdictTable(((6, WEB), (47, (Cell(0, 0, 0, 0, YES),))), NO)
    assert table.lookup(protocol, a, b) is expected


def test_lookup_refuses_numbers_that_a_protocol_cannot_have():
    with pytest.raises(ValueError, match="protocol 1 has no numbers 256, 0"):
        VerdictTable((), NO).lookup(1, 256, 0)


def test_equal_tables_are_equal_keys():
    assert VerdictTable(((6, WEB),), NO) == VerdictTable(((6, tuple(WEB)),), NO)
    assert len({VerdictTable(((6, WEB),), NO), VerdictTable(((6, tuple(WEB)),), NO)}) == 1
    assert VerdictTable(((6, WEB),), NO) != VerdictTable(((6, WEB),), YES)
    assert VerdictTable(((6, WEB),), NO).outcomes() == {YES, NO}


@pytest.mark.parametrize(
    ("protocol", "last"), [(6, 65535), (17, 65535), (132, 65535), (136, 65535), (1, 255), (58, 255)]
)
def test_number_last(protocol, last):
    assert number_last(protocol) == last
    assert number_last(47) == 0


def test_class_of_asks_hosts_then_nets_then_default():
    def addr(n):
        return Addr.parse(f"10.0.0.{n}")

    base = addr(0).value
    nets = ((base + 4, base + 7, 11), (base + 8, base + 8, 12))
    numbers = dict.fromkeys((10, 11, 12))
    classes = PeerClasses({(base + 5,): 10, (base + 9,): 10}, nets, 0, numbers)
    expected = {3: 0, 4: 11, 5: 10, 6: 11, 7: 11, 8: 12, 9: 10, 10: 0}
    assert {n: classes.class_of(addr(n)) for n in expected} == expected
    assert [n for n in range(20) if classes.has(n)] == [0, 10, 11, 12]
