"""Live connections re-judged: after a change of policy, those that it denies now are cut.

Calico lets a connection live on for as long as it talks, whatever policy has become. Here the
tracked connections of whom the change concerns are judged by the new verdict tables, and only those
denied are deleted from connection tracking; every other one does not notice. When the policy of the
node's own interfaces has changed, every connection is judged by that too; when it is the same, and
only other addresses are in the sets that it asks, those of these addresses are. Not for what left
the node: ``NodeKernel.forget`` does that at once.

It has a thread of its own, so that a node with many connections is programmed as fast as any other;
of several policies that come meanwhile the newest counts. The order of writes is what makes it
sound: the policy is in the kernel before this hears of it, then no packet is left that was judged
by the old one, then the tuples to hold up are written, and only then entries are deleted.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import structlog

from korat.core.errors import KoratError
from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr, Family
from korat.core.policy.outcome import Action
from korat.core.policy.platform import PlatformAccess
from korat.core.render.nft.cut import QUIET_S, Cuts, cut_key
from korat.core.render.nft.key import Key
from korat.core.render.nft.node import OwnPolicy, hook_settings
from korat.core.table.rejudge import (
    Connection,
    Places,
    Tuple,
    affected,
    guarded,
    refused_now,
    rejudge,
)
from korat.core.table.rejudge_host import HostJudge, regrouped
from korat.core.table.value import NodePolicy

log = structlog.get_logger(__name__)

_RETRY_FIRST_S = 0.1
#: How many entries are deleted between two looks whether the node loop has work.
_TOGETHER = 200
_RETRY_LAST_S = 10.0
#: Looking at connections is a small part of one processor's work, however fast policy changes.
_REST = 9
_REST_LAST_S = 0.5
#: How long, and how often, to let the kernel be given yet another policy before connections go.
_WAIT_S = 1.0
_ROUNDS = 3


class Entry(Protocol):
    """A tracked connection and for how long it would be remembered."""

    @property
    def connection(self) -> Connection:
        """The connection."""

    @property
    def timeout_s(self) -> int:
        """How long connection tracking would wait for another packet."""


E = TypeVar("E", bound=Entry)


class Tracking(Protocol[E]):
    """What is done to the kernel's connection tracking, and to the guard of what was cut."""

    def settle(self) -> None:
        """Wait until no packet is under way that met the rules of before."""

    def own_addresses(self) -> frozenset[Addr]:
        """All addresses of the node itself."""

    def route(self, addr: Addr, own: Addr | None) -> str | None:
        """The interface by which the node sends to an address, from one of its own if given."""

    def entries(self, addresses: Collection[Addr] | None) -> Iterable[E]:
        """The connections whose original or reply source is one of these, or all."""

    def guard(self, cuts: Cuts) -> None:
        """Hold up replies of connections that will be cut."""

    def delete(self, doomed: list[E]) -> int:
        """Forget these connections; returns how many were still there."""


class _Wanted(NamedTuple):
    """A policy that is in the kernel, with the settings that say whom it is asked about."""

    policy: NodePolicy
    prefixes: tuple[str, ...]
    spoofing_allowed: bool
    own: OwnPolicy | None
    platform: PlatformAccess

    def places(self, own: frozenset[Addr]) -> Places:
        return Places.of(
            self.policy.endpoints, own, self.prefixes, spoofing_allowed=self.spoofing_allowed
        )


@dataclass(frozen=True, slots=True)
class Looked:
    """How many connections were judged, and how many of them cut."""

    judged: int = 0
    cut: int = 0


