"""One block: who has which address, and the order in which they come back."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from ipam_world import START_S, at
from korat.core.ipam.block import (
    address_of,
    attribute_at,
    cidr_of,
    counted,
    fresh,
    freshened,
    give_back,
    handle_at,
    has_free,
    is_empty,
    is_resting,
    ordinal_of,
    ordinals_of,
    rested,
    sequence_at,
    size_of,
    take,
    take_these,
)
from korat.core.ipam.instant import seconds_of
from korat.core.model.ipam import BlockAttribute, IPAMBlock, IPAMBlockSpec
from korat.core.model.validate import validate
from korat.core.net.address import Addr, Prefix

CASES = Path(__file__).resolve().parents[4] / ".." / "shared" / "cases" / "block.jsonl"
ROWS = [json.loads(row) for row in CASES.read_text().splitlines()] if CASES.is_file() else []
A = BlockAttribute(handle_id="a", secondary={"node": "n1"})
B = BlockAttribute(handle_id="b")


def block(cidr="10.0.0.0/29"):
    return fresh(Prefix.parse(cidr), "host:n1", at())


def nothing(_):
    return False


@pytest.mark.skipif(not ROWS, reason="the tables of cases are not here")
def test_calicos_table_of_sizes_and_ordinals():
    for row in ROWS:
        cidr = Prefix.parse(row["Args"][0])
        # Far larger than a block may be, so the arithmetic is asked alone.
        own = IPAMBlock(spec=IPAMBlockSpec(cidr=str(cidr)))
        match row["Table"], row["Args"][1:]:
            case "CIDR table tests", [size]:
                assert size_of(cidr) == size
            case "ordinal arithmetic tests", [ordinal, text]:
                assert str(address_of(own, ordinal)) == text
                assert ordinal_of(own, Addr.parse(text)) == ordinal
            case unknown:
                pytest.fail(f"no such table: {unknown}")
    assert len(ROWS) == 14


def test_a_fresh_block_is_valid_empty_and_stamped():
    own = block()
    assert not validate(own)
    assert is_empty(own)
    assert own.spec.affinity == "host:n1"
    assert own.spec.affinity_claim_time == "2026-01-02T03:04:05Z"
    assert own.spec.sequence_number == START_S * 10**9
    assert own.spec.unallocated == tuple(range(8))


def test_addresses_are_taken_at_the_head_and_come_back_to_the_tail():
    own, first = take(block(), 3, A, nothing)
    assert list(map(str, first)) == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
    own = give_back(own, [2, 0], at(), 0)
    assert own.spec.unallocated == (3, 4, 5, 6, 7, 0, 2)
    own, again = take(own, 99, B, nothing)
    assert [addr.value & 7 for addr in again] == [3, 4, 5, 6, 7, 0, 2]
    assert take(own, 1, A, nothing) == (own, ())


def test_reserved_addresses_are_passed_over_and_keep_their_place():
    low = {Addr.parse("10.0.0.0").value, Addr.parse("10.0.0.1").value}
    own, taken = take(block(), 1, A, lambda addr: addr.value in low)
    assert str(taken[0]) == "10.0.0.2"
    assert own.spec.unallocated[:2] == (0, 1)
    own, _ = take(own, 99, A, lambda addr: addr.value in low)
    assert not has_free(own, lambda addr: addr.value in low)
    assert has_free(own, nothing)


def test_equal_attributes_are_one_and_those_that_nobody_uses_go():
    own = take_these(take_these(take_these(block(), [0], A), [1], B), [2], A)
    assert own.spec.attributes == (A, B)
    assert own.spec.allocations[:3] == (0, 1, 0)
    own = give_back(own, [0, 2], at(), 0)
    assert own.spec.attributes == (B,)
    assert own.spec.allocations[:3] == (None, 0, None)
    assert ordinals_of(own, "b") == (1,)
    assert not validate(own)


def test_an_allocation_keeps_the_sequence_number_with_which_it_was_written():
    first = counted(take_these(block(), [0], A))
    second = counted(take_these(first, [1], A))
    start = START_S * 10**9
    assert (sequence_at(second, 0), sequence_at(second, 1)) == (start + 1, start + 2)
    assert second.spec.sequence_number == start + 2
    assert sequence_at(give_back(second, [0], at(), 0), 0) == 0


def test_an_address_rests_and_is_free_again_in_the_order_of_its_return():
    own = take_these(block(), range(8), A)
    own = give_back(own, [5], at(0), 30)
    own = give_back(own, [1], at(10), 30)
    assert is_resting(own, 5)
    assert handle_at(own, 5) is None
    assert attribute_at(own, 5) == BlockAttribute(released_at="2026-01-02T03:04:05Z")
    assert not validate(own)
    assert own.spec.unallocated == ()
    assert rested(own, at(29), 30) == ()
    assert freshened(own, at(29), 30) is own
    assert freshened(own, at(30), 30).spec.unallocated == (5,)
    assert freshened(own, at(40), 30).spec.unallocated == (5, 1)
    assert freshened(own, at(11), 0).spec.unallocated == (5, 1)


def test_what_others_wrote_is_read():
    """A handle with a line's end from Windows; an index with no attribute; the old affinity."""
    windows = BlockAttribute(handle_id="net.id\r\nrest")
    own = take_these(block(), [0], windows)
    assert handle_at(own, 0) == "net.id"
    assert ordinals_of(own, "net.id") == (0,)
    odd = replace(own, spec=replace(own.spec, attributes=()))
    assert not is_empty(odd)
    assert handle_at(odd, 0) is None
    old = replace(own, spec=replace(own.spec, affinity=None, host_affinity="n9"))
    assert old.spec.owner == "host:n9"
    assert cidr_of(old) == Prefix.parse("10.0.0.0/29")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T23:59:59Z", 951868799),
        ("2026-01-02T03:04:05.678Z", 1767323045),
        ("2026-01-02T05:04:05+02:00", 1767323045),
        ("2026-01-01T22:04:05-05:00", 1767323045),
        ("", None),
        ("yesterday", None),
    ],
)
def test_times(text, seconds):
    assert seconds_of(text) == seconds
