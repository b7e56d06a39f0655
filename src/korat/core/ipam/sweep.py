"""Taking back what a plan says is due, after one more look at who is there right before.

Between the plan and its release somebody may have come back: a pod whose node was slow to say which
addresses it has, a node that was made anew under its name. And an address may have been given out
again: a release says which allocation it means.
Source: kube-controllers/pkg/controllers/node (ipam.go: garbageCollectKnownLeaks, cleanupNode).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from korat.core.ipam.collect import Leak, Plan, Rules
from korat.core.ipam.host import release_host
from korat.core.ipam.instant import Moment
from korat.core.ipam.living import Living, why_leaked
from korat.core.ipam.release import release_ips
from korat.core.ipam.request import Steps
from korat.core.ipam.survey import who_is_there
from korat.core.net.address import Addr, Prefix

#: How many addresses to release after one look.
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What was taken back, who has come back, and what was refused and why."""

    released: tuple[Leak, ...] = ()
    alive: tuple[Leak, ...] = ()
    refused: Mapping[Addr, str] = field(default_factory=dict)


def batches(due: Iterable[Leak], suspects: Iterable[Leak]) -> Iterator[tuple[Leak, ...]]:
    """What is due, some at a time, all addresses of a handle together.

    A handle of which another address is not due yet waits for that one.
    """
    waiting = {leak.allocation.handle_id for leak in suspects} - {None}
    ready = [leak for leak in due if leak.allocation.handle_id not in waiting]
    batch: list[Leak] = []
    for _, group in groupby(sorted(ready, key=_handle), key=_handle):
        batch += group
        if len(batch) >= _BATCH:
            yield tuple(batch)
            batch = []
    if batch:
        yield tuple(batch)


def reclaim(leaks: Sequence[Leak], moment: Moment, rules: Rules) -> Steps[Reclaimed]:
    """Release these, but for those of whom somebody is there after all.

    Raises:
        Invalid: a node, a pod or an endpoint cannot be read.
        Conflict: others write the same objects all the time.
    """
    there = yield from who_is_there()
    staying = {_handle(leak) for leak in leaks if not _is_due(leak, there, moment, rules)}
    alive = tuple(leak for leak in leaks if _handle(leak) in staying)
    wanted = {leak.allocation.addr: leak for leak in leaks if _handle(leak) not in staying}
    done = yield from release_ips([leak.wanted for leak in wanted.values()], moment)
    released = tuple(wanted[addr] for addr in done.released)
    return Reclaimed(released, alive, done.refused)


def clear_host(host: str) -> Steps[tuple[Prefix, ...] | None]:
    """End all claims of a host that is gone; None when it is there again.

    Raises:
        Invalid: a node, a pod or an endpoint cannot be read.
        Conflict: others write the same objects all the time.
    """
    there = yield from who_is_there()
    if host in there.nodes:
        return None
    return (yield from release_host(host))


def next_due_s(plan: Plan, rules: Rules, moment: Moment) -> int | None:
    """In how many seconds the first of the suspects is due; None when none ever is."""
    if not rules.grace_s or not plan.suspects:
        return None
    return min(leak.since_s for leak in plan.suspects) + rules.grace_s - moment.now_s


def _is_due(leak: Leak, there: Living, moment: Moment, rules: Rules) -> bool:
    own = leak.allocation
    if not why_leaked(own, there):
        return False
    is_old = rules.grace_s > 0 and leak.since_s + rules.grace_s <= moment.now_s
    return is_old or own.node not in there.nodes


def _handle(leak: Leak) -> tuple[str, str]:
    """By what leaks belong together; one without a handle is alone."""
    own = leak.allocation
    return (own.handle_id, "") if own.handle_id else ("", str(own.addr))