class Connections(Generic[E]):
    """The thread that brings live connections under the policy of the moment."""

    def __init__(
        self,
        tracking: Tracking[E],
        on_looked: Callable[[Looked], None] = lambda _: None,
        give_way: Callable[[], None] = lambda: None,
    ) -> None:
        """``give_way`` is asked between two pieces of long work."""
        self._give_way = give_way
        self._tracking = tracking
        self._on_looked = on_looked
        self._told = threading.Condition()
        self._newest: _Wanted | None = None
        self._fresh = False
        self._afresh = False
        self._begun = self._ended = 0  # transactions, as far as they are known here
        self._stopping = False
        self._looking: _Wanted | None = None
        self._by_host = False  # whether this look is about the node's own interfaces, too
        self._judged: _Wanted | None = None  # None: nothing is known of the connections there are
        self._thread: threading.Thread | None = None

    def changing(self) -> None:
        """Hear that the kernel is about to be given another policy; returns at once."""
        with self._told:
            self._begun += 1

    def changed(
        self,
        policy: NodePolicy | None,
        felix: FelixSettings,
        own: OwnPolicy | None = None,
        *,
        afresh: bool,
    ) -> None:
        """Hear what policy the kernel has come to enforce; returns at once.

        ``own`` is that of the node's own interfaces. ``afresh``: other packets than the policy of
        before allows may have got through. Without a policy, or when the settings say so,
        connections are left alone.
        """
        hooks = hook_settings(felix)
        on = policy is not None and felix.rejudge_connections
        with self._told:
            self._newest = (
                _Wanted(
                    policy,
                    hooks.interface_prefixes,
                    hooks.spoofing_allowed,
                    own,
                    PlatformAccess.of(felix),
                )
                if policy is not None and on
                else None
            )
            self._ended = self._begun
            self._fresh = True
            self._afresh |= afresh or not on
            if self._thread is None:
                # Made here, so that it is in the network namespace of whoever programs the kernel.
                self._thread = threading.Thread(target=self.run, name="connections", daemon=True)
                self._thread.start()
            self._told.notify_all()

    def stop(self) -> None:
        """End the thread; connections stay as they are."""
        with self._told:
            self._stopping = True
            self._told.notify_all()
        if self._thread is not None:
            self._thread.join()

    def run(self) -> None:
        """Judge until ``stop``."""
        pause_s = 0.0
        while self._take():
            begun = time.monotonic()
            try:
                self._on_looked(self._look())
                pause_s = 0.0
            except Exception as error:
                pause_s = min(max(pause_s * 2, _RETRY_FIRST_S), _RETRY_LAST_S)
                known = isinstance(error, KoratError)
                what = "cannot judge live connections" if known else "a defect; connections stay"
                log.error(what, error=str(error), retry_s=pause_s, exc_info=not known)
                with self._told:
                    self._fresh = self._afresh = True
            rest_s = min((time.monotonic() - begun) * _REST, _REST_LAST_S)
            with self._told:
                self._told.wait_for(lambda: self._stopping, max(pause_s, rest_s))

    def _take(self) -> bool:
        """Wait for something to do; False to end."""
        with self._told:
            self._told.wait_for(lambda: self._stopping or self._fresh)
            if self._afresh:
                self._judged = None
            self._fresh = self._afresh = False
            self._looking = self._newest
        return not self._stopping

    def _look(self) -> Looked:
        """Judge what the newest policy may deny, and cut it."""
        wanted = self._looking
        if wanted is None:
            return Looked()
        by_host = _own_concerned(self._judged, wanted)
        self._by_host = by_host != frozenset()
        addresses = _either(by_host, _concerned(self._judged, wanted))
        nobody = addresses is not None and not addresses
        done = Looked() if nobody else self._cut(wanted, addresses)
        self._judged = wanted
        return done

    def _cut(self, wanted: _Wanted, addresses: frozenset[Addr] | None) -> Looked:
        begun = time.perf_counter()
        places = wanted.places(self._tracking.own_addresses())
        self._tracking.settle()
        judged, doomed = self._doomed(wanted, places, self._tracking.entries(addresses))
        doomed = self._still(doomed, places.own)
        gone = 0
        if doomed:
            try:
                self._tracking.guard(_cuts(doomed, self._give_way))
            finally:
                # What is denied must end, also if the other way of it cannot be held up.
                for start in range(0, len(doomed), _TOGETHER):
                    self._give_way()
                    gone += self._tracking.delete(doomed[start : start + _TOGETHER])
        took_ms = round((time.perf_counter() - begun) * 1000, 1)
        tell = log.info if gone else log.debug
        tell("connections judged by the new policy", judged=judged, cut=gone, ms=took_ms)
        return Looked(judged, gone)

    def _still(self, doomed: list[E], own: frozenset[Addr]) -> list[E]:
        """Those that the newest policy denies too: it may have let in some of them meanwhile."""
        for _ in range(_ROUNDS if doomed else 0):
            with self._told:
                self._told.wait_for(lambda: self._stopping or self._begun == self._ended, _WAIT_S)
                begun, newest = self._begun, self._newest
            if newest is None:
                return []
            if newest is not self._looking:
                _, doomed = self._doomed(newest, newest.places(own), doomed)
            with self._told:
                if begun == self._begun:
                    break
        return doomed

    def _doomed(self, wanted: _Wanted, places: Places, entries: Iterable[E]) -> tuple[int, list[E]]:
        own = wanted.own if self._by_host else None
        host = HostJudge(own.sequences, own.members, places, self._tracking.route) if own else None

        def denies(connection: Connection) -> bool:
            self._give_way()
            outcome = rejudge(wanted.policy, places, connection, wanted.platform)
            if outcome is not None and outcome.action is Action.DENY:
                return True
            return host is not None and host.denies(connection)

        return _sorted_out(denies, entries)


def _concerned(before: _Wanted | None, now: _Wanted) -> frozenset[Addr] | None:
    """An end of each connection that may be denied now; None where it may be any address."""
    places = now.places(frozenset())
    if before is None or before[1:3] != now[1:3]:
        return places.all
    refused = refused_now(before.platform, now.platform)
    return _either(affected(before.policy, now.policy).addresses(places), refused)


def _own_concerned(before: _Wanted | None, now: _Wanted) -> frozenset[Addr] | None:
    """As ``_concerned`` of the policy of the node's own interfaces."""
    if now.own is None:
        return frozenset()
    known = before.own if before is not None else None
    if known is None or (known.rules is not now.own.rules and known.rules != now.own.rules):
        return None
    return regrouped(now.own.sequences, known.members, now.own.members)


def _either(some: frozenset[Addr] | None, more: frozenset[Addr] | None) -> frozenset[Addr] | None:
    return None if some is None or more is None else some | more


def _sorted_out(denies: Callable[[Connection], bool], entries: Iterable[E]) -> tuple[int, list[E]]:
    """How many were judged, and those denied.

    What another connection announced was never asked about itself, and goes the way of that one.
    """
    count = 0
    doomed: list[E] = []
    announced: defaultdict[Tuple, list[E]] = defaultdict(list)
    for entry in entries:
        count += 1
        connection = entry.connection
        if connection.master is not None:
            announced[connection.master].append(entry)
            continue
        if denies(connection):
            doomed.append(entry)
    for entry in doomed:  # It grows: what was announced may have announced more.
        doomed += announced.pop(entry.connection.original, ())
    return count, doomed


def _cuts(doomed: Iterable[Entry], give_way: Callable[[], None]) -> Cuts:
    found: dict[Family, dict[Key, int]] = {family: {} for family in Family}
    for entry in doomed:
        give_way()
        connection = entry.connection
        if guarded(connection):
            found[connection.family][cut_key(connection)] = max(entry.timeout_s, QUIET_S)
    return found
