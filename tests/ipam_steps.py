"""Operations on addresses run step by step, with a store that fails and programs that die.

An ``Act`` is one operation under way; ``step`` answers its next request and nothing more, so that a
test decides what happens between any two requests.
"""

from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from korat.core.errors import Conflict, KoratError, Unavailable
from korat.core.ipam.request import Read
from korat.drivers.store.ipam import answer_of


class Fault(Enum):
    """What goes wrong with one request."""

    NONE = "none"
    CONFLICT = "refused as if somebody else had written"
    LOST = "times out and was never carried out"
    UNSURE = "times out and was carried out"


@dataclass
class Act:
    """One operation of one node; ``about`` says what a test wants to know of it at its end."""

    name: str
    operation: object
    about: dict = field(default_factory=dict)
    request: object = None
    error: KoratError | None = None
    result: object = None
    is_over: bool = False

    def __post_init__(self):
        self._go(partial(next, self.operation))

    def step(self, store, fault=Fault.NONE):
        """Carry out the next request, or let it fail."""
        if isinstance(self.request, Read) and fault is Fault.CONFLICT:
            fault = Fault.NONE
        try:
            answer = self._answer(store, fault)
        except KoratError as failure:
            self._go(partial(self.operation.throw, failure))
        else:
            self._go(partial(self.operation.send, answer))

    def _answer(self, store, fault):
        if fault is Fault.CONFLICT:
            raise Conflict("somebody else was faster")
        if fault is Fault.LOST:
            raise Unavailable("the store is away")
        answer = answer_of(store, self.request)
        if fault is Fault.UNSURE:
            raise Unavailable("the store is away, and nobody knows")
        return answer

    def finish(self, store):
        """Carry out all the rest."""
        while not self.is_over:
            self.step(store)

    def die(self):
        """The program is killed between two requests."""
        self.operation.close()
        self.is_over = True
        self.error = Unavailable("killed")

    def _go(self, move):
        try:
            self.request = move()
        except StopIteration as done:
            self.result, self.is_over = done.value, True
        except KoratError as error:
            self.error, self.is_over = error, True
