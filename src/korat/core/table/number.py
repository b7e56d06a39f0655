"""Numbers that stand for contents: classes, tables and outcomes, as packets carry them.

A number is drawn from a text of what it stands for, so it stays the same whatever else there is and
however the node came to it. Two texts that draw the same number are told apart by counting on; only
then does it matter who came first.

A number that was given back rests until the end of the turn: packets are still led by it while the
kernel is changed, so that it must not stand for two things within one change.
"""

import hashlib

#: What a packet can carry: 32 bits, of which 0 means nothing.
NUMBER_BITS = 32
_LAST = (1 << NUMBER_BITS) - 1


class Numbers:
    """Numbers that are given out and taken back."""

    def __init__(self) -> None:
        self._taken: dict[int, str] = {}
        self._resting: set[int] = set()

    def give(self, text: str) -> int:
        """A number for a text that has none; the same as before if it had one in this turn."""
        number = drawn(text)
        while number in self._taken:
            if number in self._resting and self._taken[number] == text:
                self._resting.discard(number)
                return number
            number = number % _LAST + 1
        self._taken[number] = text
        return number

    def take_back(self, number: int) -> None:
        """The number stands for nothing any more, and rests."""
        self._resting.add(number)

    def settle(self) -> None:
        """End a turn: what rested may stand for something else."""
        for number in self._resting:
            del self._taken[number]
        self._resting.clear()


def drawn(text: str) -> int:
    """The number that a text draws, 1 to 2**32 - 1."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _LAST + 1
