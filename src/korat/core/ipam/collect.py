"""What may be taken back: addresses that nobody has, blocks that nobody needs, counts that are off.

``plan`` looks at everything and says what is due; it remembers in a ``Ledger`` what it has seen, so
that nothing is due that was not so the time before, or for as long as the grace period. What is due
is looked at once more by whoever carries it out (``why_leaked`` with the pod read anew), and every
release says which allocation it means, so an address that was given out again in between stays.

- An address leaks when whom it was given to is gone. All addresses of a handle leak, or none does.
- A node that is gone, and nobody of whom is left, is cleared at once, its blocks too.
- An empty block goes when it was empty and unwritten the time before and its host keeps another.
Source: kube-controllers/pkg/controllers/node (ipam.go).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from korat.core.ipam.block import cidr_of, is_empty, rested
from korat.core.ipam.instant import Moment
from korat.core.ipam.living import Allocation, Living, allocations_in, why_leaked
from korat.core.ipam.release import Return
from korat.core.ipam.request import revision_of
from korat.core.model.ipam import HOST, VIRTUAL, BlockAffinity, IPAMBlock, IPAMHandle
from korat.core.model.resource import Resource
from korat.core.net.address import Addr, Prefix

#: One allocation of an address: given out again it is another one.
_Id = tuple[Addr, int]


@dataclass(frozen=True, slots=True)
class Leak:
    """An allocation that nobody has, why, and since when that is known, in seconds."""

    allocation: Allocation
    reason: str
    since_s: int

    @property
    def wanted(self) -> Return:
        """How to give back this allocation and no other of the address."""
        own = self.allocation
        return Return(own.addr, own.handle_id, own.sequence or None)


@dataclass(frozen=True, slots=True)
class Spare:
    """An empty block, as it was when it was seen."""

    owner: str
    cidr: Prefix
    sequence: int


@dataclass(frozen=True, slots=True)
class Miscount:
    """A handle that counts another number of a block's addresses than there is, as it was seen."""

    handle_id: str
    cidr: Prefix
    revision: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was seen the time before."""

    leaks: Mapping[_Id, int] = field(default_factory=dict)
    spare: frozenset[Spare] = frozenset()
    miscounts: frozenset[Miscount] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is due, in the order in which to do it, and what to remember.

    ``suspects`` are leaks that are not due yet; ``hosts`` are gone, with everybody of theirs.
    """

    due: tuple[Leak, ...]
    suspects: tuple[Leak, ...]
    rested: tuple[Prefix, ...]
    hosts: tuple[str, ...]
    spare: tuple[Spare, ...]
    miscounts: tuple[Miscount, ...]
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Rules:
    """How patient to be; with a grace period of 0 only what is of nodes that are gone is due."""

    grace_s: int = 15 * 60
    cooldown_s: int = 0


def plan(
    resources: Sequence[Resource], there: Living, before: Ledger, moment: Moment, rules: Rules
) -> Plan:
    """What is due now, of everything that address management has stored."""
    blocks = [r for r in resources if isinstance(r, IPAMBlock)]
    gone = _gone_hosts(resources, blocks, there)
    leaks = [
        Leak(allocation, reason, before.leaks.get(_id(allocation), moment.now_s))
        for allocation, reason in leaked(blocks, there)
    ]
    due = [leak for leak in leaks if leak.allocation.node in gone or _is_old(leak, moment, rules)]
    spare = frozenset(_spare(blocks, there))
    miscounts = frozenset(_miscounts(resources, blocks))
    return Plan(
        due=tuple(due),
        suspects=tuple(leak for leak in leaks if leak not in due),
        rested=tuple(cidr_of(b) for b in blocks if rested(b, moment, rules.cooldown_s)),
        hosts=tuple(sorted(gone)),
        spare=tuple(sorted(spare & before.spare, key=lambda s: (s.owner, s.cidr))),
        miscounts=tuple(sorted(miscounts & before.miscounts, key=lambda m: (m.handle_id, m.cidr))),
        ledger=Ledger({_id(k.allocation): k.since_s for k in leaks}, spare, miscounts),
    )


def leaked(blocks: Iterable[IPAMBlock], there: Living) -> list[tuple[Allocation, str]]:
    """The allocations that nobody has, and why; of a handle all or none."""
    reasons = [
        (allocation, why_leaked(allocation, there))
        for block in blocks
        for allocation in allocations_in(block)
    ]
    alive = {a.handle_id for a, reason in reasons if not reason and a.handle_id is not None}
    return [(a, reason) for a, reason in reasons if reason and a.handle_id not in alive]


def _id(allocation: Allocation) -> _Id:
    return allocation.addr, allocation.sequence


def _is_old(leak: Leak, moment: Moment, rules: Rules) -> bool:
    return rules.grace_s > 0 and leak.since_s + rules.grace_s <= moment.now_s


def _gone_hosts(
    resources: Iterable[Resource], blocks: Sequence[IPAMBlock], there: Living
) -> set[str]:
    """Hosts with blocks or addresses that are no nodes any more and of whom nobody is left."""
    known = {
        r.spec.owner for r in resources if isinstance(r, BlockAffinity) and r.spec.type != VIRTUAL
    }
    known |= {block.spec.owner for block in blocks if block.spec.owner.startswith(f"{HOST}:")}
    hosts = {owner.removeprefix(f"{HOST}:") for owner in known}
    lost = {_id(allocation) for allocation, _ in leaked(blocks, there)}
    given = [allocation for block in blocks for allocation in allocations_in(block)]
    alive = {allocation.node for allocation in given if _id(allocation) not in lost}
    return hosts.union(a.node for a in given) - alive - there.nodes - {""}


def _spare(blocks: Iterable[IPAMBlock], there: Living) -> Iterator[Spare]:
    """Empty blocks of nodes that are there; each node keeps one block of a family."""
    owned = sorted(
        (b.spec.owner, cidr_of(b).family, not is_empty(b), cidr_of(b), b.spec.sequence_number)
        for b in blocks
        if b.spec.owner.removeprefix(f"{HOST}:") in there.nodes
    )
    for _, group in groupby(owned, key=lambda item: item[:2]):
        own = list(group)
        empty = [Spare(owner, cidr, number) for owner, _, full, cidr, number in own if not full]
        yield from empty if len(empty) < len(own) else empty[1:]


def _miscounts(resources: Iterable[Resource], blocks: Iterable[IPAMBlock]) -> Iterator[Miscount]:
    actual = Counter(
        (allocation.handle_id, allocation.block)
        for block in blocks
        for allocation in allocations_in(block)
    )
    for handle in resources:
        if isinstance(handle, IPAMHandle):
            for text, count in handle.spec.block.items():
                cidr = Prefix.parse(text)
                if actual[handle.spec.handle_id, cidr] != count:
                    yield Miscount(handle.spec.handle_id, cidr, revision_of(handle))
