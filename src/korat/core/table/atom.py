"""Atoms: the yes-or-no questions that the policies of a node's own endpoints ask of an address.

Each atom in use has a bit, so that all that is true of an address is one integer. Bits are counted:
a policy that comes takes those it asks for, and one that goes gives them back. A bit that nobody
uses any more is not given to another atom before ``settle``, so that it can be cleared everywhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from korat.core.table.predicate import AddressPredicate, OwnsPort, Serves


@dataclass(frozen=True, slots=True)
class MeansPort:
    """The address belongs to an endpoint of ``owner`` for which the name means this port.

    Or ``owner`` is a service that is served there on this port.
    """

    owner: OwnsPort | Serves
    protocol: int
    port: int

    @property
    def text(self) -> str:
        """A stable text, different for different atoms."""
        return f"{self.owner.text} {self.protocol} {self.port}"


#: What can be true of an address alone.
Atom = AddressPredicate | MeansPort


class Atoms:
    """The atoms in use and the numbers of their bits.

    ``born`` and ``dead`` are those that came and went since the last ``settle``, with their bits.
    """

    def __init__(self) -> None:
        self.born: dict[Atom, int] = {}
        self.dead: dict[Atom, int] = {}
        self._bits: dict[Atom, int] = {}
        self._uses: dict[Atom, int] = {}
        self._texts: dict[int, str] = {}
        self._free: list[int] = []

    def use(self, atom: Atom) -> int:
        """Take an atom's bit, as a number of which one bit is set."""
        bit = self._bits.get(atom)
        if bit is None:
            bit = self.dead.pop(atom, None)
            if bit is None:
                bit = self._free.pop() if self._free else len(self._texts)
                self.born[atom] = bit
                self._texts[bit] = atom.text
            self._bits[atom] = bit
            self._uses[atom] = 0
        self._uses[atom] += 1
        return 1 << bit

    def drop(self, atom: Atom) -> None:
        """Give an atom's bit back that was taken by ``use``."""
        self._uses[atom] -= 1
        if not self._uses[atom]:
            del self._uses[atom]
            bit = self._bits.pop(atom)
            if self.born.pop(atom, None) is None:
                self.dead[atom] = bit
            else:
                self._free.append(bit)

    def settle(self) -> None:
        """What came and went is known to everybody: bits of the dead may be given away again."""
        self._free.extend(self.dead.values())
        self.born.clear()
        self.dead.clear()

    def text(self, truth: int) -> str:
        """What is true, as one text that does not depend on the numbers of the bits."""
        texts = self._texts
        return "\n".join(sorted(texts[bit.bit_length() - 1] for bit in bits_of(truth)))


def bits_of(mask: int) -> Iterator[int]:
    """Each bit of a mask by itself, the lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest
        mask ^= lowest


def union(masks: Iterable[int]) -> int:
    """The bits of all masks."""
    bits = 0
    for mask in masks:
        bits |= mask
    return bits
