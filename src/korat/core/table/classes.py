"""Peer classes of one direction and family: truths that addresses have, each with its number.

A class is there as long as an address or a stretch is in it. Its number is drawn from the texts of
what is true, so a class keeps it whatever else there is in the cluster.
"""

from collections.abc import Iterator

from korat.core.pmap import PMap
from korat.core.table.atom import Atoms, bits_of
from korat.core.table.line import Line
from korat.core.table.number import Numbers
from korat.core.table.value import NOBODY, Net, PeerClasses, Place


class PeerClass:
    """A truth, restricted to what the direction's policies ask, and its number."""

    __slots__ = ("number", "truth", "uses")

    def __init__(self, number: int, truth: int) -> None:
        self.number = number
        self.truth = truth
        self.uses = 0


class ClassBook:
    """The classes of one direction and family.

    ``born`` are the classes that came with the last turn, ``dead`` the numbers that went.
    """

    def __init__(self, atoms: Atoms) -> None:
        self.mask = 0
        self.born: list[PeerClass] = []
        self.dead: list[int] = []
        self._atoms = atoms
        self._numbers = Numbers()
        self._by_truth: dict[int, PeerClass] = {}
        self._by_bit: dict[int, set[PeerClass]] = {}
        self._idle: set[PeerClass] = set()
        self._hosts: PMap[Place, int] = PMap()
        self._changes: dict[Place, int | None] = {}
        self._nets: tuple[Net, ...] = ()
        self._under: list[PeerClass] = []
        self._alive: PMap[int, int] = PMap()

    def join(self, truth: int) -> PeerClass:
        """The class of a truth, with one use more."""
        found = self._by_truth.get(truth)
        if found is None:
            found = PeerClass(self._numbers.give(self._atoms.text(truth)), truth)
            self._by_truth[truth] = found
            for bit in bits_of(truth):
                self._by_bit.setdefault(bit, set()).add(found)
            self.born.append(found)
        found.uses += 1
        self._idle.discard(found)
        return found

    def part(self, left: PeerClass) -> None:
        """One use less; a class that is still unused at the end of the turn goes."""
        left.uses -= 1
        if not left.uses:
            self._idle.add(left)

    def put(self, place: Place, found: PeerClass | None) -> None:
        """An address is in a class, or (None) as its surroundings are."""
        self._changes[place] = None if found is None else found.number

    def lay(self, line: Line) -> None:
        """Take the stretches from a line."""
        before = self._under
        stretches = line.masked(self.mask)
        self._under = [self.join(stretch.truth) for stretch in stretches]
        self._nets = tuple(
            (s.first, s.last, c.number) for s, c in zip(stretches, self._under, strict=True)
        )
        for each in before:
            self.part(each)

    def settle(self) -> PeerClasses:
        """End the turn: the classes as a value."""
        for each in self._idle:
            del self._by_truth[each.truth]
            for bit in bits_of(each.truth):
                self._by_bit[bit].discard(each)
                if not self._by_bit[bit]:
                    del self._by_bit[bit]
            self._numbers.take_back(each.number)
            self.dead.append(each.number)
        self._numbers.settle()
        self.born = [each for each in self.born if each not in self._idle]
        self._idle.clear()
        alive: dict[int, int | None] = {each.number: each.truth for each in self.born}
        alive.update(dict.fromkeys(self.dead))
        self._alive = self._alive.changed(alive)
        self._hosts = self._hosts.changed(self._changes)
        self._changes = {}
        return PeerClasses(self._hosts, self._nets, NOBODY, self._alive)

    def touching(self, mask: int) -> Iterator[PeerClass]:
        """The classes of which anything in the mask is true, each once."""
        found: set[PeerClass] = set()
        for bit in bits_of(mask):
            found |= self._by_bit.get(bit, set())
        return iter(found)

    def told(self) -> None:
        """What was born and what died is known to everybody."""
        self.born, self.dead = [], []
