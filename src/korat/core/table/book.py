"""The addresses of one family: who owns each, what is true of it, its class each way, its sets.

Addresses with the same owners on stretches of the same truth are of one kind. A change of truth is
worked out per kind, and only the members of kinds whose class changed are touched. An address that
is like its surroundings has no entry of its own.
"""

from collections.abc import Iterable, Iterator, Mapping

from korat.core.net.address import Addr, Family, Prefix
from korat.core.policy.outcome import Direction
from korat.core.table.atom import Atoms, bits_of, union
from korat.core.table.classes import ClassBook, PeerClass
from korat.core.table.line import Line
from korat.core.table.member import AskedBits, MemberBook
from korat.core.table.owner import Owner
from korat.core.table.predicate import InNets
from korat.core.table.value import PeerClasses, Place

_Owned = tuple[Owner, ...]


class Kind:
    """Addresses of which the same is true for the same reasons."""

    __slots__ = ("beneath", "classes", "members", "own", "owners", "told", "truth")

    def __init__(self, owners: _Owned, beneath: int) -> None:
        self.owners = owners
        self.beneath = beneath
        self.members: set[Place] = set()
        #: What is true because of the owners, and how much of that the member book was told.
        self.own = self.told = 0
        self.truth = 0
        self.classes: dict[Direction, PeerClass | None] = {}


