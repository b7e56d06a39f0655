"""Runs the core's operations on addresses on a store, and says what time it is.

The operations are ``korat.core.ipam``'s; each request goes to the store as it is, and its answer or
its error goes back in.
"""

import secrets
import time
from typing import TypeVar

from korat.core.errors import KoratError
from korat.core.ipam.instant import Moment
from korat.core.ipam.request import Answer, Create, Delete, Read, Request, Steps, Update
from korat.ports import Store

T = TypeVar("T")


def run(store: Store, operation: Steps[T]) -> T:
    """Carry an operation out.

    Raises:
        KoratError: what the operation raises, and what the store does that it does not catch.
    """
    try:
        request = next(operation)
        while True:
            try:
                answer = answer_of(store, request)
            except KoratError as error:
                request = operation.throw(error)
            else:
                request = operation.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result


def answer_of(store: Store, request: Request) -> Answer:
    """What the store says to one request."""
    match request:
        case Read(wanted):
            return store.list(wanted)
        case Create(key, value):
            return store.create(key, value)
        case Update(key, value, revision):
            return store.update(key, value, revision)
        case Delete(key, revision):
            return store.delete(key, revision)


def now() -> Moment:
    """The present time, and dice."""
    return Moment(time.time_ns(), secrets.randbits(64))
