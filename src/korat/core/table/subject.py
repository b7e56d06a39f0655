"""Subjects: endpoints of one plan whose own addresses are alike, and their tables by peer class.

For a subject and a peer class every rule's address part is a constant; what remains is a verdict
table, painted once for each truth that the plan can tell apart.
"""

from collections.abc import Iterable, Iterator

from korat.core.policy.outcome import Direction
from korat.core.table.classes import ClassBook, PeerClass
from korat.core.table.paint import IntricateError, paint, strictest
from korat.core.table.planner import Planned
from korat.core.table.value import NOBODY, VerdictTable

#: A class and an interface, as the kernel looks them up.
Spot = tuple[int, str]
#: How many tables a subject remembers for each class there is.
_REMEMBERED = 4
#: So many tables may be known without looking whether they are still in use.
_INTERNED = 1024


class Subject:
    """Interfaces with one plan and the same truths of their own addresses.

    ``tables`` has the classes whose table is not the default class's; ``intricate`` has those whose
    table cannot be made, and says why.
    """

    __slots__ = ("_known", "default", "interfaces", "intricate", "own", "planned", "tables")

    def __init__(self, planned: Planned, own: tuple[int, ...]) -> None:
        self.planned = planned
        self.own = own
        self.interfaces: set[str] = set()
        self.tables: dict[int, VerdictTable] = {}
        self.intricate: dict[int, IntricateError] = {}
        self._known: dict[int, VerdictTable | IntricateError] = {}
        self.default = self._table(NOBODY, 0)

    def meet(self, peer: PeerClass) -> VerdictTable | None:
        """A class that came; the table, where it is not the default's."""
        truth = peer.truth & self.planned.plan.peer_mask
        table = self._table(peer.number, truth) if truth else None
        if table is None or table == self.default:
            return None
        self.tables[peer.number] = table
        return table

    def leave(self, number: int) -> bool:
        """A class that went; whether it had a table of its own."""
        self.intricate.pop(number, None)
        return self.tables.pop(number, None) is not None

    def _table(self, number: int, peer: int) -> VerdictTable | None:
        """The table of a class by what is true of it; None, and noted, where it is intricate."""
        known = self._known.get(peer)
        if known is None:
            if len(self._known) > _REMEMBERED * (len(self.tables) + 64):
                self._known.clear()
            known = self._known[peer] = self._strictest(peer)
        if isinstance(known, IntricateError):
            self.intricate[number] = known
            return None
        return known

    def _strictest(self, peer: int) -> VerdictTable | IntricateError:
        try:
            return strictest([self._painted(own, peer) for own in self.own])
        except IntricateError as error:
            # Without the frames it came through, which hold whatever they worked on.
            return error.with_traceback(None)

    def _painted(self, own: int, peer: int) -> VerdictTable:
        plan = self.planned.plan
        if plan.direction is Direction.INGRESS:
            return paint(plan, peer, own)
        return paint(plan, own, peer)


class Subjects:
    """All subjects of one family and direction; says which spots of the kernel's map change."""

    def __init__(self) -> None:
        self._subjects: dict[tuple[Planned, tuple[int, ...]], Subject] = {}
        self._of: dict[str, Subject] = {}
        self._interned: dict[VerdictTable, VerdictTable] = {}
        self._changes: dict[Spot, VerdictTable | None] = {}

    def put(self, interface: str, planned: Planned, own: tuple[int, ...], peers: ClassBook) -> None:
        """An interface has this plan and these own truths from now on."""
        before = self._of.get(interface)
        if before is not None and (before.planned, before.own) == (planned, own):
            return
        self.take(interface)
        subject = self._subjects.get((planned, own))
        if subject is None:
            subject = self._subjects[planned, own] = Subject(planned, own)
            for peer in peers.touching(planned.plan.peer_mask):
                subject.meet(peer)
        subject.interfaces.add(interface)
        self._of[interface] = subject
        if subject.default is not None:
            self._set((NOBODY, interface), subject.default)
        for number, table in subject.tables.items():
            self._set((number, interface), table)

    def take(self, interface: str) -> None:
        """An interface has no policy any more."""
        subject = self._of.pop(interface, None)
        if subject is None:
            return
        subject.interfaces.discard(interface)
        if not subject.interfaces:
            del self._subjects[subject.planned, subject.own]
        for number in (NOBODY, *subject.tables):
            self._changes[number, interface] = None

    def turn(self, born: Iterable[PeerClass], dead: Iterable[int]) -> None:
        """Classes came and went."""
        dead = tuple(dead)
        born = tuple(born)
        for subject in self._subjects.values():
            for number in dead:
                if subject.leave(number):
                    for interface in subject.interfaces:
                        self._changes[number, interface] = None
            for peer in born:
                table = subject.meet(peer)
                if table is not None:
                    for interface in subject.interfaces:
                        self._set((peer.number, interface), table)

    def drained(self) -> dict[Spot, VerdictTable | None]:
        """What changed since the last time."""
        changes, self._changes = self._changes, {}
        if len(self._interned) > _INTERNED and len(self._interned) > 2 * self._count():
            self._interned.clear()
        return changes

    def _count(self) -> int:
        return sum(len(subject.tables) for subject in self._subjects.values())

    def intricate(self) -> Iterator[str]:
        """Why some tables could not be made."""
        return (str(why) for each in self._subjects.values() for why in each.intricate.values())

    def _set(self, spot: Spot, table: VerdictTable) -> None:
        # Equal tables become one object: whoever comes first lends it to the others.
        self._changes[spot] = self._interned.setdefault(table, table)
