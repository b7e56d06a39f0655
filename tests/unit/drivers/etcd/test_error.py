"""What a failed call has done, and what is said of it."""

import pytest

from korat.core.errors import Invalid, NotFound, Unavailable, Unsupported
from korat.drivers.etcd.error import Compacted, Failure, Said, judge, refusal
from korat.drivers.etcd.quiet import grpc

Code = grpc.StatusCode


class Ended(grpc.RpcError):
    """A call that ended so."""

    def __init__(self, code, words):
        self._code, self._words = code, words

    def code(self):
        return self._code

    def details(self):
        return self._words


def said(code, words):
    return Said(Ended(code, words))


@pytest.mark.parametrize(
    ("code", "words", "failure"),
    [
        (Code.INVALID_ARGUMENT, "etcdserver: key is not provided", Failure.REFUSED),
        (
            Code.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision has been compacted",
            Failure.REFUSED,
        ),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", Failure.REFUSED),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Failure.REFUSED),
        (Code.UNAUTHENTICATED, "etcdserver: invalid auth token", Failure.STALE_LOGIN),
        (Code.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", Failure.STALE_LOGIN),
        (Code.INVALID_ARGUMENT, "etcdserver: user name is empty", Failure.STALE_LOGIN),
        (Code.UNAVAILABLE, "etcdserver: no leader", Failure.NOT_DONE),
        (Code.UNAVAILABLE, "failed to connect to all addresses; last error: x", Failure.NOT_DONE),
        (Code.UNAVAILABLE, "etcdserver: request timed out", Failure.UNCERTAIN),
        (Code.UNAVAILABLE, "etcdserver: leader changed", Failure.UNCERTAIN),
        (Code.UNAVAILABLE, "Socket closed", Failure.UNCERTAIN),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", Failure.UNCERTAIN),
        (Code.CANCELLED, "Channel closed!", Failure.UNCERTAIN),
        (Code.UNKNOWN, "", Failure.UNCERTAIN),
        (Code.INTERNAL, "etcdserver: no leader", Failure.UNCERTAIN),
    ],
)
def test_what_a_failed_call_has_done(code, words, failure):
    assert judge(said(code, words)) is failure


@pytest.mark.parametrize(
    ("code", "words", "error", "text"),
    [
        (Code.OUT_OF_RANGE, "mvcc: required revision has been compacted", Compacted, "list again"),
        (Code.OUT_OF_RANGE, "mvcc: required revision is a future revision", NotFound, "future"),
        (Code.NOT_FOUND, "etcdserver: requested lease not found", NotFound, "lease not found"),
        (Code.INVALID_ARGUMENT, "etcdserver: request is too large", Invalid, "too large"),
        (Code.UNIMPLEMENTED, "unknown service", Unsupported, "etcd 3.4 or newer"),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", Unavailable, "X_USERNAME"),
        (Code.INVALID_ARGUMENT, "etcdserver: authentication failed", Unavailable, "X_PASSWORD"),
        (Code.INVALID_ARGUMENT, "etcdserver: user name is empty", Unavailable, "set X_USERNAME"),
        (Code.RESOURCE_EXHAUSTED, "mvcc: database space exceeded", Unavailable, "defragment"),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Unavailable, "too many"),
    ],
)
def test_what_is_said_of_a_refusal(code, words, error, text):
    found = refusal(said(code, words), "read keys", "X_")
    assert type(found) is error
    assert text in str(found)
    assert "read keys" in str(found)


def test_one_line_is_told():
    assert str(said(Code.UNAVAILABLE, "first\nsecond")) == "first"
    assert str(said(Code.UNAVAILABLE, None)) == "UNAVAILABLE"