class AddressBook:
    """All addresses of one family that anybody has or any rule names."""

    def __init__(self, family: Family, atoms: Atoms) -> None:
        self.family = family
        self.sides = {direction: ClassBook(atoms) for direction in Direction}
        self.members = MemberBook()
        self._owned: dict[Place, _Owned] = {}
        self._kind_of: dict[Place, Kind] = {}
        self._kinds: dict[tuple[_Owned, int], Kind] = {}
        self._of_owner: dict[Owner, set[Kind]] = {}
        self._of_bit: dict[int, set[Kind]] = {}
        self._wide: dict[tuple[Owner, Prefix], int] = {}
        self._nets: dict[InNets, Owner] = {}
        self._line = Line()
        self._line_stale = False
        self._touched: set[Place] = set()
        self._stirred: tuple[set[Place], set[Kind]] = set(), set()

    def claim(self, net: Prefix, owner: Owner) -> None:
        """An owner has these addresses, perhaps not for the first time."""
        if net.length < self.family.bits:
            self._wide[owner, net] = self._wide.get((owner, net), 0) + 1
            self._line_stale = True
            return
        place = (net.base,)
        owned = self._owned.get(place)
        self._owned[place] = owner.solo if owned is None else (*owned, owner)
        self._touched.add(place)

    def leave(self, net: Prefix, owner: Owner) -> None:
        """An owner has these addresses once less."""
        if net.length < self.family.bits:
            self._wide[owner, net] -= 1
            if not self._wide[owner, net]:
                del self._wide[owner, net]
            self._line_stale = True
            return
        place = (net.base,)
        owned = list(self._owned[place])
        owned.remove(owner)
        if owned:
            self._owned[place] = tuple(owned) if len(owned) > 1 else owned[0].solo
        else:
            del self._owned[place]
        self._touched.add(place)

    def learn(self, atom: InNets, bit: int) -> None:
        """From now on the atom's prefixes have a bit."""
        if atom.nets[0].family is self.family:
            owner = self._nets[atom] = Owner({})
            owner.truth = 1 << bit
            for net in atom.nets:
                self.claim(net, owner)

    def forget(self, atom: InNets) -> None:
        """The atom has no bit any more."""
        owner = self._nets.pop(atom, None)
        if owner is not None:
            for net in atom.nets:
                self.leave(net, owner)

    def truth_at(self, addr: Addr) -> int:
        """What is true of one address."""
        kind = self._kind_of.get((addr.value,))
        return self._line.beneath(addr.value) if kind is None else kind.truth

    def stirred(self, places: Iterable[Place]) -> set[Place]:
        """Those of these places of which something else may be true since the last turn."""
        touched, kinds = self._stirred
        if not touched and not kinds:
            return set()
        kind_of = self._kind_of.get
        return {place for place in places if place in touched or kind_of(place) in kinds}

    def settle(
        self, changed: Iterable[Owner], masks: Mapping[Direction, int], asked: AskedBits
    ) -> dict[Direction, PeerClasses]:
        """End a turn: who changed is worked out, and the classes of both directions returned.

        ``asked`` is what the member book keeps from now on.
        """
        changed = set(changed)
        stale = self._line_stale or any(owner in changed for owner, _ in self._wide)
        if stale:
            self._relay()
        dirty = {kind for owner in changed for kind in self._of_owner.get(owner, ())}
        for kind in dirty:
            self._judge(kind)
        touched, self._touched = self._touched, set()
        for place in touched:
            dirty.update(self._rekind(place))
        self._stirred = touched, dirty
        found = {}
        for direction, side in self.sides.items():
            fresh_bits, side.mask = side.mask ^ masks[direction], masks[direction]
            if stale or fresh_bits:
                side.lay(self._line)
            concerned = (self._of_bit.get(bit, ()) for bit in bits_of(fresh_bits))
            for kind in dirty.union(*concerned):
                _reclass(kind, direction, side)
            for place in touched:
                at = self._kind_of.get(place)
                side.put(place, at.classes[direction] if at is not None else None)
            found[direction] = side.settle()
        self._tell(asked, dirty, touched, stale=stale)
        self._sweep(dirty)
        return found

    def _tell(
        self, asked: AskedBits, dirty: set[Kind], touched: Iterable[Place], *, stale: bool
    ) -> None:
        """Bring the member book up to date, which need not know of anything else."""
        book = self.members
        fresh_bits = book.ask(asked)
        if book.idle:
            return
        if stale or fresh_bits:
            book.lay(self._line)
        concerned = (self._of_bit.get(bit, ()) for bit in bits_of(fresh_bits))
        for kind in dirty.union(*concerned):
            truth = kind.own & book.mask
            if truth != kind.told:
                kind.told = truth
                for place in kind.members:
                    book.put(place, truth)
        for place in touched:
            at = self._kind_of.get(place)
            book.put(place, at.told if at is not None else 0)
        book.settle()

    def _judge(self, kind: Kind) -> None:
        """Work out what is true of a kind."""
        kind.own = union(owner.truth for owner in kind.owners)
        self._file(kind, kind.beneath | kind.own)

    def _file(self, kind: Kind, truth: int) -> None:
        """Give a kind its truth, and remember it under each bit."""
        for bit in bits_of(kind.truth & ~truth):
            self._of_bit[bit].discard(kind)
            if not self._of_bit[bit]:
                del self._of_bit[bit]
        for bit in bits_of(truth & ~kind.truth):
            self._of_bit.setdefault(bit, set()).add(kind)
        kind.truth = truth

    def _relay(self) -> None:
        """Lay the line anew, and find the addresses under which it changed."""
        items = [(net.first, net.last, owner.truth) for owner, net in self._wide]
        self._line, self._line_stale = Line(items), False
        beneath = self._line.beneath
        for kind in self._kinds.values():
            self._touched.update(p for p in kind.members if beneath(p[0]) != kind.beneath)

    def _rekind(self, place: Place) -> Iterator[Kind]:
        """Put an address where it belongs now; the kinds to look at: one it left, a new one."""
        old, owned = self._kind_of.pop(place, None), self._owned.get(place)
        if old is not None:
            old.members.discard(place)
            if not old.members:
                yield old
        if owned is None:
            return
        if len(owned) > 1:
            owned = tuple(sorted(set(owned), key=id))
        key = owned, self._line.beneath(place[0])
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(*key)
            self._judge(kind)
            for owner in owned:
                self._of_owner.setdefault(owner, set()).add(kind)
        if not kind.members:
            yield kind
        kind.members.add(place)
        self._kind_of[place] = kind

    def _sweep(self, kinds: Iterable[Kind]) -> None:
        """Forget those that have no members."""
        for kind in kinds:
            if kind.members:
                continue
            del self._kinds[kind.owners, kind.beneath]
            self._file(kind, 0)
            for owner in kind.owners:
                own = self._of_owner[owner]
                own.discard(kind)
                if not own:
                    del self._of_owner[owner]


def _reclass(kind: Kind, direction: Direction, side: ClassBook) -> None:
    """Find the class of a kind, and tell its members when it is another one than before."""
    truth, beneath = kind.truth & side.mask, kind.beneath & side.mask
    before = kind.classes.get(direction)
    after = side.join(truth) if kind.members and truth != beneath else None
    if before is not None:
        side.part(before)
    kind.classes[direction] = after
    if after is not before:
        for place in kind.members:
            side.put(place, after)
