"""gRPC's and etcd's errors as korat's, at this one place; and what a failed call has done.

Source: etcd-io/etcd, api/v3rpc/rpctypes/error.go; grpc's status codes.
"""

from enum import Enum

from typing_extensions import override

from korat.core.errors import Invalid, KoratError, NotFound, Problem, Unavailable, Unsupported
from korat.drivers.etcd.quiet import grpc


class OutcomeUnknown(Unavailable):
    """A write was sent and nobody said what came of it: read before it is tried again."""


class Compacted(NotFound):
    """The changes that were asked for are no longer kept: list again and watch from there."""


class Failure(Enum):
    """What a call that failed has done, and so what may be tried."""

    REFUSED = "etcd has said no"
    STALE_LOGIN = "it was not done, for the token is no longer good"
    NOT_DONE = "it was not done, and another member may do it"
    UNCERTAIN = "it may have been done"


_REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)
#: The member refuses before it looks at the request, for it knows no leader.
_NO_LEADER = "etcdserver: no leader"
#: gRPC's own words where there was no connection to send anything on. Should it find others one
#: day, a write that was not sent counts as uncertain, which is safe.
_NOT_SENT = "failed to connect to all addresses"
_NOBODY = "user name is empty"
#: With the last one etcd asks for a token since a moment ago.
_STALE = ("invalid auth token", "revision of auth store is old", _NOBODY)
#: The first words of what etcd says when it has no authentication.
AUTHENTICATION_OFF = "etcdserver: authentication is not enabled"


class Said:
    """A status that ended a call: gRPC's code and the words with it."""

    __slots__ = ("code", "words")

    def __init__(self, error: grpc.RpcError) -> None:
        self.code = error.code()
        self.words = error.details() or self.code.name

    @override
    def __str__(self) -> str:
        lines = self.words.splitlines()
        return lines[0] if lines else self.code.name


def judge(said: Said) -> Failure:
    """What the failed call has done."""
    if any(each in said.words for each in _STALE):
        return Failure.STALE_LOGIN
    if said.code in _REFUSALS:
        return Failure.REFUSED
    if said.code is grpc.StatusCode.UNAVAILABLE and said.words.startswith((_NO_LEADER, _NOT_SENT)):
        return Failure.NOT_DONE
    return Failure.UNCERTAIN


def refusal(said: Said, what: str, prefix: str) -> KoratError:
    """A refusal as the error that tells the caller what to do next; ``what`` was being done."""
    sentence = f"etcd: {what}: {said}"
    remedy = next((each for words, each in _REMEDIES.items() if words in said.words), None)
    if remedy is not None:
        return Unavailable(sentence, remedy.format(prefix=prefix))
    match said.code:
        case grpc.StatusCode.OUT_OF_RANGE if "compacted" in said.words:
            return compacted(what, 0)
        case grpc.StatusCode.NOT_FOUND | grpc.StatusCode.OUT_OF_RANGE:
            return NotFound(sentence)
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION:
            return Invalid([Problem("", "", None, sentence)])
        case grpc.StatusCode.UNIMPLEMENTED:
            return Unsupported(sentence, "korat needs etcd 3.4 or newer, and its version 3 API")
        case _:
            return Unavailable(sentence)


#: What helps against what etcd says when only somebody else can help.
_REMEDIES = {
    _NOBODY: "set {prefix}USERNAME and {prefix}PASSWORD",
    "authentication failed": "check {prefix}USERNAME and {prefix}PASSWORD",
    "permission denied": "give the user of {prefix}USERNAME, or of the certificate, a role for it",
    "space exceeded": "compact and defragment etcd, then disarm its alarm",
}


def compacted(what: str, oldest: int) -> Compacted:
    """Changes were asked for that etcd has compacted; ``oldest`` is the first kept, if known."""
    kept = f", only those from {oldest} on" if oldest else ""
    return Compacted(
        f"etcd: {what}: changes of that revision are no longer kept{kept}",
        "list again and watch from the list's revision",
    )
