"""What can go wrong, classed by what the caller does next.

``Invalid``      tell the user and never retry; carries every fault found, not the first one
``NotFound``     the thing asked for is not there
``Conflict``     lost a compare-and-swap: read again, retry now
``Unavailable``  back off, retry
``Unsupported``  this kernel, cloud or version cannot do it: choose another way

Drivers turn foreign errors into these at one place each and chain the original. The command line
prints ``str(error)`` and nothing else; a traceback on a user's screen is a defect.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in one object: which object, which field, what stood there, which rule it broke.

    ``where`` names the object as a user would, ``NetworkPolicy shop/allow-web``; ``field`` is its
    JSON path, ``spec.ingress[0].action``, or empty when the fault is the whole object's.
    """

    where: str
    field: str
    value: object
    rule: str

    @override
    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        field = f"{self.field} " if self.field else ""
        value = "" if self.value is None else f"{self.value!r}: "
        return f"{place}{field}{value}{self.rule}"


class KoratError(Exception):
    """The root of korat's own errors: what happened, and the remedy where there is one."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    @override
    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


class Invalid(KoratError):
    """The input breaks a rule; ``problems`` holds every fault found."""

    def __init__(self, problems: Iterable[Problem], remedy: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems), remedy)


class NotFound(KoratError):
    """The object is not there."""


class Conflict(KoratError):
    """Someone else wrote first, or the object exists already."""


class Unavailable(KoratError):
    """The other side does not answer now."""


class Unsupported(KoratError):
    """This kernel, cloud or version cannot do what was asked."""
