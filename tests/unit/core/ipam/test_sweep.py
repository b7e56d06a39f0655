"""What is due is released some at a time, all of a handle together."""

from korat.core.ipam.collect import Leak, Plan, Rules
from korat.core.ipam.instant import NANOSECONDS, Moment
from korat.core.ipam.living import Allocation
from korat.core.ipam.sweep import batches, next_due_s
from korat.core.net.address import Addr, Family, Prefix

BLOCK = Prefix.parse("10.0.0.0/16")


def leak(number, handle, since_s=0):
    addr = Addr(Family.V4, BLOCK.base + number)
    return Leak(Allocation(addr, BLOCK, handle, {}, number), "it is gone", since_s)


def test_batches_hold_everything_once_and_whole_handles():
    due = [leak(i, f"h{i % 300}") for i in range(900)] + [leak(i, None) for i in range(900, 1000)]
    found = list(batches(due, ()))
    assert sorted(each.allocation.addr for batch in found for each in batch) == sorted(
        each.allocation.addr for each in due
    )
    assert all(len(batch) >= 256 for batch in found[:-1])
    assert len(found) == 4
    batch_of = {}
    for number, batch in enumerate(found):
        for each in batch:
            if each.allocation.handle_id is not None:
                assert batch_of.setdefault(each.allocation.handle_id, number) == number


def test_a_handle_waits_for_its_last_address_and_those_without_wait_for_nobody():
    due = [leak(1, "a"), leak(2, "b"), leak(3, None)]
    (batch,) = batches(due, [leak(4, "a"), leak(5, None)])
    assert {each.allocation.addr.value - BLOCK.base for each in batch} == {2, 3}
    assert list(batches((), due)) == []


def test_when_the_first_suspect_is_due():
    def plan(*suspects):
        return Plan((), suspects, (), (), (), (), None)

    now = Moment(100 * NANOSECONDS)
    assert next_due_s(plan(leak(1, "a", 90), leak(2, "b", 50)), Rules(grace_s=60), now) == 10
    assert next_due_s(plan(), Rules(grace_s=60), now) is None
    assert next_due_s(plan(leak(1, "a", 90)), Rules(grace_s=0), now) is None
